//! Features of images in the run: Arrow files of some rows each, found by what the network was shown.
//!
//! A row is found by its image and not by a position in a set, so images that are added later are the only ones for which
//! gradients are taken, and images that are left out cost nothing. Beside each file of rows lies its ledger, the digests of
//! its images, one to a line; both are written at once. The run's manifest holds the digest of every file: one that was
//! damaged is made again.

use super::subject::Subject;
use crate::error::ProgramError;
use crate::progress::say;
use anyhow::{Context, Result};
use pentimento_attribution::gradient::{
    FeatureBlock, FeatureFile, FeatureRows, Method, RowKey, side_by_side,
};
use pentimento_diffusion::denoising::Draw;
use pentimento_store::{Digest, Fingerprint, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most images of a file. A kill loses the gradients of one file that is not finished.
const MOST_IMAGES_PER_FILE: usize = 64;
/// Most numbers of a file, unless it has one image: 256 MiB in memory. 64 images with 4 parts of 2048 numbers have half a
/// million.
const MOST_NUMBERS_PER_FILE: usize = 1 << 26;

/// An image, in the parts in which its gradient is kept.
pub struct Item {
    /// What the network is shown and how, for each part, whose gradient is the mean over its draws.
    pub parts: Vec<Vec<ImageDraws>>,
    /// Its class, for networks that are told.
    pub class: Option<u32>,
    /// What messages call it.
    pub name: String,
}

/// An image and the draws at which the network sees it at once.
pub struct ImageDraws {
    /// `[height, width, channels]` in [-1, 1].
    pub image: Vec<f32>,
    /// Timesteps and noise.
    pub draws: Vec<Draw>,
}

/// Which features a table is of.
pub struct Table<'a> {
    /// The networks, images and settings.
    pub subject: &'a Subject<'a>,
    /// The object of the network's weights.
    pub weights: &'a str,
    /// What all features of the table follow from, but for the image.
    pub features_of: String,
    /// The method, of which the measurement and the unit length count.
    pub method: Method,
    /// What the parts of an image are, a word; with their number it names the folder.
    pub parts_are: &'static str,
    /// How many there are.
    pub parts: usize,
}

/// Features of a list of images, read from the run when they are needed.
#[derive(Clone)]
pub struct Features {
    files: Vec<PathBuf>,
    /// The file of each image, and its place in it; none for images without a gradient, whose feature is zero.
    places: Vec<Option<(usize, usize)>>,
    features_of: String,
    parts: usize,
    dimension: usize,
}

/// The digest by which an image's row is found: of its values, and of the class that the network is told.
pub fn row_key(image: &[f32], class: Option<u32>) -> RowKey {
    let mut bytes: Vec<u8> = image.iter().flat_map(|value| value.to_le_bytes()).collect();
    if let Some(class) = class {
        bytes.extend(class.to_le_bytes());
    }
    *Digest::of(&bytes).as_bytes()
}

/// The number by which images that do not share their noise are told apart.
pub fn noise_id(key: &RowKey) -> u32 {
    u32::from_le_bytes([key[0], key[1], key[2], key[3]])
}

/// The gradient of a part, of which `of` gives that of an image at its draws: the mean over all draws.
pub fn mean_over_draws(
    part: &[ImageDraws],
    mut of: impl FnMut(&ImageDraws) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    if let [image] = part {
        return of(image);
    }
    let draws: usize = part.iter().map(|image| image.draws.len()).sum();
    let mut sum: Vec<f64> = Vec::new();
    for image in part {
        let share = image.draws.len() as f64 / draws as f64;
        let values = of(image)?;
        sum.resize(values.len(), 0.0);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += share * f64::from(value));
    }
    Ok(sum.into_iter().map(|value| value as f32).collect())
}

impl Table<'_> {
    /// The folder of the table. Features of other settings lie beside it.
    fn folder(&self) -> String {
        let of = Digest::of(self.features_of.as_bytes()).to_string();
        let measured = self.method.measurement.name();
        let unit_length = if self.method.unit_length { "-unit-length" } else { "" };
        format!("features/{measured}{unit_length}-{}/{}-{}", &of[..8], self.parts_are, self.parts)
    }

    /// Makes the features that are missing, in files of some images each, and gives access to those of all `keys`. An image
    /// without a key has no gradient, and its feature is zero. `item` gives the image at a position of `keys`; `show` is told
    /// how many of them are there.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Stopped`] on Ctrl-C: finished files are kept. A gradient that is not finite, with the image and the
    /// layer.
    pub fn complete(
        &self,
        keys: &[Option<RowKey>],
        item: impl Fn(usize) -> Result<Item> + Sync,
        show: impl Fn(usize) + Sync,
    ) -> Result<Features> {
        let Subject { workspace, size, .. } = self.subject;
        let run = &workspace.run;
        let dimension = self.subject.dimension();
        let features_of = &self.features_of;
        let folder = self.folder();
        let mut known = self.known(&folder, &keys.iter().flatten().copied().collect())?;
        let mut seen = BTreeSet::new();
        let missing: Vec<(usize, RowKey)> = keys
            .iter()
            .enumerate()
            .filter_map(|(at, key)| key.map(|key| (at, key)))
            .filter(|(_, key)| !known.rows.contains_key(key) && seen.insert(*key))
            .collect();
        let mut done = keys.len() - missing.len();
        show(done);
        let mut prepared = None;
        let numbers_per_image = (self.parts * dimension).max(1);
        let images_per_file = (MOST_NUMBERS_PER_FILE / numbers_per_image).clamp(1, MOST_IMAGES_PER_FILE);
        for part in missing.chunks(images_per_file) {
            let (extractor, projection) = match &prepared {
                Some(prepared) => prepared,
                None => prepared.insert(self.subject.extractor(self.weights, self.method)?),
            };
            let finished = AtomicUsize::new(done);
            let features = side_by_side(part.len(), |place| -> Result<Vec<f32>> {
                let item = item(part[place].0)?;
                let mut values = Vec::with_capacity(self.parts * dimension);
                for part in &item.parts {
                    values.extend(mean_over_draws(part, |ImageDraws { image, draws }| {
                        workspace.stop.check()?;
                        Ok(match projection {
                            Some(projection) => {
                                extractor.feature(image, *size, item.class, draws, projection, &item.name)?
                            }
                            None => extractor.gradient::<f32>(image, *size, item.class, draws, &item.name)?,
                        })
                    })?);
                }
                show(finished.fetch_add(1, Ordering::Relaxed) + 1);
                Ok(values)
            })?;
            done += part.len();
            let values = features.concat();
            let images: Vec<RowKey> = part.iter().map(|&(_, key)| key).collect();
            let rows = FeatureRows { images, parts: self.parts, dimension, values };
            let bytes = rows.to_arrow(workspace.recipe.gradients.precision, features_of)?;
            let number = (0..).find(|number| !known.numbers.contains(number)).unwrap_or_default();
            let name = |ending: &str| format!("{folder}/{number:05}.{ending}");
            let key = file_key(features_of, &rows.images);
            run.put_many([(name("arrow"), bytes), (name("images"), ledger(&rows.images).into_bytes())], key)?;
            known.insert(number, run.path_of(&name("arrow"))?, &rows.images);
        }
        let place_of = |key: &Option<RowKey>| match key {
            None => Ok(None),
            Some(key) => {
                known.rows.get(key).copied().map(Some).context("features that were just made are gone")
            }
        };
        let places = keys.iter().map(place_of).collect::<Result<_>>()?;
        let (parts, features_of) = (self.parts, features_of.clone());
        Ok(Features { files: known.files, places, features_of, parts, dimension })
    }

    /// What is there already of the images that are asked for.
    fn known(&self, folder: &str, asked: &BTreeSet<RowKey>) -> Result<Known> {
        let (run, features_of) = (&self.subject.workspace.run, &self.features_of);
        let mut known = Known::default();
        for ledger_name in run.names() {
            let number = ledger_name
                .strip_prefix(&format!("{folder}/"))
                .and_then(|rest| rest.strip_suffix(".images"))
                .and_then(|number| number.parse::<usize>().ok());
            let Some(number) = number else { continue };
            let rows_name = format!("{folder}/{number:05}.arrow");
            // Reading both compares them with their digests.
            let images = unless_damaged(run.get(&ledger_name))?.and_then(|bytes| read_ledger(&bytes));
            let current = images.filter(|images| run.is_current(&rows_name, file_key(features_of, images)));
            let asked_for =
                current.as_ref().is_some_and(|images| images.iter().any(|image| asked.contains(image)));
            let path = if asked_for { unless_damaged(run.path_of(&rows_name))? } else { None };
            match (current, path) {
                (Some(images), Some(path)) => known.insert(number, path, &images),
                // Of other images only.
                (Some(_), None) if !asked_for => {
                    known.numbers.insert(number);
                }
                _ => {
                    say(&format!(
                        "warning: {rows_name} is damaged or half there: its features are made again"
                    ));
                    run.remove(&ledger_name)?;
                    run.remove(&rows_name)?;
                }
            }
        }
        Ok(known)
    }
}

/// None for a file that is damaged or gone. Any other trouble, such as too many open files, is no reason to make features
/// again.
pub fn unless_damaged<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Corrupt { .. } | StoreError::Missing { .. } | StoreError::NotListed { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Rows that are there.
#[derive(Default)]
struct Known {
    numbers: BTreeSet<usize>,
    files: Vec<PathBuf>,
    rows: HashMap<RowKey, (usize, usize)>,
}

impl Known {
    fn insert(&mut self, number: usize, path: PathBuf, images: &[RowKey]) {
        self.numbers.insert(number);
        for (place, image) in images.iter().enumerate() {
            self.rows.entry(*image).or_insert((self.files.len(), place));
        }
        self.files.push(path);
    }
}

fn file_key(features_of: &str, images: &[RowKey]) -> Fingerprint {
    Fingerprint::of("features").text(features_of).bytes(&images.concat()).finish()
}

fn ledger(images: &[RowKey]) -> String {
    let line = |image: &RowKey| {
        let digits: String = image.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    };
    images.iter().map(line).collect()
}

fn read_ledger(bytes: &[u8]) -> Option<Vec<RowKey>> {
    let key = |line: &str| -> Option<RowKey> {
        let digits = line.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(key)
    };
    std::str::from_utf8(bytes).ok()?.lines().map(key).collect()
}

impl Features {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Those of some of the images, by their positions.
    pub fn of(&self, images: &[usize]) -> Self {
        Self { places: images.iter().map(|&image| self.places[image]).collect(), ..self.clone() }
    }

    /// Length of a feature.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The features of a range of images, each the mean over those of its parts that `keep`, `[images, feature]`.
    ///
    /// # Errors
    ///
    /// If a file is gone or damaged since it was opened.
    pub fn read(&self, images: Range<usize>, keep: impl Fn(usize) -> bool) -> Result<Vec<f32>> {
        let kept: Vec<usize> = (0..self.parts).filter(|&part| keep(part)).collect();
        let share = 1.0 / kept.len().max(1) as f32;
        let mut values = Vec::with_capacity(images.len() * self.dimension);
        self.each(images, |parts| {
            let start = values.len();
            values.resize(start + self.dimension, 0.0f32);
            let sum = &mut values[start..];
            for &part in &kept {
                for (sum, value) in sum.iter_mut().zip(&parts[part * self.dimension..][..self.dimension]) {
                    *sum += value;
                }
            }
            sum.iter_mut().for_each(|value| *value *= share);
        })?;
        Ok(values)
    }

    /// [`read`](Self::read) for whoever reads piece by piece: features stay in their files.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn block(&self, images: Range<usize>, keep: impl Fn(usize) -> bool) -> Result<FeatureBlock> {
        let kept: Option<Vec<(usize, usize)>> = self.places[images.clone()].iter().copied().collect();
        // Features of images that have no row are zero, which no file says.
        let Some(kept) = kept else { return Ok(self.read(images, keep)?.into()) };
        let mut numbers: Vec<usize> = kept.iter().map(|&(file, _)| file).collect();
        numbers.dedup();
        let parts: Vec<usize> = (0..self.parts).filter(|&part| keep(part)).collect();
        // Images that lie here and there would bring whole files for a row of each.
        let open = numbers.len() * MOST_IMAGES_PER_FILE * self.parts * self.dimension;
        if open > MOST_NUMBERS_PER_FILE || parts.is_empty() {
            return Ok(self.read(images, keep)?.into());
        }
        let files = numbers.iter().map(|&file| {
            let (bytes, name) = self.bytes(file)?;
            Ok(FeatureFile::open(bytes.into(), &name, &self.features_of, self.parts, self.dimension)?)
        });
        let files: Vec<FeatureFile> = files.collect::<Result<_>>()?;
        let mut number = 0;
        let mut places = Vec::with_capacity(kept.len());
        for (file, place) in kept {
            number += usize::from(numbers[number] != file);
            self.check(file, place, files[number].images().len())?;
            places.push((number, place));
        }
        Ok(FeatureBlock::kept(files, places, parts))
    }

    fn bytes(&self, file: usize) -> Result<(Vec<u8>, String)> {
        let path = &self.files[file];
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((bytes, path.display().to_string()))
    }

    fn check(&self, file: usize, place: usize, images: usize) -> Result<()> {
        if place < images {
            return Ok(());
        }
        Err(ProgramError::NoSuch {
            what: "row".into(),
            value: place.to_string(),
            bound: format!("{} has {images}", self.files[file].display()),
        }
        .into())
    }

    /// The features of all parts of a range of images, `[images, parts, feature]`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_parts(&self, images: Range<usize>) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(images.len() * self.parts * self.dimension);
        self.each(images, |parts| values.extend_from_slice(parts))?;
        Ok(values)
    }

    fn each(&self, images: Range<usize>, mut of: impl FnMut(&[f32])) -> Result<()> {
        let mut open: Option<(usize, FeatureRows)> = None;
        let zero = vec![0.0f32; self.parts * self.dimension];
        for place in &self.places[images] {
            let Some((file, place)) = *place else {
                of(&zero);
                continue;
            };
            let rows = match open.take().filter(|(number, _)| *number == file) {
                Some((_, rows)) => rows,
                None => {
                    let (bytes, name) = self.bytes(file)?;
                    FeatureRows::from_arrow(bytes, &name, &self.features_of, self.parts, self.dimension)?
                }
            };
            self.check(file, place, rows.images.len())?;
            of(rows.parts_of(place));
            open = Some((file, rows));
        }
        Ok(())
    }
}
