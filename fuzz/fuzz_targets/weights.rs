//! A safetensors file as the weights of a small network.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_diffusion::checkpoint::weights_from_bytes;
use pentimento_diffusion::unet::{Architecture, UnetConfig};
use std::sync::LazyLock;

static NETWORK: LazyLock<Architecture> = LazyLock::new(|| {
    let config = r#"{"sample_size": 4, "in_channels": 1, "out_channels": 1, "block_out_channels": [4],
        "down_block_types": ["AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D"], "layers_per_block": 1,
        "norm_num_groups": 2, "attention_head_dim": 2, "num_class_embeds": 3}"#;
    let (config, _) = UnetConfig::from_json(config, "config.json").unwrap();
    Architecture::new(&config).unwrap()
});

fuzz_target!(|data: &[u8]| {
    if let Ok(values) = weights_from_bytes(&NETWORK, data, "weights") {
        let lengths: Vec<usize> = NETWORK.parameters().iter().map(|spec| spec.len()).collect();
        assert_eq!(values.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
        assert!(values.iter().flatten().all(|value| value.is_finite()));
    }
});
