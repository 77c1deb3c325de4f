//! Forward-mode differentiation: a value with its derivatives along several directions.

use super::flow::{ConvLayer, Flow, NormLayer};
use burn::tensor::Tensor;
use pentimento_kernels::extension;
use std::ops::Range;

/// A value and its tangents. The tangents are one more batch axis, so that a layer handles all of them in one call.
#[derive(Clone, Debug)]
pub struct Dual {
    /// `[images, height, width, channels]`.
    pub primal: Tensor<4>,
    /// `[images * directions, height, width, channels]`, the directions of an image in a row. Absent means zero: the
    /// time embedding does not depend on the image.
    pub tangent: Option<Tensor<4>>,
}

impl Dual {
    /// Applies `primal` to the value and `linear` to the tangents.
    fn map(
        self,
        primal: impl FnOnce(Tensor<4>) -> Tensor<4>,
        linear: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Self {
        Self { primal: primal(self.primal), tangent: self.tangent.map(linear) }
    }

    /// Number of directions of each image.
    fn directions(&self) -> usize {
        let images = self.primal.dims()[0].max(1);
        self.tangent.as_ref().map_or(0, |tangent| tangent.dims()[0] / images)
    }
}

/// Repeats each image's values once per direction; a single embedding for all images stays one.
fn repeated(values: Tensor<4>, directions: usize, images: usize) -> Tensor<4> {
    let [count, height, width, channels] = values.dims();
    if count == 1 && images != 1 {
        return values;
    }
    values.reshape([count, 1, height, width * channels]).repeat_dim(1, directions).reshape([
        count * directions,
        height,
        width,
        channels,
    ])
}

impl Flow for Dual {
    fn constant(value: Tensor<4>) -> Self {
        Self { primal: value, tangent: None }
    }

    fn add(self, other: Self) -> Self {
        debug_assert!(self.tangent.is_none() && other.tangent.is_none(), "values that no image enters");
        Self { primal: self.primal + other.primal, tangent: None }
    }

    fn conv2d(self, layer: ConvLayer) -> Self {
        let geometry = layer.geometry;
        let weight = layer.weight.clone();
        self.map(|x| x.conv2d(layer), |dx| extension::conv2d_tangent(dx, weight, geometry))
    }

    fn conv2d_with_embedding(self, layer: ConvLayer, embedding: Self) -> Self {
        debug_assert!(embedding.tangent.is_none(), "the time embedding does not depend on the image");
        let (weight, geometry) = (layer.weight.clone(), layer.geometry);
        self.map(
            |x| x.conv2d_with_embedding(layer, embedding.primal),
            |dx| extension::conv2d_tangent(dx, weight, geometry),
        )
    }

    fn conv2d_with_residual(self, layer: ConvLayer, residual: Self) -> Self {
        let (weight, geometry) = (layer.weight.clone(), layer.geometry);
        let tangent = match (self.tangent, residual.tangent) {
            (Some(dx), Some(dr)) => Some(extension::conv2d_tangent_with_residual(dx, weight, dr, geometry)),
            // Both come from the image: they have tangents together or not at all.
            _ => None,
        };
        Self { primal: self.primal.conv2d_with_residual(layer, residual.primal), tangent }
    }

    fn group_norm(self, layer: NormLayer) -> Self {
        let tangent = self.tangent.map(|tangent| {
            let (scale, shift) = (layer.scale.clone(), layer.shift.clone());
            extension::group_norm_tangent(self.primal.clone(), scale, shift, tangent, layer.settings)
        });
        Self { primal: self.primal.group_norm(layer), tangent }
    }

    fn silu(self) -> Self {
        let tangent = self.tangent.map(|tangent| extension::silu_tangent(self.primal.clone(), tangent));
        Self { primal: Flow::silu(self.primal), tangent }
    }

    fn attention(self, keys: Self, values: Self, heads: usize) -> Self {
        let tangent = match (self.tangent, keys.tangent, values.tangent) {
            (Some(dq), Some(dk), Some(dv)) => {
                let point = [self.primal.clone(), keys.primal.clone(), values.primal.clone()];
                Some(extension::attention_tangent(point, [dq, dk, dv], heads))
            }
            // Queries, keys and values come from one image: they have tangents together or not at all.
            _ => None,
        };
        Self { primal: self.primal.attention(keys.primal, values.primal, heads), tangent }
    }

    fn upsample_nearest(self) -> Self {
        self.map(Flow::upsample_nearest, Flow::upsample_nearest)
    }

    fn average_pool(self) -> Self {
        self.map(Flow::average_pool, Flow::average_pool)
    }

    fn scale_shift(self, scale: Self, shift: Self) -> Self {
        debug_assert!(scale.tangent.is_none() && shift.tangent.is_none(), "as above");
        let (directions, images) = (self.directions(), self.primal.dims()[0]);
        let factor = scale.primal.clone() + 1.0;
        let tangent = self.tangent.map(|tangent| tangent * repeated(factor, directions, images));
        Self { primal: self.primal.scale_shift(scale.primal, shift.primal), tangent }
    }

    fn concatenate_channels(self, other: Self) -> Self {
        let tangent = match (self.tangent, other.tangent) {
            (Some(a), Some(b)) => Some(a.concatenate_channels(b)),
            // Both come from the image: they have tangents together or not at all.
            _ => None,
        };
        Self { primal: self.primal.concatenate_channels(other.primal), tangent }
    }

    fn channels(self, range: Range<usize>) -> Self {
        let same = range.clone();
        self.map(|x| x.channels(range), |dx| dx.channels(same))
    }

    fn affine(self, factor: f64, shift: f64) -> Self {
        self.map(|x| x.affine(factor, shift), |dx| dx * factor)
    }
}
