//! Scores of training images for queries that need no gradient of a network, to hold every method of attribution against.
//!
//! All are `[queries][images]`, and a larger score means a more likely source.
//!
//! * `pixels`: inner products and cosines, of pixels or of the features of any network.
//! * `patches`: nearest patches, by the denoiser that is optimal for the training images and sees one patch at a time.
//! * `random`: scores that know nothing.
//! * `kind`: which likeness.

mod kind;
mod patches;
mod pixels;
mod random;

pub use kind::Likeness;
pub use patches::{NearestPatches, patch_noise};
pub use pixels::{cosines, dot};
pub use random::random_scores;

/// The largest magnitude of values that nearest patches take: pixels are in [-1, 1] or, unclipped, a little beyond, noise
/// is below 7, and 10 stands for what is outside an image.
pub const LARGEST_VALUE: f32 = 10.0;

/// What cannot be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LikenessError {
    /// No queries, or no images.
    #[error("{what}: none given, at least 1 is needed")]
    Empty {
        /// `queries` or `images`.
        what: &'static str,
    },
    /// A row of another length than the others, or without values.
    #[error("{what} {index} has {found} values where {expected} are needed")]
    Length {
        /// `query`, `noise` or `image`.
        what: &'static str,
        /// Its number.
        index: usize,
        /// The values it has.
        found: usize,
        /// The values it should have.
        expected: usize,
    },
    /// Not one noise for each query.
    #[error("{noises} noises for {queries} queries: each needs one")]
    Noises {
        /// Noises given.
        noises: usize,
        /// Queries given.
        queries: usize,
    },
    /// A value that is not finite, or of another scale than pixels in [-1, 1] and noise.
    #[error("{what} {index} has the value {value}, but values must be -{LARGEST_VALUE} to {LARGEST_VALUE}")]
    Value {
        /// `query`, `noise` or `image`.
        what: &'static str,
        /// Its number.
        index: usize,
        /// The value.
        value: f32,
    },
    /// An image without pixels or channels, or with more values than memory can address.
    #[error("images of {height} x {width} pixels with {channels} channels cannot be compared")]
    ImageShape {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Channels.
        channels: usize,
    },
    /// A noise level at which there is no noise or no image.
    #[error("abar_t = {abar}: must lie between 0 and 1, both excluded")]
    Abar {
        /// The value given.
        abar: f64,
    },
    /// A patch that has no middle, or is larger than the image.
    #[error("patch side p = {side}: must be odd and 1 to {most}, the shorter side of the images")]
    PatchSide {
        /// The side given, in pixels.
        side: usize,
        /// The largest side that these images take.
        most: usize,
    },
    /// No weight of an image counts.
    #[error("largest weights k = 0: at least 1 must count")]
    NoWeights,
    /// More positions or values of a patch than the matrix product takes.
    #[error(transparent)]
    Product(#[from] pentimento_kernels::ShapeError),
}

/// Checks that there are rows, all with `expected` values.
fn check_lengths(what: [&'static str; 2], rows: &[Vec<f32>], expected: usize) -> Result<(), LikenessError> {
    let [one, all] = what;
    if rows.is_empty() {
        return Err(LikenessError::Empty { what: all });
    }
    match rows.iter().position(|row| row.len() != expected || row.is_empty()) {
        Some(index) => Err(LikenessError::Length { what: one, index, found: rows[index].len(), expected }),
        None => Ok(()),
    }
}

/// The names of rows in errors: of one, and of all.
const QUERIES: [&str; 2] = ["query", "queries"];
const IMAGES: [&str; 2] = ["image", "images"];
const NOISES: [&str; 2] = ["noise", "noises"];
