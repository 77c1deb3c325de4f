//! Which likeness a method is. Its name stands in the table of all methods.

/// A likeness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// Inner product of pixels.
    PixelDot,
    /// Cosine of pixels.
    PixelCosine,
    /// Nearest patches without a network (NDA).
    Patches,
    /// Cosine of a classifier's features.
    Classifier,
    /// Nothing: uniformly distributed numbers.
    Random,
}

impl Likeness {
    /// What a larger score means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Random => "nothing",
            _ => "larger = more alike; likeness, not influence",
        }
    }

    /// A sentence or two on what it is.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::PixelDot => {
                "The inner product of two images as lists of pixels. It knows nothing of the network."
            }
            Self::PixelCosine => {
                "The cosine of the angle between two images as lists of pixels, from -1 to 1. It knows nothing of the network."
            }
            Self::Patches => {
                "How much of a picture the patches of a training image would explain to a denoiser that knows all training \
                 images by heart. It knows nothing of the network."
            }
            Self::Classifier => {
                "The cosine of the angle between what a classifier computes of two images before it decides. It knows nothing \
                 of the network that made the picture."
            }
            Self::Random => "Numbers that mean nothing: what a method without any skill would give.",
        }
    }
}
