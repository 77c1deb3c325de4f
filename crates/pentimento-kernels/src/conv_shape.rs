//! The sizes of a convolution, and what it adds to its products.

use crate::ShapeError;
use crate::product::{DEEPEST_TAP, PADDING};

/// Kernel size, stride and zero padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Distance between the kernel's positions, in pixels.
    pub stride: usize,
    /// Rows and columns of zeros above and to the left.
    pub padding_before: usize,
    /// Rows and columns of zeros below and to the right.
    pub padding_after: usize,
}

impl ConvGeometry {
    /// A kernel of one pixel: the linear layer.
    pub const POINTWISE: Self = Self { kernel: 1, stride: 1, padding_before: 0, padding_after: 0 };
    /// A 3x3 kernel that keeps the image's size.
    pub const SAME_3X3: Self = Self { kernel: 3, stride: 1, padding_before: 1, padding_after: 1 };

    /// Height or width of the output for one of the input; `None` if the kernel does not fit once, or the padded side
    /// overflows.
    pub fn output_side(&self, side: usize) -> Option<usize> {
        let padded = side.checked_add(self.padding_before)?.checked_add(self.padding_after)?;
        let room = padded.checked_sub(self.kernel)?;
        (self.stride > 0 && self.kernel > 0).then(|| room / self.stride + 1)
    }
}

/// All sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Number of images.
    pub images: usize,
    /// Rows of the input, in pixels.
    pub height: usize,
    /// Columns of the input, in pixels.
    pub width: usize,
    /// Channels of the input.
    pub input_channels: usize,
    /// Channels of the output.
    pub output_channels: usize,
    /// Kernel, stride and padding.
    pub geometry: ConvGeometry,
    pub(crate) output_height: usize,
    pub(crate) output_width: usize,
}

impl ConvShape {
    /// Checks the sizes of an input `[images, height, width, channels]` against a geometry and a weight's channels.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if the kernel does not fit, a size is zero, or an image has 2^32 values or more.
    pub fn new(
        input: [usize; 4],
        output_channels: usize,
        geometry: ConvGeometry,
    ) -> Result<Self, ShapeError> {
        let [images, height, width, input_channels] = input;
        let bad = |what: &str| ShapeError(format!("conv2d of input {input:?} with {geometry:?}: {what}"));
        if input_channels == 0 || output_channels == 0 || height == 0 || width == 0 {
            return Err(bad("a size is zero"));
        }
        let output_height = geometry.output_side(height).ok_or_else(|| bad("the kernel does not fit"))?;
        let output_width = geometry.output_side(width).ok_or_else(|| bad("the kernel does not fit"))?;
        if input_channels.max(output_channels) > DEEPEST_TAP {
            return Err(bad(&format!("more than {DEEPEST_TAP} channels")));
        }
        let values = |[height, width, channels]: [usize; 3]| height.checked_mul(width)?.checked_mul(channels);
        for image in [[height, width, input_channels], [output_height, output_width, output_channels]] {
            if values(image).is_none_or(|values| values >= PADDING as usize) {
                return Err(bad("an image has 2^32 values or more"));
            }
        }
        let shape = Self {
            images,
            height,
            width,
            input_channels,
            output_channels,
            geometry,
            output_height,
            output_width,
        };
        Ok(shape.merged_rows())
    }

    /// Images of one pixel under a pointwise kernel are the rows of a single image, so that tiles hold many of them.
    fn merged_rows(self) -> Self {
        let one_pixel = self.height == 1 && self.width == 1 && self.geometry == ConvGeometry::POINTWISE;
        let values = self.images.checked_mul(self.input_channels.max(self.output_channels));
        let fits = values.is_some_and(|values| values < PADDING as usize);
        if one_pixel && fits && self.images > 0 {
            Self { images: 1, height: self.images, output_height: self.images, ..self }
        } else {
            self
        }
    }

    /// Number of output rows of one image.
    pub fn output_height(&self) -> usize {
        self.output_height
    }

    /// Number of output columns of one image.
    pub fn output_width(&self) -> usize {
        self.output_width
    }

    pub(crate) fn taps(&self) -> usize {
        self.geometry.kernel * self.geometry.kernel
    }

    pub(crate) fn input_image(&self) -> usize {
        self.height * self.width * self.input_channels
    }

    pub(crate) fn output_image(&self) -> usize {
        self.output_height * self.output_width * self.output_channels
    }

    pub(crate) fn weight_length(&self) -> usize {
        self.taps() * self.input_channels * self.output_channels
    }

    pub(crate) fn check(&self, input: usize, weight: usize, output: usize) {
        assert_eq!(input, self.images * self.input_image(), "length of a convolution's input");
        assert_eq!(weight, self.weight_length(), "length of a convolution's weight");
        assert_eq!(output, self.images * self.output_image(), "length of a convolution's output");
    }
}

/// What a convolution adds to its products, in the same pass over memory.
#[derive(Clone, Copy, Debug)]
pub struct ConvAddends<'a, T = f32> {
    /// `[output channels]`.
    pub bias: Option<&'a [T]>,
    /// `[images, output channels]`, or `[output channels]` for all images.
    pub embedding: Option<&'a [T]>,
    /// As the output.
    pub residual: Option<&'a [T]>,
}

impl<T> Default for ConvAddends<'_, T> {
    fn default() -> Self {
        Self { bias: None, embedding: None, residual: None }
    }
}

impl ConvAddends<'_> {
    /// Bias and embedding of each image, `[images or 1, output channels]`.
    pub(crate) fn per_channel(&self, channels: usize) -> Vec<f32> {
        let mut sum = self.embedding.map_or_else(|| vec![0.0; channels], <[f32]>::to_vec);
        for row in sum.chunks_exact_mut(channels) {
            for (total, value) in row.iter_mut().zip(self.bias.into_iter().flatten()) {
                *total += value;
            }
        }
        sum
    }
}

/// What a convolution adds, with the bias in the embeddings.
#[derive(Clone, Copy)]
pub(crate) struct Addends<'a> {
    /// `[images or 1, output channels]`.
    pub(crate) per_channel: &'a [f32],
    pub(crate) residual: Option<&'a [f32]>,
}

impl Addends<'_> {
    /// The values of one image.
    pub(crate) fn of_image(&self, image: usize, channels: usize) -> &[f32] {
        let first = if self.per_channel.len() == channels { 0 } else { image * channels };
        &self.per_channel[first..first + channels]
    }
}
