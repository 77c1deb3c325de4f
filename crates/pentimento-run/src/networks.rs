//! The networks of a run: found once, for everything that samples with them or asks them.

use crate::data::CodedData;
use crate::encoders::RunEncoders;
use crate::error::{Result, RunError};
use crate::imported;
use crate::train::trained_members;
use crate::workspace::{Workspace, fingerprint_of_computed};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{TensorFile, read_weights};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Parameters};
use pentimento_store::{Digest, Fingerprint};
use std::fs::File;
use std::io::BufReader;

/// The weights of a network, as they lie in the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// The object that holds them.
    pub object: String,
    /// Identifies its values: the digest of its bytes, or of an adapter also that of the network beneath it.
    pub digest: Digest,
}

/// All members of an ensemble that the run trained, or the one network that was imported.
pub struct Networks<'a> {
    /// What they were trained on, by codes; of an imported network that is not known, and networks of a bank have no codes.
    pub trained_on: Option<&'a CodedData>,
    /// What they have in common.
    pub architecture: Architecture,
    /// The weights of each.
    pub weights: Vec<Weights>,
    /// Height and width of the images, or of the latents.
    pub size: [usize; 2],
    /// Between pictures and latents, texts and embeddings; none if the networks work on pictures.
    pub encoders: Option<RunEncoders>,
    /// Height, width and channels of the pictures.
    pub picture_shape: [usize; 3],
    /// Identifies the networks and how they are sampled.
    ///
    /// It follows from the digests of the weights and not from what the networks were made from: whoever trained one, what
    /// is made with it follows from its bytes and from the numerics of the program that makes it.
    pub fingerprint: Fingerprint,
}

impl<'a> Networks<'a> {
    /// Those of a run: the members of the ensemble that it trains on some data, or the network that was imported.
    ///
    /// # Errors
    ///
    /// As [`trained`](Self::trained) and [`imported`](Self::imported).
    pub fn open(workspace: &Workspace, trained_on: Option<&'a CodedData>) -> Result<Self> {
        match trained_on {
            Some(data) => Self::trained(workspace, data),
            None => Self::imported(workspace),
        }
    }

    /// All members of an ensemble that was trained here.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`](crate::error::RunError::Missing) if one is not there; of adapters also as
    /// [`BaseNetwork::of_members`](crate::base::BaseNetwork::of_members).
    pub fn trained(workspace: &Workspace, data: &'a CodedData) -> Result<Self> {
        // The members first: a network beneath adapters may take long to open.
        let weights = trained_members(workspace, data)?;
        let architecture = data.architecture()?;
        let [height, width, _] = data.input_shape();
        let encoders = workspace.recipe.encoders().map(RunEncoders::of);
        Self::new(workspace, Some(data), architecture, weights, [height, width], encoders)
    }

    /// The network that was imported.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`](crate::error::RunError::Missing) if it is not there.
    pub fn imported(workspace: &Workspace) -> Result<Self> {
        let architecture = imported::architecture(workspace)?;
        let config = workspace.run.root().join(imported::config_name());
        let size = imported::image_size(&architecture, &config)?;
        let weights = vec![imported::weights(workspace)?];
        let encoders = workspace.recipe.encoders().map(RunEncoders::of);
        Self::new(workspace, None, architecture, weights, size, encoders)
    }

    /// Some networks of a bank.
    ///
    /// # Errors
    ///
    /// If a setting has no JSON form.
    pub(crate) fn of_bank(
        workspace: &Workspace,
        architecture: Architecture,
        weights: Vec<Weights>,
        size: [usize; 2],
    ) -> Result<Self> {
        Self::new(workspace, None, architecture, weights, size, None)
    }

    fn new(
        workspace: &Workspace,
        trained_on: Option<&'a CodedData>,
        architecture: Architecture,
        weights: Vec<Weights>,
        size: [usize; 2],
        encoders: Option<RunEncoders>,
    ) -> Result<Self> {
        let recipe = &workspace.recipe;
        let mut fingerprint = fingerprint_of_computed("ensemble").text(&architecture.config().to_json());
        for weights in &weights {
            fingerprint = fingerprint.bytes(weights.digest.as_bytes());
        }
        fingerprint = fingerprint.json(&recipe.schedule)?.json(&recipe.sampling)?.json(&recipe.seed)?;
        // Most networks know no classes.
        if let Some(class) = recipe.samples.class {
            fingerprint = fingerprint.json(&class)?;
        }
        let picture_shape = match &encoders {
            Some(encoders) => {
                fingerprint = fingerprint.bytes(encoders.autoencoder_digest().as_bytes());
                if let Some(text) = encoders.text_digest() {
                    fingerprint = fingerprint.bytes(text.as_bytes()).json(&recipe.samples.guided())?;
                }
                encoders.picture_shape(size)
            }
            None => [size[0], size[1], architecture.config().in_channels],
        };
        let fingerprint = fingerprint.finish();
        Ok(Self { trained_on, architecture, weights, size, encoders, picture_shape, fingerprint })
    }

    /// Height, width and channels of what the networks are shown.
    pub fn image_shape(&self) -> [usize; 3] {
        let [height, width] = self.size;
        [height, width, self.architecture.config().in_channels]
    }

    /// Whether they are told the class of an image.
    pub fn knows_classes(&self) -> bool {
        self.architecture.config().classes().is_some()
    }

    /// Whether they are told texts.
    pub fn knows_texts(&self) -> bool {
        self.architecture.config().cross_attention.is_some()
    }

    /// Opens the weights of a network, or of a moment of its training.
    ///
    /// # Errors
    ///
    /// If they are damaged, or not those of this architecture.
    pub fn parameters(&self, workspace: &Workspace, weights: &Weights) -> Result<Parameters> {
        open_parameters(workspace, &self.architecture, weights)
    }

    /// Whether a network, by its number, was trained on a training image; what an imported one was trained on counts as seen.
    pub fn saw(&self, network: usize, image: usize) -> bool {
        let Some(data) = self.trained_on else { return true };
        let group = data.groups.group_of()[image];
        data.codes.code(group).is_some_and(|code| code.trains(network as u32))
    }
}

/// What people see of what networks make.
pub struct Visible {
    /// Between pictures and latents; none if the networks make pictures.
    encoders: Option<RunEncoders>,
    /// Height and width of what they make.
    size: [usize; 2],
    /// Height, width and channels of a picture.
    pub shape: [usize; 3],
}

impl Visible {
    /// That of some networks of a run.
    pub fn of(workspace: &Workspace, networks: &Networks<'_>) -> Self {
        let encoders = workspace.recipe.encoders().map(RunEncoders::of);
        Self { encoders, size: networks.size, shape: networks.picture_shape }
    }

    /// Whether pictures are decoded from what networks make.
    pub fn is_decoded(&self) -> bool {
        self.encoders.is_some()
    }

    /// The picture of what networks made, not clamped.
    ///
    /// # Errors
    ///
    /// As opening the autoencoder.
    pub fn picture(&self, made: &[f32]) -> Result<Vec<f32>> {
        match &self.encoders {
            Some(encoders) => encoders.pictures(made, self.size),
            None => Ok(made.to_vec()),
        }
    }
}

/// Networks of one architecture, as they lie in a run, of which each is asked for itself.
pub struct NetworksAlike<'a> {
    /// The run.
    pub workspace: &'a Workspace,
    /// What they have in common.
    pub architecture: &'a Architecture,
    /// Height and width of their images.
    pub size: [usize; 2],
    /// The schedule that they were trained with.
    pub schedule: &'a ScheduleConfig,
    /// The weights of each.
    pub weights: Vec<Weights>,
}

impl NetworksAlike<'_> {
    /// Opens the weights of one, by its number.
    ///
    /// # Errors
    ///
    /// If they are damaged, or not those of this architecture.
    pub fn parameters(&self, number: usize) -> Result<Parameters> {
        open_parameters(self.workspace, self.architecture, &self.weights[number])
    }

    /// What is found of one follows from this, and from what is asked.
    ///
    /// # Errors
    ///
    /// If the schedule has no JSON form.
    pub fn fingerprint(&self, number: usize) -> Result<Fingerprint> {
        Ok(Fingerprint::of("network of a bank")
            .text(&self.architecture.config().to_json())
            .bytes(self.weights[number].digest.as_bytes())
            .json(self.schedule)?
            .finish())
    }
}

/// Opens weights that lie in a run.
///
/// # Errors
///
/// If they are damaged, or not those of this architecture.
pub(crate) fn open_parameters(
    workspace: &Workspace,
    architecture: &Architecture,
    weights: &Weights,
) -> Result<Parameters> {
    // Tensor by tensor from the file, which may be as large as the memory that its values take.
    let path = workspace.run.path_of(&weights.object)?;
    let file = File::open(&path).map_err(RunError::io("open", &path))?;
    let file = TensorFile::open(BufReader::new(file), &weights.object).map_err(DiffusionError::from)?;
    let values = read_weights(architecture, &mut [file])?.values;
    Ok(Parameters::from_memory(architecture, values))
}
