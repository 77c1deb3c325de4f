//! Between what people see and write, and what the networks of an imported pipeline work on: pictures and latents, texts and
//! embeddings.
//!
//! Encoders stay where the checkpoint lies. `files` compares them with the digests in the recipe whenever one is opened, and none is
//! opened unless something has to be encoded or decoded: latents and embeddings are kept in the run, each made once.
//!
//! * `files`: what the recipe remembers of encoders.
//! * `latents`: the stage that encodes pictures; `texts`: the stage that encodes texts.

mod files;
mod latents;
mod texts;

pub(crate) use files::remembered;
pub(crate) use latents::LATENTS;
pub use latents::{EncodingPictures, Latents};
pub use texts::{EncodingTexts, Texts, texts_of_samples};
pub(crate) use texts::{NO_PROMPT, TEXTS, TEXTS_OF_QUERIES};

use crate::error::{Result, RunError};
use crate::recipe::{EncodersRecipe, TextAdapterRecipe};
use once_cell::sync::OnceCell;
use pentimento_diffusion::checkpoint::AdapterFiles;
use pentimento_encoders::autoencoder::Autoencoder;
use pentimento_encoders::text::{ClipTextEncoder, ClipTokenizer, TextEncoder};
use pentimento_store::Digest;

/// The encoders of an imported pipeline, opened when they are needed.
pub struct RunEncoders {
    recipe: EncodersRecipe,
    autoencoder: OnceCell<Autoencoder>,
    text: OnceCell<TextEncoder>,
}

impl RunEncoders {
    /// Those of a recipe. No file is opened yet.
    pub fn of(recipe: &EncodersRecipe) -> Self {
        Self { recipe: recipe.clone(), autoencoder: OnceCell::new(), text: OnceCell::new() }
    }

    /// What latents and pictures follow from beside each other.
    pub fn autoencoder_digest(&self) -> Digest {
        self.recipe.autoencoder.digest
    }

    /// What embeddings follow from beside their texts; none if the networks are told no texts.
    pub fn text_digest(&self) -> Option<Digest> {
        self.recipe.text.as_ref().map(|text| text.digest)
    }

    /// Height, width and channels of the pictures of latents of a height and a width.
    pub fn picture_shape(&self, [height, width]: [usize; 2]) -> [usize; 3] {
        let factor = self.recipe.autoencoder.factor;
        [factor * height, factor * width, self.recipe.autoencoder.channels]
    }

    /// The latents of pictures `[pictures, height, width, channels]` in [-1, 1]: the mode of those of an `AutoencoderKL`.
    ///
    /// # Errors
    ///
    /// As opening the autoencoder, and for a size that it does not take.
    pub fn latents(&self, pictures: &[f32], [height, width]: [usize; 2]) -> Result<Vec<f32>> {
        Ok(self.autoencoder()?.latents(pictures, height, width)?)
    }

    /// The same drawn with this standard normal noise, which has the shape of the latents; none if the autoencoder draws nothing.
    ///
    /// # Errors
    ///
    /// As [`latents`](Self::latents).
    pub fn drawn_latents(
        &self,
        pictures: &[f32],
        [height, width]: [usize; 2],
        noise: &[f32],
    ) -> Result<Option<Vec<f32>>> {
        Ok(self.autoencoder()?.drawn_latents(pictures, height, width, noise)?)
    }

    /// The pictures of latents `[latents, height, width, channels]`, not clamped.
    ///
    /// # Errors
    ///
    /// As [`latents`](Self::latents).
    pub fn pictures(&self, latents: &[f32], [height, width]: [usize; 2]) -> Result<Vec<f32>> {
        Ok(self.autoencoder()?.decode(latents, height, width)?)
    }

    fn autoencoder(&self) -> Result<&Autoencoder> {
        self.autoencoder.get_or_try_init(|| Ok(Autoencoder::open(&self.recipe.autoencoder.files()?)?))
    }

    /// The text encoder with its tokenizer.
    ///
    /// # Errors
    ///
    /// As opening it; [`RunError::Inconsistent`] if the recipe has none.
    pub fn text_encoder(&self) -> Result<&TextEncoder> {
        let Some(recipe) = &self.recipe.text else {
            let problem = "a network that is told texts, and no text encoder".into();
            return Err(RunError::Inconsistent { object: "recipe.toml".into(), problem });
        };
        self.text.get_or_try_init(|| {
            let files = recipe.files()?;
            let text = TextEncoder::new(
                ClipTokenizer::open(&files.tokenizer)?,
                ClipTextEncoder::open(&files.encoder)?,
            )?;
            let Some(TextAdapterRecipe { weights, .. }) = &recipe.adapter else { return Ok(text) };
            let adapter = AdapterFiles { weights: weights.clone(), config: None };
            Ok(text.with_adapter(&adapter.read_text_encoders()?, weights)?)
        })
    }
}
