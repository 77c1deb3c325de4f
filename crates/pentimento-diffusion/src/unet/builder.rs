//! Names and lists the parameters of each layer, as diffusers has them.

use super::adapter::AdapterModule;
use super::config::{CrossAttention, UnetConfig};
use super::layers::{
    Attention, Conv, Heads, LayerNorm, LowRank, Mixer, Norm, ParameterIndex, Resampling, Resnet, Transformer,
    TransformerBlock,
};
use super::parameter_spec::{ParameterKind, ParameterSpec, Start};
use pentimento_kernels::ConvGeometry;
use std::collections::BTreeMap;

/// Lists parameters in the order in which their layers are asked for.
pub(super) struct Builder<'a> {
    pub(super) config: &'a UnetConfig,
    pub(super) parameters: Vec<ParameterSpec>,
    /// The parts of an adapter by their layers' names, as far as those layers were not asked for yet.
    pub(super) modules: BTreeMap<&'a str, &'a AdapterModule>,
    /// The parameters of an adapter.
    pub(super) adapter: Vec<ParameterSpec>,
}

impl Builder<'_> {
    fn add(
        &mut self,
        name: String,
        kind: ParameterKind,
        disk_shape: Vec<usize>,
        start: Start,
    ) -> ParameterIndex {
        let at = ParameterIndex(self.parameters.len());
        self.parameters.push(ParameterSpec { name, kind, disk_shape, start });
        at
    }

    fn weight(
        &mut self,
        name: &str,
        kind: ParameterKind,
        disk_shape: Vec<usize>,
        start: Start,
    ) -> ParameterIndex {
        self.add(format!("{name}.weight"), kind, disk_shape, start)
    }

    fn bias(&mut self, name: &str, outputs: usize) -> ParameterIndex {
        self.add(format!("{name}.bias"), ParameterKind::Vector, vec![outputs], Start::Zero)
    }

    pub(super) fn conv(
        &mut self,
        name: &str,
        input: usize,
        output: usize,
        geometry: ConvGeometry,
        start: Start,
    ) -> Conv {
        let shape = vec![output, input, geometry.kernel, geometry.kernel];
        let at = self.weight(name, ParameterKind::Convolution, shape, start);
        let low_rank = self.low_rank(name, at);
        Conv { at, bias: Some(self.bias(name, output)), geometry, low_rank }
    }

    /// What an adapter has beside the layer of this name and weight.
    fn low_rank(&mut self, name: &str, weight: ParameterIndex) -> Option<LowRank> {
        let module = self.modules.remove(name)?;
        let down = ParameterIndex(self.adapter.len());
        self.adapter.extend(module.parameters(&self.parameters[weight.0]));
        let up = ParameterIndex(down.0 + 1);
        Some(LowRank { down, up, scale: module.scale() })
    }

    pub(super) fn linear(&mut self, name: &str, input: usize, output: usize, start: Start) -> Conv {
        let conv = self.linear_without_bias(name, input, output, start);
        Conv { bias: Some(self.bias(name, output)), ..conv }
    }

    pub(super) fn linear_without_bias(
        &mut self,
        name: &str,
        input: usize,
        output: usize,
        start: Start,
    ) -> Conv {
        let at = self.weight(name, ParameterKind::Linear, vec![output, input], start);
        let low_rank = self.low_rank(name, at);
        Conv { at, bias: None, geometry: ConvGeometry::POINTWISE, low_rank }
    }

    pub(super) fn table(&mut self, name: &str, rows: usize, channels: usize) -> ParameterIndex {
        self.weight(name, ParameterKind::Embedding, vec![rows, channels], Start::Uniform)
    }

    /// Scale and shift of a norm.
    fn scale(&mut self, name: &str, channels: usize) -> ParameterIndex {
        let at = self.weight(name, ParameterKind::Vector, vec![channels], Start::One);
        self.bias(name, channels);
        at
    }

    pub(super) fn norm(&mut self, name: &str, channels: usize, groups: usize) -> Norm {
        Norm { at: self.scale(name, channels), groups, epsilon: self.config.norm_eps }
    }

    fn layer_norm(&mut self, name: &str, channels: usize) -> LayerNorm {
        // diffusers gives it no key of its own.
        LayerNorm { at: self.scale(name, channels), epsilon: 1e-5 }
    }

    /// The second convolution starts at zero, so that a fresh block passes its input on unchanged.
    pub(super) fn resnet(
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

    /// What mixes the pixels of a level of the network, of this name among its block's: an attention whose norm has so many
    /// groups or is left out, or a transformer.
    pub(super) fn mixer(
        &mut self,
        block: &str,
        layer: usize,
        level: usize,
        output_scale: f64,
        norm_groups: Option<usize>,
    ) -> Mixer {
        let name = format!("{block}.attentions.{layer}");
        match &self.config.cross_attention {
            Some(cross) => Mixer::Transformer(self.transformer(&name, level, cross)),
            None => Mixer::Pixels(self.attention(
                &name,
                self.config.block_out_channels[level],
                output_scale,
                norm_groups,
            )),
        }
    }

    fn attention(
        &mut self,
        name: &str,
        channels: usize,
        output_scale: f64,
        norm_groups: Option<usize>,
    ) -> Attention {
        let norm = norm_groups.map(|groups| self.norm(&format!("{name}.group_norm"), channels, groups));
        let mut linear =
            |part: &str, start| self.linear(&format!("{name}.{part}"), channels, channels, start);
        let [query, key, value] = ["to_q", "to_k", "to_v"].map(|part| linear(part, Start::Uniform));
        let output = linear("to_out.0", Start::Zero);
        let heads = channels / self.config.attention_head_dim.unwrap_or(channels);
        Attention { norm, heads: Heads { query, key, value, output, heads }, output_scale }
    }

    /// `Transformer2DModel` of diffusers. The way out starts at zero, so that a fresh one passes its input on unchanged.
    fn transformer(&mut self, name: &str, level: usize, cross: &CrossAttention) -> Transformer {
        let channels = self.config.block_out_channels[level];
        let norm = self.norm(&format!("{name}.norm"), channels, self.config.norm_num_groups);
        let project = |build: &mut Self, part: &str, start| {
            let name = format!("{name}.{part}");
            if cross.linear_projection {
                build.linear(&name, channels, channels, start)
            } else {
                build.conv(&name, channels, channels, ConvGeometry::POINTWISE, start)
            }
        };
        let project_in = project(self, "proj_in", Start::Uniform);
        let blocks = (0..cross.transformer_blocks[level])
            .map(|block| self.transformer_block(&format!("{name}.transformer_blocks.{block}"), level, cross))
            .collect();
        let project_out = project(self, "proj_out", Start::Zero);
        // Whatever `norm_eps` says.
        Transformer { norm: Norm { epsilon: 1e-6, ..norm }, project_in, blocks, project_out }
    }

    fn transformer_block(&mut self, name: &str, level: usize, cross: &CrossAttention) -> TransformerBlock {
        let channels = self.config.block_out_channels[level];
        let before_pixels = self.layer_norm(&format!("{name}.norm1"), channels);
        let over_pixels = self.heads(&format!("{name}.attn1"), channels, channels, cross.heads[level]);
        let before_text = self.layer_norm(&format!("{name}.norm2"), channels);
        let over_text = self.heads(&format!("{name}.attn2"), channels, cross.text_width, cross.heads[level]);
        let before_feed = self.layer_norm(&format!("{name}.norm3"), channels);
        let feed_in = self.linear(&format!("{name}.ff.net.0.proj"), channels, 8 * channels, Start::Uniform);
        let feed_out = self.linear(&format!("{name}.ff.net.2"), 4 * channels, channels, Start::Uniform);
        TransformerBlock {
            before_pixels,
            over_pixels,
            before_text,
            over_text,
            before_feed,
            feed_in,
            feed_out,
        }
    }

    /// The attention of a transformer over keys that are made of so many values.
    fn heads(&mut self, name: &str, channels: usize, of_keys: usize, heads: usize) -> Heads {
        let mut plain = |part: &str, input| {
            self.linear_without_bias(&format!("{name}.{part}"), input, channels, Start::Uniform)
        };
        let [query, key, value] = [("to_q", channels), ("to_k", of_keys), ("to_v", of_keys)]
            .map(|(part, input)| plain(part, input));
        let output = self.linear(&format!("{name}.to_out.0"), channels, channels, Start::Uniform);
        Heads { query, key, value, output, heads }
    }
}
