//! Which networks open, and what is said of those that do not, at the program's end of the line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use safetensors::tensor::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const WRONG_INPUT: i32 = 42;
const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(name)
}

/// Copies the golden network `plain` (one channel, 8x8) as a pipeline.
fn plain(to: &Path) -> PathBuf {
    for file in ["model_index.json", "unet/config.json", WEIGHTS, "scheduler/scheduler_config.json"] {
        let target = to.join(file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(golden("goldens/plain").join(file), target).unwrap();
    }
    to.to_path_buf()
}

fn edit(file: &Path, changes: &Value) {
    let mut object: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        object[key] = value.clone();
    }
    fs::write(file, object.to_string()).unwrap();
}

/// Writes a value into every number of the tensors whose names begin so.
fn fill(folder: &Path, start: &str, value: f32) {
    let file = folder.join(WEIGHTS);
    let mut bytes = fs::read(&file).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    for name in metadata.offset_keys().into_iter().filter(|name| name.starts_with(start)) {
        let (from, to) = metadata.info(&name).unwrap().data_offsets;
        for chunk in bytes[8 + header..][from..to].as_chunks_mut::<4>().0 {
            *chunk = value.to_le_bytes();
        }
    }
    fs::write(file, bytes).unwrap();
}

fn doctor(folder: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("doctor"), folder]);
    command.args(more);
    command
}

fn import(folder: &Path, run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("import"), folder, Path::new("--run"), run]);
    command.args(["--set", "samples.count=1"]).args(more);
    command
}

/// What a command that must fail prints, on both channels.
fn findings(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(WRONG_INPUT), "{}", text(&output.stderr));
    assert_no_panic(&text(&output.stderr));
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A set of 8x8 images as IDX files, and the settings of a recipe that name it.
fn set(laboratory: &Laboratory, name: &str, images: &[Vec<u8>], labels: &[u8]) -> [String; 2] {
    let folder = laboratory.path(name);
    fs::create_dir(&folder).unwrap();
    let (of_images, of_labels) = (folder.join("images-idx3-ubyte"), folder.join("labels-idx1-ubyte"));
    fs::write(&of_images, idx(0x803, &[images.len(), 8, 8], &images.concat())).unwrap();
    fs::write(&of_labels, idx(0x801, &[labels.len()], labels)).unwrap();
    [format!("data.images={of_images:?}"), format!("data.labels={of_labels:?}")]
}

#[test]
fn a_name_of_the_hub_is_answered_with_the_command_that_fetches_it() {
    let laboratory = Laboratory::new();
    let elsewhere = laboratory.path("");
    for given in ["google/ddpm-cifar10-32", "https://huggingface.co/google/ddpm-cifar10-32"] {
        for command in ["doctor", "import"] {
            let said = fail(program([command, given]).current_dir(&elsewhere), WRONG_INPUT);
            let fetch = "`hf download google/ddpm-cifar10-32 --local-dir ddpm-cifar10-32`";
            assert_names(&said, &[&format!("{given}: does not exist"), fetch]);
        }
    }
    let said = fail(&mut doctor(Path::new("/nowhere/network"), &[]), WRONG_INPUT);
    assert!(said.ends_with("/nowhere/network: does not exist\n"), "{said}");
}

/// A network of rectangles says so in the form of diffusers, and the folder that is exported is taken back.
#[test]
fn a_network_of_rectangles_is_exported_with_its_size() {
    let laboratory = Laboratory::new();
    let (run, exported) = (laboratory.path("run"), laboratory.path("exported"));
    let crop = "data.preprocessing.crop={top=0, left=0, height=4, width=8}";
    let mut train = program([Path::new("train"), &laboratory.class_recipe(), Path::new("--run"), &run]);
    succeed(train.args(["--set", crop, "--set", "training.steps=2"]));
    succeed(&mut program([Path::new("export"), &run, &exported, Path::new("--member"), Path::new("0")]));
    for folder in [run.join("members/000"), exported.clone()] {
        let config: Value =
            serde_json::from_slice(&fs::read(folder.join("unet/config.json")).unwrap()).unwrap();
        assert_eq!(config["sample_size"], json!([4, 8]), "height and width");
    }
    assert_names(&succeed(&mut doctor(&exported, &[])).stdout, &["alone and in a batch"]);
    let again = laboratory.path("again");
    succeed(&mut import(&exported, &again, &["--set", "sampling.steps=2"]));
    succeed(&mut program([Path::new("sample"), &again]));
    let sample = image::open(again.join("samples/000000.png")).unwrap();
    assert_eq!((sample.height(), sample.width()), (4, 8));
}

#[test]
fn a_size_that_the_configuration_does_not_say_is_asked_for() {
    let laboratory = Laboratory::new();
    let (network, run) = (plain(&laboratory.path("network")), laboratory.path("run"));
    edit(&network.join("unet/config.json"), &json!({"sample_size": null}));
    let said = succeed(&mut doctor(&network, &[])).stdout;
    assert_names(
        &said,
        &["note     the configuration does not say how large the images are", "checked with 32x32"],
    );
    let said = fail(&mut import(&network, &run, &[]), WRONG_INPUT);
    let config = network.join("unet/config.json").display().to_string();
    assert_names(&said, &[&format!("{config}: `sample_size` is null"), "--set checkpoint.sample_size=SIDE"]);
    assert!(!run.exists());
    succeed(&mut import(
        &network,
        &run,
        &["--set", "checkpoint.sample_size=[8, 16]", "--set", "sampling.steps=2"],
    ));
    succeed(&mut program([Path::new("sample"), &run]));
    let sample = image::open(run.join("samples/000000.png")).unwrap();
    assert_eq!((sample.height(), sample.width()), (8, 16));
    // What the configuration does say stays as it is.
    let said = fail(
        &mut import(
            &plain(&laboratory.path("other")),
            &laboratory.path("b"),
            &["--set", "checkpoint.sample_size=16"],
        ),
        WRONG_INPUT,
    );
    assert_names(&said, &["`checkpoint`", "no setting changes"]);
}

#[test]
fn another_scheduler_opens_and_samples_by_ddim() {
    let laboratory = Laboratory::new();
    let (network, run) = (plain(&laboratory.path("network")), laboratory.path("run"));
    let scheduler = network.join("scheduler/scheduler_config.json");
    edit(&scheduler, &json!({"_class_name": "PNDMScheduler", "skip_prk_steps": true}));
    let said = succeed(&mut doctor(&network, &[])).stderr;
    assert_names(&said, &["note: of PNDMScheduler the noise schedule is taken; samples are made by DDIM"]);
    assert!(!said.contains("skip_prk_steps"), "{said}");
    let said = succeed(&mut import(&network, &run, &["--set", "sampling.steps=2"])).stderr;
    assert_names(&said, &["of PNDMScheduler", "samples by DDIM in 2 steps"]);
    succeed(&mut program([Path::new("sample"), &run]));
    edit(&scheduler, &json!({"_class_name": "FlowMatchEulerDiscreteScheduler"}));
    let said = fail(&mut doctor(&network, &[]), WRONG_INPUT);
    assert_names(&said, &["`_class_name` is FlowMatchEulerDiscreteScheduler: flow matching"]);
}

/// A network whose scheduler has dynamic thresholding can be asked; whoever samples is told what is done instead.
#[test]
fn dynamic_thresholding_is_said_to_be_clipping() {
    let laboratory = Laboratory::new();
    let network = plain(&laboratory.path("network"));
    let scheduler = network.join("scheduler/scheduler_config.json");
    edit(&scheduler, &json!({"_class_name": "DDPMScheduler", "thresholding": true, "sample_max_value": 1.5}));
    let note = "note: the scheduler has dynamic thresholding up to 1.5 (`sample_max_value`), which is not done here: samples are \
                clipped to [-1, 1]";
    assert_names(&succeed(&mut doctor(&network, &[])).stderr, &[note]);
    let images: Vec<Vec<u8>> = pixels().chunks(64).take(6).map(<[u8]>::to_vec).collect();
    let [of_images, of_labels] = set(&laboratory, "set", &images, &[0; 6]);
    let settings =
        ["sampling.steps=2", "gradients.dimension=16", "gradients.groups=4", &of_images, &of_labels];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let run = laboratory.path("run");
    assert_names(&succeed(&mut import(&network, &run, &settings)).stderr, &[note]);
    // Asked about a training image, nothing is sampled.
    succeed(program([Path::new("attribute"), &run]).args(["--method", "das", "--query", "3"]));
    assert!(!run.join("samples").exists());
    succeed(&mut program([Path::new("sample"), &run]));

    // With the default it is clipping, and the samples are those of diffusers.
    edit(&scheduler, &json!({"sample_max_value": 1.0}));
    let said = succeed(&mut doctor(&network, &[])).stderr;
    assert!(!said.contains("thresholding"), "{said}");
}

#[test]
fn what_was_taken_otherwise_than_it_lies_there_is_said() {
    let laboratory = Laboratory::new();
    let network = plain(&laboratory.path("network"));
    let bytes = fs::read(network.join(WEIGHTS)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let wrapped =
        tensors.names().into_iter().map(|name| (format!("module.{name}"), tensors.tensor(name).unwrap()));
    fs::write(network.join(WEIGHTS), safetensors::serialize(wrapped, None).unwrap()).unwrap();
    let said = succeed(&mut doctor(&network, &[])).stderr;
    assert_names(&said, &["the names of all tensors begin with `module.`, which was taken off"]);

    // A state of accelerate in the folder of its pipeline.
    let state = network.join("checkpoint-500");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("model.safetensors"), &bytes).unwrap();
    let said = succeed(&mut doctor(&state, &[])).stderr;
    assert_names(&said, &["note: the network is configured by", "network/unet/config.json"]);
    let said = succeed(&mut doctor(&network, &[])).stderr;
    assert_names(&said, &["also holds checkpoint-500", &format!("pentimento doctor {}", state.display())]);
    let alone = laboratory.path("alone");
    fs::create_dir(&alone).unwrap();
    fs::write(alone.join("model.safetensors"), &bytes).unwrap();
    assert_names(
        &fail(&mut doctor(&alone, &[]), WRONG_INPUT),
        &["weights but no config.json", "--config FILE"],
    );
    let config = network.join("unet/config.json");
    succeed(&mut doctor(&alone, &["--config", config.to_str().unwrap()]));
}

/// Whatever is advised can be taken.
#[test]
fn a_damaged_checkpoint_is_never_the_one_that_is_advised() {
    let laboratory = Laboratory::new();
    let out = laboratory.path("out");
    for step in [500, 1000, 1500] {
        plain(&out.join(format!("checkpoint-{step}")));
    }
    let cut = |folder: &str| {
        let file = out.join(folder).join(WEIGHTS);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    };
    cut("checkpoint-1500");
    let said = fail(&mut doctor(&out, &[]), WRONG_INPUT);
    let advised = format!("as in `pentimento doctor {}`", out.join("checkpoint-1000").display());
    assert_names(&said, &["checkpoint-1500 (damaged: ", "cut short: ", &advised]);
    succeed(&mut doctor(&out.join("checkpoint-1000"), &[]));
    cut("checkpoint-1000");
    cut("checkpoint-500");
    let said = fail(&mut doctor(&out, &[]), WRONG_INPUT);
    assert!(!said.contains("pentimento doctor"), "{said}");
}

/// A network before its first step, beside one that was trained; told by its values, without images.
#[test]
fn a_network_that_was_never_trained_is_called_so() {
    let laboratory = Laboratory::new();
    let network = plain(&laboratory.path("network"));
    fill(&network, "conv_out.", 0.0);
    let said = findings(&mut doctor(&network, &[]));
    assert_names(&said, &["PROBLEM  the network's last layer is zero", "was never trained"]);
    let said = succeed(&mut import(&network, &laboratory.path("run"), &[])).stderr;
    assert_names(&said, &["note: the network's last layer is zero"]);

    // Beside a network that answers zero, whose error is 1, lies one that answers something else.
    let training = laboratory.path("checkpoint-500");
    plain(&training);
    plain(&laboratory.path("average"));
    fs::rename(laboratory.path("average/unet"), training.join("unet_ema")).unwrap();
    fs::remove_file(training.join("model_index.json")).unwrap();
    fill(&training, "conv_out.", 0.0);
    let images: Vec<Vec<u8>> = pixels().chunks(64).map(<[u8]>::to_vec).collect();
    write_images(&laboratory.path("set.npy"), &images);
    let data = laboratory.path("set.npy").display().to_string();
    let said = findings(&mut doctor(&training, &["--network", "unet", "--data", &data]));
    assert_names(
        &said,
        &["PROBLEM  the network's last layer is zero", "`unet_ema` beside it predicts them with"],
    );
    let said = findings(&mut doctor(&training, &["--data", &data]));
    assert_names(
        &said,
        &[
            "note     `unet` predicts the images with a relative error of 1.000",
            "note     `unet_ema` predicts the images with a relative error of",
            "the better of the two",
            "the network's last layer is zero",
            "say `--network unet` or `--network unet_ema`",
        ],
    );
}

/// Classes beyond the first images of a sorted set are looked at too.
#[test]
fn the_doctor_sees_every_label() {
    let laboratory = Laboratory::new();
    let network = golden("goldens_configurations/class_table");
    let scheduler = golden("goldens/plain/scheduler").display().to_string();
    let images: Vec<Vec<u8>> = pixels().chunks(64).map(<[u8]>::to_vec).collect();
    let doctor_of = |name: &str, last: u8| {
        // Ten of each class, one class after another; the network knows 0 to 4.
        let labels: Vec<u8> = (0..60).map(|image| (image / 12).min(4)).chain([last]).skip(1).collect();
        set(&laboratory, name, &images, &labels);
        let data = laboratory.path(name).display().to_string();
        findings(&mut doctor(&network, &["--scheduler", &scheduler, "--data", &data]))
    };
    assert_names(&doctor_of("unknown", 5), &["PROBLEM  labels go to 5, the network knows classes 0 to 4"]);
    let said = doctor_of("known", 4);
    assert!(said.contains("of 16 of the images") && !said.contains("labels go to"), "{said}");
}

#[test]
fn nothing_to_compare_is_said_before_samples_are_made() {
    let laboratory = Laboratory::new();
    let image: Vec<u8> = pixels()[..64].to_vec();
    for (name, images, expected) in [
        ("one", 1, "there is only one training image: there is nothing to compare"),
        ("alike", 3, "all 3 training images are the same: there is nothing to compare"),
    ] {
        let run = laboratory.path(&format!("run-{name}"));
        let [of_images, of_labels] = set(&laboratory, name, &vec![image.clone(); images], &vec![0; images]);
        let settings = ["--set", "sampling.steps=2", "--set", &of_images, "--set", &of_labels];
        succeed(&mut import(&golden("goldens/plain"), &run, &settings));
        for command in ["run", "attribute", "report"] {
            assert_names(&fail(&mut program([Path::new(command), &run]), WRONG_INPUT), &[expected]);
            assert!(!run.join("samples").exists(), "{command}");
        }
    }
}

#[test]
fn codes_that_leave_a_member_without_images_are_refused_before_training() {
    let laboratory = Laboratory::new();
    let (recipe, run) = (laboratory.image_recipe(), laboratory.path("run"));
    // Each of three images is seen by one member, of six.
    let settings = ["--set", "data.preprocessing.first=3", "--set", "codes.weight=1"];
    for command in ["codes", "plan", "train", "run"] {
        let mut command = program([Path::new(command), &recipe, Path::new("--run"), &run]);
        let said = fail(command.args(settings), WRONG_INPUT);
        assert_names(
            &said,
            &[
                "the codes of 3 groups leave 3 members of 6 without images to train on (members ",
                "codes.weight",
            ],
        );
        assert_eq!(listed(&run), [""; 0]);
    }
}

#[test]
fn more_threads_than_any_machine_has_are_refused_at_once() {
    let said = fail(&mut program(["verify", "x", "--threads", "20000"]), 2);
    assert_names(&said, &["--threads", "20000 is not in 1..=1024"]);
}
