//! What images in the making are made of, which decides how finished ones are compared.

use pentimento_diffusion::sampler::clamp;
use pentimento_diffusion::unet::Precision;

/// What the values of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Pixels, black -1 and white 1: whoever shows a finished image clamps it, and distances are those of what is seen.
    Pixels,
    /// Latents, which have no range: nothing is clamped.
    Latents,
}

impl Space {
    /// A finished image.
    pub fn finished<T: Precision>(self, image: &[T]) -> Vec<T> {
        match self {
            Self::Pixels => image.iter().map(|&value| clamp(value)).collect(),
            Self::Latents => image.to_vec(),
        }
    }

    /// The Euclidean distance of two finished images.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f32 {
        let square = |(a, b): (f32, f32)| f64::from(a - b) * f64::from(a - b);
        self.finished(a).into_iter().zip(self.finished(b)).map(square).sum::<f64>().sqrt() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_as_far_apart_as_they_look_and_latents_as_they_are() {
        // 3-4-5 in tenths; what lies beyond black and white is not seen.
        let (a, b) = ([0.3, 0.0, 7.0], [0.0, -0.4, 1.0]);
        assert!((Space::Pixels.distance(&a, &b) - 0.5).abs() < 1e-7);
        assert_eq!(Space::Pixels.distance(&[-1.5, 2.0], &[-1.0, 1.0]), 0.0);
        // 0.09 + 0.16 + 36.
        assert!((Space::Latents.distance(&a, &b) - 36.25f32.sqrt()).abs() < 1e-6);
        assert_eq!(Space::Latents.finished(&[7.0f32]), [7.0]);
    }
}
