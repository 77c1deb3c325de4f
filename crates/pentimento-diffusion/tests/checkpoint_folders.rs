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
    CheckpointFiles, CheckpointInside, NetworkFolder, Selection, Unclear, network_files, scheduler_files,
};
use pentimento_diffusion::sampler::{SamplerKind, SamplingConfig};
use pentimento_diffusion::schedule::{ScheduleConfig, TimestepSpacing};
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
        assert_eq!(checkpoint.values_in_f32(), self.values);
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
    let inside = |name: &str| CheckpointInside { name: name.into(), damage: None };
    assert_eq!(
        made.unclear(&Selection::default()),
        Unclear::Checkpoint(vec![inside("checkpoint-500"), inside("checkpoint-1000")])
    );
    let open = |selection: &Selection| CheckpointFiles::find(&made.path().join("checkpoint-500"), selection);
    let unclear = |error| match error {
        Err(DiffusionError::Unclear { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(unclear(open(&Selection::default())), Unclear::Network { damaged: Vec::new() });
    let average = Selection { network: Some(NetworkFolder::UnetEma), ..Selection::default() };
    assert_eq!(unclear(open(&average)), Unclear::Scheduler);

    let scheduler = made.write("scheduler/scheduler_config.json", &made.scheduler);
    for (network, name) in [(NetworkFolder::Unet, "unet"), (NetworkFolder::UnetEma, "unet_ema")] {
        let files = open(&Selection { network: Some(network), ..Selection::default() }).unwrap();
        assert_eq!(files.config, made.path().join("checkpoint-500").join(name).join("config.json"));
        assert_eq!(files.scheduler, scheduler);
        assert_eq!(files.open().unwrap().values_in_f32(), made.values);
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
    assert!(made.refused().contains(" missing ("), "{}", made.refused());
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
        made.refused().contains(
            "config.json: `out_channels` is 2: twice in_channels, 1: networks that learned a variance"
        ),
        "{}",
        made.refused()
    );
    // As for super-resolution: 6 channels in, 3 out.
    for (channels, expected) in [
        ([6, 3], "`out_channels` is 3: fewer than in_channels, 6: networks that are given a second picture"),
        ([2, 1], "`out_channels` is 1: fewer than in_channels, 2: networks that are given a second picture"),
        ([1, 3], "`out_channels` is 3: it must be as in_channels, 1"),
    ] {
        config["in_channels"] = channels[0].into();
        config["out_channels"] = channels[1].into();
        made.write("unet/config.json", config.to_string().as_bytes());
        assert!(made.refused().contains(expected), "{}", made.refused());
    }
}

#[test]
fn values_of_another_kind_are_named() {
    let made = Made::new();
    for (key, value) in [
        ("norm_eps", serde_json::Value::Null),
        ("block_out_channels", serde_json::json!([8, "wide"])),
        ("sample_size", serde_json::json!([8, 12, 3])),
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
        ("_class_name", "MadeUpScheduler", "the name of a scheduler of diffusers"),
        ("_class_name", "FlowMatchEulerDiscreteScheduler", "flow matching"),
        ("_class_name", "FlowMatchHeunDiscreteScheduler", "flow matching"),
        ("_class_name", "EDMEulerScheduler", "a process by noise levels (EDM"),
        ("_class_name", "KarrasVeScheduler", "a process by noise levels (EDM"),
        ("_class_name", "ScoreSdeVeScheduler", "a process by noise levels (EDM"),
        ("_class_name", "ScoreSdeVpScheduler", "a process in continuous time"),
        ("_class_name", "IPNDMScheduler", "a process in continuous time"),
        ("_class_name", "VQDiffusionScheduler", "a process on tokens"),
        ("timestep_type", "continuous", "a process by noise levels (EDM"),
        ("prediction_type", "flow_prediction", "flow matching"),
        ("beta_schedule", "quadratic", "supported are linear"),
        ("variance_type", "learned_range", "supported are fixed_small"),
        ("variance_type", "fixed_large_log", "supported are fixed_small"),
        ("prediction_type", "trigflow", "flow matching"),
        ("prediction_type", "score", "supported are epsilon"),
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
        ("use_flow_sigmas", serde_json::json!(true)),
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

/// Files of other kinds are named, and what can be done with each.
#[test]
fn files_of_other_kinds_are_told_by_their_names() {
    for (names, expected) in [
        (&["adapter_config.json", "adapter_model.safetensors"][..], ["adapter of PEFT", "merge_and_unload"]),
        (&["pytorch_lora_weights.safetensors"], ["weights of LoRA", "fuse_lora"]),
        (&["cats_lora.safetensors", "optimizer.bin"], ["weights of LoRA", "fuse_lora"]),
        (&["README.md", "model.onnx", "model.onnx_data"], ["exported to ONNX", "exported from"]),
        (&["Epoch=9.CKPT"], ["a checkpoint of other training code", "scripts/convert_*_to_diffusers.py"]),
        (&["ema.pt"], ["a pickle of PyTorch", "save_pretrained"]),
        (
            &["cats.safetensors", "optimizer.pt"],
            ["weights under a name", "the `config.json` of their `UNet2DModel`"],
        ),
    ] {
        let made = Made::new();
        for name in names {
            made.write(name, b"");
        }
        let told = made.refused();
        let file = names.iter().find(|name| told.contains(&format!("; it holds `{name}`: "))).expect(&told);
        assert!(told.contains("is no diffusers checkpoint: it has neither `config.json`"), "{told}");
        assert!(expected.iter().all(|part| told.contains(part)), "{told}");
        // The file itself, and in the place of a network's weights.
        let itself = CheckpointFiles::find(&made.path().join(file), &Selection::default()).unwrap_err();
        assert!(itself.to_string().contains("is a file, not a folder; by its name it is "), "{itself}");
        assert!(expected.iter().all(|part| itself.to_string().contains(part)), "{itself}");
        made.write("config.json", &made.config);
        made.write("scheduler_config.json", &made.scheduler);
        let told = made.refused();
        assert!(told.contains(&format!("{WEIGHTS}: is missing; it holds `{file}`: ")), "{told}");
    }
    // Weights of a network that lies there as a whole.
    let made = Made::new();
    made.pipeline();
    let weights = made.path().join("unet").join(WEIGHTS);
    let error = CheckpointFiles::find(&weights, &Selection::default()).unwrap_err();
    assert!(
        error.to_string().ends_with("is a file, not a folder; name the folder that it lies in"),
        "{error}"
    );
    // Of files that nothing is known of, nothing is said.
    let made = Made::new();
    made.write("notes.txt", b"");
    assert!(made.refused().ends_with("nor `unet_ema/config.json`"), "{}", made.refused());
}

/// Dynamic thresholding of diffusers 0.42 clamps its quantile between 1 and `sample_max_value`; with 1, the default, it is
/// clipping to [-1, 1].
#[test]
fn dynamic_thresholding_is_clipping_unless_its_largest_value_is_another() {
    for class in ["DDPMScheduler", "DDIMScheduler"] {
        for (more, instead) in [
            (serde_json::json!({}), None),
            (serde_json::json!({"sample_max_value": 1}), None),
            (serde_json::json!({"sample_max_value": 1.5}), Some(1.5)),
        ] {
            let made = Made::new();
            made.pipeline();
            let mut scheduler: serde_json::Value = serde_json::from_slice(&made.scheduler).unwrap();
            scheduler["_class_name"] = class.into();
            scheduler["thresholding"] = true.into();
            scheduler["dynamic_thresholding_ratio"] = 0.995.into();
            // Thresholding comes before either.
            scheduler["clip_sample"] = false.into();
            scheduler["clip_sample_range"] = 3.into();
            for (key, value) in more.as_object().unwrap() {
                scheduler[key] = value.clone();
            }
            made.write("scheduler/scheduler_config.json", scheduler.to_string().as_bytes());
            let read = made.find(&Selection::default()).unwrap().open().unwrap().scheduler;
            assert_eq!((read.sampling.clip, read.sampling.clip_range), (true, 1.0), "{class} {more}");
            assert_eq!((read.clipped_instead, read.unknown_keys.len()), (instead, 0), "{class} {more}");
        }
    }
}

/// Betas and cumulative alphas of T = 8 that diffusers 0.42.1 computes for the class, and its defaults where a file has none.
#[test]
fn other_schedulers_give_their_noise_schedule() {
    let linear = [1e-4, 0.002942857, 0.005785714, 0.008628571, 0.011471428, 0.014314285, 0.017157143, 0.02];
    let linear_of_heun =
        [0.00085, 0.002442857, 0.004035714, 0.005628571, 0.007221429, 0.008814286, 0.010407143, 0.012];
    let scaled_of_lcm =
        [0.00085, 0.001651529, 0.002716834, 0.004045916, 0.005638772, 0.007495405, 0.009615814, 0.012];
    let scaled = [1e-4, 0.000827971, 0.002260903, 0.004398798, 0.007241657, 0.010789476, 0.015042257, 0.02];
    let cosine =
        [0.042195410, 0.115673311, 0.192188025, 0.278245509, 0.383620858, 0.526036382, 0.740268886, 0.999];
    let laplace = [
        0.183095545,
        0.062620737,
        0.043529477,
        0.034074146,
        0.036566634,
        0.055274438,
        0.102927841,
        0.945255160,
    ];
    for (class, schedule, expected) in [
        ("PNDMScheduler", None, linear),
        ("UniPCMultistepScheduler", None, linear),
        ("FlaxPNDMScheduler", None, linear),
        ("EulerDiscreteScheduler", Some("scaled_linear"), scaled),
        ("DPMSolverMultistepScheduler", Some("squaredcos_cap_v2"), cosine),
        ("HeunDiscreteScheduler", None, linear_of_heun),
        ("KDPM2AncestralDiscreteScheduler", None, linear_of_heun),
        ("HeunDiscreteScheduler", Some("exp"), [0.776869833; 8]),
        ("LCMScheduler", None, scaled_of_lcm),
        ("UnCLIPScheduler", None, cosine),
        ("DDPMParallelScheduler", Some("laplace"), laplace),
    ] {
        let made = Made::new();
        made.pipeline();
        // As Python writes it, with what only this solver knows.
        let schedule = schedule.map_or(String::new(), |name| format!(", \"beta_schedule\": \"{name}\""));
        let text = format!(
            "{{\"_class_name\": \"{class}\", \"num_train_timesteps\": 8, \"lambda_min_clipped\": -Infinity, \"variance_type\": \
             null, \"timestep_spacing\": \"linspace\"{schedule}}}"
        );
        made.write("scheduler/scheduler_config.json", text.as_bytes());
        let read = made.find(&Selection::default()).unwrap().open().unwrap().scheduler;
        let betas = read.schedule.betas();
        for (beta, expected) in betas.iter().zip(expected) {
            // They are given with nine digits, and diffusers computes in f32.
            assert!((beta - expected).abs() < 1e-8 + 1e-6 * expected, "{class}: {betas:?} {expected}");
        }
        assert_eq!(betas.len(), 8);
        let is_ddpm = class == "DDPMParallelScheduler";
        assert_eq!(read.sampled_otherwise.as_deref(), (!is_ddpm).then_some(class));
        assert_eq!(read.sampling.sampler, if is_ddpm { SamplerKind::Ddpm } else { SamplerKind::Ddim });
        assert_eq!(read.unknown_keys, if is_ddpm { vec!["lambda_min_clipped"] } else { Vec::new() });
    }
}

/// Betas that were trained with, and those that leave nothing of the image; cumulative alphas by diffusers 0.42.1, which keeps
/// 2^-24 of the last in place of 0.
#[test]
fn other_schedulers_with_listed_or_rescaled_betas() {
    let made = Made::new();
    made.pipeline();
    let listed =
        br#"{"_class_name": "PNDMScheduler", "num_train_timesteps": 2, "trained_betas": [0.25, 0.5]}"#;
    made.write("scheduler/scheduler_config.json", listed);
    let open = || made.find(&Selection::default()).unwrap().open().unwrap().scheduler;
    assert_eq!(open().schedule.alphas_cumprod(), [0.75, 0.375]);
    let rescaled = br#"{"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 8, "rescale_betas_zero_snr": true,
        "prediction_type": "v_prediction", "timestep_spacing": "trailing"}"#;
    made.write("scheduler/scheduler_config.json", rescaled);
    let read = open();
    let expected = [0.99989986, 0.92698169, 0.79176676, 0.61027890, 0.40619037, 0.21041349, 0.06051465, 0.0];
    for (found, expected) in read.schedule.alphas_cumprod().iter().zip(expected) {
        // diffusers goes from betas to alphas and back, in f32.
        assert!((found - expected).abs() < 3e-6, "{found} {expected}");
    }
    assert_eq!(read.sampling.spacing, TimestepSpacing::Trailing);
}

impl Made {
    /// The weights under other names.
    fn renamed(&self, name_of: impl Fn(usize, &str) -> String) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.weights).unwrap();
        let mut names = tensors.names();
        names.sort_unstable();
        let views = names
            .iter()
            .enumerate()
            .map(|(place, name)| (name_of(place, name), tensors.tensor(name).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }
}

/// As `torch.compile`, several processes, both, and a larger model leave them.
#[test]
fn one_prefix_of_all_names_is_taken_off() {
    for prefix in ["_orig_mod.", "module.", "module._orig_mod.", "unet.", "model.unet.", ""] {
        let made = Made::new();
        made.pipeline();
        made.write(&format!("unet/{WEIGHTS}"), &made.renamed(|_, name| format!("{prefix}{name}")));
        let checkpoint = made.find(&Selection::default()).unwrap().open().unwrap();
        assert_eq!((checkpoint.values_in_f32(), checkpoint.prefix.as_str()), (made.values.clone(), prefix));
    }
    // One that not all have is none, and one without a dot is part of a name.
    for name_of in [
        |place: usize, name: &str| if place == 0 { name.to_owned() } else { format!("module.{name}") },
        |_, name: &str| format!("my{name}"),
    ] {
        let made = Made::new();
        made.pipeline();
        made.write(&format!("unet/{WEIGHTS}"), &made.renamed(name_of));
        assert!(made.refused().contains("are not those of the configured network"), "{}", made.refused());
    }
}

#[test]
fn weights_of_another_network_are_told_by_what_differs() {
    let made = Made::new();
    made.pipeline();
    let tensors = tiny().parameters().len();
    made.write(
        &format!("unet/{WEIGHTS}"),
        &made.renamed(|_, name| name.replace("up_blocks.0", "up_blocks.7")),
    );
    let moved = tiny().parameters().iter().filter(|spec| spec.name.starts_with("up_blocks.0")).count();
    let text = made.refused();
    let (missing, more) =
        (format!("{moved} missing (up_blocks.0."), format!("{moved} in the file that it does not have"));
    for expected in [&format!("which has {tensors}: {missing}"), &more, "(up_blocks.7.", ", ...)"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // Every layer that meets the first level is wider.
    made.pipeline();
    let mut config: serde_json::Value = serde_json::from_slice(&made.config).unwrap();
    let widths = config["block_out_channels"].as_array().unwrap().len();
    config["block_out_channels"] = vec![16; widths].into();
    made.write("unet/config.json", config.to_string().as_bytes());
    let text = made.refused();
    assert!(text.contains("of another shape (conv_in.weight is ["), "{text}");
    assert!(text.contains("are weights and configuration of the same network?"), "{text}");
}

/// What lies in the place of weights when a download or a copy went wrong.
#[test]
fn what_lies_in_the_place_of_weights() {
    let made = Made::new();
    let (whole, half) = (made.weights.len(), made.weights.len() / 2);
    let header = 8 + u64::from_le_bytes(*made.weights.first_chunk().unwrap()) as usize;
    let zip = b"PK\x03\x04 and more than eight bytes".to_vec();
    for (bytes, expected) in [
        (
            made.weights[..half.max(header + 4)].to_vec(),
            format!("cut short: {} of {whole} bytes are there", half.max(header + 4)),
        ),
        (
            made.weights[..header / 2].to_vec(),
            format!("cut short within its header: {} of {} bytes", header / 2 - 8, header - 8),
        ),
        (made.weights[..5].to_vec(), "cut short: 5 bytes".into()),
        (
            [made.weights.clone(), vec![0; 3]].concat(),
            format!("3 bytes follow the {whole} that its header says"),
        ),
        (Vec::new(), "the file is empty".into()),
        (b"<!DOCTYPE html><html>404</html>".to_vec(), "a web page and not the file itself".into()),
        (b"\n<html>\n".to_vec(), "a web page and not the file itself".into()),
        (b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), "`git lfs pull` brings it".into()),
        (zip.clone(), "not safetensors but a pickle".into()),
        (b"\x80\x02}q\x00(X and more".to_vec(), "not safetensors but a pickle".into()),
        (vec![7; 64], "not safetensors".into()),
    ] {
        made.pipeline();
        made.write(&format!("unet/{WEIGHTS}"), &bytes);
        assert!(made.refused().contains(&expected), "{expected}: {}", made.refused());
    }
    // The same in the place of a pickle: Python could not open these either.
    fs::remove_file(made.path().join("unet").join(WEIGHTS)).unwrap();
    for (bytes, expected) in [
        (b"<!DOCTYPE html>".to_vec(), "a web page and not the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), "`git lfs pull` brings it"),
        (Vec::new(), "the file is empty"),
        (zip.clone(), "cut short"),
        ([zip, b"PK\x05\x06".to_vec(), vec![0; 18]].concat(), "save_pretrained"),
    ] {
        made.write("unet/diffusion_pytorch_model.bin", &bytes);
        assert!(made.refused().contains(expected), "{expected}: {}", made.refused());
    }
    // And of configurations.
    made.network("unet");
    made.write("unet/config.json", b"<!DOCTYPE html>");
    assert!(
        made.refused().contains("config.json: not a configuration of UNet2DModel: a web page"),
        "{}",
        made.refused()
    );
}

/// A header whose length has the first bytes of a pickle or of a page is a header all the same.
#[test]
fn a_header_of_any_length_is_no_pickle_and_no_page() {
    let made = Made::new();
    made.pipeline();
    let header = u64::from_le_bytes(*made.weights.first_chunk().unwrap()) as usize;
    for start in [[0x80, 0x02], [0x3c, 0x21], [0x20, 0x3c]] {
        let mut length = usize::from(u16::from_le_bytes(start));
        while length < header {
            length += 0x10000;
        }
        let mut bytes = (length as u64).to_le_bytes().to_vec();
        bytes.extend(&made.weights[8..8 + header]);
        bytes.resize(8 + length, b' ');
        bytes.extend(&made.weights[8 + header..]);
        made.write(&format!("unet/{WEIGHTS}"), &bytes);
        made.opens(&Selection::default());
    }
}

/// Of several checkpoints, those that are damaged are told from those that are whole.
#[test]
fn damaged_checkpoints_are_told_from_whole_ones() {
    let made = Made::new();
    for step in [500, 1000, 1500] {
        made.network(&format!("checkpoint-{step}/unet"));
    }
    made.network("checkpoint-1000/unet_ema");
    let cut = &made.weights[..made.weights.len() - 4];
    made.write(&format!("checkpoint-1500/unet/{WEIGHTS}"), cut);
    made.write(&format!("checkpoint-1000/unet_ema/{WEIGHTS}"), cut);
    made.write("checkpoint-2000/optimizer.bin", b"");
    let Unclear::Checkpoint(inside) = made.unclear(&Selection::default()) else { panic!("checkpoints") };
    let damage = |name: &str| inside.iter().find(|found| found.name == name).unwrap().damage.clone();
    assert_eq!((damage("checkpoint-500"), damage("checkpoint-1000")), (None, None));
    assert!(damage("checkpoint-1500").unwrap().contains("cut short"), "{inside:?}");
    assert!(damage("checkpoint-2000").unwrap().contains("has no weights"), "{inside:?}");
    let error =
        CheckpointFiles::find(&made.path().join("checkpoint-1000"), &Selection::default()).unwrap_err();
    let DiffusionError::Unclear { what: Unclear::Network { damaged }, .. } = error else { panic!("{error}") };
    assert!(matches!(damaged.as_slice(), [(NetworkFolder::UnetEma, damage)] if damage.contains("cut short")));
}

/// accelerate saves a state as `model.safetensors`, without a configuration.
#[test]
fn states_of_accelerate() {
    let made = Made::new();
    made.write("out/checkpoint-500/model.safetensors", &made.weights);
    made.write("out/checkpoint-500/optimizer.bin", b"");
    let state = made.path().join("out/checkpoint-500");
    let open = |selection: &Selection| CheckpointFiles::find(&state, selection);
    let unclear = |error| match error {
        Err(DiffusionError::Unclear { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(unclear(open(&Selection::default())), Unclear::Config(Vec::new()));

    // A person says it.
    let config = made.write("elsewhere/unet/config.json", &made.config);
    let scheduler = made.write("elsewhere/scheduler/scheduler_config.json", &made.scheduler);
    let said = Selection { config: Some(config.clone()), ..Selection::default() };
    let files = open(&said).unwrap();
    assert_eq!((&files.config, &files.scheduler), (&config, &scheduler));
    assert_eq!(files.open().unwrap().values_in_f32(), made.values);
    let gone = Selection { config: Some(made.path().join("no.json")), ..Selection::default() };
    assert!(open(&gone).unwrap_err().to_string().contains("no.json: does not exist"));

    // The pipeline that the state belongs to says it.
    let above = made.write("out/unet/config.json", &made.config);
    made.write("out/scheduler/scheduler_config.json", &made.scheduler);
    let files = open(&Selection::default()).unwrap();
    assert_eq!(files.config, above);
    assert_eq!(files.open().unwrap().values_in_f32(), made.values);
    // The same network twice leaves nothing open, another one does.
    let average = made.write("out/unet_ema/config.json", &made.config);
    assert_eq!(open(&Selection::default()).unwrap().config, above);
    made.write("out/unet_ema/config.json", br#"{"in_channels": 1, "out_channels": 1}"#);
    assert_eq!(unclear(open(&Selection::default())), Unclear::Config(vec![above, average]));

    // Beside a configuration, and as a pickle.
    made.write("out/checkpoint-500/config.json", &made.config);
    assert_eq!(open(&Selection::default()).unwrap().config, state.join("config.json"));
    fs::remove_file(state.join("model.safetensors")).unwrap();
    made.write("out/checkpoint-500/pytorch_model.bin", b"\x80\x02");
    let error = open(&Selection::default()).unwrap_err().to_string();
    assert!(error.contains("pytorch_model.bin") && error.contains("save_file"), "{error}");
}
