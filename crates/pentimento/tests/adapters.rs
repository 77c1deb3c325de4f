//! Adapters over the golden pipelines: imported in every form, sampled, asked by every method, shown, written again; and what is
//! refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;
mod latent_pipelines;

use common::*;
use latent_pipelines::*;
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::checkpoint::AdapterFiles;
use pentimento_encoders::Encoders;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An adapter in all its forms, each by the name of its folder, and the pipeline that it is for.
struct Case {
    base: PathBuf,
    forms: BTreeMap<String, PathBuf>,
    said: serde_json::Value,
}

impl Case {
    fn open() -> Self {
        let folder = pipeline("lora");
        let said: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
        let folders =
            folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let forms = folders.map(|path| (name(&path), path)).collect();
        Self { base: pipeline(said["base"].as_str().unwrap()), forms, said }
    }

    /// Names of the forms that a list of the case has.
    fn listed(&self, list: &str) -> Vec<String> {
        let names = self.said[list].as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    fn import(&self, adapter: &Path, run: &Path, settings: &[String]) -> Command {
        let mut command = import(&self.base, run);
        command.arg("--lora").arg(adapter).args(settings);
        command
    }

    /// Settings of small runs over the golden pictures.
    fn settings(&self, laboratory: &Laboratory, more: &[&str]) -> Vec<String> {
        let images = laboratory.path("pictures");
        write_pictures(&self.base, "features.images", &images, Some("features.condition"));
        let own = ["samples.prompts=[\"a green house\", \"the dog\"]", "sampling.steps=3"];
        settings(&images, &[&own, more].concat())
    }
}

fn attribute(run: &Path, methods: &str) -> Command {
    let mut command = program([Path::new("attribute"), run]);
    command.args(["--method", methods]);
    command
}

fn scores(run: &Path, method: &str) -> Vec<u8> {
    fs::read(run.join(format!("scores/samples/{method}.npy"))).unwrap()
}

const WEIGHTS: &str = "members/000/adapter/adapter_model.safetensors";

#[test]
fn the_form_of_a_file_decides_nothing() {
    let (case, laboratory) = (Case::open(), Laboratory::new());
    let settings = case.settings(&laboratory, &[]);
    let mut runs = BTreeMap::new();
    for (name, folder) in &case.forms {
        let run = laboratory.path(name);
        let said = succeed(&mut case.import(folder, &run, &settings)).stderr;
        assert_names(&said, &["adapter of rank", "are multiplied with", "split of the scale"]);
        let scale = said.split("are multiplied with ").nth(1).unwrap();
        let scale: f64 = scale.split(',').next().unwrap().parse().unwrap();
        succeed(&mut attribute(&run, "tracin,influence"));
        assert_verified(&run);
        runs.insert(name.clone(), (scale, run));
    }
    let latents = |run: &Path| {
        let name = "samples/shard-00000.safetensors";
        ArrayReader::new(&fs::read(run.join(name)).unwrap(), name).unwrap().f32("latent").unwrap()
    };
    let same = case.listed("same_output");
    let (scale, first) = &runs[&same[0]];
    assert_eq!(*scale, case.said["alpha"].as_f64().unwrap() / case.said["rank"].as_f64().unwrap());
    let mut otherwise_split = 0;
    for name in &same[1..] {
        let (other_scale, other) = &runs[name];
        // The same function has the same pictures, however its scale is split.
        let (expected, found) = (latents(first), latents(other));
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let apart = expected.iter().zip(&found).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart < 1e-3 * largest, "{name}: {apart} of {largest}");
        for method in ["tracin", "influence"] {
            let is_same = scores(first, method) == scores(other, method);
            assert_eq!(is_same, scale == other_scale, "{method} of {name}");
        }
        otherwise_split += usize::from(scale != other_scale);
    }
    assert!(otherwise_split > 0 && otherwise_split + 1 < same.len());
    for name in case.listed("scale_1") {
        let (scale, run) = &runs[&name];
        assert_eq!(*scale, 1.0, "{name}");
        assert!(latents(run) != latents(first), "{name} is the same function");
    }
}

#[test]
fn the_same_bytes_by_every_method_however_they_are_made() {
    let (case, laboratory) = (Case::open(), Laboratory::new());
    let (adapter, run) = (&case.forms["peft"], laboratory.path("run"));
    let settings = case.settings(&laboratory, &[]);
    succeed(&mut case.import(adapter, &run, &settings));
    let recipe = fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert_names(&recipe, &["[checkpoint.adapter]", "ranks = [4]", "adapter_model.safetensors"]);
    assert!(!run.join("members/000/unet/diffusion_pytorch_model.safetensors").exists(), "the base is kept");
    let forecast = succeed(&mut program([Path::new("plan"), &run])).stdout;
    assert_names(&forecast, &["6 pictures to latents", "5 texts"]);
    let methods = methods().join(",");
    let make = |run: &Path, more: &[&str]| {
        let said = succeed(program([Path::new("run"), run]).args(more)).stdout;
        succeed(attribute(run, &methods).args(more));
        said
    };
    let said = make(&run, &[]);
    let parameters = case.said["parameters"].as_u64().unwrap();
    let gradients =
        format!("gradients in {parameters} of {parameters} parameters (100 %) of an adapter of rank 4 on ");
    assert_names(&said, &[&gradients]);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert_names(
        &page,
        &["gradients of an adapter of rank 4 on", &format!("in all its {parameters} parameters")],
    );
    assert_verified(&run);
    let made = objects(&run);
    check_latents(&case.base, &made, "features.images");
    check_texts(&case.base, &made, "features.condition");

    for (name, how) in
        [("one", ["--threads", "1", "--batch", "1"]), ("seven", ["--threads", "2", "--batch", "7"])]
    {
        let again = laboratory.path(name);
        succeed(&mut case.import(adapter, &again, &settings));
        make(&again, &how);
        assert_equal_but_the_recipe(&made, &again);
    }

    // Pieces that are made elsewhere, one after another, and taken over before the rest is made.
    let pieced = laboratory.path("pieced");
    succeed(&mut case.import(adapter, &pieced, &settings));
    let mut taken = 0;
    for round in 0..4 {
        let listed =
            succeed(program([Path::new("pieces"), &pieced]).args(["--method", "das,influence"])).stdout;
        let Some(piece) = listed.lines().find_map(|line| line.strip_suffix(" missing")) else { break };
        let elsewhere = laboratory.path(&format!("elsewhere-{round}"));
        succeed(program([Path::new("make"), &pieced]).arg(piece).arg("--into").arg(&elsewhere));
        succeed(&mut program([Path::new("adopt"), &pieced, &elsewhere]));
        taken += 1;
    }
    assert!(taken >= 3, "{taken} pieces");
    make(&pieced, &[]);
    assert_equal_but_the_recipe(&made, &pieced);

    // Written for others and opened again, it is the same adapter.
    for target in ["written", "written.safetensors"] {
        let (target, again) = (laboratory.path(target), laboratory.path(&format!("of-{target}")));
        succeed(&mut program([Path::new("export"), &run, &target]));
        let said = fail(&mut program([Path::new("export"), &run, &target]), 42);
        assert_names(&said, &["exists already"]);
        succeed(&mut case.import(&target, &again, &settings));
        for (name, bytes) in made.iter().filter(|(name, _)| name.starts_with("members/")) {
            assert!(&fs::read(again.join(name)).unwrap() == bytes, "{}: {name}", target.display());
        }
    }
}

/// What an adapter has for the text encoder decides what prompts become, and whose they are.
#[test]
fn text_encoders_are_adapted() {
    let (case, laboratory) = (Case::open(), Laboratory::new());
    let settings = case.settings(&laboratory, &["samples.count=1"]);
    let mut with_text = 0;
    for (name, folder) in &case.forms {
        let files = AdapterFiles::find(folder).unwrap();
        let parts = files.read_text_encoders().unwrap();
        if parts.is_empty() {
            continue;
        }
        with_text += 1;
        let file = laboratory.path(&format!("{name}.safetensors"));
        fs::copy(&files.weights, &file).unwrap();
        let (plain, run) =
            (laboratory.path(&format!("plain-{name}")), laboratory.path(&format!("run-{name}")));
        succeed(import(&case.base, &plain).args(&settings));
        let said = succeed(&mut case.import(&file, &run, &settings)).stderr;
        assert_names(&said, &["layers of the text encoder"]);
        for run in [&plain, &run] {
            succeed(&mut program([Path::new("sample"), run]));
        }
        let texts = |run: &Path| -> Vec<(String, Vec<f32>)> {
            let made = objects(run).into_iter().filter(|(name, _)| name.starts_with("texts/"));
            made.map(|(name, bytes)| {
                let states = ArrayReader::new(&bytes, &name).unwrap().f32("states").unwrap();
                (name, states)
            })
            .collect()
        };
        let ([(own, found)], [(other, _)]) = (&texts(&run)[..], &texts(&plain)[..]) else {
            panic!("objects")
        };
        assert_ne!(own, other, "the adapter is not in the fingerprint");
        let text = Encoders::open(&case.base, None).unwrap().text.unwrap();
        let text = text.with_adapter(&parts, &file).unwrap();
        assert!(found == &text.embeddings(&["a green house", "the dog", ""], 0).unwrap());

        // It stays where it was, and is compared.
        let whole = fs::read(&file).unwrap();
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        fs::write(&file, other).unwrap();
        let encode = || attribute(&run, "tracin");
        assert_names(
            &fail(&mut encode(), 42),
            &["adapter of the text encoder", "another one", "pentimento import"],
        );
        fs::remove_file(&file).unwrap();
        assert_names(&fail(&mut encode(), 42), &["adapter of the text encoder", "nothing exists"]);
        fs::write(&file, whole).unwrap();
        succeed(&mut encode());
    }
    assert!(with_text > 0);
}

#[test]
fn the_doctor_looks_at_an_adapter() {
    let (case, laboratory) = (Case::open(), Laboratory::new());
    case.settings(&laboratory, &[]);
    for folder in case.forms.values() {
        let doctor = || {
            let mut command = program([Path::new("doctor"), &case.base]);
            command.arg("--lora").arg(folder);
            command
        };
        let said = succeed(&mut doctor());
        assert_names(&said.stderr, &["adapter of rank"]);
        assert_names(
            &said.stdout,
            &["opened", "alone and in a batch", "agrees with differences", "gradients reach"],
        );
        assert!(!said.stdout.contains("PROBLEM"), "{}", said.stdout);
        // Networks that were never trained on anything know no images.
        let output = doctor().arg("--data").arg(laboratory.path("pictures")).output().unwrap();
        assert_no_panic(&text(&output.stderr));
        assert_names(&text(&output.stdout), &["without their captions", "of 6 of the images"]);
    }
}

/// A safetensors file with other bytes in its data.
fn with_data(file: &Path, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    change(&mut bytes[header..]);
    bytes
}

#[test]
fn what_is_refused() {
    let (case, laboratory) = (Case::open(), Laboratory::new());
    let run = laboratory.path("run");
    let settings = ["--set".to_owned(), "samples.prompts=[\"a cat\"]".to_owned()];
    let refused = |base: &Path, adapter: &Path, words: &[&str]| {
        let said = fail(import(base, &run).arg("--lora").arg(adapter).args(&settings), 42);
        assert_names(&said, words);
        assert_names(&said, &["--lora", &base.display().to_string()]);
        assert!(!run.exists(), "nothing is written for what is refused");
        let said = fail(program([Path::new("doctor"), base]).arg("--lora").arg(adapter), 42);
        assert_names(&said, words);
    };
    // Of other networks: with other sizes, and in pixels, whose layers have other names.
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    for folder in case.forms.values() {
        refused(&pipeline("sd_linear"), folder, &["has shape"]);
        refused(&pipeline("ldm_uncond"), folder, &["the network has no layer", "another network"]);
        for pixels in goldens.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if pixels.join("unet").is_dir() {
                refused(&pixels, folder, &["the network has no layer", "another network"]);
            }
        }
    }
    let peft = &case.forms["peft"];
    let damaged = laboratory.path("damaged");
    copy(peft, &damaged);
    let weights = damaged.join("adapter_model.safetensors");
    let nan = with_data(&weights, |data| data[4..8].copy_from_slice(&f32::NAN.to_le_bytes()));
    fs::write(&weights, nan).unwrap();
    refused(&case.base, &damaged, &["lora_A", "value 1 is NaN"]);
    fs::rename(&weights, damaged.join("adapter_model.bin")).unwrap();
    refused(&case.base, &damaged, &["pickle", "adapter_model.bin"]);
    refused(&case.base, &laboratory.path("nowhere"), &["does not exist"]);
    fs::remove_file(damaged.join("adapter_model.bin")).unwrap();
    copy(peft, &damaged);
    fs::remove_file(damaged.join("adapter_config.json")).unwrap();
    refused(&case.base, &damaged, &["adapter_config.json", "is not beside it"]);
}

/// The network beneath an adapter stays where it was; the adapter is the run's own.
#[test]
fn what_became_of_the_files() {
    let (case, laboratory) = (Case::open(), Laboratory::new());
    let (base, adapter, run) = (laboratory.path("base"), laboratory.path("adapter"), laboratory.path("run"));
    copy(&case.base, &base);
    copy(&case.forms["peft"], &adapter);
    let case = Case { base, ..case };
    let settings = case.settings(&laboratory, &["samples.count=1"]);
    succeed(&mut case.import(&adapter, &run, &settings));
    let sample = || program([Path::new("sample"), &run]);
    let network = case.base.join("unet/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&network).unwrap();
    fs::write(&network, with_data(&network, |data| data[0] ^= 1)).unwrap();
    let said = fail(&mut sample(), 42);
    assert_names(
        &said,
        &["unet/config.json", "network beneath the adapter", "another one", "pentimento import"],
    );
    fs::remove_file(&network).unwrap();
    let said = fail(&mut sample(), 42);
    assert_names(&said, &["network beneath the adapter", "nothing exists", "pentimento import"]);
    // A folder of peft is there without it.
    succeed(&mut program([Path::new("export"), &run, &laboratory.path("written")]));
    fs::write(&network, whole).unwrap();

    // Another adapter makes another run.
    let weights = adapter.join("adapter_model.safetensors");
    let own = fs::read(&weights).unwrap();
    fs::write(&weights, with_data(&weights, |data| data[0] ^= 1)).unwrap();
    succeed(&mut sample());
    let said = fail(&mut case.import(&adapter, &run, &settings), 42);
    assert_names(&said, &["is a run of another network", "--run"]);
    let said = fail(import(&case.base, &run).args(&settings), 42);
    assert_names(&said, &["is a run of another network", "--run"]);
    fs::write(&weights, own).unwrap();
    let before = fs::read(run.join(WEIGHTS)).unwrap();
    fs::write(run.join(WEIGHTS), with_data(&run.join(WEIGHTS), |data| data[0] ^= 1)).unwrap();
    succeed(&mut case.import(&adapter, &run, &settings));
    assert!(fs::read(run.join(WEIGHTS)).unwrap() == before, "what was damaged is made again");
    assert_verified(&run);
}
