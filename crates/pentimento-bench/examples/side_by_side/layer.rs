//! One layer of a transformer: its output, and the gradients that a backward pass through it leaves.

use crate::side::write;
use anyhow::{Context as _, Result};
use pentimento_bench::network::SEED;
use pentimento_diffusion::arrays::ArrayWriter;
use pentimento_kernels::{
    AttentionShape, ConvGeometry, ConvShape, LayerNormShape, attention, attention_backward, conv2d,
    conv2d_backward_input, layer_norm, layer_norm_backward,
};
use pentimento_noise::{Purpose, Stream};
use serde::Deserialize;
use std::path::Path;

/// Which layer, and of what size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerKind {
    /// A linear layer with bias on each token; its weight stands still.
    Linear {
        /// Images.
        images: usize,
        /// Tokens of each.
        tokens: usize,
        /// Channels that go in.
        input: usize,
        /// Channels that come out.
        output: usize,
    },
    /// A normalisation of each token.
    LayerNorm {
        /// Tokens of all images.
        tokens: usize,
        /// Channels of each.
        channels: usize,
    },
    /// An attention, given queries, keys and values.
    Attention {
        /// Images.
        images: usize,
        /// Tokens of an image that ask.
        queries: usize,
        /// Tokens that are asked.
        keys: usize,
        /// Heads.
        heads: usize,
        /// Channels over all heads.
        channels: usize,
    },
}

/// What a layer is given: its name, its shape, and the deviation of its values.
type Part = (&'static str, Vec<usize>, f32);

/// A layer with its inputs and room for what it gives.
pub struct Layer {
    kind: LayerKind,
    /// The inputs, then what the layer itself has; each with its name and shape.
    given: Vec<(&'static str, Vec<usize>, Vec<f32>)>,
    output: Vec<f32>,
    /// The gradient of the output.
    upstream: Vec<f32>,
    /// Gradients of what is given, in its order, as far as they are computed.
    gradients: Vec<Vec<f32>>,
}

impl Layer {
    /// A layer whose inputs are normal.
    pub fn new(kind: LayerKind) -> Result<Self> {
        let normals = |id: u32, shape: &[usize], scale: f32| {
            let mut values = vec![0.0; shape.iter().product()];
            Stream::new(SEED, Purpose::Test, id, 2).fill_normal(&mut values);
            values.iter_mut().for_each(|value| *value *= scale);
            values
        };
        let (parts, output): (Vec<Part>, usize) = match kind {
            LayerKind::Linear { images, tokens, input, output } => {
                let scale = 1.0 / (input as f32).sqrt();
                let given = vec![
                    ("input", vec![images, tokens, input], 1.0),
                    ("weight", vec![input, output], scale),
                    ("bias", vec![output], 1.0),
                ];
                (given, images * tokens * output)
            }
            LayerKind::LayerNorm { tokens, channels } => {
                let given = vec![
                    ("input", vec![tokens, channels], 1.0),
                    ("scale", vec![channels], 1.0),
                    ("shift", vec![channels], 1.0),
                ];
                (given, tokens * channels)
            }
            LayerKind::Attention { images, queries, keys, channels, .. } => {
                let asked = vec![images, keys, channels];
                let given = vec![
                    ("queries", vec![images, queries, channels], 1.0),
                    ("keys", asked.clone(), 1.0),
                    ("values", asked, 1.0),
                ];
                (given, images * queries * channels)
            }
        };
        let given: Vec<_> = (0..)
            .zip(parts)
            .map(|(id, (name, shape, scale))| {
                let values = normals(id, &shape, scale);
                (name, shape, values)
            })
            .collect();
        let gradients = given.iter().map(|(_, _, values)| vec![0.0; values.len()]).collect();
        let upstream = normals(9, &[output], 1.0);
        let mut layer = Self { kind, given, output: vec![0.0; output], upstream, gradients };
        layer.run(true)?;
        Ok(layer)
    }

    /// The output, and if asked the gradients.
    pub fn run(&mut self, backward: bool) -> Result<()> {
        let Self { kind, given, output, upstream, gradients } = self;
        let [first, second, third] = given.as_slice() else { return Ok(()) };
        let [of_first, of_second, of_third] = gradients.as_mut_slice() else { return Ok(()) };
        let (first, second, third) = (&first.2, &second.2, &third.2);
        match *kind {
            LayerKind::Linear { images, tokens, input, output: outputs } => {
                let shape = ConvShape::new([images, 1, tokens, input], outputs, ConvGeometry::POINTWISE)?;
                conv2d(&shape, first, second, Some(third), output);
                if backward {
                    conv2d_backward_input(&shape, upstream, second, of_first);
                }
            }
            LayerKind::LayerNorm { tokens, channels } => {
                let shape = LayerNormShape { tokens, channels, epsilon: 1e-5 }.checked()?;
                layer_norm(&shape, first, second, third, output);
                if backward {
                    layer_norm_backward(&shape, first, second, upstream, of_first, of_second, of_third);
                }
            }
            LayerKind::Attention { images, queries, keys, heads, channels } => {
                let shape = AttentionShape { images, queries, keys, channels, heads }.checked()?;
                attention(&shape, first, second, third, output);
                if backward {
                    attention_backward(&shape, first, second, third, upstream, of_first, of_second, of_third);
                }
            }
        }
        Ok(())
    }

    /// Writes all of it: what is given by its names, `output`, `upstream`, and gradients as `of_` and a name.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut arrays = ArrayWriter::default();
        for ((name, shape, values), gradient) in self.given.iter().zip(&self.gradients) {
            arrays.put_f32(name, shape, values);
            arrays.put_f32(&format!("of_{name}"), shape, gradient);
        }
        let mut shape = self.given.first().context("a layer has inputs")?.1.clone();
        if let LayerKind::Linear { output, .. } = self.kind {
            shape[2] = output;
        }
        arrays.put_f32("output", &shape, &self.output);
        arrays.put_f32("upstream", &shape, &self.upstream);
        write(file, &arrays.to_bytes("side by side", None)?)
    }
}
