//! How many floating-point operations a network takes, counted from its layers.
//!
//! Products only (convolutions, linear layers, attention), a multiplication and an addition being two operations, as
//! is usual; norms and activations cost memory traffic rather than operations.

use pentimento_diffusion::unet::{Architecture, ParameterKind, ParameterSpec};

/// Operations of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations {
    /// The forward pass.
    pub forward: u64,
    /// Forward and backward: each product has a gradient in its input and one in its weight, but nothing needs the
    /// gradient in the image or in the timestep.
    pub training: u64,
}

impl Operations {
    /// Counts the operations of one image of `side` x `side` pixels, with a timestep of its own.
    pub fn of(architecture: &Architecture, side: usize) -> Self {
        let sides = sides_of_levels(architecture, side);
        let (mut forward, mut without_input_gradient) = (0, 0);
        for spec in architecture.parameters() {
            if spec.kind == ParameterKind::Vector {
                continue;
            }
            let pixels = output_pixels(&spec.name, &sides);
            let product = 2 * spec.len() as u64 * pixels;
            forward += product;
            if ["conv_in.weight", "time_embedding.linear_1.weight"].contains(&spec.name.as_str()) {
                without_input_gradient += product;
            }
            forward += attention_operations(spec, pixels);
        }
        Self { forward, training: 3 * forward - without_input_gradient }
    }
}

/// The products of queries with keys and of their weights with values, counted once per attention.
fn attention_operations(spec: &ParameterSpec, tokens: u64) -> u64 {
    let is_query = [".to_q.weight", ".query.weight"].iter().any(|end| spec.name.ends_with(end));
    if is_query { 4 * tokens * tokens * spec.disk_shape[0] as u64 } else { 0 }
}

/// Side of the images at each level, the largest first.
fn sides_of_levels(architecture: &Architecture, side: usize) -> Vec<usize> {
    let config = architecture.config();
    let mut sides = vec![side];
    for _ in 1..config.block_out_channels.len() {
        let padded = sides[sides.len() - 1] + config.downsample_padding + 1;
        sides.push(padded.saturating_sub(3) / 2 + 1);
    }
    sides
}

/// Pixels of the output of the layer that a parameter belongs to.
fn output_pixels(name: &str, sides: &[usize]) -> u64 {
    let level_of = |rest: &str| rest.split('.').next().and_then(|number| number.parse::<usize>().ok());
    let deepest = sides.len() - 1;
    let level = if name.starts_with("time_embedding") || name.contains("time_emb_proj") {
        return 1;
    } else if let Some(level) = name.strip_prefix("down_blocks.").and_then(level_of) {
        if name.contains("downsamplers") { level + 1 } else { level }
    } else if let Some(place) = name.strip_prefix("up_blocks.").and_then(level_of) {
        let level = deepest.saturating_sub(place);
        if name.contains("upsamplers") { level.saturating_sub(1) } else { level }
    } else if name.starts_with("mid_block") {
        deepest
    } else {
        0
    };
    let side = sides[level.min(deepest)] as u64;
    side * side
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{NETWORKS, architecture};

    /// Counted by torch.utils.flop_counter (torch 2.15.0, diffusers 0.42.1 with `AttnProcessor`): one image forward, and
    /// half of what two images take forward and backward.
    #[test]
    fn counts_are_those_of_pytorch() {
        let golden = |name: &str| {
            let file = format!("{}/../../tests/goldens/{name}/unet/config.json", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(file).unwrap()
        };
        for (config, forward, training) in [
            (NETWORKS[0].1.to_string(), 428_850_176, 2_572_181_504 / 2),
            (NETWORKS[1].1.to_string(), 12_345_671_680, 74_059_612_160 / 2),
            (golden("plain"), 2_085_888, 12_495_872 / 2),
            (golden("ddpm_cifar_like"), 7_146_560, 42_753_920 / 2),
            (golden("scale_shift_heads"), 2_602_496, 15_577_088 / 2),
        ] {
            let architecture = architecture(&config, "config.json").unwrap();
            let side = architecture.config().sample_size.unwrap().height;
            assert_eq!(Operations::of(&architecture, side), Operations { forward, training });
        }
    }
}
