//! The layers of a network, each with the places of its parameters.

use pentimento_kernels::ConvGeometry;

/// Place of a parameter among all of the network, adapters apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParameterIndex(pub(crate) usize);

/// A convolution, or a linear layer, which is one with a kernel of one pixel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    /// Of the weight.
    pub(crate) at: ParameterIndex,
    pub(crate) bias: Option<ParameterIndex>,
    pub(crate) geometry: ConvGeometry,
    /// What an adapter has beside it.
    pub(crate) low_rank: Option<LowRank>,
}

/// The part of an adapter beside a layer. Its places are those among the parameters that are trained; the layer's own places
/// are then those among the frozen ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LowRank {
    /// Of A, with the geometry of the layer.
    pub(crate) down: ParameterIndex,
    /// Of B, with a kernel of one pixel.
    pub(crate) up: ParameterIndex,
    pub(crate) scale: f64,
}

/// A group normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// Of the scale; the shift follows it.
    pub(crate) at: ParameterIndex,
    pub(crate) groups: usize,
    pub(crate) epsilon: f64,
}

/// A layer normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNorm {
    /// Of the scale; the shift follows it.
    pub(crate) at: ParameterIndex,
    pub(crate) epsilon: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Resnet {
    pub(crate) norm1: Norm,
    pub(crate) conv1: Conv,
    pub(crate) time_projection: Conv,
    pub(crate) norm2: Norm,
    pub(crate) conv2: Conv,
    pub(crate) shortcut: Option<Conv>,
    pub(crate) resampling: Option<Resampling>,
    pub(crate) output_channels: usize,
    pub(crate) output_scale: f64,
}

/// A change of size without parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resampling {
    /// Blocks of 2x2 pixels become their mean.
    Halve,
    /// Each pixel becomes a block of 2x2.
    Double,
}

/// How a level changes the size of its images at its end.
#[derive(Clone, Debug)]
pub(crate) enum Resize {
    /// A convolution of stride 2, or one after each pixel became four.
    Conv(Conv),
    /// A residual block that resamples within.
    Resnet(Box<Resnet>),
}

/// How the class of an image enters the time embedding.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClassEmbedding {
    /// A row of a table.
    Table(ParameterIndex),
    /// As a timestep.
    AsTimestep([Conv; 2]),
}

/// What an attention asks with, what is asked, and what becomes of the answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) query: Conv,
    pub(crate) key: Conv,
    pub(crate) value: Conv,
    pub(crate) output: Conv,
    pub(crate) heads: usize,
}

/// The pixels of an image attend over each other.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) norm: Option<Norm>,
    pub(crate) heads: Heads,
    pub(crate) output_scale: f64,
}

/// The pixels of an image attend over each other and over a text, block after block.
#[derive(Clone, Debug)]
pub(crate) struct Transformer {
    pub(crate) norm: Norm,
    pub(crate) project_in: Conv,
    pub(crate) blocks: Vec<TransformerBlock>,
    pub(crate) project_out: Conv,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TransformerBlock {
    pub(crate) before_pixels: LayerNorm,
    pub(crate) over_pixels: Heads,
    pub(crate) before_text: LayerNorm,
    pub(crate) over_text: Heads,
    pub(crate) before_feed: LayerNorm,
    /// To values and gates.
    pub(crate) feed_in: Conv,
    pub(crate) feed_out: Conv,
}

/// What lets the pixels of an image see each other behind a residual block.
#[derive(Clone, Debug)]
pub(crate) enum Mixer {
    Pixels(Attention),
    Transformer(Transformer),
}

/// Residual blocks with what mixes their pixels, then a change of size.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) blocks: Vec<(Resnet, Option<Mixer>)>,
    pub(crate) resize: Option<Resize>,
}

/// The blocks between the two ways, on the smallest images.
#[derive(Clone, Debug)]
pub(crate) struct Middle {
    pub(crate) before: Resnet,
    pub(crate) mixer: Option<Mixer>,
    pub(crate) after: Resnet,
}
