//! The same bytes for any number of threads and any cut into batches.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{bits, parameter_values, values};
use pentimento_encoders::autoencoder::{AutoencoderConfig, AutoencoderKl};
use pentimento_encoders::text::{ClipTextConfig, ClipTextEncoder};

fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Wide enough for Winograd's convolutions, with an attention in the middle.
fn autoencoder() -> AutoencoderKl {
    let levels = |name: &str| vec![name.to_string(); 2];
    let config = AutoencoderConfig {
        block_out_channels: vec![32, 64],
        down_block_types: levels("DownEncoderBlock2D"),
        up_block_types: levels("UpDecoderBlock2D"),
        norm_num_groups: 8,
        ..AutoencoderConfig::default()
    };
    let parameters = parameter_values(&AutoencoderKl::parameters(&config));
    AutoencoderKl::new(config, parameters).unwrap()
}

#[test]
fn autoencoders_give_the_same_bytes() {
    let autoencoder = autoencoder();
    const IMAGES: usize = 7;
    let (height, width) = (24, 40);
    let images = values(IMAGES * height * width * 3, 5);
    let latents = |images: &[f32]| autoencoder.encode(images, height, width).unwrap().mode();
    let pictures = |latents: &[f32]| autoencoder.decode(latents, height / 2, width / 2).unwrap();
    let all = with_threads(1, || latents(&images));
    let decoded = with_threads(1, || pictures(&all));
    assert!(all.iter().chain(&decoded).all(|value| value.is_finite()));
    for threads in [1, 2, 3] {
        for together in [1, 2, IMAGES] {
            let by = |length: usize| length / IMAGES * together;
            let parts = with_threads(threads, || {
                images.chunks(by(images.len())).flat_map(latents).collect::<Vec<_>>()
            });
            assert_eq!(bits(&parts), bits(&all), "{threads} threads, {together} pictures together");
            let parts =
                with_threads(threads, || all.chunks(by(all.len())).flat_map(pictures).collect::<Vec<_>>());
            assert_eq!(bits(&parts), bits(&decoded), "{threads} threads, {together} latents together");
        }
    }
}

#[test]
fn text_encoders_give_the_same_bytes() {
    let config = ClipTextConfig {
        vocab_size: 50,
        hidden_size: 48,
        intermediate_size: 80,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        max_position_embeddings: 13,
        ..ClipTextConfig::default()
    };
    let parameters = parameter_values(&ClipTextEncoder::parameters(&config));
    let encoder = ClipTextEncoder::new(config, parameters).unwrap();
    const PROMPTS: usize = 37;
    let ids: Vec<u32> = (0..PROMPTS as u32 * 13).map(|at| at * 31 % 50).collect();
    let states = |ids: &[u32]| encoder.hidden_states(ids, 13, 0).unwrap();
    let all = with_threads(1, || states(&ids));
    assert!(all.iter().all(|value| value.is_finite()));
    for (threads, together) in [(1, 1), (1, 7), (2, 1), (2, 20), (3, PROMPTS)] {
        let parts = with_threads(threads, || ids.chunks(together * 13).flat_map(states).collect::<Vec<_>>());
        assert_eq!(bits(&parts), bits(&all), "{threads} threads, {together} prompts together");
    }
}
