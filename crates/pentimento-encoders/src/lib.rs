//! What stands around the network of a latent diffusion model: pictures become latents and latents pictures, and prompts
//! become embeddings. Forward passes only; nothing here has a gradient.
//!
//! * [`Encoders`]: everything of a pipeline's folder, found and opened.
//! * [`autoencoder`]: diffusers' `AutoencoderKL` and `VQModel`.
//! * [`text`]: the tokenizer and the text encoder of CLIP.
//!
//! Pictures and latents are `[images, height, width, channels]`; pictures have values in [-1, 1].

pub mod autoencoder;
mod error;
mod files;
mod pipeline;
pub mod text;

pub use error::EncoderError;
pub use files::PartFiles;
pub use pipeline::{EncoderFiles, Encoders, TextFiles};
