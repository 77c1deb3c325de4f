//! The layers of a configured network and the names of their parameters.

use super::builder::Builder;
use super::config::UnetConfig;
use super::layers::{ClassEmbedding, Conv, Level, Middle, Norm, ParameterIndex, Resampling, Resize};
use super::parameter_spec::{ParameterSpec, Start};
use crate::DiffusionError;
use pentimento_kernels::ConvGeometry;

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

        // Attentions of blocks always have a norm.
        let groups = Some(config.norm_num_groups);
        let mut down = Vec::new();
        let mut skips = vec![first];
        let mut channels = first;
        for (level, &width) in widths.iter().enumerate() {
            let prefix = format!("down_blocks.{level}");
            let mixes = config.attention(level).down;
            let mut blocks = Vec::new();
            for layer in 0..config.layers_per_block {
                let resnet = build.resnet(&format!("{prefix}.resnets.{layer}"), channels, width, 1.0, None);
                let mixer = mixes.then(|| build.mixer(&prefix, layer, level, 1.0, groups));
                blocks.push((resnet, mixer));
                channels = width;
                skips.push(width);
            }
            let resize = (level + 1 < widths.len()).then(|| {
                skips.push(width);
                let name = format!("{prefix}.downsamplers.0");
                // Blocks without attention take no notice of the kind of resampling, in diffusers too.
                if mixes && config.downsample_type == "resnet" {
                    return Resize::Resnet(Box::new(build.resnet(
                        &name,
                        width,
                        width,
                        1.0,
                        Some(Resampling::Halve),
                    )));
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
        let deepest = widths.len() - 1;
        let mixer = config
            .attention(deepest)
            .middle
            .then(|| build.mixer("mid_block", 0, deepest, scale, config.attn_norm_num_groups.or(shared)));
        let after = build.resnet("mid_block.resnets.1", channels, channels, scale, None);
        let middle = Middle { before, mixer, after };

        let mut up = Vec::new();
        for (place, (level, &width)) in widths.iter().enumerate().rev().enumerate() {
            let prefix = format!("up_blocks.{place}");
            let mixes = config.attention(level).up;
            let mut blocks = Vec::new();
            for layer in 0..=config.layers_per_block {
                let skip = skips.pop().unwrap_or(first);
                let resnet =
                    build.resnet(&format!("{prefix}.resnets.{layer}"), channels + skip, width, 1.0, None);
                let mixer = mixes.then(|| build.mixer(&prefix, layer, level, 1.0, groups));
                blocks.push((resnet, mixer));
                channels = width;
            }
            let resize = (level > 0).then(|| {
                let name = format!("{prefix}.upsamplers.0");
                if mixes && config.upsample_type == "resnet" {
                    return Resize::Resnet(Box::new(build.resnet(
                        &name,
                        width,
                        width,
                        1.0,
                        Some(Resampling::Double),
                    )));
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
