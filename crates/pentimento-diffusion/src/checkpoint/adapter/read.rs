//! What an adapter's file has for a network.

use super::super::folder::{broken, read_text};
use super::super::tensor_file::TensorFile;
use super::super::weight_files::open_weights;
use super::files::AdapterFiles;
use super::names::{AdapterForm, Network, Part, TextEncoder, named};
use super::settings::Settings;
use super::{CONFIG, METADATA};
use crate::DiffusionError;
use crate::json;
use crate::unet::{AdapterModule, Architecture, ParameterSpec, to_memory_layout};
use std::collections::BTreeMap;
use std::io::{Read, Seek};

/// An adapter of a network, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadAdapter {
    /// How its file names tensors.
    pub form: AdapterForm,
    /// Its parts, in the order of the network's layers.
    pub modules: Vec<AdapterModule>,
    /// A and B of each module, in memory layout: the parameters of [`Architecture::with_adapter`].
    pub values: Vec<Vec<f32>>,
    /// What the file has for text encoders, which no network of this crate is.
    pub text_encoders: Vec<TextEncoderPart>,
}

/// The part of an adapter beside one linear layer of a text encoder, which adds `alpha / rank B (A x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEncoderPart {
    /// Of which encoder.
    pub encoder: TextEncoder,
    /// The layer's name as the file has it; kohya's have `_` for `.`.
    pub module: String,
    /// Outputs of A, and inputs of B.
    pub rank: usize,
    /// The scale times the rank.
    pub alpha: f64,
    /// A, `[rank, inputs]`.
    pub down: Vec<f32>,
    /// B, `[outputs, rank]`.
    pub up: Vec<f32>,
}

impl AdapterFiles {
    /// Reads the adapter of a network.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] for what is no safetensors file or has nothing for a U-Net; [`DiffusionError::Tensor`] for a
    /// tensor that is no part of LoRA, lacks its other half, is of a layer that the network does not have or has with other
    /// sizes, or is not finite; [`DiffusionError::Config`] for a setting of PEFT that is not supported.
    pub fn read(&self, network: &Architecture) -> Result<ReadAdapter, DiffusionError> {
        let mut file = open_weights(&self.weights)?;
        let (form, pairs) = pairs(&file)?;
        let settings = self.settings(&file, form)?;
        let layers: Vec<(&str, &ParameterSpec)> = network.adaptable().collect();
        let names = layers.iter().enumerate().map(|(place, (name, _))| (name.to_string(), place));
        // Names of kohya cannot be read, as `_` stands in layers' names too: they are made of the network's and looked up.
        let kohya = layers.iter().enumerate().map(|(place, (name, _))| (name.replace('.', "_"), place));
        let places: BTreeMap<String, usize> = names.chain(kohya).collect();
        let (of_text, of_unet): (Pairs, Pairs) =
            pairs.into_iter().partition(|((network, _), _)| *network != Network::Unet);
        if let (AdapterForm::Peft, Some((_, pair))) = (form, of_text.first_key_value()) {
            let problem = "is a part of a text encoder beside PEFT's names of a U-Net, whose configuration says nothing of it; \
                           diffusers' `save_lora_weights` writes both into one file";
            return Err(file.broken(&pair.down, problem.into()).into());
        }
        let text_encoders = text_encoder_parts(of_text, &settings, &mut file)?;
        let mut by_layer = BTreeMap::new();
        for ((_, module), pair) in of_unet {
            let Some(&place) = places.get(&module) else {
                let problem =
                    format!("the network has no layer `{module}`; the adapter is of another network");
                return Err(file.broken(&pair.down, problem).into());
            };
            if let Some(other) = by_layer.insert(place, pair) {
                let problem = format!("there are two parts for the layer `{}`", layers[place].0);
                return Err(file.broken(&other.down, problem).into());
            }
        }
        let (mut modules, mut values) = (Vec::new(), Vec::new());
        for (place, pair) in by_layer {
            let (name, weight) = layers[place];
            let (rank, alpha) = pair.rank_and_alpha(name, settings.get(&Network::Unet), &mut file)?;
            let module = AdapterModule { name: name.into(), rank, alpha };
            for (spec, tensor) in module.parameters(weight).iter().zip([&pair.down, &pair.up]) {
                expect(&file, tensor, &spec.disk_shape, name)?;
                values.push(to_memory_layout(spec, &file.finite_f32(tensor)?));
            }
            modules.push(module);
        }
        if modules.is_empty() {
            let of_others = if text_encoders.is_empty() { "" } else { ", only for text encoders" };
            return Err(broken(&self.weights, format!("has nothing for a U-Net{of_others}")));
        }
        Ok(ReadAdapter { form, modules, values, text_encoders })
    }

    /// Reads what the adapter has for text encoders alone.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), for tensors of text encoders.
    pub fn read_text_encoders(&self) -> Result<Vec<TextEncoderPart>, DiffusionError> {
        let mut file = open_weights(&self.weights)?;
        let (form, mut pairs) = pairs(&file)?;
        let settings = self.settings(&file, form)?;
        pairs.retain(|(network, _), _| *network != Network::Unet);
        text_encoder_parts(pairs, &settings, &mut file)
    }

    /// What is said of scales beside the tensors, for each network.
    fn settings<R: Read + Seek>(
        &self,
        file: &TensorFile<R>,
        form: AdapterForm,
    ) -> Result<BTreeMap<Network, Settings>, DiffusionError> {
        let mut found = BTreeMap::new();
        if form == AdapterForm::Peft {
            let config = self.config.as_ref().ok_or_else(|| {
                let problem =
                    format!("`{CONFIG}` is not beside it, in which PEFT says by how much it is scaled");
                broken(&self.weights, problem)
            })?;
            let keys = json::object(&read_text(config)?).map_err(|problem| broken(config, problem))?;
            let settings = Settings::new(&keys, "", &config.display().to_string())?;
            let settings = settings.ok_or_else(|| broken(config, "has no keys".into()))?;
            found.insert(Network::Unet, settings);
            return Ok(found);
        }
        let Some(metadata) = file.metadata(METADATA) else { return Ok(found) };
        let name = format!("{}: `{METADATA}`", file.name());
        let keys =
            json::object(metadata).map_err(|problem| DiffusionError::File { file: name.clone(), problem })?;
        let prefixes = [
            ("unet.", Network::Unet),
            ("text_encoder.", Network::Text(TextEncoder::First)),
            ("text_encoder_2.", Network::Text(TextEncoder::Second)),
        ];
        for (prefix, network) in prefixes {
            found.extend(Settings::new(&keys, prefix, &name)?.map(|settings| (network, settings)));
        }
        if found.is_empty() {
            // As a network saves its adapter by itself.
            found.extend(Settings::new(&keys, "", &name)?.map(|settings| (Network::Unet, settings)));
        }
        Ok(found)
    }
}

/// Names of the tensors of one layer.
struct Pair {
    down: String,
    up: String,
    alpha: Option<String>,
}

/// By network, and by the layer's name in the file.
type Pairs = BTreeMap<(Network, String), Pair>;

/// The form of a file, and its tensors by network and layer.
fn pairs<R: Read + Seek>(file: &TensorFile<R>) -> Result<(AdapterForm, Pairs), DiffusionError> {
    let mut form_of_file: Option<AdapterForm> = None;
    let mut found = BTreeMap::<(Network, String), BTreeMap<Part, String>>::new();
    let mut names = file.names();
    names.sort();
    for tensor in names {
        let read = named(&tensor).map_err(|problem| file.broken(&tensor, problem))?;
        if let (Network::Unet, Some(form)) = (read.network, read.form)
            && *form_of_file.get_or_insert(form) != form
        {
            return Err(file.broken(&tensor, "has a name of another form than those before".into()).into());
        }
        let parts = found.entry((read.network, read.module)).or_default();
        if let Some(other) = parts.insert(read.part, tensor.clone()) {
            return Err(file.broken(&tensor, format!("is the same part as `{other}`")).into());
        }
    }
    let whole = |(of, mut parts): (_, BTreeMap<Part, String>)| match (
        parts.remove(&Part::Down),
        parts.remove(&Part::Up),
        parts.remove(&Part::Alpha),
    ) {
        (Some(down), Some(up), alpha) => Ok((of, Pair { down, up, alpha })),
        (Some(half), None, _) => Err(file.broken(&half, "is A of a layer without its B".into())),
        (None, Some(half), _) => Err(file.broken(&half, "is B of a layer without its A".into())),
        (None, None, alpha) => {
            let alpha = alpha.unwrap_or_default();
            Err(file.broken(&alpha, "is alpha of a layer without its A and B".into()))
        }
    };
    let pairs = found.into_iter().map(whole).collect::<Result<Pairs, _>>()?;
    // A file without tensors for a U-Net is refused, whatever its form.
    Ok((form_of_file.unwrap_or(AdapterForm::Diffusers), pairs))
}

/// The parts of text encoders among pairs.
fn text_encoder_parts<R: Read + Seek>(
    pairs: Pairs,
    settings: &BTreeMap<Network, Settings>,
    file: &mut TensorFile<R>,
) -> Result<Vec<TextEncoderPart>, DiffusionError> {
    let mut found = Vec::new();
    for ((network, module), pair) in pairs {
        let Network::Text(encoder) = network else { continue };
        let (rank, alpha) = pair.rank_and_alpha(&module, settings.get(&network), file)?;
        let outputs = file.shape(&pair.up)?.first().copied().unwrap_or_default();
        expect(file, &pair.up, &[outputs, rank], &module)?;
        let (down, up) = (file.finite_f32(&pair.down)?, file.finite_f32(&pair.up)?);
        found.push(TextEncoderPart { encoder, module, rank, alpha, down, up });
    }
    Ok(found)
}

impl Pair {
    /// The outputs of A, and what the part is scaled by times as many: by its own tensor, by the settings, or 1.
    fn rank_and_alpha<R: Read + Seek>(
        &self,
        module: &str,
        settings: Option<&Settings>,
        file: &mut TensorFile<R>,
    ) -> Result<(usize, f64), DiffusionError> {
        let shape = file.shape(&self.down)?;
        let Some(&rank) = shape.first().filter(|rank| **rank > 0 && shape.len() > 1) else {
            let problem = format!("has shape {shape:?}, A of a layer is [rank, inputs]");
            return Err(file.broken(&self.down, problem).into());
        };
        let alpha = match (&self.alpha, settings) {
            (Some(tensor), _) => match file.finite_f32(tensor)?.as_slice() {
                [alpha] => f64::from(*alpha),
                values => {
                    let problem = format!("has {} values, alpha is one", values.len());
                    return Err(file.broken(tensor, problem).into());
                }
            },
            (None, Some(settings)) => settings.alpha(module, rank)?,
            (None, None) => rank as f64,
        };
        if !(alpha.is_finite() && alpha > 0.0) {
            let problem = format!("its alpha is {alpha}, it must be a positive number");
            return Err(file.broken(&self.down, problem).into());
        }
        Ok((rank, alpha))
    }
}

/// Refuses a tensor of another shape. A kernel of one pixel may be written or left out.
fn expect<R: Read + Seek>(
    file: &TensorFile<R>,
    tensor: &str,
    shape: &[usize],
    layer: &str,
) -> Result<(), DiffusionError> {
    let found = file.shape(tensor)?;
    let sizes = |shape: &[usize]| -> Vec<usize> {
        let pixels = shape.iter().skip(2).copied();
        shape.iter().take(2).copied().chain(pixels.filter(|side| *side != 1)).collect()
    };
    if sizes(found) == sizes(shape) {
        return Ok(());
    }
    let problem =
        format!("has shape {found:?}, beside the layer `{layer}` of this network it must be {shape:?}");
    Err(file.broken(tensor, problem).into())
}
