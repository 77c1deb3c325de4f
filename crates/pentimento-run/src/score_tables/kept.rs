//! Tables of scores that lie in a run.

use super::{ScoredImage, no_table};
use crate::data::CodedData;
use crate::error::{MadeBy, Result, RunError};
use crate::gradients::score_columns::{HIGH, LOW, QUERY, RANK, SCORE, TRAINING_IMAGE};
use crate::gradients::{
    QuerySet, SAMPLES, Subject, TrainingImages, images_digest, made_with_digest, queries_digest,
};
use crate::networks::Networks;
use crate::workspace::Workspace;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use pentimento_attribution::methods::Method;
use pentimento_data::composed;
use pentimento_store::Run;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use tempfile::NamedTempFile;

/// Images that were asked about, and the methods whose scores for them a run keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSet {
    /// Its folder in `scores/`.
    pub name: String,
    /// How it was asked about.
    pub asked: String,
    /// The class that was given for all of its images.
    pub class: Option<String>,
    /// The prompt that was given for all of its images.
    pub prompt: Option<String>,
    /// Names of the methods, sorted.
    pub methods: Vec<String>,
}

impl KeptSet {
    /// Whether it is the samples of the run.
    pub fn is_samples(&self) -> bool {
        self.name == SAMPLES
    }
}

/// All sets that a run keeps scores of, by their folders.
pub fn kept_sets(run: &Run) -> Vec<KeptSet> {
    let mut sets: Vec<KeptSet> = Vec::new();
    for object in run.names() {
        let Some((name, method)) = object
            .strip_prefix("scores/")
            .and_then(|name| name.strip_suffix(".parquet"))
            .and_then(|name| name.split_once('/'))
        else {
            continue;
        };
        match sets.iter_mut().find(|set| set.name == name) {
            Some(set) => set.methods.push(method.to_owned()),
            None => {
                let description = Description::read(run, &format!("scores/{name}/{method}.json"));
                // One that is damaged goes by its folder.
                let (asked, class, prompt) = description.map_or_else(
                    |_| (name.to_owned(), None, None),
                    |description| {
                        (description.asked_about, description.asked_class, description.asked_prompt)
                    },
                );
                sets.push(KeptSet {
                    name: name.to_owned(),
                    asked,
                    class,
                    prompt,
                    methods: vec![method.to_owned()],
                });
            }
        }
    }
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    sets.iter_mut().for_each(|set| set.methods.sort());
    sets
}

/// What a table of scores says of itself.
#[derive(serde::Deserialize)]
struct Description {
    /// Who was asked about, as the person said it.
    asked_about: String,
    /// The class that was given for all of them.
    #[serde(default)]
    asked_class: Option<String>,
    /// The prompt that was given for all of them.
    #[serde(default)]
    asked_prompt: Option<String>,
    /// Names of the queries.
    query: Vec<String>,
    /// The queries themselves: [`queries_digest`].
    #[serde(default)]
    queries_digest: Option<String>,
    /// Positions of the training images.
    #[serde(default)]
    training_image: Vec<usize>,
    /// What is said of them beside their positions.
    #[serde(default)]
    training_image_label: Vec<String>,
    /// The training images: [`images_digest`]. Tables of earlier programs do not say.
    #[serde(default)]
    training_images_digest: Option<String>,
    /// Networks, settings and samples: [`made_with_digest`].
    #[serde(default)]
    made_with_digest: Option<String>,
}

impl Description {
    fn read(run: &Run, name: &str) -> Result<Self> {
        serde_json::from_slice(&run.get(name)?).map_err(RunError::damaged(name))
    }
}

/// Scores of one method that a run keeps.
pub struct KeptTable<'a> {
    workspace: &'a Workspace,
    /// Who was asked about.
    pub set: KeptSet,
    /// Name of the method.
    pub method: String,
    /// Sets of other images that the run keeps scores of.
    pub other_sets: Vec<KeptSet>,
    description: Description,
}

/// Scores of training images for one query.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredQuery {
    /// What tables call it: `3` for sample 3, an image's position.
    pub name: String,
    /// The images that were scored, in the order of the training set.
    pub images: Vec<ScoredImage>,
}

impl ScoredQuery {
    /// The images with the largest scores, the largest first.
    pub fn first(&self, count: usize) -> Vec<ScoredImage> {
        let mut ranked = self.images.clone();
        ranked.sort_by_key(|image| image.rank);
        ranked.truncate(count);
        ranked
    }

    /// The images with the smallest scores, the smallest first.
    pub fn last(&self, count: usize) -> Vec<ScoredImage> {
        let mut ranked = self.images.clone();
        ranked.sort_by_key(|image| std::cmp::Reverse(image.rank));
        ranked.truncate(count);
        ranked
    }
}

/// Whether scores are those that would be made today.
#[derive(Debug)]
pub struct Staleness {
    /// Recipe, networks or samples are others than those that the scores were made with. Not so for tables of earlier
    /// programs, which do not say.
    pub made_with_changed: bool,
    /// Whether the training images are still the same.
    pub images: ImagesSince,
    /// Whether the images that were asked about are. Samples are, as far as they were made with the same.
    pub queries: ImagesSince,
}

/// What became of images since they were scored, or asked about.
#[derive(Debug)]
pub enum ImagesSince {
    /// They are the same.
    Same,
    /// They are others.
    Changed,
    /// They cannot be opened, so it is not known.
    NotOpened(RunError),
    /// The table, of an earlier program, does not say which they were.
    NotRecorded,
}

impl<'a> KeptTable<'a> {
    /// Finds the scores for a set: as it is called today, as it was asked about then, or by the folder of its scores. Of
    /// several methods the usual one is taken if none is named.
    ///
    /// # Errors
    ///
    /// [`RunError::NoScores`] if there are none, [`RunError::SeveralMethods`] if it is not said which,
    /// [`RunError::NoSuch`] for a method that does not exist, [`RunError::OtherUse`] for one that writes no table.
    pub fn open(workspace: &'a Workspace, set: &QuerySet, method: Option<&str>) -> Result<Self> {
        let (name, asked) = (set.name(), set.to_string());
        let mut sets = kept_sets(&workspace.run);
        let place = sets
            .iter()
            .position(|kept| kept.name == name)
            .or_else(|| sets.iter().position(|kept| kept.name == asked || kept.asked == asked));
        let set = match place {
            Some(place) => {
                let kept = sets.remove(place);
                // As the person says it, if it is the same set.
                if kept.name == name { KeptSet { asked, ..kept } } else { kept }
            }
            None => KeptSet {
                name,
                asked,
                class: set.class().map(str::to_owned),
                prompt: set.prompt().map(str::to_owned),
                methods: Vec::new(),
            },
        };
        let method = method_of(workspace, &set, &sets, method)?;
        let description = Description::read(&workspace.run, &format!("scores/{}/{method}.json", set.name))?;
        Ok(Self { workspace, set, method, other_sets: sets, description })
    }

    /// Names of the queries.
    pub fn query_names(&self) -> &[String] {
        &self.description.query
    }

    fn object(&self, ending: &str) -> String {
        format!("scores/{}/{}.{ending}", self.set.name, self.method)
    }

    /// Whether the scores are those that would be made today. The training images are opened for it.
    ///
    /// # Errors
    ///
    /// If the recipe has no JSON form.
    pub fn staleness(&self) -> Result<Staleness> {
        let made_with_changed = match &self.description.made_with_digest {
            Some(then) => *then != made_with_digest(self.workspace, self.set.is_samples())?,
            None => false,
        };
        let since = |then: &Option<String>, now: Result<String>| match (then, now) {
            (None, _) => ImagesSince::NotRecorded,
            (Some(then), Ok(now)) if now == *then => ImagesSince::Same,
            (Some(_), Ok(_)) => ImagesSince::Changed,
            (Some(_), Err(error)) => ImagesSince::NotOpened(error),
        };
        let digests = self.digests();
        let (images, queries) = match digests {
            Ok((images, queries)) => (Ok(images), queries),
            Err(error) => (Err(error), Ok(None)),
        };
        Ok(Staleness {
            made_with_changed,
            images: since(&self.description.training_images_digest, images),
            queries: match queries {
                // Of samples, and where the training images cannot be opened.
                Ok(None) => ImagesSince::Same,
                Ok(Some(now)) => since(&self.description.queries_digest, Ok(now)),
                Err(error) => since(&self.description.queries_digest, Err(error)),
            },
        })
    }

    /// That of the training images of today, and that of the images that were asked about unless they are samples.
    fn digests(&self) -> Result<(String, Result<Option<String>>)> {
        let workspace = self.workspace;
        let data = CodedData::of_run(workspace)?;
        let asked: QuerySet = self.set.asked.parse().unwrap_or(QuerySet::Samples);
        let asked = asked.told(self.set.class.clone(), self.set.prompt.clone())?;
        let queries_of = |networks: &Networks<'_>, training: &TrainingImages| match asked {
            QuerySet::Samples => Ok(None),
            asked => {
                let queries = asked.open(&Subject::new(workspace, networks, training))?;
                Ok(Some(queries_digest(&queries.images)))
            }
        };
        if let Some(data) = &data {
            // Members need not be there to know the images.
            let queries = Networks::trained(workspace, data).and_then(|networks| {
                let training = TrainingImages::open(workspace, &networks)?;
                queries_of(&networks, &training)
            });
            return Ok((images_digest(workspace, &data.images, data.network.classes().is_some())?, queries));
        }
        let networks = &Networks::imported(workspace)?;
        let training = &TrainingImages::open(workspace, networks)?;
        let queries = queries_of(networks, training);
        Ok((images_digest(workspace, &training.images, networks.knows_classes())?, queries))
    }

    /// The scores of each query, or of those with this name: none if there is no such query.
    ///
    /// # Errors
    ///
    /// If the table is damaged.
    pub fn queries(&self, of: Option<&str>) -> Result<Vec<ScoredQuery>> {
        let object = self.object("parquet");
        // Compares the file with its digest.
        let path = self.workspace.run.path_of(&object)?;
        let named = |of: Option<&str>| {
            let file = File::open(&path).map_err(RunError::io("open", &path))?;
            read(file, of).map_err(RunError::damaged(&object))
        };
        let mut queries = named(of)?;
        if let (true, Some(of)) = (queries.is_empty(), of) {
            // The name in the other form of Unicode.
            queries = named(Some(&composed(of)))?;
        }
        let Description { training_image, training_image_label, .. } = &self.description;
        let labels: HashMap<usize, &String> =
            training_image.iter().copied().zip(training_image_label).collect();
        for image in queries.iter_mut().flat_map(|query| &mut query.images) {
            if let Some(label) = labels.get(&image.image) {
                image.label.clone_from(label);
            }
        }
        Ok(queries)
    }

    /// Writes all scores into a new file, of the kind that its name says: `.csv`, `.parquet` or `.npy`.
    ///
    /// # Errors
    ///
    /// [`RunError::Occupied`] if the file exists, [`RunError::KindOfTable`] for another kind, and as reading and writing.
    pub fn export(&self, file: &Path) -> Result<()> {
        if file.exists() {
            return Err(RunError::Occupied { path: file.to_path_buf() });
        }
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let bytes = match ending {
            "parquet" | "npy" => self.workspace.run.get(&self.object(ending))?,
            "csv" => self.to_csv()?,
            _ => return Err(RunError::KindOfTable { file: file.to_path_buf() }),
        };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Whole or not at all.
        let written = NamedTempFile::new_in(folder).and_then(|mut unnamed| {
            unnamed.write_all(&bytes)?;
            unnamed.persist_noclobber(file).map_err(|error| error.error)
        });
        written.map(drop).map_err(RunError::io("write", file))
    }

    fn to_csv(&self) -> Result<Vec<u8>> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let broken = |error: csv::Error| RunError::encoding("a table")(error);
        table
            .write_record(["query", "training_image", "rank", "score", "low", "high", "label"])
            .map_err(broken)?;
        for ScoredQuery { name, images } in self.queries(None)? {
            for ScoredImage { image, label, rank, score, interval } in images {
                let [low, high] =
                    interval.map_or_else(Default::default, |ends| ends.map(|end| end.to_string()));
                let (image, rank, score) = (image.to_string(), rank.to_string(), score.to_string());
                table.write_record([&name, &image, &rank, &score, &low, &high, &label]).map_err(broken)?;
            }
        }
        table.into_inner().map_err(|error| RunError::encoding("a table")(error.into_error()))
    }
}

/// The method that was named, or the only one, or of several the usual one.
fn method_of(
    workspace: &Workspace,
    set: &KeptSet,
    other_sets: &[KeptSet],
    method: Option<&str>,
) -> Result<String> {
    let there = |method: &str| set.methods.iter().any(|kept| kept == method);
    let usual = Method::USUAL.into_iter().find(|method| there(method.name));
    match (method, set.methods.as_slice()) {
        (Some(method), _) if there(method) => Ok(method.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, methods @ [_, _, ..]) => match usual {
            Some(method) => Ok(method.name.to_owned()),
            None => Err(RunError::SeveralMethods { methods: methods.to_vec() }),
        },
        (Some(method), _) if !Method::names_of_tables().contains(&method) => Err(no_table(method)),
        (method, methods) => Err(RunError::NoScores {
            run: workspace.run.root().to_path_buf(),
            made_by: MadeBy::Scores {
                method: method.map(str::to_owned),
                query: (!set.is_samples()).then(|| set.asked.clone()),
            },
            methods: methods.to_vec(),
            other_sets: other_sets.iter().map(|set| (set.asked.clone(), set.methods.clone())).collect(),
        }),
    }
}

type Damaged = Box<dyn std::error::Error + Send + Sync>;

/// The rows of each query in a Parquet file. A row group is a query, so those of other names are passed over.
fn read(file: File, of: Option<&str>) -> Result<Vec<ScoredQuery>, Damaged> {
    let reader = SerializedFileReader::new(file)?;
    let mut queries = Vec::new();
    for number in 0..reader.num_row_groups() {
        let mut query: Option<ScoredQuery> = None;
        for row in reader.get_row_group(number)?.get_row_iter(None)? {
            let row = row?;
            let name = row.get_string(QUERY)?;
            if of.is_some_and(|of| of != name) {
                break;
            }
            // Only each query's candidates may have been scored.
            let (Ok(rank), Ok(score)) = (row.get_long(RANK), row.get_double(SCORE)) else { continue };
            let image = ScoredImage {
                image: row.get_long(TRAINING_IMAGE)?.try_into()?,
                label: String::new(),
                rank: rank.try_into()?,
                score,
                interval: row
                    .get_double(LOW)
                    .ok()
                    .zip(row.get_double(HIGH).ok())
                    .map(|(low, high)| [low, high]),
            };
            query
                .get_or_insert_with(|| ScoredQuery { name: name.clone(), images: Vec::new() })
                .images
                .push(image);
        }
        queries.extend(query);
    }
    Ok(queries)
}
