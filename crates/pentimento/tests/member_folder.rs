//! A member's folder is what `DDPMPipeline.from_pretrained` of diffusers opens.

mod common;

use common::{Laboratory, listed, run_command, succeed};
use pentimento::diffusion::unet::{Architecture, UnetConfig};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;

#[test]
fn a_member_folder_has_the_files_and_tensors_of_diffusers() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    succeed(&mut run_command(&laboratory.class_recipe(), &run, &[]));
    for member in 0..3 {
        let folder = format!("members/{member:03}/");
        let files: Vec<String> =
            listed(&run).iter().filter_map(|name| name.strip_prefix(&folder)).map(String::from).collect();
        assert_eq!(
            files,
            [
                "losses.npy",
                "model_index.json",
                "scheduler/scheduler_config.json",
                "training.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors"
            ]
        );
        let folder = run.join(folder);
        let json = |file: &str| -> serde_json::Value {
            serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
        };

        let index = json("model_index.json");
        assert_eq!(index["_class_name"], "DDPMPipeline");
        assert_eq!(index["unet"], serde_json::json!(["diffusers", "UNet2DModel"]));
        assert_eq!(index["scheduler"], serde_json::json!(["diffusers", "DDPMScheduler"]));
        let scheduler = json("scheduler/scheduler_config.json");
        assert_eq!(scheduler["_class_name"], "DDPMScheduler");
        assert_eq!(scheduler["num_train_timesteps"], 1000);
        assert_eq!(
            (&scheduler["variance_type"], &scheduler["clip_sample"]),
            (&"fixed_small".into(), &true.into())
        );
        let config = json("unet/config.json");
        assert_eq!(config["_class_name"], "UNet2DModel");
        assert_eq!(config["block_out_channels"], serde_json::json!([8, 16]));
        assert_eq!((config["sample_size"].clone(), config["in_channels"].clone()), (8.into(), 1.into()));

        // The names that the written configuration asks for, with their shapes, no more and no fewer.
        let (config, unknown) = UnetConfig::from_json(&config.to_string(), "config.json").unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let architecture = Architecture::new(&config).unwrap();
        let expected: BTreeMap<String, Vec<usize>> = architecture
            .parameters()
            .iter()
            .map(|parameter| (parameter.name.clone(), parameter.disk_shape.clone()))
            .collect();
        let bytes = fs::read(folder.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let found: BTreeMap<String, Vec<usize>> =
            tensors.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
        assert_eq!(expected, found);
        // Names of diffusers 0.30, written here by hand for a network of two levels with attention in the second.
        for (name, shape) in [
            ("conv_in.weight", vec![8, 1, 3, 3]),
            ("time_embedding.linear_1.weight", vec![32, 8]),
            ("down_blocks.0.downsamplers.0.conv.weight", vec![8, 8, 3, 3]),
            ("down_blocks.1.attentions.0.to_out.0.weight", vec![16, 16]),
            ("mid_block.resnets.1.time_emb_proj.bias", vec![16]),
            ("up_blocks.1.resnets.1.conv_shortcut.weight", vec![8, 16, 1, 1]),
            ("conv_out.bias", vec![1]),
        ] {
            assert_eq!(found.get(name), Some(&shape), "{name}");
        }
    }
}
