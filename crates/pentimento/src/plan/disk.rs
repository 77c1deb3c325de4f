//! What a run's folder will hold: every object counted from its shape, or made once as a stand-in.

use super::page::{Cost, StandIns};
use super::work::Work;
use anyhow::Result;
use pentimento_diffusion::checkpoint::{SCHEDULER_FILES, adapter_files, network_files, scheduler_files};
use pentimento_diffusion::unet::Parameters;
use pentimento_run::npy::npy;
use pentimento_run::train::checkpoint_name;
use std::collections::BTreeMap;

/// Bytes of a piece in `costs.json`: its name and brackets.
const PIECE_COST: u64 = 27;
/// Bytes of one thing that a piece spent seconds on, in four lines: its name of about 20 letters, two numbers, brackets.
const ONE_COST: u64 = 78;

/// Bytes of each part of a run's folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    /// `recipe.toml`, `data.json`, `codes.npy`.
    pub data: u64,
    /// All finished members.
    pub training: u64,
    /// What a member in training keeps beside that until it is finished.
    pub training_state: u64,
    /// Shards of samples and pictures.
    pub sampling: u64,
    /// Attribution shards.
    pub attribution: u64,
    /// The classifier.
    pub classifier: u64,
    /// Page, figures, costs.
    pub report: u64,
    /// Each object is listed in the manifest.
    pub manifest: u64,
}

impl Disk {
    /// Counts everything that the recipe asks for, whether it is there already or not; `page` and `figures` are those
    /// of the report, `classifier` the bytes of a classifier.
    ///
    /// # Errors
    ///
    /// As serialising stand-ins.
    pub fn of(work: &Work<'_>, page: Cost, figures: Cost, classifier: u64) -> Result<Self> {
        let (recipe, situation) = (work.recipe, work.situation);
        let mut listed = Listing::default();
        let mut data = listed.object("recipe.toml", recipe.to_text()?.len() as u64);
        for (name, bytes) in situation.data.objects()? {
            data += listed.object(name, bytes.len() as u64);
        }

        let architecture = &situation.architecture;
        let values = Parameters::initial(architecture, 0, 0);
        let mut training = 0;
        let members = work.sizes.members as u64;
        let is_adapter = !architecture.adapter_modules().is_empty();
        let network = if is_adapter {
            adapter_files(architecture, &values)?
        } else {
            network_files(architecture, &values)?
        };
        let folder = "members/000/".len() + if is_adapter { "adapter/".len() } else { 0 };
        let trained = &situation.data.trained.training;
        let mut checkpoints = trained.checkpoint_steps();
        // The last one is the member.
        checkpoints.pop();
        for steps in checkpoints {
            let name = checkpoint_name(0, steps);
            training += listed.objects(members, name.len(), network[1].1.len() as u64);
        }
        for (name, bytes) in network {
            training += listed.objects(members, folder + name.len(), bytes.len() as u64);
        }
        let mut scheduler = scheduler_files(&recipe.schedule, &recipe.sampling).to_vec();
        // An adapter is no pipeline, and a network of one with encoders not all of it, so these have no list of parts.
        let is_pipeline = !is_adapter && recipe.encoders().is_none();
        scheduler.retain(|(name, _)| is_pipeline || *name != SCHEDULER_FILES[0]);
        for (name, bytes) in scheduler {
            training += listed.objects(members, "members/000/".len() + name.len(), bytes.len() as u64);
        }
        // Who trained it: one small number in JSON.
        training += listed.objects(members, "members/000/training.json".len(), 27);
        // The header of a `.npy` file does not grow with the values.
        let header = npy(&[0], &[])?.len() as u64;
        let losses = 4 * trained.steps as u64;
        training += listed.objects(members, "members/000/losses.npy".len(), header + losses);
        let sets = 3 + u64::from(trained.ema_decay.is_some());
        let training_state = sets * 4 * architecture.parameter_count() as u64 + losses;

        let samples = recipe.samples.count;
        let images = &situation.data.images;
        let mut sampling =
            listed.objects(samples as u64, "samples/000000.png".len(), StandIns::new(work).png_bytes()?);
        let mut attribution = 0;
        let mut kinds = BTreeMap::new();
        for shard in 0..pentimento_run::analyse::shard_count(samples) {
            *kinds
                .entry(work.kind_of(&pentimento_run::analyse::shard_samples(shard, samples)))
                .or_insert(0) += 1;
        }
        // Members and shards of samples each have one cost.
        let mut costs =
            (members + pentimento_run::analyse::shard_count(samples) as u64) * (PIECE_COST + ONE_COST);
        for (kind, shards) in kinds {
            costs += shards * (PIECE_COST + ONE_COST * work.shard(kind).len() as u64);
            let image = vec![kind.samples, images.height(), images.width(), images.channels()];
            let mut sample = vec![("sample", "U32", vec![kind.samples]), ("image", "F32", image)];
            if recipe.encoders().is_some() {
                let latent = [kind.samples].into_iter().chain(situation.data.input_shape()).collect();
                sample.push(("latent", "F32", latent));
            }
            let sample = safetensors_bytes(sample);
            sampling += listed.objects(shards, "samples/shard-00000.safetensors".len(), sample);
            let shard = safetensors_bytes(work.arrays(kind));
            attribution += listed.objects(shards, "attribution/shard-00000.safetensors".len(), shard);
        }
        let classifier = if recipe.classifier.is_some() {
            costs += PIECE_COST + ONE_COST;
            listed.object("classifier/classifier.safetensors", classifier)
                + listed.object(
                    "classifier/accuracy.json",
                    "{\n  \"test\": 0.9805,\n  \"test_images\": 10000\n}".len() as u64,
                )
        } else {
            0
        };
        let report = listed.object("report.html", page.bytes)
            + listed.object("figures.json", figures.bytes)
            + listed.object("costs.json", costs);
        Ok(Self {
            data,
            training,
            training_state,
            sampling,
            attribution,
            classifier,
            report,
            manifest: listed.bytes,
        })
    }

    /// The whole folder, once the run is finished.
    pub fn total(&self) -> u64 {
        let Self { data, training, sampling, attribution, classifier, report, manifest, .. } = self;
        data + training + sampling + attribution + classifier + report + manifest
    }
}

/// Bytes of the manifest that lists objects.
#[derive(Default)]
struct Listing {
    bytes: u64,
}

impl Listing {
    fn object(&mut self, name: &str, bytes: u64) -> u64 {
        self.objects(1, name.len(), bytes)
    }

    /// Lists `count` objects of so many bytes each, and gives the bytes of all.
    fn objects(&mut self, count: u64, name_length: usize, bytes: u64) -> u64 {
        // Of an entry of the manifest, everything but the name and the length: keys, two digests, spaces.
        const FRAME: u64 = 204;
        let digits = u64::from(bytes.max(1).ilog10()) + 1;
        self.bytes += count * (FRAME + name_length as u64 + digits);
        count * bytes
    }
}

/// Name, type and shape of an array whose values have four bytes.
pub type ArrayShape = (&'static str, &'static str, Vec<usize>);

/// Length of a safetensors file of such arrays: a length of 8 bytes, a header of JSON filled up to a multiple of 8, and
/// the values, those of type `F32` before those of type `U32` and each kind by name.
pub fn safetensors_bytes(mut arrays: Vec<ArrayShape>) -> u64 {
    arrays.sort_by_key(|&(name, kind, _)| (kind, name));
    let (mut header, mut values) = (2, 0);
    for (name, kind, shape) in arrays {
        let start = values;
        values += 4 * shape.iter().map(|&side| side as u64).product::<u64>();
        let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let shape = shape.join(",");
        let entry = format!(
            "\"{name}\":{{\"dtype\":\"{kind}\",\"shape\":[{shape}],\"data_offsets\":[{start},{values}]}},"
        );
        header += entry.len() as u64;
    }
    8 + header.saturating_sub(1).next_multiple_of(8) + values
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_diffusion::arrays::ArrayWriter;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_length_of_arrays_is_that_of_their_file(
            shapes in proptest::collection::vec((1_usize..40, 1_usize..40), 1..6)
        ) {
            let names = ["a", "candidate", "exact", "group", "sample"];
            let shapes: Vec<ArrayShape> = names
                .iter()
                .zip(["F32", "U32", "F32", "U32", "U32"])
                .zip(&shapes)
                .map(|((name, kind), &(a, b))| (*name, kind, vec![a, b]))
                .collect();
            let mut arrays = ArrayWriter::default();
            for (name, kind, shape) in &shapes {
                let values = shape.iter().product();
                match *kind {
                    "F32" => arrays.put_f32(name, shape, &vec![0.0; values]),
                    _ => arrays.put_u32(name, shape, &vec![0; values]),
                }
            }
            prop_assert_eq!(safetensors_bytes(shapes), arrays.to_bytes("test", None).unwrap().len() as u64);
        }
    }
}
