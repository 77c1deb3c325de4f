//! Finding and opening a network in every layout of folders that is in use, and what is refused there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use half::{bf16, f16};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{
    CheckpointFiles, NetworkFolder, Selection, Unclear, network_files, scheduler_files,
};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::schedule::ScheduleConfig;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A folder with the files of a network and the values that they hold.
struct Made {
    folder: TempDir,
    values: Vec<Vec<f32>>,
    config: Vec<u8>,
    weights: Vec<u8>,
    scheduler: Vec<u8>,
    index: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        let architecture = tiny();
        // Values that halves hold too, so that every type gives the same ones.
        let mut values = random_values(&architecture, 5);
        for value in values.iter_mut().flatten() {
            *value = bf16::from_f32(f16::from_f32(*value).to_f32()).to_f32();
        }
        let [(_, config), (_, weights)] = network_files(&architecture, &values).unwrap();
        let [(_, index), (_, scheduler)] =
            scheduler_files(&ScheduleConfig::default(), &SamplingConfig::default());
        Self { folder: TempDir::new().unwrap(), values, config, weights, scheduler, index }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn network(&self, folder: &str) {
        self.write(&format!("{folder}/config.json"), &self.config);
        self.write(&format!("{folder}/{WEIGHTS}"), &self.weights);
    }

    fn pipeline(&self) {
        self.network("unet");
        self.write("model_index.json", &self.index);
        self.write("scheduler/scheduler_config.json", &self.scheduler);
    }

    fn find(&self, selection: &Selection) -> Result<CheckpointFiles, DiffusionError> {
        CheckpointFiles::find(self.path(), selection)
    }

    /// The folder opens and holds the values.
    #[track_caller]
    fn opens(&self, selection: &Selection) {
        let checkpoint = self.find(selection).unwrap().open().unwrap();
        assert_eq!(checkpoint.values, self.values);
        assert_eq!(checkpoint.architecture.config(), &tiny_config());
        assert_eq!(checkpoint.scheduler.schedule, ScheduleConfig::default());
    }

    #[track_caller]
    fn unclear(&self, selection: &Selection) -> Unclear {
        match self.find(selection) {
            Err(DiffusionError::Unclear { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(&self) -> String {
        match self.find(&Selection::default()).and_then(|files| files.open()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("opened"),
        }
    }

    /// The weights with another type.
    fn halved(&self, dtype: Dtype) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.weights).unwrap();
        let halves: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let bits = |value: f32| match dtype {
                    Dtype::F16 => f16::from_f32(value).to_bits(),
                    _ => bf16::from_f32(value).to_bits(),
                };
                let chunks = view.data().as_chunks::<4>().0;
                let bytes = chunks.iter().flat_map(|chunk| bits(f32::from_le_bytes(*chunk)).to_le_bytes());
                (name, view.shape().to_vec(), bytes.collect())
            })
            .collect();
        let views = halves
            .iter()
            .map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    /// Writes the weights in two files and the index that `change` makes of theirs.
    fn shards(&self, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
        let tensors = SafeTensors::deserialize(&self.weights).unwrap();
        let mut names = tensors.names();
        names.sort_unstable();
        let mut map = serde_json::Map::new();
        for (part, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
            let file = format!("diffusion_pytorch_model-{:05}-of-00002.safetensors", part + 1);
            let views = names.iter().map(|&name| (name, tensors.tensor(name).unwrap()));
            self.write(&format!("unet/{file}"), &safetensors::serialize(views, None).unwrap());
            map.extend(names.iter().map(|&name| (name.into(), file.clone().into())));
        }
        change(&mut map);
        let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
        self.write(&format!("unet/{WEIGHTS}.index.json"), index.to_string().as_bytes());
    }
}

#[test]
fn a_pipeline() {
    let made = Made::new();
    made.pipeline();
    made.opens(&Selection::default());
}

/// As google/ddpm-cifar10-32 is laid out.
#[test]
fn a_flat_folder() {
    let made = Made::new();
    made.write("config.json", &made.config);
    made.write(WEIGHTS, &made.weights);
    made.write("model_index.json", &made.index);
    made.write("scheduler_config.json", &made.scheduler);
    made.opens(&Selection::default());
}

/// As `train_unconditional.py` leaves them: the scheduler lies with the finished pipeline, above.
#[test]
fn training_checkpoints() {
    let made = Made::new();
    for folder in ["checkpoint-1000/unet", "checkpoint-500/unet", "checkpoint-500/unet_ema"] {
        made.network(folder);
    }
    assert_eq!(
        made.unclear(&Selection::default()),
        Unclear::Checkpoint(vec!["checkpoint-500".into(), "checkpoint-1000".into()])
    );
    let open = |selection: &Selection| CheckpointFiles::find(&made.path().join("checkpoint-500"), selection);
    let unclear = |error| match error {
        Err(DiffusionError::Unclear { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(unclear(open(&Selection::default())), Unclear::Network);
    let average = Selection { network: Some(NetworkFolder::UnetEma), ..Selection::default() };
    assert_eq!(unclear(open(&average)), Unclear::Scheduler);

    let scheduler = made.write("scheduler/scheduler_config.json", &made.scheduler);
    for (network, name) in [(NetworkFolder::Unet, "unet"), (NetworkFolder::UnetEma, "unet_ema")] {
        let files = open(&Selection { network: Some(network), ..Selection::default() }).unwrap();
        assert_eq!(files.config, made.path().join("checkpoint-500").join(name).join("config.json"));
        assert_eq!(files.scheduler, scheduler);
        assert_eq!(files.open().unwrap().values, made.values);
    }
    // With one network there is no choice to make; with none of that name there is.
    let alone = CheckpointFiles::find(&made.path().join("checkpoint-1000"), &Selection::default()).unwrap();
    assert!(alone.config.ends_with("checkpoint-1000/unet/config.json"));
    let error = CheckpointFiles::find(&made.path().join("checkpoint-1000"), &average).unwrap_err();
    assert!(error.to_string().contains("`unet_ema/config.json`"), "{error}");
}

#[test]
fn a_scheduler_from_elsewhere() {
    let made = Made::new();
    made.network(".");
    assert_eq!(made.unclear(&Selection::default()), Unclear::Scheduler);
    let file = made.write("elsewhere/scheduler_config.json", &made.scheduler);
    for path in [file.clone(), file.parent().unwrap().into()] {
        made.opens(&Selection { scheduler: Some(path), ..Selection::default() });
    }
    let missing = Selection { scheduler: Some(made.path().join("no.json")), ..Selection::default() };
    assert!(made.find(&missing).unwrap_err().to_string().contains("no.json: does not exist"));
}

#[test]
fn halves_and_variants() {
    for (dtype, name) in [(Dtype::F16, "fp16"), (Dtype::BF16, "bf16")] {
        let made = Made::new();
        made.pipeline();
        let file = format!("unet/diffusion_pytorch_model.{name}.safetensors");
        made.write(&file, &made.halved(dtype));
        // As in diffusers, the weights without a variant are meant unless one is named.
        let files = made.find(&Selection::default()).unwrap();
        assert_eq!(files.weights, [made.path().join("unet").join(WEIGHTS)]);
        let variant = Selection { variant: Some(name.into()), ..Selection::default() };
        assert_eq!(made.find(&variant).unwrap().weights, [made.path().join(&file)]);
        made.opens(&variant);
        fs::remove_file(made.path().join("unet").join(WEIGHTS)).unwrap();
        assert_eq!(made.unclear(&Selection::default()), Unclear::Variant(vec![name.into()]));
        let other = Selection { variant: Some("int8".into()), ..Selection::default() };
        assert_eq!(made.unclear(&other), Unclear::Variant(vec![name.into()]));
        let path = Selection { variant: Some("../fp16".into()), ..Selection::default() };
        assert!(made.find(&path).unwrap_err().to_string().contains("no name of a variant"));
    }
}

#[test]
fn shards() {
    let sharded = || {
        let made = Made::new();
        made.pipeline();
        fs::remove_file(made.path().join("unet").join(WEIGHTS)).unwrap();
        made
    };
    let made = sharded();
    made.shards(|_| {});
    made.opens(&Selection::default());
    // A left-over single file beside them is another save.
    made.network("unet");
    assert!(made.refused().contains("left over from another save"), "{}", made.refused());

    for (name, expected) in [
        ("../outside.safetensors", "no safetensors file of its own folder"),
        ("/etc/passwd", "no safetensors file of its own folder"),
        ("..\\outside.safetensors", "no safetensors file of its own folder"),
        ("weights.bin", "no safetensors file of its own folder"),
        ("gone.safetensors", "`gone.safetensors`, which is not there"),
    ] {
        let made = sharded();
        made.write("outside.safetensors", &made.weights);
        made.shards(|map| {
            map.insert("conv_in.bias".into(), name.into());
        });
        assert!(made.refused().contains(expected), "{name}: {}", made.refused());
    }
    let made = sharded();
    made.shards(|map| map.clear());
    assert!(made.refused().contains("`weight_map` lists no file"), "{}", made.refused());
    // A file of the set that the index does not name: its tensors are missing.
    let made = sharded();
    made.shards(|map| map.retain(|_, file| file.as_str().unwrap().contains("00001")));
    assert!(made.refused().contains("is missing"), "{}", made.refused());
    // The same tensor in two files.
    let made = sharded();
    made.shards(|map| {
        map.insert("extra".into(), "twice.safetensors".into());
    });
    made.write("unet/twice.safetensors", &made.weights);
    assert!(made.refused().contains("is also in"), "{}", made.refused());
    let made = sharded();
    made.write(&format!("unet/{WEIGHTS}.index.json"), b"[]");
    assert!(made.refused().contains("no index of shards"), "{}", made.refused());
}

#[test]
fn pickles_are_refused_with_the_way_out() {
    for name in ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.bin.index.json"] {
        let made = Made::new();
        made.pipeline();
        fs::remove_file(made.path().join("unet").join(WEIGHTS)).unwrap();
        made.write(&format!("unet/{name}"), b"\x80\x02");
        let text = made.refused();
        assert!(text.contains(name) && text.contains("save_pretrained"), "{text}");
    }
}

#[test]
fn what_is_no_checkpoint() {
    let made = Made::new();
    assert!(made.refused().contains("is no diffusers checkpoint"), "{}", made.refused());
    let missing = CheckpointFiles::find(&made.path().join("nowhere"), &Selection::default()).unwrap_err();
    assert!(missing.to_string().ends_with("nowhere: does not exist"), "{missing}");
    let file = made.write("file", b"");
    let error = CheckpointFiles::find(&file, &Selection::default()).unwrap_err();
    assert!(error.to_string().ends_with("is a file, not a folder"), "{error}");
    made.write("config.json", &made.config);
    made.write("scheduler_config.json", &made.scheduler);
    assert!(made.refused().ends_with(&format!("{WEIGHTS}: is missing")), "{}", made.refused());
    // Another kind of model.
    made.write(WEIGHTS, &made.weights);
    made.write("config.json", br#"{"_class_name": "UNet2DConditionModel"}"#);
    assert!(made.refused().contains("UNet2DConditionModel"), "{}", made.refused());
}

/// Networks that are only a part of what makes an image, or give more than one.
#[test]
fn networks_that_make_no_pixels_by_themselves() {
    let made = Made::new();
    made.pipeline();
    for (index, expected) in [
        (r#"{"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]}"#, "has a `vqvae`"),
        (r#"{"vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["a", "b"]}"#, "has a `vae`"),
        ("[]", "no list of a pipeline's parts"),
        ("", "no list of a pipeline's parts"),
    ] {
        made.write("model_index.json", index.as_bytes());
        assert!(
            made.refused().contains("model_index.json: ") && made.refused().contains(expected),
            "{}",
            made.refused()
        );
    }
    made.pipeline();
    let mut config: serde_json::Value = serde_json::from_slice(&made.config).unwrap();
    config["out_channels"] = 2.into();
    made.write("unet/config.json", config.to_string().as_bytes());
    assert!(
        made.refused().contains("config.json: `out_channels` is 2: as in_channels, 1"),
        "{}",
        made.refused()
    );
}

#[test]
fn values_of_another_kind_are_named() {
    let made = Made::new();
    for (key, value) in [
        ("norm_eps", serde_json::Value::Null),
        ("block_out_channels", serde_json::json!([8, "wide"])),
        ("sample_size", serde_json::json!([8, 12])),
        ("layers_per_block", serde_json::json!(-1)),
    ] {
        made.pipeline();
        let mut config: serde_json::Value = serde_json::from_slice(&made.config).unwrap();
        config[key] = value;
        made.write("unet/config.json", config.to_string().as_bytes());
        assert!(made.refused().contains(&format!("config.json: `{key}")), "{}", made.refused());
    }
    made.pipeline();
    made.write("scheduler/scheduler_config.json", br#"{"_class_name": "DDPMScheduler", "beta_end": "0.02"}"#);
    assert!(made.refused().contains("scheduler_config.json: `beta_end`"), "{}", made.refused());
    made.pipeline();
    made.write(
        &format!("unet/{WEIGHTS}"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    );
    assert!(made.refused().contains("git lfs pull"), "{}", made.refused());
}

/// Keys that are not known are told, and those with which a moving average is kept are known.
#[test]
fn unknown_keys_are_told() {
    let made = Made::new();
    made.pipeline();
    let mut config: serde_json::Value = serde_json::from_slice(&made.config).unwrap();
    config["decay"] = 0.9999.into();
    config["optimization_step"] = 500.into();
    config["wings"] = 2.into();
    made.write("unet/config.json", config.to_string().as_bytes());
    let mut scheduler: serde_json::Value = serde_json::from_slice(&made.scheduler).unwrap();
    scheduler["sample_max_value"] = 1.into();
    scheduler["feathers"] = 3.into();
    made.write("scheduler/scheduler_config.json", scheduler.to_string().as_bytes());
    let checkpoint = made.find(&Selection::default()).unwrap().open().unwrap();
    assert_eq!(checkpoint.unknown_keys, ["wings"]);
    assert_eq!(checkpoint.scheduler.unknown_keys, ["feathers"]);
}

#[test]
fn schedulers_that_are_not_supported() {
    for (key, value, expected) in [
        ("_class_name", "PNDMScheduler", "supported are DDPMScheduler and DDIMScheduler"),
        ("beta_schedule", "laplace", "supported are linear"),
        ("variance_type", "learned_range", "supported are fixed_small"),
        ("variance_type", "fixed_large_log", "supported are fixed_small"),
        ("prediction_type", "flow", "supported are epsilon"),
        ("timestep_spacing", "karras", "supported are linspace"),
    ] {
        let made = Made::new();
        made.pipeline();
        let mut scheduler: serde_json::Value = serde_json::from_slice(&made.scheduler).unwrap();
        scheduler[key] = value.into();
        let file = made.write("scheduler/scheduler_config.json", scheduler.to_string().as_bytes());
        let text = made.refused();
        let start = format!("{}: `{key}` is {value}: {expected}", file.display());
        assert!(text.starts_with(&start), "{text}");
    }
    for (key, value) in [
        ("thresholding", serde_json::json!(true)),
        ("rescale_betas_zero_snr", serde_json::json!(true)),
        ("clip_sample_range", serde_json::json!(0)),
        ("trained_betas", serde_json::json!([0.1])),
        ("beta_end", serde_json::json!(2)),
        ("num_train_timesteps", serde_json::json!(0)),
    ] {
        let made = Made::new();
        made.pipeline();
        let mut scheduler: serde_json::Value = serde_json::from_slice(&made.scheduler).unwrap();
        scheduler[key] = value;
        made.write("scheduler/scheduler_config.json", scheduler.to_string().as_bytes());
        let text = made.refused();
        assert!(text.contains("scheduler_config.json: `"), "{key}: {text}");
    }
}
