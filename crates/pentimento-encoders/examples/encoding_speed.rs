//! How long one picture and one prompt take, at the sizes of Stable Diffusion 1.5 and with values that mean nothing.
//!
//! `cargo run --release --workspace --example encoding_speed -- [SIDE OF THE PICTURE]`

#![allow(clippy::print_stdout, reason = "prints what it measured")]

use pentimento_diffusion::unet::ParameterSpec;
use pentimento_encoders::EncoderError;
use pentimento_encoders::autoencoder::{AutoencoderConfig, AutoencoderKl};
use pentimento_encoders::text::{ClipTextConfig, ClipTextEncoder};
use std::time::Instant;

fn main() -> Result<(), EncoderError> {
    let side = std::env::args().nth(1).and_then(|side| side.parse().ok()).unwrap_or(256);
    let config = AutoencoderConfig {
        block_out_channels: vec![128, 256, 512, 512],
        down_block_types: vec!["DownEncoderBlock2D".into(); 4],
        up_block_types: vec!["UpDecoderBlock2D".into(); 4],
        layers_per_block: 2,
        ..AutoencoderConfig::default()
    };
    let values = values(&AutoencoderKl::parameters(&config));
    println!("autoencoder of {:.1} million parameters", millions(&values));
    let autoencoder = AutoencoderKl::new(config, values)?;
    let picture = vec![0.5; side * side * 3];
    let latent =
        timed(&format!("encoding {side}x{side} pixels"), || autoencoder.encode(&picture, side, side))?;
    timed("decoding them", || autoencoder.decode(&latent.mode(), side / 8, side / 8))?;

    let config = ClipTextConfig {
        hidden_size: 768,
        intermediate_size: 3072,
        num_attention_heads: 12,
        ..ClipTextConfig::default()
    };
    let values = self::values(&ClipTextEncoder::parameters(&config));
    println!("text encoder of {:.1} million parameters", millions(&values));
    let encoder = ClipTextEncoder::new(config, values)?;
    for prompts in [1, 16] {
        let ids: Vec<u32> = (0..prompts * 77).collect();
        timed(&format!("encoding {prompts} prompts"), || encoder.hidden_states(&ids, 77, 0))?;
    }
    Ok(())
}

/// The least of three times, and the mean processor time, which other work on the machine changes less.
fn timed<R>(what: &str, work: impl Fn() -> Result<R, EncoderError>) -> Result<R, EncoderError> {
    let mut seconds = f64::INFINITY;
    let mut result = work()?;
    let before = processor_seconds();
    for _ in 0..3 {
        let start = Instant::now();
        result = work()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    let of_processor = (processor_seconds() - before) / 3.0;
    println!("{what}: {seconds:.2} s, {of_processor:.2} s of processor time");
    Ok(result)
}

/// That of this process so far, in steps of 1/100 s; 0 where Linux does not tell.
fn processor_seconds() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = status.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn values(parameters: &[ParameterSpec]) -> Vec<Vec<f32>> {
    let value = |spec: &ParameterSpec, at: usize| {
        let inputs: usize = spec.disk_shape.iter().skip(1).product();
        ((at * 7919 % 2003) as f32 / 1001.0 - 1.0) / (inputs as f32).sqrt()
    };
    parameters.iter().map(|spec| (0..spec.len()).map(|at| value(spec, at)).collect()).collect()
}

fn millions(values: &[Vec<f32>]) -> f64 {
    values.iter().map(Vec::len).sum::<usize>() as f64 / 1e6
}
