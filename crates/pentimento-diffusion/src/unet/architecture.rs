//! The layers of a configured network and the names of their parameters.

use super::config::UnetConfig;
use crate::DiffusionError;
use pentimento_kernels::ConvGeometry;

/// What a parameter is, which decides its layout on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// `[kernel, kernel, input, output]` in memory, `[output, input, kernel, kernel]` on disk.
    Convolution,
    /// `[1, 1, input, output]` in memory, `[output, input]` on disk.
    Linear,
    /// `[channels]` in both.
    Vector,
    /// `[1, 1, classes, channels]` in memory, `[classes, channels]` on disk.
    Embedding,
}

/// Name and size of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The name in diffusers.
    pub name: String,
    /// What its values are, and so how they are laid out.
    pub kind: ParameterKind,
    /// Sizes on disk, as diffusers has them.
    pub disk_shape: Vec<usize>,
    /// How a fresh network starts.
    pub(crate) start: Start,
}

impl ParameterSpec {
    /// A parameter of another network than this crate's U-Net.
    pub fn new(name: String, kind: ParameterKind, disk_shape: Vec<usize>) -> Self {
        Self { name, kind, disk_shape, start: Start::Uniform }
    }

    /// Number of its values.
    pub fn len(&self) -> usize {
        self.disk_shape.iter().product()
    }

    /// Whether the parameter has no value; never for a validated configuration.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sizes in memory.
    pub fn memory_shape(&self) -> Vec<usize> {
        match (self.kind, self.disk_shape.as_slice()) {
            (ParameterKind::Convolution, &[output, input, height, width]) => {
                vec![height, width, input, output]
            }
            (ParameterKind::Linear, &[output, input]) => vec![1, 1, input, output],
            (ParameterKind::Embedding, &[classes, channels]) => vec![1, 1, classes, channels],
            (_, shape) => shape.to_vec(),
        }
    }
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Uniform within `1 / sqrt(inputs of an output)`.
    Uniform,
    Zero,
    One,
}

/// Index of a layer's first parameter; the second (bias or shift) follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParameterIndex(pub(crate) usize);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    pub(crate) at: ParameterIndex,
    pub(crate) geometry: ConvGeometry,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub(crate) at: ParameterIndex,
    pub(crate) groups: usize,
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
    Resnet(Resnet),
}

/// How the class of an image enters the time embedding.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClassEmbedding {
    /// A row of a table.
    Table(ParameterIndex),
    /// As a timestep.
    AsTimestep([Conv; 2]),
}

#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) norm: Option<Norm>,
    pub(crate) query: Conv,
    pub(crate) key: Conv,
    pub(crate) value: Conv,
    pub(crate) output: Conv,
    pub(crate) heads: usize,
    pub(crate) output_scale: f64,
}

/// Residual blocks with their attentions, then a change of size.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) blocks: Vec<(Resnet, Option<Attention>)>,
    pub(crate) resize: Option<Resize>,
}

/// The blocks between the two ways, on the smallest images.
#[derive(Clone, Debug)]
pub(crate) struct Middle {
    pub(crate) before: Resnet,
    pub(crate) attention: Option<Attention>,
    pub(crate) after: Resnet,
}

/// A network without its values.
#[derive(Clone, Debug)]
pub struct Architecture {
    config: UnetConfig,
    parameters: Vec<ParameterSpec>,
    pub(crate) conv_in: Conv,
    pub(crate) time_embedding: [Conv; 2],
    pub(crate) class_embedding: Option<ClassEmbedding>,
    pub(crate) down: Vec<Level>,
    pub(crate) middle: Middle,
    pub(crate) up: Vec<Level>,
    pub(crate) norm_out: Norm,
    pub(crate) conv_out: Conv,
}

impl Architecture {
    /// Lays out the network of a configuration.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for values that are not supported or do not fit together.
    pub fn new(config: &UnetConfig) -> Result<Self, DiffusionError> {
        config.validate("model")?;
        let mut build = Builder { config, parameters: Vec::new() };
        let widths = &config.block_out_channels;
        let first = widths[0];
        let embedding = config.time_embedding_width();
        let conv_in =
            build.conv("conv_in", config.in_channels, first, ConvGeometry::SAME_3X3, Start::Uniform);
        let time_embedding = [
            build.linear("time_embedding.linear_1", first, embedding, Start::Uniform),
            build.linear("time_embedding.linear_2", embedding, embedding, Start::Uniform),
        ];
        let class_embedding = match (config.class_embed_type.as_deref(), config.num_class_embeds) {
            (Some("timestep"), _) => Some(ClassEmbedding::AsTimestep([
                build.linear("class_embedding.linear_1", first, embedding, Start::Uniform),
                build.linear("class_embedding.linear_2", embedding, embedding, Start::Uniform),
            ])),
            (None, Some(classes)) => {
                Some(ClassEmbedding::Table(build.table("class_embedding", classes, embedding)))
            }
            _ => None,
        };

        let mut down = Vec::new();
        let mut skips = vec![first];
        let mut channels = first;
        for (level, &width) in widths.iter().enumerate() {
            let prefix = format!("down_blocks.{level}");
            let with_attention = config.attention(level).down;
            let mut blocks = Vec::new();
            for layer in 0..config.layers_per_block {
                let resnet = build.resnet(&format!("{prefix}.resnets.{layer}"), channels, width, 1.0, None);
                let attention = with_attention
                    .then(|| build.block_attention(&prefix, layer, width, config.norm_num_groups));
                blocks.push((resnet, attention));
                channels = width;
                skips.push(width);
            }
            let resize = (level + 1 < widths.len()).then(|| {
                skips.push(width);
                let name = format!("{prefix}.downsamplers.0");
                // Blocks without attention take no notice of the kind of resampling, in diffusers too.
                if with_attention && config.downsample_type == "resnet" {
                    return Resize::Resnet(build.resnet(&name, width, width, 1.0, Some(Resampling::Halve)));
                }
                let before = config.downsample_padding;
                let geometry =
                    ConvGeometry { kernel: 3, stride: 2, padding_before: before, padding_after: 1 };
                Resize::Conv(build.conv(&format!("{name}.conv"), width, width, geometry, Start::Uniform))
            });
            down.push(Level { blocks, resize });
        }

        let scale = config.mid_block_scale_factor;
        let before = build.resnet("mid_block.resnets.0", channels, channels, scale, None);
        // As diffusers builds it: with scale_shift and no groups of its own, the middle attention has no norm.
        let shared = (!config.scale_shift()).then_some(config.norm_num_groups);
        let groups = config.attn_norm_num_groups.or(shared);
        let attention = config
            .attention(widths.len() - 1)
            .middle
            .then(|| build.attention("mid_block.attentions.0", channels, scale, groups));
        let after = build.resnet("mid_block.resnets.1", channels, channels, scale, None);
        let middle = Middle { before, attention, after };

        let mut up = Vec::new();
        for (level, &width) in widths.iter().rev().enumerate() {
            let prefix = format!("up_blocks.{level}");
            let with_attention = config.attention(widths.len() - 1 - level).up;
            let mut blocks = Vec::new();
            for layer in 0..=config.layers_per_block {
                let skip = skips.pop().unwrap_or(first);
                let resnet =
                    build.resnet(&format!("{prefix}.resnets.{layer}"), channels + skip, width, 1.0, None);
                let attention = with_attention
                    .then(|| build.block_attention(&prefix, layer, width, config.norm_num_groups));
                blocks.push((resnet, attention));
                channels = width;
            }
            let resize = (level + 1 < widths.len()).then(|| {
                let name = format!("{prefix}.upsamplers.0");
                if with_attention && config.upsample_type == "resnet" {
                    return Resize::Resnet(build.resnet(&name, width, width, 1.0, Some(Resampling::Double)));
                }
                let name = format!("{name}.conv");
                Resize::Conv(build.conv(&name, width, width, ConvGeometry::SAME_3X3, Start::Uniform))
            });
            up.push(Level { blocks, resize });
        }
        let norm_out = build.norm("conv_norm_out", channels, config.norm_num_groups);
        let conv_out =
            build.conv("conv_out", channels, config.out_channels, ConvGeometry::SAME_3X3, Start::Zero);
        let parameters = build.parameters;
        Ok(Self {
            config: config.clone(),
            parameters,
            conv_in,
            time_embedding,
            class_embedding,
            down,
            middle,
            up,
            norm_out,
            conv_out,
        })
    }

    /// Place of the table of classes, if there is one.
    pub(super) fn class_table(&self) -> Option<ParameterIndex> {
        match self.class_embedding {
            Some(ClassEmbedding::Table(at)) => Some(at),
            _ => None,
        }
    }

    /// The configuration that it was laid out from.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// Every parameter, in a fixed order.
    pub fn parameters(&self) -> &[ParameterSpec] {
        &self.parameters
    }

    /// Number of values over all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(ParameterSpec::len).sum()
    }
}

struct Builder<'a> {
    config: &'a UnetConfig,
    parameters: Vec<ParameterSpec>,
}

impl Builder<'_> {
    fn pair(
        &mut self,
        name: &str,
        kind: ParameterKind,
        shape: Vec<usize>,
        outputs: usize,
        start: Start,
    ) -> ParameterIndex {
        let at = ParameterIndex(self.parameters.len());
        let vector_start = Start::Zero;
        self.parameters.push(ParameterSpec {
            name: format!("{name}.weight"),
            kind,
            disk_shape: shape,
            start,
        });
        self.parameters.push(ParameterSpec {
            name: format!("{name}.bias"),
            kind: ParameterKind::Vector,
            disk_shape: vec![outputs],
            start: vector_start,
        });
        at
    }

    fn conv(
        &mut self,
        name: &str,
        input: usize,
        output: usize,
        geometry: ConvGeometry,
        start: Start,
    ) -> Conv {
        let shape = vec![output, input, geometry.kernel, geometry.kernel];
        Conv { at: self.pair(name, ParameterKind::Convolution, shape, output, start), geometry }
    }

    fn linear(&mut self, name: &str, input: usize, output: usize, start: Start) -> Conv {
        let at = self.pair(name, ParameterKind::Linear, vec![output, input], output, start);
        Conv { at, geometry: ConvGeometry::POINTWISE }
    }

    fn table(&mut self, name: &str, rows: usize, channels: usize) -> ParameterIndex {
        let at = ParameterIndex(self.parameters.len());
        self.parameters.push(ParameterSpec {
            name: format!("{name}.weight"),
            kind: ParameterKind::Embedding,
            disk_shape: vec![rows, channels],
            start: Start::Uniform,
        });
        at
    }

    fn norm(&mut self, name: &str, channels: usize, groups: usize) -> Norm {
        let at = self.pair(name, ParameterKind::Vector, vec![channels], channels, Start::One);
        Norm { at, groups, epsilon: self.config.norm_eps }
    }

    /// The second convolution starts at zero, so that a fresh block passes its input on unchanged.
    fn resnet(
        &mut self,
        name: &str,
        input: usize,
        output: usize,
        output_scale: f64,
        resampling: Option<Resampling>,
    ) -> Resnet {
        let config = self.config;
        let embedding = config.time_embedding_width();
        let projected = if config.scale_shift() { 2 * output } else { output };
        Resnet {
            norm1: self.norm(&format!("{name}.norm1"), input, config.norm_num_groups),
            conv1: self.conv(&format!("{name}.conv1"), input, output, ConvGeometry::SAME_3X3, Start::Uniform),
            time_projection: self.linear(
                &format!("{name}.time_emb_proj"),
                embedding,
                projected,
                Start::Uniform,
            ),
            norm2: self.norm(&format!("{name}.norm2"), output, config.norm_num_groups),
            conv2: self.conv(&format!("{name}.conv2"), output, output, ConvGeometry::SAME_3X3, Start::Zero),
            shortcut: (input != output).then(|| {
                let name = format!("{name}.conv_shortcut");
                self.conv(&name, input, output, ConvGeometry::POINTWISE, Start::Uniform)
            }),
            resampling,
            output_channels: output,
            output_scale,
        }
    }

    /// The attention of a layer of a block, which always has a norm.
    fn block_attention(&mut self, block: &str, layer: usize, channels: usize, groups: usize) -> Attention {
        self.attention(&format!("{block}.attentions.{layer}"), channels, 1.0, Some(groups))
    }

    /// The norm before it has so many groups, or there is none.
    fn attention(
        &mut self,
        name: &str,
        channels: usize,
        output_scale: f64,
        norm_groups: Option<usize>,
    ) -> Attention {
        Attention {
            norm: norm_groups.map(|groups| self.norm(&format!("{name}.group_norm"), channels, groups)),
            query: self.linear(&format!("{name}.to_q"), channels, channels, Start::Uniform),
            key: self.linear(&format!("{name}.to_k"), channels, channels, Start::Uniform),
            value: self.linear(&format!("{name}.to_v"), channels, channels, Start::Uniform),
            output: self.linear(&format!("{name}.to_out.0"), channels, channels, Start::Zero),
            heads: channels / self.config.attention_head_dim.unwrap_or(channels),
            output_scale,
        }
    }
}
