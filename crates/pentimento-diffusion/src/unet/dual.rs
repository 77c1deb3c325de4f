//! Forward-mode differentiation: a value with its derivatives along several directions.

use super::flow::{ConvLayer, Flow, LayerNormLayer, NormLayer};
use burn::tensor::Tensor;
use pentimento_kernels::extension;
use std::ops::Range;

/// A value and its tangents. The tangents are one more batch axis, so that a layer handles all of them in one call.
///
/// A value may have no tangents, which means that all of them are zero: the timestep does not move with the image. Every
/// operation takes any of its arguments so, and computes with zeros only where its kernel cannot do without.
#[derive(Clone, Debug)]
pub struct Dual {
    /// `[images, height, width, channels]`.
    primal: Tensor<4>,
    /// `[images * directions, height, width, channels]`, the directions of an image in a row. Not seen from outside, where
    /// an absent one could be taken for an empty one.
    tangent: Option<Tensor<4>>,
}

impl Dual {
    /// A value `[images, height, width, channels]` with tangents `[images * directions, height, width, channels]`, the
    /// directions of an image in a row. [`Flow::constant`] makes one without tangents.
    ///
    /// # Panics
    ///
    /// If the tangents have other sides, or are no whole number for each image.
    pub fn new(primal: Tensor<4>, tangent: Tensor<4>) -> Self {
        let ([images, sides @ ..], [tangents, tangent_sides @ ..]) = (primal.dims(), tangent.dims());
        assert_eq!(sides, tangent_sides, "sides of a tangent");
        assert!(tangents.is_multiple_of(images), "{tangents} tangents of {images} images");
        Self { primal, tangent: Some(tangent) }
    }

    /// The value and its tangents along so many directions: zeros if it has none.
    ///
    /// # Panics
    ///
    /// If it has tangents along another number of directions.
    pub fn into_parts(self, directions: usize) -> (Tensor<4>, Tensor<4>) {
        (self.primal.clone(), self.tangents(directions))
    }

    /// The tangents, with zeros written out.
    fn tangents(self, directions: usize) -> Tensor<4> {
        let [images, height, width, channels] = self.primal.dims();
        let zeros = || {
            let options = (&self.primal.device(), self.primal.dtype());
            Tensor::zeros([images * directions, height, width, channels], options)
        };
        let tangent = self.tangent.unwrap_or_else(zeros);
        assert_eq!(tangent.dims()[0], images * directions, "tangents of {images} images");
        tangent
    }

    fn images(&self) -> usize {
        self.primal.dims()[0]
    }

    /// Number of directions of each image, if there are tangents.
    fn directions(&self) -> Option<usize> {
        self.tangent.as_ref().map(|tangent| tangent.dims()[0] / self.images().max(1))
    }

    /// The tangents as they stand beside those of `images` images: one value for all images has the same ones for each.
    fn tangent_for_each(&self, images: usize) -> Option<Tensor<4>> {
        let tangent = self.tangent.clone()?;
        Some(if self.images() == images { tangent } else { tangent.repeat_dim(0, images) })
    }

    /// Applies `primal` to the value and `linear` to the tangents.
    fn map(
        self,
        primal: impl FnOnce(Tensor<4>) -> Tensor<4>,
        linear: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Self {
        Self { primal: primal(self.primal), tangent: self.tangent.map(linear) }
    }
}

/// Number of directions along which some of the values have tangents; none if no value has any.
///
/// # Panics
///
/// If two of them have tangents along different numbers of directions: they come from different passes.
fn common_directions<const N: usize>(values: [&Dual; N]) -> Option<usize> {
    let mut numbers = values.into_iter().filter_map(Dual::directions);
    let first = numbers.next()?;
    assert!(numbers.all(|number| number == first), "values with tangents along different directions");
    Some(first)
}

/// Repeats each image's values once per direction; a single value for all images stays one.
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

/// The sum of tangents of the same images along the same directions, for values `[images, height, width, channels]`. A
/// tangent of an embedding, `[.., 1, 1, channels]`, counts for every pixel.
fn sum_of<const N: usize>(
    tangents: [Option<Tensor<4>>; N],
    [_, height, width, channels]: [usize; 4],
) -> Option<Tensor<4>> {
    let sum = tangents.into_iter().flatten().reduce(|sum, tangent| sum + tangent)?;
    let count = sum.dims()[0];
    Some(sum.expand([count, height, width, channels]))
}

impl Flow for Dual {
    fn constant(value: Tensor<4>) -> Self {
        Self { primal: value, tangent: None }
    }

    fn sides(&self) -> [usize; 4] {
        self.primal.dims()
    }

    fn for_images(self, images: usize) -> Self {
        let tangent = self.tangent_for_each(images);
        Self { primal: self.primal.for_images(images), tangent }
    }

    fn add(self, other: Self) -> Self {
        common_directions([&self, &other]);
        let images = self.images().max(other.images());
        let tangents = [self.tangent_for_each(images), other.tangent_for_each(images)];
        let tangent = sum_of(tangents, self.primal.dims());
        Self { primal: self.primal + other.primal, tangent }
    }

    fn conv2d(self, layer: ConvLayer) -> Self {
        let geometry = layer.geometry;
        let weight = layer.weight.clone();
        self.map(|x| x.conv2d(layer), |dx| extension::conv2d_tangent(dx, weight, geometry))
    }

    fn conv2d_with_embedding(self, layer: ConvLayer, embedding: Self) -> Self {
        common_directions([&self, &embedding]);
        let (weight, geometry) = (layer.weight.clone(), layer.geometry);
        let of_embedding = embedding.tangent_for_each(self.images());
        let primal = self.primal.conv2d_with_embedding(layer, embedding.primal);
        let convolved = self.tangent.map(|dx| extension::conv2d_tangent(dx, weight, geometry));
        let tangent = sum_of([convolved, of_embedding], primal.dims());
        Self { primal, tangent }
    }

    fn conv2d_with_residual(self, layer: ConvLayer, residual: Self) -> Self {
        common_directions([&self, &residual]);
        let (weight, geometry) = (layer.weight.clone(), layer.geometry);
        let tangent = match (self.tangent, residual.tangent) {
            (Some(dx), Some(dr)) => Some(extension::conv2d_tangent_with_residual(dx, weight, dr, geometry)),
            (Some(dx), None) => Some(extension::conv2d_tangent(dx, weight, geometry)),
            (None, dr) => dr,
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

    fn layer_norm(self, layer: LayerNormLayer) -> Self {
        let tangent = self.tangent.map(|tangent| {
            let (input, scale) = (self.primal.clone(), layer.scale.clone());
            extension::layer_norm_tangent(input, scale, tangent, layer.epsilon)
        });
        Self { primal: self.primal.layer_norm(layer), tangent }
    }

    fn silu(self) -> Self {
        let tangent = self.tangent.map(|tangent| extension::silu_tangent(self.primal.clone(), tangent));
        Self { primal: Flow::silu(self.primal), tangent }
    }

    fn geglu(self) -> Self {
        let tangent = self.tangent.map(|tangent| extension::geglu_tangent(self.primal.clone(), tangent));
        Self { primal: self.primal.geglu(), tangent }
    }

    fn attention(self, keys: Self, values: Self, heads: usize) -> Self {
        let directions = common_directions([&self, &keys, &values]);
        let point = [&self, &keys, &values].map(|value| value.primal.clone());
        let [q, k, v] = point.clone();
        let tangent = match (&self.tangent, &keys.tangent, &values.tangent) {
            // A text stands still, and pixels see it.
            (Some(of_queries), None, None) => {
                Some(extension::attention_query_tangent(point, of_queries.clone(), heads))
            }
            // The kernel computes the three parts of the derivative in one pass over the weights.
            _ => directions.map(|directions| {
                let along = [self, keys, values].map(|value| value.tangents(directions));
                extension::attention_tangent(point, along, heads)
            }),
        };
        Self { primal: q.attention(k, v, heads), tangent }
    }

    fn upsample_nearest(self) -> Self {
        self.map(Flow::upsample_nearest, Flow::upsample_nearest)
    }

    fn cropped(self, height: usize, width: usize) -> Self {
        self.map(|x| x.cropped(height, width), |dx| dx.cropped(height, width))
    }

    fn average_pool(self) -> Self {
        self.map(Flow::average_pool, Flow::average_pool)
    }

    fn scale_shift(self, scale: Self, shift: Self) -> Self {
        let directions = common_directions([&self, &scale, &shift]).unwrap_or(0);
        let images = self.images();
        let factor = scale.primal.clone() + 1.0;
        let of_self = self.tangent.map(|dx| dx * repeated(factor, directions, images));
        let of_scale = scale.tangent_for_each(images);
        let of_scale = of_scale.map(|ds| repeated(self.primal.clone(), directions, images) * ds);
        let tangent = sum_of([of_self, of_scale, shift.tangent_for_each(images)], self.primal.dims());
        Self { primal: self.primal.scale_shift(scale.primal, shift.primal), tangent }
    }

    fn concatenate_channels(self, other: Self) -> Self {
        let directions = common_directions([&self, &other]);
        let (first, second) = (self.primal.clone(), other.primal.clone());
        let tangent = directions
            .map(|directions| self.tangents(directions).concatenate_channels(other.tangents(directions)));
        Self { primal: first.concatenate_channels(second), tangent }
    }

    fn channels(self, range: Range<usize>) -> Self {
        let same = range.clone();
        self.map(|x| x.channels(range), |dx| dx.channels(same))
    }

    fn affine(self, factor: f64, shift: f64) -> Self {
        self.map(|x| x.affine(factor, shift), |dx| dx * factor)
    }
}

#[cfg(test)]
mod tests;
