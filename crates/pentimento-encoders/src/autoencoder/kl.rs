//! `AutoencoderKL`: a picture becomes a normal distribution of latents (Kingma and Welling 2014; Rombach et al. 2022).

use super::config::AutoencoderConfig;
use super::network::Network;
use super::plan::Plan;
use super::{Scaling, wrong_class};
use crate::EncoderError;
use crate::autoencoder::AutoencoderClass;
use pentimento_diffusion::unet::ParameterSpec;

/// The log of the variance is clamped to these bounds, as in diffusers.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// The autoencoder of Stable Diffusion, with its values.
#[derive(Clone, Debug)]
pub struct AutoencoderKl {
    config: AutoencoderConfig,
    network: Network,
}

/// The distribution of the latents of some pictures, a mean and a variance for each value.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// `[images, height, width, channels]`, as the autoencoder has them: neither shifted nor scaled.
    pub mean: Vec<f32>,
    /// The log of the variance, likewise, not yet clamped.
    pub log_variance: Vec<f32>,
    scaling: Scaling,
}

impl AutoencoderKl {
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
        if config.class != AutoencoderClass::Kl {
            return Err(wrong_class(config.class, AutoencoderClass::Kl).into());
        }
        let network = Network::new(Plan::new(&config), values);
        Ok(Self { config, network })
    }

    /// The parameters of a valid configuration, in a fixed order.
    pub fn parameters(config: &AutoencoderConfig) -> Vec<ParameterSpec> {
        Plan::new(config).parameters
    }

    /// Its configuration.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// The distribution of the latents of pictures `[images, height, width, channels]`.
    ///
    /// # Errors
    ///
    /// As [`AutoencoderConfig::latent_size`].
    ///
    /// # Panics
    ///
    /// If the values are no whole number of such pictures.
    pub fn encode(&self, pictures: &[f32], height: usize, width: usize) -> Result<Moments, EncoderError> {
        self.config.latent_size(height, width)?;
        let moments = self.network.encode(pictures, [height, width, self.config.in_channels]);
        let channels = self.config.latent_channels();
        let (mut mean, mut log_variance) = (Vec::new(), Vec::new());
        for pixel in moments.chunks_exact(2 * channels) {
            let (of_mean, of_variance) = pixel.split_at(channels);
            mean.extend_from_slice(of_mean);
            log_variance.extend_from_slice(of_variance);
        }
        Ok(Moments { mean, log_variance, scaling: Scaling::of(&self.config) })
    }

    /// The pictures of latents `[images, height, width, channels]` as a diffusion network has them. Values are not clamped.
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
        let latents = Scaling::of(&self.config).undone(latents);
        Ok(self.network.decode(&latents, [height, width, self.config.latent_channels()]))
    }
}

impl Moments {
    /// The mean, which is also the mode, shifted and scaled for a diffusion network.
    pub fn mode(&self) -> Vec<f32> {
        self.scaling.applied(&self.mean)
    }

    /// The standard deviation, scaled as the mode is.
    pub fn deviation(&self) -> Vec<f32> {
        let (least, most) = LOG_VARIANCE;
        let scale = f64::from(self.scaling.scale);
        let deviation = |&log: &f32| (libm::exp(0.5 * f64::from(log.clamp(least, most))) * scale) as f32;
        self.log_variance.iter().map(deviation).collect()
    }

    /// What comes of drawing from the distribution with this standard normal noise, shifted and scaled for a diffusion network.
    ///
    /// # Panics
    ///
    /// If there are not as many values of noise as of latents.
    pub fn sample(&self, noise: &[f32]) -> Vec<f32> {
        assert_eq!(noise.len(), self.mean.len(), "length of the noise");
        let drawn = |((mode, deviation), noise): ((f32, f32), &f32)| mode + deviation * noise;
        self.mode().into_iter().zip(self.deviation()).zip(noise).map(drawn).collect()
    }
}
