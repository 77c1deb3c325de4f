//! The parts of a network whose curvature is held by itself.

use pentimento_diffusion::unet::{Architecture, ParameterKind};

/// What a block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// The weight of a convolution or linear layer, or a table of classes.
    Weight,
    /// The bias of a convolution or linear layer.
    Bias,
    /// Scale and shift of a normalisation.
    Norm,
}

/// A matrix of parameters, `[inputs, outputs]`, that lie in a row in the gradient. Biases and norms are matrices of one
/// row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The layer's name and what of it this is, such as `conv_in.weight`.
    pub name: String,
    /// What it is.
    pub kind: BlockKind,
    /// Place of the layer's first parameter in the architecture, as records of layers have it.
    pub layer: usize,
    /// Position of its first value in a gradient.
    pub first: usize,
    /// Rows: values that go into the layer at one position. Of a convolution, channel after channel for each pixel of
    /// the kernel.
    pub inputs: usize,
    /// Columns: values that come out.
    pub outputs: usize,
}

impl Block {
    /// Whether it makes the keys of an attention, itself or as a part of an adapter.
    pub(super) fn is_of_keys(&self) -> bool {
        let layer = self.name.trim_end_matches(".weight");
        ["", ".lora_A", ".lora_B"]
            .iter()
            .any(|part| layer.strip_suffix(part).is_some_and(|layer| layer.ends_with(".to_k")))
    }

    /// Whether it has a factor of what goes in; a block of one row has none.
    pub(super) fn has_inputs(&self) -> bool {
        self.kind == BlockKind::Weight
    }

    /// Number of parameters.
    pub fn count(&self) -> usize {
        self.inputs * self.outputs
    }
}

/// All blocks of a network. Every parameter is in exactly one.
pub fn blocks(architecture: &Architecture) -> Vec<Block> {
    let parameters = architecture.parameters();
    let mut blocks = Vec::new();
    let (mut place, mut first) = (0, 0);
    let mut add = |name: &str, kind, layer, count: usize, outputs: usize| {
        let inputs = count / outputs.max(1);
        blocks.push(Block { name: name.into(), kind, layer, first, inputs, outputs });
        first += count;
    };
    while let Some(spec) = parameters.get(place) {
        let outputs = spec.memory_shape().last().copied().unwrap_or_default();
        // A layer's bias, or a norm's shift, if it has one, is the next parameter.
        match (spec.kind, parameters.get(place + 1).filter(|next| next.is_added_by(spec))) {
            (ParameterKind::Convolution | ParameterKind::Linear, Some(bias)) => {
                add(&spec.name, BlockKind::Weight, place, spec.len(), outputs);
                add(&bias.name, BlockKind::Bias, place, bias.len(), bias.len());
                place += 2;
            }
            (ParameterKind::Vector, Some(shift)) => {
                let name = spec.name.trim_end_matches(".weight");
                let count = spec.len() + shift.len();
                add(name, BlockKind::Norm, place, count, count);
                place += 2;
            }
            _ => {
                add(&spec.name, BlockKind::Weight, place, spec.len(), outputs);
                place += 1;
            }
        }
    }
    blocks
}
