//! The JSON files of a checkpoint: configuration of the network, of the scheduler, and the index of shards.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_diffusion::checkpoint::{CheckpointFiles, SchedulerFile, Selection};
use pentimento_diffusion::unet::{Architecture, UnetConfig};
use std::fs;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok((config, _)) = UnetConfig::from_json(text, "config.json") {
        // What is laid out is named once, and never has an empty parameter.
        let names: Vec<String> = Architecture::new(&config)
            .map(|network| network.parameters().iter().map(|spec| spec.name.clone()).collect())
            .unwrap_or_default();
        let mut different = names.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), names.len());
    }
    if let Ok(read) = SchedulerFile::from_json(text, "scheduler_config.json") {
        let bars = read.schedule.alphas_cumprod();
        assert!(bars.iter().all(|bar| (0.0..=1.0).contains(bar)));
    }
    let root = Path::new("/dev/shm");
    let root = if root.is_dir() { root.to_path_buf() } else { std::env::temp_dir() };
    let folder = root.join(format!("pentimento-fuzz-checkpoint-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    fs::write(folder.join("scheduler_config.json"), "{}").unwrap();
    fs::write(folder.join("diffusion_pytorch_model.safetensors.index.json"), data).unwrap();
    if let Ok(files) = CheckpointFiles::find(&folder, &Selection::default()) {
        assert!(files.weights.iter().all(|file| file.parent() == Some(&folder)));
    }
});
