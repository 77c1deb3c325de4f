use pentimento_attribution::ensemble::EnsembleError;
use pentimento_diffusion::DiffusionError;
use pentimento_kernels::ShapeError;
use pentimento_run::RunError;

/// What measuring gives.
pub type Result<T> = std::result::Result<T, MeasureError>;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The user stopped it ([`RunError::Stopped`]).
    #[error(transparent)]
    Run(#[from] RunError),
    /// Too little memory for the buffer that the memory bandwidth is measured with.
    #[error("no memory for the {bytes} bytes that the memory bandwidth is measured with")]
    NoMemory {
        /// Bytes of the buffer.
        bytes: usize,
    },
    /// Shapes that no kernel takes.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A network, its images, or a value that is not finite.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// Codes, or a value of a derivative that is not finite.
    #[error(transparent)]
    Ensemble(#[from] EnsembleError),
}
