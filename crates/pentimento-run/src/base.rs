//! The network that the members of an ensemble begin with: found when a recipe is read, opened once for all members. Beneath
//! adapters it stands still; without them each member trains all of it on.
//!
//! It may have gigabytes, so it stays where it lies, as encoders do. The recipe of a run has the digests of its files, and
//! whoever opens it compares them.

use crate::adapters::digest_of_base;
use crate::checkpoint::open_checkpoint;
use crate::encoders::{RunEncoders, remembered};
use crate::error::{PartError, Result, RunError};
use crate::event::Reporter;
use crate::imported::{image_size, refuse_what_is_no_picture};
use crate::network_images::TakenImages;
use crate::part_files::{absolute, compare};
use crate::recipe::{BaseFiles, OnBaseRecipe, USUAL_GUIDANCE};
use once_cell::sync::OnceCell;
use pentimento_data::PreparedSet;
use pentimento_diffusion::checkpoint::{
    Selection, TensorFile, open_weights, read_stored_weights, read_text, read_weights,
};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::unet::{AdapterModule, Architecture, UnetConfig};
use pentimento_store::Digest;
use serde::Serialize;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use toml::{Table, Value};

/// What messages call it.
fn name_of(recipe: &OnBaseRecipe) -> &'static str {
    match recipe.adapter {
        Some(_) => "network beneath the adapters",
        None => "network that members begin with",
    }
}

/// Whether a recipe names a network for members to begin with whose files are not yet known, or are those of another folder.
pub(crate) fn is_to_be_found(recipe: &Table) -> bool {
    let Some(base) = recipe.get("base").and_then(Value::as_table) else { return false };
    let Some(folder) = base.get("folder").and_then(Value::as_str) else { return false };
    let config = base.get("files").and_then(|files| files.get("config")?.as_str());
    config.is_none_or(|config| !Path::new(config).starts_with(absolute(Path::new(folder))))
}

/// Finds the network that a recipe names for members to begin with, and writes into the recipe what is remembered of it; and its schedule, its way
/// of sampling and the guidance of its prompts, key by key, where the recipe says nothing of these. In place of another network, of which
/// the recipe has files and schedule, the schedule is the new one's.
///
/// # Errors
///
/// As [`open_checkpoint`]; as reading its files.
pub(crate) fn find(recipe: &mut Table) -> Result<()> {
    let Some(base) = recipe.get_mut("base").and_then(Value::as_table_mut) else { return Ok(()) };
    let Some(folder) = base.get("folder").and_then(Value::as_str).map(|folder| absolute(Path::new(folder)))
    else {
        return Ok(());
    };
    let opened = open_checkpoint(&folder, &Selection::default(), &Reporter::silent())?;
    let network = opened.checkpoint.architecture.config();
    let is_told_texts = network.cross_attention.is_some();
    let encoders =
        opened.encoders.as_ref().map(|opened| remembered(opened, is_told_texts, None)).transpose()?;
    if encoders.is_none() {
        refuse_what_is_no_picture(network)?;
    }
    let scheduler = &opened.checkpoint.scheduler;
    // Files of schedulers say of clipping what is meant for pixels, or nothing at all.
    let clip = scheduler.sampling.clip && encoders.is_none();
    let sampling = SamplingConfig { clip, ..scheduler.sampling };
    let files = BaseFiles {
        config: absolute(&opened.files.config),
        weights: opened.files.weights.iter().map(|path| absolute(path)).collect(),
        scheduler: absolute(&opened.files.scheduler),
        digest: digest_of_base(&opened.files.config, &opened.files.weights)?,
        encoders: encoders.map(Box::new),
    };
    base.insert("folder".into(), folder.display().to_string().into());
    let before = base.insert("files".into(), in_toml(&files, "base.files")?.into());
    let digest_before = before.as_ref().and_then(|files| files.get("digest")?.as_str());
    if digest_before.is_some_and(|digest| digest != files.digest.to_string()) {
        recipe.remove("schedule");
    }
    fill(recipe, "schedule", in_toml(&scheduler.schedule, "schedule")?);
    fill(recipe, "sampling", in_toml(&sampling, "sampling")?);
    if is_told_texts {
        fill(recipe, "samples", Table::from_iter([("guidance".to_owned(), USUAL_GUIDANCE.into())]));
    }
    Ok(())
}

fn in_toml(section: &impl Serialize, name: &'static str) -> Result<Table> {
    Table::try_from(section).map_err(RunError::encoding(name))
}

/// Keys that a section of a recipe does not have.
fn fill(recipe: &mut Table, section: &str, keys: Table) {
    let section = recipe.entry(section).or_insert_with(|| Table::new().into());
    // What is no section is told when the recipe is read.
    let Some(section) = section.as_table_mut() else { return };
    for (key, value) in keys {
        section.entry(key).or_insert(value);
    }
}

/// The network that the members of an ensemble begin with. Its values are read when they are needed, once for all members.
pub struct BaseNetwork {
    recipe: OnBaseRecipe,
    /// Without values and without an adapter.
    network: Architecture,
    /// The parts of an adapter; none if members are whole networks.
    modules: Option<Vec<AdapterModule>>,
    /// Height and width of what it is shown: pictures or latents.
    pub size: [usize; 2],
    /// Between pictures and latents, texts and embeddings; none if it works on pictures.
    pub encoders: Option<RunEncoders>,
    adapted: OnceCell<Architecture>,
    first_values: OnceCell<Vec<Vec<f32>>>,
}

impl BaseNetwork {
    /// That of a recipe, of which only the configuration is read.
    ///
    /// # Errors
    ///
    /// [`PartError::Gone`] if it is not where it lay, [`PartError::NoSampleSize`] if nothing says how large its images are,
    /// [`RunError::RecipeValue`] for an adapter on layers that it does not have; as reading its configuration.
    pub fn of(recipe: &OnBaseRecipe) -> Result<Self> {
        let path = &recipe.base.files.config;
        if !path.exists() {
            return Err(PartError::Gone { part: name_of(recipe), path: path.clone() }.into());
        }
        let (mut config, _) = UnetConfig::from_json(&read_text(path)?, &path.display().to_string())?;
        config.sample_size = recipe.base.sample_size.or(config.sample_size);
        let network = Architecture::new(&config)?;
        let size = image_size(&network, path)?;
        let modules = recipe.adapter.as_ref().map(|adapter| adapter.modules(&network)).transpose()?;
        let encoders = recipe.base.files.encoders.as_deref().map(RunEncoders::of);
        let (recipe, adapted, first_values) = (recipe.clone(), OnceCell::new(), OnceCell::new());
        Ok(Self { recipe, network, modules, size, encoders, adapted, first_values })
    }

    /// Its configuration, with the size of its images.
    pub fn config(&self) -> &UnetConfig {
        self.network.config()
    }

    /// Height, width and channels of what it is shown.
    pub fn shape(&self) -> [usize; 3] {
        let [height, width] = self.size;
        [height, width, self.config().in_channels]
    }

    /// Height, width and channels of its pictures.
    pub fn picture_shape(&self) -> [usize; 3] {
        self.encoders.as_ref().map_or(self.shape(), |encoders| encoders.picture_shape(self.size))
    }

    /// The images that it can be trained on.
    pub fn taken(&self) -> TakenImages {
        TakenImages::of(self.picture_shape(), &self.network)
    }

    /// Whether members are adapters, beneath which it stands still.
    pub fn is_adapted(&self) -> bool {
        self.modules.is_some()
    }

    /// The network that members are: with an adapter of the recipe's shape, beneath which all share its values, or as it is.
    ///
    /// # Errors
    ///
    /// [`PartError::Gone`] and [`PartError::Other`] if it is not the one that it was; as reading it.
    pub fn of_members(&self) -> Result<&Architecture> {
        let Some(modules) = &self.modules else { return Ok(&self.network) };
        self.adapted.get_or_try_init(|| {
            let values = read_stored_weights(&self.network, &mut self.files()?)?.values;
            Ok(self.network.with_adapter(modules, values)?)
        })
    }

    /// The values that members begin with; none if they are adapters, which are fresh.
    ///
    /// # Errors
    ///
    /// As [`of_members`](Self::of_members).
    pub fn first_values(&self) -> Result<Option<&[Vec<f32>]>> {
        if self.is_adapted() {
            return Ok(None);
        }
        let values =
            self.first_values.get_or_try_init(|| Ok(read_weights(&self.network, &mut self.files()?)?.values));
        values.map(|values: &Vec<_>| Some(values.as_slice()))
    }

    /// The files of the network where it lies, which is compared with what the recipe remembers.
    fn files(&self) -> Result<Vec<TensorFile<BufReader<File>>>> {
        let BaseFiles { config, weights, digest, .. } = &self.recipe.base.files;
        compare(name_of(&self.recipe), config, digest_of_base(config, weights), *digest)?;
        Ok(weights.iter().map(|path| open_weights(path)).collect::<Result<_, _>>()?)
    }

    /// Name, rank and alpha of each part of an adapter; none if members are whole networks.
    fn parts(&self) -> Option<Vec<(String, usize, f64)>> {
        let part = |module: &AdapterModule| (module.name.clone(), module.rank, module.alpha);
        self.modules.as_ref().map(|modules| modules.iter().map(part).collect())
    }

    /// Identifies the values of a member whose weights have a digest: of an adapter together with its scales and the network
    /// beneath.
    ///
    /// # Errors
    ///
    /// If the recipe has no JSON form.
    pub fn digest_of(&self, values: Digest) -> Result<Digest> {
        let Some(parts) = self.parts() else { return Ok(values) };
        let mut bytes = self.recipe.base.files.digest.as_bytes().to_vec();
        bytes.extend(serde_json::to_vec(&parts)?);
        bytes.extend_from_slice(values.as_bytes());
        Ok(Digest::of(&bytes))
    }

    /// What a member that is trained on some images follows from beside these and the network's configuration.
    pub(crate) fn made_from(&self, images: &PreparedSet) -> impl Serialize {
        let encoders = self.encoders.as_ref();
        let captions = || (0..images.len()).map(|image| images.captions(image).to_vec()).collect::<Vec<_>>();
        (
            self.recipe.base.files.digest,
            self.parts(),
            encoders.map(RunEncoders::autoencoder_digest),
            encoders.and_then(RunEncoders::text_digest),
            self.config().cross_attention.is_some().then(captions),
        )
    }
}
