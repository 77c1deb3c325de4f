//! Autoencoders between pictures and the latents that a diffusion network works on.

mod config;
mod kl;
mod network;
mod plan;
mod vq;

pub use config::{AutoencoderClass, AutoencoderConfig};
pub use kl::{AutoencoderKl, Moments};
pub use vq::VqModel;

use crate::error::bad_field;
use crate::{EncoderError, PartFiles};
use pentimento_diffusion::DiffusionError;

/// An autoencoder of either kind.
#[derive(Clone, Debug)]
pub enum Autoencoder {
    /// `AutoencoderKL`.
    Kl(AutoencoderKl),
    /// `VQModel`.
    Vq(VqModel),
}

impl Autoencoder {
    /// Opens the autoencoder of these files.
    ///
    /// # Errors
    ///
    /// As [`AutoencoderConfig::from_json`], [`open_weights`](pentimento_diffusion::checkpoint::open_weights) and
    /// [`read_parameters`](pentimento_diffusion::checkpoint::read_parameters). Weights that are infinite or NaN, as half
    /// precision leaves them where it overflows, are named.
    pub fn open(files: &PartFiles) -> Result<Self, EncoderError> {
        let config = AutoencoderConfig::from_json(&files.read_config()?, &files.config_name())?;
        Ok(match config.class {
            AutoencoderClass::Kl => {
                let values = files.read_values(&AutoencoderKl::parameters(&config), &[])?;
                Self::Kl(AutoencoderKl::new(config, values)?)
            }
            AutoencoderClass::Vq => {
                let values = files.read_values(&VqModel::parameters(&config), &[])?;
                Self::Vq(VqModel::new(config, values)?)
            }
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &AutoencoderConfig {
        match self {
            Self::Kl(autoencoder) => autoencoder.config(),
            Self::Vq(autoencoder) => autoencoder.config(),
        }
    }

    /// The latents of pictures for a diffusion network, without drawing any: the mode, or what is not yet quantised.
    ///
    /// # Errors
    ///
    /// As [`AutoencoderConfig::latent_size`].
    ///
    /// # Panics
    ///
    /// If the values are no whole number of such pictures.
    pub fn latents(&self, pictures: &[f32], height: usize, width: usize) -> Result<Vec<f32>, EncoderError> {
        match self {
            Self::Kl(autoencoder) => Ok(autoencoder.encode(pictures, height, width)?.mode()),
            Self::Vq(autoencoder) => autoencoder.encode(pictures, height, width),
        }
    }

    /// The same drawn with this standard normal noise, which has the shape of the latents; none if the autoencoder draws nothing, as a
    /// `VQModel` does.
    ///
    /// # Errors
    ///
    /// As [`latents`](Self::latents).
    ///
    /// # Panics
    ///
    /// As [`latents`](Self::latents), and if there are not as many values of noise as of latents.
    pub fn drawn_latents(
        &self,
        pictures: &[f32],
        height: usize,
        width: usize,
        noise: &[f32],
    ) -> Result<Option<Vec<f32>>, EncoderError> {
        match self {
            Self::Kl(autoencoder) => Ok(Some(autoencoder.encode(pictures, height, width)?.sample(noise))),
            Self::Vq(_) => Ok(None),
        }
    }

    /// The pictures of latents as a diffusion network has them. Values are not clamped.
    ///
    /// # Errors
    ///
    /// As [`AutoencoderConfig::picture_size`].
    ///
    /// # Panics
    ///
    /// If the values are no whole number of such latents.
    pub fn decode(&self, latents: &[f32], height: usize, width: usize) -> Result<Vec<f32>, EncoderError> {
        match self {
            Self::Kl(autoencoder) => autoencoder.decode(latents, height, width),
            Self::Vq(autoencoder) => autoencoder.decode(latents, height, width),
        }
    }
}

/// Between latents of an autoencoder and those of a diffusion network: `(latent - shift) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scaling {
    scale: f32,
    shift: f32,
}

impl Scaling {
    fn of(config: &AutoencoderConfig) -> Self {
        Self { scale: config.scaling_factor() as f32, shift: config.shift_factor() as f32 }
    }

    fn applied(&self, latents: &[f32]) -> Vec<f32> {
        latents.iter().map(|latent| (latent - self.shift) * self.scale).collect()
    }

    fn undone(&self, latents: &[f32]) -> Vec<f32> {
        latents.iter().map(|latent| latent / self.scale + self.shift).collect()
    }
}

fn wrong_class(found: AutoencoderClass, wanted: AutoencoderClass) -> DiffusionError {
    bad_field("autoencoder", "_class_name", found.name(), format!("it must be {}", wanted.name()))
}
