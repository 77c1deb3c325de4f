//! What can be wrong with the parts of a pipeline that stay where they lie.

use pentimento_diffusion::DiffusionError;
use std::path::PathBuf;

/// Why a part of a pipeline that was imported, or that members begin with, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A part that does not lie where it lay when the run began.
    #[error("the {part} of the run should be in {}, where nothing exists", path.display())]
    Gone {
        /// Which part.
        part: &'static str,
        /// Its file.
        path: PathBuf,
    },
    /// A part whose files are others than when the run began.
    #[error("{}: the {part} there is another one than the run began with", path.display())]
    Other {
        /// Which part.
        part: &'static str,
        /// Its configuration, or its only file.
        path: PathBuf,
    },
    /// An adapter that cannot be opened, or is none of the network's.
    #[error("{source}")]
    Adapter {
        /// The folder of the network.
        network: PathBuf,
        /// What is wrong with it.
        source: Box<DiffusionError>,
    },
    /// A picture of which the autoencoder makes no latent.
    #[error(
        "the latent of {picture} is infinite or not a number: the autoencoder's weights are damaged, or were cut to half \
         precision"
    )]
    LatentNotFinite {
        /// What people call the picture.
        picture: String,
    },
    /// The configuration of a network does not say how large its images are.
    #[error("{}: `sample_size` is null, so nothing says of which height and width the network's images are", config.display())]
    NoSampleSize {
        /// The `config.json` that was opened.
        config: PathBuf,
    },
    /// A run of one network was to take another.
    #[error("{} is a run of another network", run.display())]
    AnotherNetwork {
        /// The run.
        run: PathBuf,
    },
}
