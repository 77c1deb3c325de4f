//! Encoded ensembles that begin with one network, of adapters on it or of whole networks, through the program: trained, sampled by
//! prompts, ablated, asked, shown and written; and what is refused.

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
use pentimento_data::{FetchError, FetchOptions, PublicSet, default_cache_dir, fetch};
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::checkpoint::{AdapterFiles, Checkpoint, CheckpointFiles, Selection};
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
use pentimento_diffusion::unet::Parameters;
use pentimento_encoders::Encoders;
use pentimento_evaluation::classifier::Classifier;
use pentimento_testing::skipped;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MEMBERS: usize = 4;
const SEED: u64 = 5;
const STEPS: usize = 3;
const GUIDANCE: f64 = 3.0;
const PROMPTS: [&str; 2] = ["a green house", "the dog"];

/// Writes the golden pictures with their captions, and a recipe of adapters on the network of a golden pipeline.
fn recipe(laboratory: &Laboratory, base: &Path, name: &str, more: &str) -> PathBuf {
    let images = laboratory.path(&format!("{name}-pictures"));
    let texts = base.join("text_encoder").is_dir().then_some("features.condition");
    write_pictures(base, "features.images", &images, texts);
    recipe_of(laboratory, base, name, &images, more)
}

fn recipe_of(laboratory: &Laboratory, base: &Path, name: &str, images: &Path, more: &str) -> PathBuf {
    let samples = match base.join("text_encoder").is_dir() {
        true => format!("prompts = {PROMPTS:?}\nguidance = {GUIDANCE}"),
        false => String::new(),
    };
    let text = format!(
        r#"
name = "{name}"
seed = {SEED}
[data]
path = {images:?}
[codes]
members = {MEMBERS}
weight = 2
[base]
folder = {base:?}
[adapter]
rank = 2
[training]
steps = 6
batch = 2
learning_rate = 0.05
{more}
[sampling]
steps = {STEPS}
[samples]
count = 3
in_report = 2
{samples}
[attribution]
counterfactuals = 3
fidelity_samples = 2
top = 3
candidates = 4
exact = 2
[gradients]
groups = 4
timesteps = 3
dimension = 64
[influence]
cg_gradients = 64
"#
    );
    let path = laboratory.path(&format!("{name}.toml"));
    fs::write(&path, text).unwrap();
    path
}

fn command(name: &str, run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new(name), run]);
    command.args(more);
    command
}

fn array(run: &Path, object: &str, name: &str) -> Vec<f32> {
    ArrayReader::new(&fs::read(run.join(object)).unwrap(), object).unwrap().f32(name).unwrap()
}

const SHARD: &str = "samples/shard-00000.safetensors";
const ATTRIBUTION: &str = "attribution/shard-00000.safetensors";

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The code of each image, bit k for member k.
fn codes(run: &Path) -> Vec<u64> {
    let bytes = fs::read(run.join("codes.npy")).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[header..].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

/// A sample by some members alone, opened from their folders as anybody's adapters.
fn by_members(base: &Path, run: &Path, members: &[usize], sample: u32) -> Vec<f32> {
    let opened = opened(base);
    let adapters = members.iter().map(|member| {
        let folder = run.join(format!("members/{member:03}/adapter"));
        let read = AdapterFiles::find(&folder).unwrap().read(&opened.architecture).unwrap();
        opened.clone().with_adapter(read).unwrap()
    });
    by_networks(base, adapters.collect(), sample)
}

fn opened(folder: &Path) -> Checkpoint {
    CheckpointFiles::find_denoiser(folder, &Selection::default()).unwrap().open().unwrap()
}

/// A sample by the mean of some networks of a pipeline, under its prompt.
fn by_networks(base: &Path, networks: Vec<Checkpoint>, sample: u32) -> Vec<f32> {
    let opened = opened(base);
    let weights = vec![1.0 / networks.len() as f64; networks.len()];
    let architecture = networks[0].architecture.clone();
    let parameters =
        networks.into_iter().map(|one| Parameters::from_memory(&architecture, one.values_in_f32())).collect();
    let text = Encoders::open(base, None).unwrap().text.unwrap();
    let told =
        |prompt| Condition::Text(TextEmbedding::new(text.embeddings(&[prompt], 0).unwrap(), text.width()));
    let prompt = told(PROMPTS[sample as usize % 2]);
    let mixture = Mixture::new(architecture, parameters, 8, 8, 4).unwrap();
    let mixture = mixture.under(prompt).unwrap().guided(GUIDANCE, told("")).unwrap();
    let sampling = SamplingConfig { steps: STEPS, clip: false, ..opened.scheduler.sampling };
    let sampler = Sampler::new(&opened.scheduler.schedule, sampling).unwrap();
    let trajectory = Trajectory { sample, weights, condition: None };
    mixture.sample::<f32, Infallible>(&sampler, SEED, &[trajectory], |_| Ok(())).unwrap()
}

#[test]
fn samples_and_ablations_are_those_of_the_members_apart() {
    let laboratory = Laboratory::new();
    let base = pipeline("sd_conv");
    let recipe = recipe(&laboratory, &base, "adapters", "condition_dropout = 0.2");
    let run = laboratory.path("run");
    let said = succeed(&mut run_command(&recipe, &run, &[]));
    assert_verified(&run);
    let resolved = fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert_names(
        &resolved,
        &[
            "[base.files]",
            "digest = ",
            "[base.files.encoders.text]",
            "beta_schedule = \"scaled_linear\"",
            "clip = false",
            "layers = [\"to_k\", \"to_q\", \"to_v\", \"to_out.0\"]",
        ],
    );
    let made = objects(&run);
    for member in 0..MEMBERS {
        for file in ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "losses.npy"] {
            assert!(made.contains_key(&format!("members/{member:03}/{file}")), "{file} of {member}");
        }
    }
    assert!(!made.keys().any(|name| name.contains("/unet/") || name.ends_with("model_index.json")));
    check_latents(&base, &made, "features.images");
    check_samples(&base, &made, 3);
    assert!(said.stderr.contains("4 members"), "{}", said.stderr);

    // Every sample, guided and by its own prompt, is that of the members in their folders.
    let latents = array(&run, SHARD, "latent");
    let length = latents.len() / 3;
    for sample in 0..3 {
        let apart = by_members(&base, &run, &[0, 1, 2, 3], sample);
        assert_eq!(bits(&apart), bits(&latents[sample as usize * length..][..length]), "sample {sample}");
    }
    // And without an image it is that of the members that never saw it.
    let codes = codes(&run);
    let object = fs::read(run.join(ATTRIBUTION)).unwrap();
    let arrays = ArrayReader::new(&object, ATTRIBUTION).unwrap();
    let (groups, exact) = (arrays.u32("group").unwrap(), arrays.f32("exact").unwrap());
    assert_eq!(groups.len(), 3 * 3);
    for (place, &group) in groups.iter().enumerate() {
        let left: Vec<usize> =
            (0..MEMBERS).filter(|member| codes[group as usize] >> member & 1 == 0).collect();
        assert_eq!(left.len(), 2);
        let sample = (place / 3) as u32;
        let apart = by_members(&base, &run, &left, sample);
        assert_eq!(bits(&apart), bits(&exact[place * length..][..length]), "sample {sample} without {group}");
    }
    // The control variate is near the exact one.
    let values = |name: &str| arrays.f32(name).unwrap();
    let (varied, images) = (values("control_variate"), values("image"));
    assert_eq!(
        bits(&images),
        bits(&latents),
        "the trajectories that derivatives follow are those of the samples"
    );
    let (mut error, mut moved) = (0.0, 0.0);
    for place in 0..2 * 3 {
        let base = &images[place / 3 * length..][..length];
        for at in 0..length {
            let exact = f64::from(exact[place * length + at]);
            error += (f64::from(varied[place * length + at]) - exact).powi(2);
            moved += (f64::from(base[at]) - exact).powi(2);
        }
    }
    assert!(error < 0.05 * moved, "{error} of {moved}");

    asked_and_shown(&laboratory, &base, &run);
    // One by one and by one thread, in another run: the same bytes.
    let again = laboratory.path("again");
    succeed(&mut run_command(&recipe, &again, &["--threads", "1", "--batch", "1"]));
    assert_equal_runs(&made, &again);
}

/// The questions that a finished run answers.
fn asked_and_shown(laboratory: &Laboratory, base: &Path, run: &Path) {
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert_names(&page, &["two latents", "Training images it rests on most", "control variate"]);
    let methods = "jacobian,second-order,tracin,d-trak,das,influence";
    let said = succeed(&mut command("attribute", run, &["--method", methods])).stdout;
    assert_names(&said, &["sample 0 (“a green house”)", "scores/samples/influence.parquet"]);
    let said = succeed(&mut command("search", run, &["--sample", "0", "--sample", "1"])).stdout;
    assert_names(&said, &["in latents"]);
    for method in ["exact", "control-variate", "jacobian"] {
        let said =
            succeed(&mut command("ablate", run, &["--sample", "1", "--images", "0", "--method", method]));
        assert_names(&said.stdout, &["2 of 4 members left", method]);
        let file = said.stdout.lines().last().unwrap().to_owned();
        assert_eq!(image::open(file).unwrap().to_rgb8().dimensions(), (16, 16));
    }
    let said = succeed(&mut command("report", run, &["--compare", "d-trak"])).stdout;
    assert_names(&said, &["report.html"]);
    let said = succeed(&mut command("plan", run, &[])).stdout;
    assert_names(&said, &["4 members", "there already", "encoding pictures and captions"]);
    // Members are networks on known images, by which scores can be judged.
    let bank = ["--bank", run.to_str().unwrap(), "--method", "d-trak", "--query", "samples", "--draws", "8"];
    let said = succeed(program([Path::new("evaluate"), run]).args(bank)).stdout;
    assert_names(&said, &["d-trak"]);
    // A member as others open it.
    let settings = settings(&laboratory.path("adapters-pictures"), &["samples.prompts=[\"the dog\"]"]);
    for target in ["written", "written.safetensors"] {
        let (target, imported) = (laboratory.path(target), laboratory.path(&format!("of-{target}")));
        let said = fail(program([Path::new("export"), run, &target]).args(["--member", "4"]), 42);
        assert_names(&said, &["member 4 does not exist"]);
        succeed(program([Path::new("export"), run, &target]).args(["--member", "3"]));
        succeed(import(base, &imported).arg("--lora").arg(&target).args(&settings));
        let own = "adapter/adapter_model.safetensors";
        let (found, member) = (imported.join("members/000").join(own), run.join("members/003").join(own));
        assert!(fs::read(found).unwrap() == fs::read(member).unwrap(), "another adapter");
    }
}

/// Before anything was learned, B is zero, and every member is the network beneath.
#[test]
fn adapters_that_learned_nothing_sample_as_their_base() {
    let laboratory = Laboratory::new();
    let base = pipeline("sd_conv");
    let recipe = recipe(&laboratory, &base, "adapters", "");
    let latents = |name: &str, rate: &str| {
        let run = laboratory.path(name);
        let rate = format!("training.learning_rate={rate}");
        succeed(program([Path::new("train"), &recipe, Path::new("--run"), &run]).args(["--set", &rate]));
        succeed(&mut command("sample", &run, &[]));
        array(&run, SHARD, "latent")
    };
    let (untouched, trained) = (latents("untouched", "1e-30"), latents("trained", "0.05"));
    let of_base = laboratory.path("base");
    let own = ["samples.count=3", "samples.prompts=[\"a green house\", \"the dog\"]", "samples.guidance=3.0"];
    let own =
        own.map(str::to_owned).into_iter().chain([format!("sampling.steps={STEPS}"), format!("seed={SEED}")]);
    let mut command = import(&base, &of_base);
    own.for_each(|setting| {
        command.args(["--set", &setting]);
    });
    succeed(&mut command);
    succeed(&mut program([Path::new("sample"), &of_base]));
    let truth = array(&of_base, SHARD, "latent");
    let largest = truth.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let apart = |found: &[f32]| found.iter().zip(&truth).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    // Quarters of four equal predictions are added up in three roundings at each step.
    assert!(apart(&untouched) < 1e-5 * largest, "{} of {largest}", apart(&untouched));
    assert!(apart(&trained) > 1e-3 * largest, "{} of {largest}", apart(&trained));
}

/// Without an adapter each member is all of the network, trained on from the values that it has.
#[test]
fn whole_networks_begin_with_the_values_that_are_there() {
    let laboratory = Laboratory::new();
    let base = pipeline("sd_conv");
    let recipe = recipe(&laboratory, &base, "whole", "condition_dropout = 0.2");
    let settings = ["--unset", "adapter", "--set", "training.learning_rate=0.002"];
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &settings));
    assert_verified(&run);
    let made = objects(&run);
    let has = |member: usize, file: &str| made.contains_key(&format!("members/{member:03}/{file}"));
    for member in 0..MEMBERS {
        for file in ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "losses.npy"] {
            assert!(has(member, file), "{file} of {member}");
        }
        assert!(!has(member, "adapter/adapter_model.safetensors"));
    }
    check_latents(&base, &made, "features.images");
    check_samples(&base, &made, 3);

    // Every sample, and every one without an image, is that of the members in their folders.
    let member = |member: usize| opened(&run.join(format!("members/{member:03}")));
    let latents = array(&run, SHARD, "latent");
    let length = latents.len() / 3;
    let object = fs::read(run.join(ATTRIBUTION)).unwrap();
    let arrays = ArrayReader::new(&object, ATTRIBUTION).unwrap();
    let (codes, groups, exact) = (codes(&run), arrays.u32("group").unwrap(), arrays.f32("exact").unwrap());
    for (place, &group) in groups.iter().enumerate() {
        let sample = place / 3;
        let apart = by_networks(&base, (0..MEMBERS).map(member).collect(), sample as u32);
        assert_eq!(bits(&apart), bits(&latents[sample * length..][..length]), "sample {sample}");
        let left = (0..MEMBERS).filter(|member| codes[group as usize] >> member & 1 == 0).map(member);
        let apart = by_networks(&base, left.collect(), sample as u32);
        assert_eq!(bits(&apart), bits(&exact[place * length..][..length]), "sample {sample} without {group}");
    }

    // Gradients are of all of each member.
    let said = succeed(&mut command("attribute", &run, &["--method", "tracin,d-trak,influence"])).stdout;
    assert_names(&said, &["sample 0 (“a green house”)", "scores/samples/influence.parquet"]);
    let said = succeed(&mut command("report", &run, &["--compare", "d-trak"])).stdout;
    assert_names(&said, &["report.html"]);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert_names(&page, &["all 4 members in all their parameters"]);
    let said = succeed(&mut command("plan", &run, &[])).stdout;
    assert_names(&said, &["4 members", "there already"]);

    // A member takes the place of the network in its pipeline.
    let (written, of_member) = (laboratory.path("written"), laboratory.path("of-member"));
    succeed(program([Path::new("export"), &run, &written]).args(["--member", "2"]));
    let replaced = laboratory.path("replaced");
    copy(&base, &replaced);
    fs::remove_dir_all(replaced.join("unet")).unwrap();
    copy(&written.join("unet"), &replaced.join("unet"));
    let mut import = import(&replaced, &of_member);
    for setting in ["samples.count=2", "samples.guidance=3.0", "sampling.steps=3", "seed=5"] {
        import.args(["--set", setting]);
    }
    succeed(import.args(["--set", &format!("samples.prompts={PROMPTS:?}")]));
    succeed(&mut program([Path::new("sample"), &of_member]));
    let alone = by_networks(&base, vec![member(2)], 0);
    assert_eq!(bits(&alone), bits(&array(&of_member, SHARD, "latent")[..length]));

    // One by one and by one thread, in another run: the same bytes.
    let again = laboratory.path("again");
    let by_one = [&settings[..], &["--threads", "1", "--batch", "1"]].concat();
    succeed(&mut run_command(&recipe, &again, &by_one));
    assert_equal_runs(&made, &again);

    // Before anything was learned, they have the values that the network had.
    let untouched = laboratory.path("untouched");
    let slow = ["--unset", "adapter", "--set", "training.learning_rate=1e-30"];
    succeed(program([Path::new("train"), &recipe, Path::new("--run"), &untouched]).args(slow));
    let values = |folder: &Path| opened(folder).values_in_f32().concat();
    for member in 0..MEMBERS {
        let member = untouched.join(format!("members/{member:03}"));
        assert_eq!(bits(&values(&member)), bits(&values(&base)));
    }
}

/// Where every condition is dropped, training is as if all captions were empty, and so is what follows the training.
#[test]
fn what_follows_the_training_is_under_its_conditions() {
    let laboratory = Laboratory::new();
    let base = pipeline("sd_conv");
    let dropped = recipe(&laboratory, &base, "dropped", "condition_dropout = 1.0\nkeep_checkpoints = 2");
    let bare = laboratory.path("bare");
    write_pictures(&base, "features.images", &bare, None);
    for image in 0..6 {
        fs::write(bare.join(format!("{image}.txt")), "").unwrap();
    }
    let empty = recipe_of(&laboratory, &base, "empty", &bare, "keep_checkpoints = 2");
    let scores = |recipe: &Path, name: &str| {
        let run = laboratory.path(name);
        succeed(&mut program([Path::new("train"), recipe, Path::new("--run"), &run]));
        succeed(&mut command("attribute", &run, &["--method", "tracin,trak"]));
        let of = |method: &str| fs::read(run.join(format!("scores/samples/{method}.npy"))).unwrap();
        let weights = fs::read(run.join("members/002/adapter/adapter_model.safetensors")).unwrap();
        (weights, of("tracin"), of("trak"))
    };
    let (dropped, empty) = (scores(&dropped, "of-dropped"), scores(&empty, "of-empty"));
    assert!(dropped.0 == empty.0, "the same members");
    assert!(dropped.1 == empty.1, "the same events");
    // What does not follow the training takes images under their own captions.
    assert!(dropped.2 != empty.2);
}

/// Captions that are made of the names of classes are as good as the same captions in files.
#[test]
fn captions_are_made_of_classes() {
    let laboratory = Laboratory::new();
    let base = pipeline("sd_conv");
    let (files, classes) = (laboratory.path("files"), laboratory.path("classes"));
    write_pictures(&base, "features.images", &files, None);
    for image in 0..6 {
        let (class, picture) = (["cat", "dog"][image % 2], format!("{image}.png"));
        fs::create_dir_all(classes.join(class)).unwrap();
        fs::copy(files.join(&picture), classes.join(class).join(&picture)).unwrap();
        fs::create_dir_all(laboratory.path("captioned").join(class)).unwrap();
        fs::copy(files.join(&picture), laboratory.path("captioned").join(class).join(&picture)).unwrap();
        let caption = laboratory.path("captioned").join(class).join(format!("{image}.txt"));
        fs::write(caption, format!("a photo of a {class}, {class}")).unwrap();
    }
    let made = |name: &str, images: &Path, settings: &[&str]| {
        let (recipe, run) = (recipe_of(&laboratory, &base, name, images, ""), laboratory.path(name));
        let mut train = program([Path::new("train"), &recipe, Path::new("--run"), &run]);
        succeed(train.args(settings.iter().flat_map(|setting| ["--set", setting])));
        let asked = ["--method", "d-trak", "--query", "cat/0.png"];
        succeed(&mut command("sample", &run, &[]));
        let said = succeed(&mut command("attribute", &run, &asked)).stdout;
        (said, fs::read(run.join("members/001/adapter/adapter_model.safetensors")).unwrap())
    };
    let template = "data.captions=\"a photo of a {class}, {class}\"";
    let (said, by_classes) = made("by-classes", &classes, &[template]);
    let (_, by_files) = made("by-files", &laboratory.path("captioned"), &[]);
    assert!(by_classes == by_files, "other members");
    assert_names(&said, &["a photo of a cat, cat"]);
    // A folder of pictures that are asked about has its own classes.
    let run = laboratory.path("by-classes");
    let said = succeed(
        command("attribute", &run, &["--method", "d-trak", "--query"]).arg(laboratory.path("captioned")),
    );
    assert_names(&said.stdout, &["a photo of a dog, dog"]);
    let said = fail(command("attribute", &run, &["--method", "d-trak", "--query"]).arg(&files), 42);
    assert_names(&said, &["data.captions", "a photo of a {class}", "no classes"]);
    let recipe = recipe_of(&laboratory, &base, "unlabelled", &files, "");
    let said = fail(program([Path::new("train"), &recipe]).args(["--set", template]), 42);
    assert_names(&said, &["data.captions", "a photo of a {class}", "no classes"]);
}

/// The classifier sees what people see of latents, with samples of a public set under captions of its classes.
#[test]
fn the_classifier_sees_decoded_pictures() {
    let set = PublicSet::Cifar10;
    let fetched = default_cache_dir().and_then(|cache| fetch(set, &FetchOptions::new(cache), &mut |_| {}));
    match fetched {
        Err(error @ (FetchError::NothingAnswered { .. } | FetchError::NoCacheFolder)) => {
            return skipped(set.name(), error);
        }
        fetched => drop(fetched.unwrap()),
    }
    let laboratory = Laboratory::new();
    let base = pipeline("sd_conv");
    let recipe = recipe(&laboratory, &base, "cifar", "");
    let run = laboratory.path("run");
    let settings = [
        "data.set=\"cifar10\"",
        "data.captions=\"a photo of a {class}\"",
        "data.preprocessing.split=\"train\"",
        "data.preprocessing.classes=[1,5,7]",
        "data.preprocessing.first_per_class=4",
        "data.preprocessing.resize={height=16, width=16, filter=\"box\"}",
        "codes.groups=\"class\"",
        "codes.kind=\"walsh\"",
        "classifier.epochs=1",
    ];
    let unset = ["data.path", "codes.members", "codes.weight"].into_iter().flat_map(|one| ["--unset", one]);
    let settings: Vec<&str> = unset.chain(settings.iter().flat_map(|one| ["--set", one])).collect();
    let said = succeed(&mut run_command(&recipe, &run, &settings)).stdout;
    assert_names(&said, &["other class removed, another class seen", "classifier: "]);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    let classifier =
        Classifier::from_bytes(&fs::read(run.join("classifier/classifier.safetensors")).unwrap()).unwrap();
    let decoded: Vec<f32> = array(&run, SHARD, "image").iter().map(|value| value.clamp(-1.0, 1.0)).collect();
    for (sample, seen) in classifier.predict(&decoded).unwrap().iter().enumerate() {
        let class = set.class_names()[seen.class as usize];
        let percent = (f64::from(seen.probability) * 100.0).round();
        let prompt = PROMPTS[sample % 2];
        assert_names(&page, &[&format!("Sample {sample} (“{prompt}”), seen as {class} ({percent}\u{a0}%)")]);
    }
}

/// Networks of other kinds: latents without texts, and pixels.
#[test]
fn other_networks_beneath() {
    let laboratory = Laboratory::new();
    let ldm = pipeline("ldm_uncond");
    let run = laboratory.path("run");
    let of_ldm = recipe(&laboratory, &ldm, "latents", "");
    let said = fail(&mut run_command(&of_ldm, &run, &["--set", "adapter.layers=[\"nothing\"]"]), 42);
    assert_names(&said, &["adapter.layers", "nothing", "those of the network end with", "conv1"]);
    let layers = ["--set", "adapter.layers=[\"conv1\", \"conv2\"]", "--set", "samples.count=1"];
    succeed(&mut run_command(&of_ldm, &run, &layers));
    assert_verified(&run);
    check_latents(&ldm, &objects(&run), "features.images");

    let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(pixels.join("unet/config.json")).unwrap()).unwrap();
    let side = config["sample_size"].as_u64().unwrap();
    let text = format!(
        "name = \"pixels\"\n[data]\nimages = {:?}\nlabels = {:?}\n[data.preprocessing]\nfirst = 6\n[codes]\nmembers = 4\n[base]\nfolder \
         = {pixels:?}\n[adapter]\nlayers = [\"conv1\", \"conv2\"]\n[training]\nsteps = 2\nbatch = 2\n[sampling]\nsteps = 2\n[samples]\ncount = 1\n",
        laboratory.path("images"),
        laboratory.path("labels"),
    );
    let of_pixels = laboratory.path("pixels.toml");
    fs::write(&of_pixels, text).unwrap();
    let run = laboratory.path("run-of-pixels");
    let cover = format!("data.preprocessing.cover={{height={side}, width={side}}}");
    let channels = match config["in_channels"].as_u64().unwrap() {
        1 => "data.channels=\"grey\"",
        _ => "data.channels=\"rgb\"",
    };
    succeed(&mut run_command(&of_pixels, &run, &["--set", &cover, "--set", channels]));
    assert_verified(&run);
}

#[test]
fn what_is_refused() {
    let laboratory = Laboratory::new();
    let (base, run) = (laboratory.path("pipeline"), laboratory.path("run"));
    copy(&pipeline("sd_conv"), &base);
    let good = recipe(&laboratory, &base, "adapters", "");
    let refused = |recipe: &Path, settings: &[&str], words: &[&str]| {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let said = fail(program([Path::new("train"), recipe, Path::new("--run"), &run]).args(settings), 42);
        assert_names(&said, words);
        assert!(listed(&run).is_empty(), "nothing is made of what is refused");
    };
    refused(&good, &["adapter.rank=0"], &["adapter.rank", "0", "1 to 4096"]);
    refused(&good, &["adapter.alpha=-1.0"], &["adapter.alpha", "-1", "a positive number"]);
    refused(&good, &["adapter.layers=[\"to_z\"]"], &["adapter.layers", "to_z", "to_q"]);
    refused(&good, &["adapter.ranks=3"], &["ranks"]);
    refused(&good, &["training.horizontal_flip=true"], &["training.horizontal_flip", "latents"]);
    refused(&good, &["sampling.clip=true"], &["sampling.clip", "latents"]);
    refused(&good, &["samples.prompts=[]"], &["samples.prompts", "trained with texts"]);
    refused(&good, &["model.layers_per_block=1"], &["`model` is given", "not with `base`"]);
    refused(&good, &["base.folder=\"nowhere\""], &["nowhere", "does not exist"]);
    refused(&good, &["data.preprocessing.cover={height=8, width=8}"], &["16x16", "8x8"]);
    let plain = laboratory.class_recipe();
    refused(&plain, &["adapter.rank=4"], &["`adapter` is given", "only with `base`"]);
    // A picture without a caption is named before anything is trained.
    let images = laboratory.path("adapters-pictures");
    let caption = fs::read(images.join("3.txt")).unwrap();
    fs::remove_file(images.join("3.txt")).unwrap();
    refused(&good, &[], &["3.png", "caption"]);
    fs::write(images.join("3.txt"), caption).unwrap();

    // Another network beneath the members of a run is noticed.
    succeed(&mut program([Path::new("train"), &good, Path::new("--run"), &run]));
    let weights = base.join("unet/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut other = whole.clone();
    other[header] ^= 1;
    fs::write(&weights, other).unwrap();
    let said = fail(&mut command("sample", &run, &[]), 42);
    assert_names(&said, &["network beneath the adapters", "another one than the run began with"]);
    let said = fail(&mut program([Path::new("train"), &good, Path::new("--run"), &run]), 42);
    assert_names(&said, &["4 trained members", "digest"]);
    fs::remove_file(&weights).unwrap();
    let said = fail(&mut command("sample", &run, &[]), 42);
    assert_names(&said, &["network beneath the adapters", "nothing exists"]);
    fs::write(&weights, whole).unwrap();
    succeed(&mut command("sample", &run, &[]));
    // The same network in another place is the same; another network is not taken for it.
    let moved = laboratory.path("moved");
    copy(&base, &moved);
    let to = |folder: &Path| format!("base.folder={folder:?}");
    succeed(&mut command("train", &run, &["--set", &to(&moved)]));
    let recipe_now = fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(
        recipe_now.contains("moved/unet/config.json") && !recipe_now.contains("pipeline/unet"),
        "{recipe_now}"
    );
    let said = fail(&mut command("train", &run, &["--set", &to(&pipeline("sd_linear"))]), 42);
    assert_names(&said, &["4 trained members", "digest"]);
    // Alpha that is written out as what it is by default changes nothing.
    let before = objects(&run);
    succeed(&mut command("train", &run, &["--set", "adapter.alpha=2.0"]));
    succeed(&mut command("sample", &run, &[]));
    assert_equal_but_the_recipe(&before, &run);
    // Captions are part of what members follow from.
    fs::write(images.join("3.txt"), "another text").unwrap();
    let said = fail(&mut program([Path::new("train"), &good, Path::new("--run"), &run]), 42);
    assert_names(&said, &["4 trained members"]);
}
