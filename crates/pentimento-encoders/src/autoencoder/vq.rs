//! `VQModel`: latents are replaced by the nearest codes of a table before they are decoded (van den Oord et al. 2017; Esser et
//! al. 2021). Diffusion networks are trained on the latents before that.

use super::config::AutoencoderConfig;
use super::network::Network;
use super::plan::Plan;
use super::{Scaling, wrong_class};
use crate::EncoderError;
use crate::autoencoder::AutoencoderClass;
use pentimento_diffusion::unet::ParameterSpec;
use rayon::prelude::*;

/// The autoencoder of the first latent diffusion models, with its values.
#[derive(Clone, Debug)]
pub struct VqModel {
    config: AutoencoderConfig,
    network: Network,
    /// `[codes, channels]`.
    codes: Vec<f32>,
}

impl VqModel {
    /// Takes values in memory layout ([`ParameterSpec::memory_shape`]), one vector for each of [`parameters`](Self::parameters).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`](pentimento_diffusion::DiffusionError::Config) for a configuration that is not supported.
    ///
    /// # Panics
    ///
    /// If the number or the lengths of the values are not those of the parameters.
    pub fn new(config: AutoencoderConfig, values: Vec<Vec<f32>>) -> Result<Self, EncoderError> {
        config.validate("autoencoder")?;
        if config.class != AutoencoderClass::Vq {
            return Err(wrong_class(config.class, AutoencoderClass::Vq).into());
        }
        let plan = Plan::new(&config);
        let codes = plan.codebook.and_then(|at| values.get(at)).cloned().unwrap_or_default();
        Ok(Self { config, network: Network::new(plan, values), codes })
    }

    /// The parameters of a valid configuration, in a fixed order.
    pub fn parameters(config: &AutoencoderConfig) -> Vec<ParameterSpec> {
        Plan::new(config).parameters
    }

    /// Its configuration.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// The latents of pictures `[images, height, width, channels]` before quantisation, scaled for a diffusion network.
    ///
    /// # Errors
    ///
    /// As [`AutoencoderConfig::latent_size`].
    ///
    /// # Panics
    ///
    /// If the values are no whole number of such pictures.
    pub fn encode(&self, pictures: &[f32], height: usize, width: usize) -> Result<Vec<f32>, EncoderError> {
        self.config.latent_size(height, width)?;
        let latents = self.network.encode(pictures, [height, width, self.config.in_channels]);
        Ok(Scaling::of(&self.config).applied(&latents))
    }

    /// The number of the nearest code of each pixel of latents as a diffusion network has them, by Euclidean distance; of
    /// several that are equally near the first.
    ///
    /// # Panics
    ///
    /// If the values are no whole number of pixels.
    pub fn nearest_codes(&self, latents: &[f32]) -> Vec<usize> {
        let channels = self.config.latent_channels();
        assert!(
            latents.len().is_multiple_of(channels),
            "{} values are no pixels of {channels}",
            latents.len()
        );
        let latents = Scaling::of(&self.config).undone(latents);
        latents
            .par_chunks_exact(channels)
            .map(|pixel| {
                let (mut nearest, mut least) = (0, f64::INFINITY);
                for (number, code) in self.codes.chunks_exact(channels).enumerate() {
                    let distance = squared_distance(pixel, code);
                    if distance < least {
                        (nearest, least) = (number, distance);
                    }
                }
                nearest
            })
            .collect()
    }

    /// The codes of these numbers, one after another; not scaled.
    ///
    /// # Panics
    ///
    /// If a number is not that of a code.
    pub fn codes(&self, numbers: &[usize]) -> Vec<f32> {
        let channels = self.config.latent_channels();
        numbers.iter().flat_map(|number| &self.codes[number * channels..][..channels]).copied().collect()
    }

    /// The pictures of latents `[images, height, width, channels]` as a diffusion network has them, by their nearest codes.
    /// Values are not clamped.
    ///
    /// # Errors
    ///
    /// As [`AutoencoderConfig::picture_size`].
    ///
    /// # Panics
    ///
    /// If the values are no whole number of such latents.
    pub fn decode(&self, latents: &[f32], height: usize, width: usize) -> Result<Vec<f32>, EncoderError> {
        self.config.picture_size(height, width)?;
        let quantised = self.codes(&self.nearest_codes(latents));
        Ok(self.network.decode(&quantised, [height, width, self.config.latent_channels()]))
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)) * (f64::from(*a) - f64::from(*b))).sum()
}
