//! What a checkpoint's network is shown of the images that the doctor looks at.

use crate::checkpoint::OpenCheckpoint;
use crate::error::Result;
use pentimento_data::PreparedSet;
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::unet::{SampleSize, UnetConfig};
use pentimento_encoders::Encoders;

/// Side of the images that a network is checked with whose configuration does not say one, if it can take them.
const USUAL_SIDE_PIXELS: usize = 32;

/// What pictures a checkpoint takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Height and width of what the network is shown, if its configuration says them.
    said: Option<[usize; 2]>,
    /// Pixels of a picture's side for each of what the network is shown.
    factor: usize,
    /// Channels of a picture.
    pub channels: usize,
}

impl Taken {
    pub(super) fn of(opened: &OpenCheckpoint) -> Self {
        let config = opened.checkpoint.architecture.config();
        let autoencoder = encoders(opened).map(|encoders| encoders.autoencoder.config());
        Self {
            said: said_size(config),
            factor: autoencoder.map_or(1, |autoencoder| autoencoder.factor()),
            channels: autoencoder.map_or(config.in_channels, |autoencoder| autoencoder.in_channels),
        }
    }

    /// Height and width of the pictures, if the configuration says them.
    pub(super) fn said(&self) -> Option<[usize; 2]> {
        self.said.map(|size| size.map(|side| side * self.factor))
    }

    /// Refuses pictures of a size that does not pass through encoder and network.
    pub(super) fn check(&self, opened: &OpenCheckpoint, [height, width]: [usize; 2]) -> Result<()> {
        let config = opened.checkpoint.architecture.config();
        let [height, width] = match encoders(opened) {
            Some(encoders) => encoders.autoencoder.config().latent_size(height, width)?,
            None => [height, width],
        };
        Ok(config.check_image(height, width, config.in_channels)?)
    }
}

/// Height and width as the configuration says them.
pub(super) fn said_size(config: &UnetConfig) -> Option<[usize; 2]> {
    config.sample_size.map(|SampleSize { height, width }| [height, width])
}

/// The side of images that a network takes, whatever it was trained on.
pub(super) fn usual_side(config: &UnetConfig) -> usize {
    let coarsest = 1 << config.block_out_channels.len().saturating_sub(1);
    USUAL_SIDE_PIXELS.max(coarsest)
}

fn encoders(opened: &OpenCheckpoint) -> Option<&Encoders> {
    opened.encoders.as_ref().map(|opened| &opened.encoders)
}

/// Images as a network is shown them, and what it is told.
pub(super) struct Shown {
    /// Pictures or latents, one after another.
    pub values: Vec<f32>,
    /// Height and width.
    pub size: [usize; 2],
    /// One for each image.
    pub conditions: Vec<Condition>,
    /// As many of the empty prompt, for a network that is told texts.
    pub without: Vec<Condition>,
    /// What the autoencoder's latents are multiplied with.
    pub scaling_factor: Option<f64>,
    /// The mean square of what encoding and decoding change, over the variance of the pictures.
    pub decoded: Option<f64>,
}

impl Shown {
    /// Encodes pictures and captions, if the network works on what encoders make of them.
    ///
    /// # Errors
    ///
    /// As encoding.
    pub(super) fn of(opened: &OpenCheckpoint, prepared: &PreparedSet) -> Result<Self> {
        let pictures: Vec<f32> = (0..prepared.len()).flat_map(|image| prepared.scaled(image)).collect();
        let picture_size @ [height, width] = [prepared.height(), prepared.width()];
        let config = opened.checkpoint.architecture.config();
        let classes = config.classes().is_some().then(|| prepared.labels());
        let mut conditions: Vec<Condition> =
            (0..prepared.len()).map(|image| classes.map(|labels| labels[image]).into()).collect();
        let Some(encoders) = encoders(opened) else {
            return Ok(Self {
                values: pictures,
                size: picture_size,
                conditions,
                without: Vec::new(),
                scaling_factor: None,
                decoded: None,
            });
        };
        let autoencoder = &encoders.autoencoder;
        let size = autoencoder.config().latent_size(height, width)?;
        let values = autoencoder.latents(&pictures, height, width)?;
        let decoded = change(&pictures, &autoencoder.decode(&values, size[0], size[1])?);
        let mut without = Vec::new();
        if let Some(text) = encoders.text.as_ref().filter(|_| config.cross_attention.is_some()) {
            let caption = |image| prepared.captions(image).first().map_or("", String::as_str);
            let texts: Vec<&str> = (0..prepared.len()).map(caption).chain([""]).collect();
            let states = text.embeddings(&texts, 0)?;
            let embedding =
                |states: &[f32]| Condition::Text(TextEmbedding::new(states.to_vec(), text.width()));
            conditions = states.chunks_exact(text.length() * text.width()).map(embedding).collect();
            without = vec![conditions.pop().unwrap_or_default(); prepared.len()];
        }
        let scaling_factor = Some(autoencoder.config().scaling_factor());
        Ok(Self { values, size, conditions, without, scaling_factor, decoded: Some(decoded) })
    }
}

/// The mean square of a difference over the variance of what was changed.
fn change(before: &[f32], after: &[f32]) -> f64 {
    let mean = before.iter().map(|&value| f64::from(value)).sum::<f64>() / before.len().max(1) as f64;
    let variance: f64 = before.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum();
    let changed: f64 =
        before.iter().zip(after).map(|(a, b)| (f64::from(*a) - f64::from(b.clamp(-1.0, 1.0))).powi(2)).sum();
    changed / variance
}
