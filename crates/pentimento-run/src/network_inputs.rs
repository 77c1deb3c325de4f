//! What networks are shown and told of a set of images: the pictures or their latents; nothing, classes or captions.

use crate::data::CodedData;
use crate::encoders::{EncodingPictures, EncodingTexts, Latents, NO_PROMPT, RunEncoders, TEXTS, Texts};
use crate::error::Result;
use crate::forecast::Forecast;
use crate::recipe::Recipe;
use crate::workspace::Workspace;
use pentimento_data::PreparedSet;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::training::{TrainingConditions, TrainingConfig};
use pentimento_diffusion::unet::UnetConfig;

/// Networks and the images that they are to be shown.
#[derive(Clone, Copy)]
pub(crate) struct Showing<'a> {
    /// The run, which keeps what is encoded.
    pub workspace: &'a Workspace,
    /// What makes latents and embeddings; none if networks work on pictures.
    pub encoders: Option<&'a RunEncoders>,
    /// The configuration of the networks.
    pub network: &'a UnetConfig,
    /// Height, width and channels of what they are shown.
    pub shape: [usize; 3],
    /// The pictures.
    pub images: &'a PreparedSet,
}

/// What networks are shown and told of some images.
pub struct NetworkInputs {
    /// None if they are shown the pictures.
    latents: Option<Latents>,
    told: Told,
}

/// What networks are told of images.
enum Told {
    Nothing,
    /// So many classes.
    Classes(u32),
    /// Captions.
    Texts(Texts),
}

impl<'a> Showing<'a> {
    /// The members of an ensemble and the images that they are trained on.
    pub fn to_members(workspace: &'a Workspace, data: &'a CodedData) -> Self {
        let encoders = data.base.as_ref().and_then(|base| base.encoders.as_ref());
        let (network, shape, images) = (&data.network, data.input_shape(), &data.images);
        Self { workspace, encoders, network, shape, images }
    }

    /// The stage that encodes the pictures; none if networks are shown these.
    pub fn encoding_pictures(&self) -> Option<EncodingPictures<'a>> {
        let stage = |encoders| {
            EncodingPictures::of_training_images(self.workspace, encoders, self.images, self.shape)
        };
        self.encoders.map(stage)
    }

    /// The stage that encodes the captions, and the empty text if images are shown under it; none if networks are told no texts.
    pub fn encoding_texts(&self) -> Option<EncodingTexts<'a>> {
        let encoders = self.encoders.filter(|_| self.network.cross_attention.is_some())?;
        let images = self.images;
        let captions = (0..images.len()).flat_map(|image| images.captions(image)).map(String::as_str);
        let empty = drops_conditions(&self.workspace.recipe).then_some(NO_PROMPT);
        Some(EncodingTexts::new(self.workspace, encoders, TEXTS, captions.chain(empty)))
    }

    /// Encodes what is missing, and opens all.
    ///
    /// # Errors
    ///
    /// As encoding; [`RunError::Missing`](crate::error::RunError::Missing) in a run that is open for reading only.
    pub fn open(&self) -> Result<NetworkInputs> {
        let latents = self.encoding_pictures().map(|stage| stage.complete()).transpose()?;
        let told = match self.encoding_texts() {
            Some(stage) => Told::Texts(stage.complete()?),
            None => self.without_texts(),
        };
        Ok(NetworkInputs { latents, told })
    }

    /// The same for a forecast: what is not encoded yet has stand-ins, and a forecast of its own.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_or_stand_in(&self) -> Result<(NetworkInputs, Vec<Forecast>)> {
        let mut forecasts = Vec::new();
        let latents = match self.encoding_pictures() {
            None => None,
            Some(stage) => Some(match stage.forecast()? {
                None => stage.complete()?,
                Some(forecast) => {
                    forecasts.push(forecast);
                    stage.stand_in()
                }
            }),
        };
        let told = match self.encoding_texts() {
            None => self.without_texts(),
            Some(stage) => Told::Texts(match stage.forecast()? {
                None => stage.complete()?,
                Some(forecast) => {
                    forecasts.push(forecast);
                    stage.stand_in(&self.network.any_condition())
                }
            }),
        };
        Ok((NetworkInputs { latents, told }, forecasts))
    }

    fn without_texts(&self) -> Told {
        self.network.classes().map_or(Told::Nothing, Told::Classes)
    }
}

/// Whether the members of an ensemble are also trained without conditions.
fn drops_conditions(recipe: &Recipe) -> bool {
    recipe.training().is_some_and(|training| training.condition_dropout > 0.0)
}

impl NetworkInputs {
    /// What networks are shown of an image, by its place among the images.
    pub fn input(&self, images: &PreparedSet, image: usize) -> Vec<f32> {
        match &self.latents {
            Some(latents) => latents.of(image).to_vec(),
            None => images.scaled(image),
        }
    }

    /// Writes the same into values of its length.
    pub fn input_into(&self, images: &PreparedSet, image: usize, target: &mut [f32]) {
        match &self.latents {
            Some(latents) => target.copy_from_slice(latents.of(image)),
            None => images.scaled_into(image, target),
        }
    }

    /// What networks are told of an image: one condition, or of an image with several captions each of them.
    pub fn conditions(&self, images: &PreparedSet, image: usize) -> Vec<Condition> {
        match &self.told {
            Told::Nothing => vec![Condition::None],
            Told::Classes(_) => vec![Condition::Class(images.labels()[image])],
            Told::Texts(texts) => {
                images.captions(image).iter().map(|caption| texts.condition(caption)).collect()
            }
        }
    }

    /// What networks are told of some images in their training; nothing of networks that are told nothing. Where conditions are
    /// dropped, the empty text stands for none, or the last of the classes, which no image has.
    pub fn training_conditions(
        &self,
        images: &PreparedSet,
        own: &[u32],
        training: &TrainingConfig,
    ) -> Option<TrainingConditions> {
        let empty = match &self.told {
            Told::Nothing => return None,
            // Of classes without a table any number is one.
            Told::Classes(u32::MAX) => None,
            Told::Classes(classes) => Some(Condition::Class(classes.saturating_sub(1))),
            Told::Texts(texts) => Some(texts.condition(NO_PROMPT)),
        };
        let of_images = own.iter().map(|&image| self.conditions(images, image as usize)).collect();
        let conditions = TrainingConditions::new(of_images);
        Some(match empty.filter(|_| training.condition_dropout > 0.0) {
            Some(empty) => conditions.with_empty(empty),
            None => conditions,
        })
    }

    /// The caption that stands for an image where one is wanted: the first; none if networks are told no texts.
    pub fn caption_of<'a>(&self, images: &'a PreparedSet, image: usize) -> Option<&'a str> {
        match &self.told {
            Told::Texts(_) => images.captions(image).first().map(String::as_str),
            Told::Nothing | Told::Classes(_) => None,
        }
    }
}
