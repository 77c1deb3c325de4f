//! The layers of a configured network and the names of their parameters.

use super::adapter::{AdapterModule, Frozen};
use super::builder::Builder;
use super::config::UnetConfig;
use super::layers::{ClassEmbedding, Conv, Level, Middle, Norm, ParameterIndex, Resampling, Resize};
use super::parameter_spec::{ParameterKind, ParameterSpec, Start};
use super::stored_values::StoredValues;
use crate::DiffusionError;
use pentimento_kernels::ConvGeometry;
use std::collections::BTreeMap;

/// A network without the values that are trained. With an adapter it has those of the network beneath, which stand still.
#[derive(Clone, Debug)]
pub struct Architecture {
    config: UnetConfig,
    parameters: Vec<ParameterSpec>,
    adapter: Option<Adapted>,
    pub(crate) conv_in: Conv,
    pub(crate) time_embedding: [Conv; 2],
    pub(crate) class_embedding: Option<ClassEmbedding>,
    pub(crate) down: Vec<Level>,
    pub(crate) middle: Middle,
    pub(crate) up: Vec<Level>,
    pub(crate) norm_out: Norm,
    pub(crate) conv_out: Conv,
}

/// What an adapter makes of a network.
#[derive(Clone, Debug)]
struct Adapted {
    modules: Vec<AdapterModule>,
    frozen: Frozen,
}

impl Architecture {
    /// Lays out the network of a configuration.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for values that are not supported or do not fit together.
    pub fn new(config: &UnetConfig) -> Result<Self, DiffusionError> {
        config.validate("model")?;
        let mut build =
            Builder { config, parameters: Vec::new(), modules: BTreeMap::new(), adapter: Vec::new() };
        Ok(Self::laid_out(&mut build))
    }

    /// This network with its values, in memory layout, beneath an adapter: its parameters are then those of the adapter, A and B
    /// of one layer after the other, and its own values stand still and are shared by whatever is made of it. Weights of layers
    /// that came in 16 bits stay so; results have the bytes of the same weights in f32.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for a module that is no convolution or linear layer of the network, is there twice, or has a
    /// rank of 0 or a scale that is not finite, for an adapter without modules, and if there is an adapter already.
    ///
    /// # Panics
    ///
    /// If the number or the lengths of the values are not those of the network.
    pub fn with_adapter(
        &self,
        modules: &[AdapterModule],
        values: impl IntoIterator<Item = impl Into<StoredValues>>,
    ) -> Result<Self, DiffusionError> {
        let bad = |field: &str, value: String, bound: &str| {
            let (file, field, bound) = ("adapter".into(), field.into(), bound.into());
            Err(DiffusionError::Config { file, field, value, bound })
        };
        if modules.is_empty() {
            return bad("modules", "empty".into(), "at least one layer has a part");
        }
        if self.adapter.is_some() {
            return bad("modules", "given".into(), "the network has an adapter already");
        }
        let mut by_name = BTreeMap::new();
        for module in modules {
            if module.rank == 0 {
                return bad(&module.name, "of rank 0".into(), "at least rank 1");
            }
            if !module.scale().is_finite() {
                return bad(&module.name, format!("scaled by {}", module.scale()), "a finite scale");
            }
            if by_name.insert(module.name.as_str(), module).is_some() {
                return bad(&module.name, "there twice".into(), "one part for each layer");
            }
        }
        let config = &self.config;
        let mut build = Builder { config, parameters: Vec::new(), modules: by_name, adapter: Vec::new() };
        let base = Self::laid_out(&mut build);
        if let Some(name) = build.modules.keys().next() {
            return bad(
                name,
                "adapted".into(),
                "the network has no convolution or linear layer of this name",
            );
        }
        let parameters = build.adapter;
        let place = |module: &AdapterModule| {
            let own =
                |spec: &ParameterSpec| spec.name.strip_suffix(".lora_A.weight") == Some(module.name.as_str());
            parameters.iter().position(own)
        };
        let mut modules = modules.to_vec();
        modules.sort_by_cached_key(place);
        let frozen = Frozen::new(base.parameters, values);
        Ok(Self { parameters, adapter: Some(Adapted { modules, frozen }), ..base })
    }

    /// This network, and the adapter that it may have, by a configuration that says something else of what has no parameters, such as
    /// the size of images or the order of the timestep's sinusoids.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for values that are not supported, or that make it a network with other parameters.
    pub fn with_config(&self, config: &UnetConfig) -> Result<Self, DiffusionError> {
        config.validate("model")?;
        let modules = self.adapter_modules().iter().map(|module| (module.name.as_str(), module)).collect();
        let mut build = Builder { config, parameters: Vec::new(), modules, adapter: Vec::new() };
        let other = Self::laid_out(&mut build);
        if other.parameters != self.own_parameters() {
            let (file, field) = ("model".into(), "config".into());
            let bound = "it has the parameters of the network that it is to stand for".into();
            return Err(DiffusionError::Config { file, field, value: "another network's".into(), bound });
        }
        Ok(Self { parameters: self.parameters.clone(), adapter: self.adapter.clone(), ..other })
    }

    /// The network of a checked configuration, whose parameters and layers come from `build`.
    fn laid_out(build: &mut Builder<'_>) -> Self {
        let config = build.config;
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
        Self {
            config: config.clone(),
            parameters: std::mem::take(&mut build.parameters),
            adapter: None,
            conv_in,
            time_embedding,
            class_embedding,
            down,
            middle,
            up,
            norm_out,
            conv_out,
        }
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

    /// Every parameter that is trained, in a fixed order: all of a network, or those of its adapter if it has one.
    pub fn parameters(&self) -> &[ParameterSpec] {
        &self.parameters
    }

    /// Number of values over all of [`parameters`](Self::parameters).
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(ParameterSpec::len).sum()
    }

    /// The adapter's parts, in the order of the network's layers; empty without an adapter.
    pub fn adapter_modules(&self) -> &[AdapterModule] {
        self.adapter.as_ref().map_or(&[], |adapted| &adapted.modules)
    }

    /// The parameters of the network itself, which stand still if it has an adapter.
    pub fn own_parameters(&self) -> &[ParameterSpec] {
        self.adapter.as_ref().map_or(&self.parameters, |adapted| &adapted.frozen.specs)
    }

    /// The weights of the layers that an adapter can have parts for, each with its layer's name, in the order of the layers.
    pub fn adaptable(&self) -> impl Iterator<Item = (&str, &ParameterSpec)> {
        let of_layer =
            |spec: &&ParameterSpec| matches!(spec.kind, ParameterKind::Convolution | ParameterKind::Linear);
        let specs = self.own_parameters().iter().filter(of_layer);
        specs.filter_map(|spec| Some((spec.name.strip_suffix(".weight")?, spec)))
    }

    /// Of a network with an adapter, the digest of the network beneath: its configuration, and the names and values of its
    /// parameters. It is computed when it is first asked for.
    pub fn base_digest(&self) -> Option<String> {
        self.adapter.as_ref().map(|adapted| adapted.frozen.digest(&self.config).to_hex().to_string())
    }

    /// What stands still.
    pub(super) fn frozen(&self) -> Option<&Frozen> {
        self.adapter.as_ref().map(|adapted| &adapted.frozen)
    }
}
