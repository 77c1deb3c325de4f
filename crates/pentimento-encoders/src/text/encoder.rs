//! `CLIPTextModel` (Radford et al. 2021): a transformer over the tokens of a prompt, in which a token sees those before it.

use super::adapter;
use super::config::ClipTextConfig;
use super::layers::{activate, causal_attention, layer_norm};
use crate::{EncoderError, PartFiles};
use pentimento_diffusion::checkpoint::TextEncoderPart;
use pentimento_diffusion::unet::{ParameterKind, ParameterSpec};
use pentimento_kernels::{ConvAddends, ConvGeometry, ConvShape, conv2d_with};
use std::path::Path;

/// Tensors of published files that are no parameters of the encoder: a table of 0, 1, 2, .. and the projection that follows
/// the pooled state in `CLIPTextModelWithProjection`.
const BUFFERS: [&str; 2] = ["embeddings.position_ids", "text_projection.weight"];

/// Prompts that pass through together. A product prepares its weights once for all of them, which takes about as long as the
/// product of one prompt; and their widest states take 1 MB a prompt.
const PROMPTS_TOGETHER: usize = 16;

/// A linear layer or a norm: the place of its weight among all parameters; the bias follows it.
type Place = usize;

/// The layers of a block.
#[derive(Clone, Debug)]
struct Block {
    norm1: Place,
    queries: Place,
    keys: Place,
    values: Place,
    output: Place,
    norm2: Place,
    widening: Place,
    narrowing: Place,
}

/// The layers of a text encoder and the names of their parameters.
#[derive(Clone, Debug)]
struct Plan {
    parameters: Vec<ParameterSpec>,
    tokens: Place,
    positions: Place,
    blocks: Vec<Block>,
    final_norm: Place,
}

/// The text encoder of Stable Diffusion, with its values.
#[derive(Clone, Debug)]
pub struct ClipTextEncoder {
    config: ClipTextConfig,
    /// What errors call the configuration.
    name: String,
    plan: Plan,
    values: Vec<Vec<f32>>,
}

impl Plan {
    fn new(config: &ClipTextConfig) -> Self {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mut parameters = Vec::new();
        let mut add = |name: String, kind: ParameterKind, shape: Vec<usize>| {
            parameters.push(ParameterSpec::new(name, kind, shape));
            parameters.len() - 1
        };
        let mut pair = |name: String, kind: ParameterKind, shape: Vec<usize>| {
            let outputs = shape[0];
            let at = add(format!("{name}.weight"), kind, shape);
            add(format!("{name}.bias"), ParameterKind::Vector, vec![outputs]);
            at
        };
        let blocks = (0..config.num_hidden_layers).map(|layer| {
            let mut norm = |name: &str| {
                pair(format!("encoder.layers.{layer}.{name}"), ParameterKind::Vector, vec![width])
            };
            let [norm1, norm2] = ["layer_norm1", "layer_norm2"].map(&mut norm);
            let mut linear = |name: &str, input: usize, output: usize| {
                pair(format!("encoder.layers.{layer}.{name}"), ParameterKind::Linear, vec![output, input])
            };
            Block {
                norm1,
                queries: linear("self_attn.q_proj", width, width),
                keys: linear("self_attn.k_proj", width, width),
                values: linear("self_attn.v_proj", width, width),
                output: linear("self_attn.out_proj", width, width),
                norm2,
                widening: linear("mlp.fc1", width, inner),
                narrowing: linear("mlp.fc2", inner, width),
            }
        });
        let blocks = blocks.collect();
        let final_norm = pair("final_layer_norm".into(), ParameterKind::Vector, vec![width]);
        let mut table = |name: &str, rows: usize| {
            add(format!("embeddings.{name}.weight"), ParameterKind::Embedding, vec![rows, width])
        };
        let tokens = table("token_embedding", config.vocab_size);
        let positions = table("position_embedding", config.max_position_embeddings);
        Self { parameters, tokens, positions, blocks, final_norm }
    }
}

impl ClipTextEncoder {
    /// Opens the text encoder of these files, with the prefix `text_model.` or without it.
    ///
    /// # Errors
    ///
    /// As [`ClipTextConfig::from_json`], [`open_weights`](pentimento_diffusion::checkpoint::open_weights) and
    /// [`read_parameters`](pentimento_diffusion::checkpoint::read_parameters).
    pub fn open(files: &PartFiles) -> Result<Self, EncoderError> {
        let config = ClipTextConfig::from_json(&files.read_config()?, &files.config_name())?;
        let plan = Plan::new(&config);
        let values = files.read_values(&plan.parameters, &BUFFERS)?;
        Ok(Self { config, name: files.config_name(), plan, values })
    }

    /// Takes values in memory layout ([`ParameterSpec::memory_shape`]), one vector for each of [`parameters`](Self::parameters).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`](pentimento_diffusion::DiffusionError::Config) for a configuration that is not supported.
    ///
    /// # Panics
    ///
    /// If the number or the lengths of the values are not those of the parameters.
    pub fn new(config: ClipTextConfig, values: Vec<Vec<f32>>) -> Result<Self, EncoderError> {
        config.validate("text encoder")?;
        let plan = Plan::new(&config);
        let lengths = plan.parameters.iter().map(ParameterSpec::len);
        assert!(values.iter().map(Vec::len).eq(lengths), "numbers of values");
        Ok(Self { config, name: "text encoder".into(), plan, values })
    }

    /// The encoder with what an adapter adds to it: W + s B A for W in each layer that has a part. Errors name the adapter's `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Tensor`](pentimento_diffusion::DiffusionError::Tensor) for a part of a layer that the encoder does not have, or
    /// has with other sizes.
    pub fn with_adapter(mut self, parts: &[TextEncoderPart], file: &Path) -> Result<Self, EncoderError> {
        adapter::add(&self.plan.parameters, &mut self.values, parts, file)?;
        Ok(self)
    }

    /// The parameters of a valid configuration, in a fixed order.
    pub fn parameters(config: &ClipTextConfig) -> Vec<ParameterSpec> {
        Plan::new(config).parameters
    }

    /// Its configuration.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// What errors call its configuration.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The states of all tokens, `[prompts, length, hidden_size]`, after all blocks but the last `clip_skip`, through the final
    /// norm; `ids` are `[prompts, length]`.
    ///
    /// # Errors
    ///
    /// [`EncoderError::ClipSkip`] if no block is left.
    ///
    /// # Panics
    ///
    /// If the prompts are not whole or longer than `max_position_embeddings`, or a token has no embedding.
    pub fn hidden_states(
        &self,
        ids: &[u32],
        length: usize,
        clip_skip: usize,
    ) -> Result<Vec<f32>, EncoderError> {
        let layers = self.config.num_hidden_layers;
        if clip_skip >= layers {
            return Err(EncoderError::ClipSkip { clip_skip, layers });
        }
        let fits = (1..=self.config.max_position_embeddings).contains(&length);
        assert!(fits && ids.len().is_multiple_of(length), "{} tokens are no prompts of {length}", ids.len());
        let mut states = Vec::with_capacity(ids.len() * self.config.hidden_size);
        for ids in ids.chunks(PROMPTS_TOGETHER * length) {
            let blocks = &self.plan.blocks[..layers - clip_skip];
            let state =
                blocks.iter().fold(self.embedded(ids, length), |x, block| self.block(block, x, length));
            states.extend(self.norm(self.plan.final_norm, &state));
        }
        Ok(states)
    }

    /// Of each prompt the state of its end, `[prompts, hidden_size]`; `hidden` are the [`hidden_states`](Self::hidden_states)
    /// without any skipped layer.
    ///
    /// # Panics
    ///
    /// If the states are not those of as many tokens.
    pub fn pooled(&self, ids: &[u32], length: usize, hidden: &[f32]) -> Vec<f32> {
        let width = self.config.hidden_size;
        assert_eq!(hidden.len(), ids.len() * width, "length of the hidden states");
        /// What old files have for the end token, whichever number it has.
        const UNKNOWN_END: u32 = 2;
        let mut pooled = Vec::new();
        for (ids, hidden) in ids.chunks_exact(length).zip(hidden.chunks_exact(length * width)) {
            let end = match self.config.eos_token_id {
                UNKNOWN_END => ids.iter().max().copied(),
                end => Some(end),
            };
            // As in transformers, the first token stands for a prompt without an end.
            let at = ids.iter().position(|id| Some(*id) == end).unwrap_or(0);
            pooled.extend_from_slice(&hidden[at * width..][..width]);
        }
        pooled
    }

    fn embedded(&self, ids: &[u32], length: usize) -> Vec<f32> {
        let width = self.config.hidden_size;
        let [tokens, positions] = [self.plan.tokens, self.plan.positions].map(|at| &self.values[at]);
        let mut states = Vec::with_capacity(ids.len() * width);
        for (at, &id) in ids.iter().enumerate() {
            let token = &tokens[id as usize * width..][..width];
            let position = &positions[at % length * width..][..width];
            states.extend(token.iter().zip(position).map(|(token, position)| token + position));
        }
        states
    }

    fn block(&self, block: &Block, x: Vec<f32>, length: usize) -> Vec<f32> {
        let (width, heads) = (self.config.hidden_size, self.config.num_attention_heads);
        let inside = self.norm(block.norm1, &x);
        let [queries, keys, values] =
            [block.queries, block.keys, block.values].map(|at| self.linear(at, &inside, length, None));
        let attended = causal_attention([&queries, &keys, &values], length, width, heads);
        let x = self.linear(block.output, &attended, length, Some(&x));
        let inside = self.linear(block.widening, &self.norm(block.norm2, &x), length, None);
        self.linear(block.narrowing, &activate(self.config.hidden_act, &inside), length, Some(&x))
    }

    fn norm(&self, at: Place, x: &[f32]) -> Vec<f32> {
        layer_norm(x, &self.values[at], &self.values[at + 1], self.config.layer_norm_eps)
    }

    /// A linear layer on tokens, plus what goes past it.
    #[allow(clippy::panic, reason = "sizes of a validated configuration fit together")]
    fn linear(&self, at: Place, x: &[f32], length: usize, past: Option<&[f32]>) -> Vec<f32> {
        let (weight, bias) = (&self.values[at], &self.values[at + 1]);
        let outputs = bias.len();
        let inputs = weight.len() / outputs;
        let prompts = x.len() / (length * inputs);
        let shape = ConvShape::new([prompts, length, 1, inputs], outputs, ConvGeometry::POINTWISE)
            .unwrap_or_else(|error| panic!("{error}"));
        let addends = ConvAddends { bias: Some(bias), embedding: None, residual: past };
        let mut output = vec![0.0; prompts * length * outputs];
        conv2d_with(&shape, x, weight, &addends, &mut output);
        output
    }
}
