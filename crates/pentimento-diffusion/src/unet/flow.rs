//! What can flow through the network.

use super::layers::ParameterIndex;
use super::observer::Observer;
use burn::tensor::{Tensor, s};
use pentimento_kernels::ConvGeometry;
use pentimento_kernels::extension::{self, GroupNormSettings};
use std::ops::Range;

/// A convolution or linear layer (a convolution with a kernel of one pixel).
#[derive(Clone, Debug)]
pub struct ConvLayer {
    /// `[kernel, kernel, input channels, output channels]`.
    pub weight: Tensor<4>,
    /// `[output channels]`, if it has one.
    pub bias: Option<Tensor<1>>,
    /// Kernel, stride and padding.
    pub geometry: ConvGeometry,
    /// Place of the weight among all parameters.
    pub(super) at: ParameterIndex,
    /// Who wants to know what the layer sees.
    pub(super) observer: Option<Observer>,
}

/// A group normalisation.
#[derive(Clone, Debug)]
pub struct NormLayer {
    /// `[channels]`.
    pub scale: Tensor<1>,
    /// `[channels]`.
    pub shift: Tensor<1>,
    /// Groups, epsilon, and whether SiLU follows.
    pub settings: GroupNormSettings,
    /// Place of the scale among all parameters.
    pub(super) at: ParameterIndex,
    /// Who wants to know what the layer sees.
    pub(super) observer: Option<Observer>,
}

/// A layer normalisation.
#[derive(Clone, Debug)]
pub struct LayerNormLayer {
    /// `[channels]`.
    pub scale: Tensor<1>,
    /// `[channels]`.
    pub shift: Tensor<1>,
    /// Added to the variance.
    pub epsilon: f64,
    /// Place of the scale among all parameters.
    pub(super) at: ParameterIndex,
    /// Who wants to know what the layer sees.
    pub(super) observer: Option<Observer>,
}

/// A value that the network's layers act on, `[images, height, width, channels]`.
pub trait Flow: Clone {
    /// A value that does not come from the image, such as the time embedding.
    fn constant(value: Tensor<4>) -> Self;
    /// Images, height, width and channels.
    fn sides(&self) -> [usize; 4];
    /// One value for all images, of which there are so many, for each of them; a value of each image as it is.
    fn for_images(self, images: usize) -> Self;
    /// The sum of two such values, of each one per image or one for all.
    fn add(self, other: Self) -> Self;
    /// Convolution or linear layer.
    fn conv2d(self, layer: ConvLayer) -> Self;
    /// Convolution plus one value per image and channel.
    fn conv2d_with_embedding(self, layer: ConvLayer, embedding: Self) -> Self;
    /// Convolution plus what goes past it.
    fn conv2d_with_residual(self, layer: ConvLayer, residual: Self) -> Self;
    /// Group normalisation, with SiLU if the layer says so.
    fn group_norm(self, layer: NormLayer) -> Self;
    /// Layer normalisation of each pixel.
    fn layer_norm(self, layer: LayerNormLayer) -> Self;
    /// `z * sigmoid(z)`.
    fn silu(self) -> Self;
    /// The first half of the channels times GELU of the second half.
    fn geglu(self) -> Self;
    /// Attention over pixels, or over the tokens of a text; `self` are the queries.
    fn attention(self, keys: Self, values: Self, heads: usize) -> Self;
    /// Each pixel becomes a block of 2x2.
    fn upsample_nearest(self) -> Self;
    /// The first rows and columns.
    fn cropped(self, height: usize, width: usize) -> Self;
    /// Each block of 2x2 pixels becomes their mean; height and width are even.
    fn average_pool(self) -> Self;
    /// `self * (1 + scale) + shift`, with one scale and shift per image and channel.
    fn scale_shift(self, scale: Self, shift: Self) -> Self;
    /// The channels of `self`, then those of `other`.
    fn concatenate_channels(self, other: Self) -> Self;
    /// Some of the channels.
    fn channels(self, range: Range<usize>) -> Self;
    /// `factor * self + shift`.
    fn affine(self, factor: f64, shift: f64) -> Self;
}

impl Flow for Tensor<4> {
    fn constant(value: Tensor<4>) -> Self {
        value
    }
    fn sides(&self) -> [usize; 4] {
        self.dims()
    }
    fn for_images(self, images: usize) -> Self {
        let [values, ..] = self.dims();
        if values == images { self } else { self.repeat_dim(0, images) }
    }
    fn add(self, other: Self) -> Self {
        self + other
    }
    fn conv2d(self, layer: ConvLayer) -> Self {
        extension::conv2d(self, layer.weight, layer.bias, layer.geometry)
    }
    fn conv2d_with_embedding(self, layer: ConvLayer, embedding: Self) -> Self {
        extension::conv2d_with_embedding(self, layer.weight, layer.bias, embedding, layer.geometry)
    }
    fn conv2d_with_residual(self, layer: ConvLayer, residual: Self) -> Self {
        extension::conv2d_with_residual(self, layer.weight, layer.bias, residual, layer.geometry)
    }
    fn group_norm(self, layer: NormLayer) -> Self {
        extension::group_norm(self, layer.scale, layer.shift, layer.settings)
    }
    fn layer_norm(self, layer: LayerNormLayer) -> Self {
        extension::layer_norm(self, layer.scale, layer.shift, layer.epsilon)
    }
    fn silu(self) -> Self {
        extension::silu(self)
    }
    fn geglu(self) -> Self {
        extension::geglu(self)
    }
    fn attention(self, keys: Self, values: Self, heads: usize) -> Self {
        extension::attention(self, keys, values, heads)
    }
    fn upsample_nearest(self) -> Self {
        extension::upsample_nearest(self)
    }
    fn cropped(self, height: usize, width: usize) -> Self {
        self.slice(s![.., 0..height, 0..width, ..])
    }
    fn average_pool(self) -> Self {
        let [images, height, width, channels] = self.dims();
        // Few networks resample so; as it stands it is a small part of their time.
        self.reshape([images * height / 2, 2, width / 2, 2, channels]).mean_dim(1).mean_dim(3).reshape([
            images,
            height / 2,
            width / 2,
            channels,
        ])
    }
    fn scale_shift(self, scale: Self, shift: Self) -> Self {
        self * (scale + 1.0) + shift
    }
    fn concatenate_channels(self, other: Self) -> Self {
        extension::concatenate_channels(self, other)
    }
    fn channels(self, range: Range<usize>) -> Self {
        self.slice(s![.., .., .., range])
    }
    fn affine(self, factor: f64, shift: f64) -> Self {
        self * factor + shift
    }
}
