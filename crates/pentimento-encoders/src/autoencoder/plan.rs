//! The layers of an autoencoder and the names of their parameters.

use super::config::{AutoencoderClass, AutoencoderConfig};
use pentimento_diffusion::unet::{ParameterKind, ParameterSpec};
use pentimento_kernels::ConvGeometry;

/// A convolution or linear layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    /// Place of the weight among all parameters; the bias follows it.
    pub(super) at: usize,
    pub(super) geometry: ConvGeometry,
}

/// A group norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    /// Place of the scale among all parameters; the shift follows it.
    pub(super) at: usize,
}

/// A residual block without time embedding.
#[derive(Clone, Debug)]
pub(super) struct Resnet {
    pub(super) norm1: Norm,
    pub(super) conv1: Conv,
    pub(super) norm2: Norm,
    pub(super) conv2: Conv,
    pub(super) shortcut: Option<Conv>,
}

/// Attention with one head, as wide as the block.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    pub(super) norm: Norm,
    pub(super) query: Conv,
    pub(super) key: Conv,
    pub(super) value: Conv,
    pub(super) output: Conv,
}

/// Residual blocks, then a change of size.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) resnets: Vec<Resnet>,
    pub(super) resize: Option<Conv>,
}

/// The blocks on the smallest images.
#[derive(Clone, Debug)]
pub(super) struct Middle {
    pub(super) before: Resnet,
    pub(super) attention: Option<Attention>,
    pub(super) after: Resnet,
}

/// Encoder or decoder. An encoder has its middle after the levels, a decoder before them.
#[derive(Clone, Debug)]
pub(super) struct Coder {
    pub(super) conv_in: Conv,
    pub(super) levels: Vec<Level>,
    pub(super) middle: Middle,
    pub(super) norm_out: Norm,
    pub(super) conv_out: Conv,
}

/// An autoencoder without its values.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) parameters: Vec<ParameterSpec>,
    pub(super) groups: usize,
    pub(super) encoder: Coder,
    pub(super) quant_conv: Option<Conv>,
    pub(super) post_quant_conv: Option<Conv>,
    pub(super) decoder: Coder,
    /// Place of the table of codes.
    pub(super) codebook: Option<usize>,
}

impl Plan {
    /// Lays out the autoencoder of a validated configuration.
    pub(super) fn new(config: &AutoencoderConfig) -> Self {
        let mut build = Builder { config, parameters: Vec::new() };
        let (encoded, latent) = (config.encoded_channels(), config.latent_channels());
        let (moments, has_quant_conv, has_post_quant_conv) = match config.class {
            AutoencoderClass::Kl => (2 * encoded, config.use_quant_conv, config.use_post_quant_conv),
            AutoencoderClass::Vq => (encoded, true, true),
        };
        let quantised = if config.class == AutoencoderClass::Vq { latent } else { moments };
        let encoder = build.encoder(moments);
        let decoder = build.decoder(encoded);
        let quant_conv =
            has_quant_conv.then(|| build.conv("quant_conv", moments, quantised, ConvGeometry::POINTWISE));
        let post_quant_conv = has_post_quant_conv
            .then(|| build.conv("post_quant_conv", latent, encoded, ConvGeometry::POINTWISE));
        let codebook = (config.class == AutoencoderClass::Vq).then(|| {
            let shape = vec![config.num_vq_embeddings, latent];
            build.add("quantize.embedding.weight".into(), ParameterKind::Embedding, shape)
        });
        Self {
            parameters: build.parameters,
            groups: config.norm_num_groups,
            encoder,
            quant_conv,
            post_quant_conv,
            decoder,
            codebook,
        }
    }
}

struct Builder<'a> {
    config: &'a AutoencoderConfig,
    parameters: Vec<ParameterSpec>,
}

impl Builder<'_> {
    fn encoder(&mut self, output: usize) -> Coder {
        // Right and bottom only.
        const DOWN: ConvGeometry = ConvGeometry { kernel: 3, stride: 2, padding_before: 0, padding_after: 1 };
        let config = self.config;
        let widths = &config.block_out_channels;
        let mut channels = widths[0];
        let conv_in = self.conv("encoder.conv_in", config.in_channels, channels, ConvGeometry::SAME_3X3);
        let mut levels = Vec::new();
        for (level, &width) in widths.iter().enumerate() {
            let name = format!("encoder.down_blocks.{level}");
            let resnets = self.resnets(&name, config.layers_per_block, channels, width);
            let resize = (level + 1 < widths.len())
                .then(|| self.conv(&format!("{name}.downsamplers.0.conv"), width, width, DOWN));
            levels.push(Level { resnets, resize });
            channels = width;
        }
        let middle = self.middle("encoder.mid_block", channels);
        let norm_out = self.norm("encoder.conv_norm_out", channels);
        let conv_out = self.conv("encoder.conv_out", channels, output, ConvGeometry::SAME_3X3);
        Coder { conv_in, levels, middle, norm_out, conv_out }
    }

    fn decoder(&mut self, input: usize) -> Coder {
        let config = self.config;
        let widths = &config.block_out_channels;
        let mut channels = widths[widths.len() - 1];
        let conv_in = self.conv("decoder.conv_in", input, channels, ConvGeometry::SAME_3X3);
        let middle = self.middle("decoder.mid_block", channels);
        let mut levels = Vec::new();
        for (level, &width) in widths.iter().rev().enumerate() {
            let name = format!("decoder.up_blocks.{level}");
            let resnets = self.resnets(&name, config.layers_per_block + 1, channels, width);
            let resize = (level + 1 < widths.len()).then(|| {
                self.conv(&format!("{name}.upsamplers.0.conv"), width, width, ConvGeometry::SAME_3X3)
            });
            levels.push(Level { resnets, resize });
            channels = width;
        }
        let norm_out = self.norm("decoder.conv_norm_out", channels);
        let conv_out = self.conv("decoder.conv_out", channels, config.out_channels, ConvGeometry::SAME_3X3);
        Coder { conv_in, levels, middle, norm_out, conv_out }
    }

    fn middle(&mut self, name: &str, channels: usize) -> Middle {
        Middle {
            before: self.resnet(&format!("{name}.resnets.0"), channels, channels),
            attention: self
                .config
                .mid_block_add_attention
                .then(|| self.attention(&format!("{name}.attentions.0"), channels)),
            after: self.resnet(&format!("{name}.resnets.1"), channels, channels),
        }
    }

    fn resnets(&mut self, block: &str, layers: usize, input: usize, output: usize) -> Vec<Resnet> {
        let input_of = |layer: usize| if layer == 0 { input } else { output };
        (0..layers)
            .map(|layer| self.resnet(&format!("{block}.resnets.{layer}"), input_of(layer), output))
            .collect()
    }

    fn resnet(&mut self, name: &str, input: usize, output: usize) -> Resnet {
        Resnet {
            norm1: self.norm(&format!("{name}.norm1"), input),
            conv1: self.conv(&format!("{name}.conv1"), input, output, ConvGeometry::SAME_3X3),
            norm2: self.norm(&format!("{name}.norm2"), output),
            conv2: self.conv(&format!("{name}.conv2"), output, output, ConvGeometry::SAME_3X3),
            shortcut: (input != output)
                .then(|| self.conv(&format!("{name}.conv_shortcut"), input, output, ConvGeometry::POINTWISE)),
        }
    }

    fn attention(&mut self, name: &str, channels: usize) -> Attention {
        Attention {
            norm: self.norm(&format!("{name}.group_norm"), channels),
            query: self.linear(&format!("{name}.to_q"), channels),
            key: self.linear(&format!("{name}.to_k"), channels),
            value: self.linear(&format!("{name}.to_v"), channels),
            output: self.linear(&format!("{name}.to_out.0"), channels),
        }
    }

    fn conv(&mut self, name: &str, input: usize, output: usize, geometry: ConvGeometry) -> Conv {
        let shape = vec![output, input, geometry.kernel, geometry.kernel];
        let at = self.add(format!("{name}.weight"), ParameterKind::Convolution, shape);
        self.add(format!("{name}.bias"), ParameterKind::Vector, vec![output]);
        Conv { at, geometry }
    }

    fn linear(&mut self, name: &str, channels: usize) -> Conv {
        let at = self.add(format!("{name}.weight"), ParameterKind::Linear, vec![channels; 2]);
        self.add(format!("{name}.bias"), ParameterKind::Vector, vec![channels]);
        Conv { at, geometry: ConvGeometry::POINTWISE }
    }

    fn norm(&mut self, name: &str, channels: usize) -> Norm {
        let at = self.add(format!("{name}.weight"), ParameterKind::Vector, vec![channels]);
        self.add(format!("{name}.bias"), ParameterKind::Vector, vec![channels]);
        Norm { at }
    }

    fn add(&mut self, name: String, kind: ParameterKind, shape: Vec<usize>) -> usize {
        self.parameters.push(ParameterSpec::new(name, kind, shape));
        self.parameters.len() - 1
    }
}
