//! Influence functions of whole runs: what they agree with, what survives a kill, and what is refused.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use pentimento::evaluation::statistics::spearman;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Imports the small golden network beside images, with few draws of each.
fn import(run: &Path, images: &Path, more: &[&str]) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let mut command = program([Path::new("import"), &golden, Path::new("--run"), run]);
    command.args(["--set", &format!("data.path={images:?}"), "--set", "samples.count=2"]);
    command.args([
        "--set",
        "gradients.timesteps=5",
        "--set",
        "gradients.groups=2",
        "--set",
        "influence.draws=4",
    ]);
    // The same run is taken for one setting after another.
    command.arg("--replace");
    succeed(command.args(["--set", "sampling.steps=10"]).args(more));
}

fn attribute(run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("attribute"), run]);
    command.args(more);
    command
}

/// The test's 60 images, and two copies of number 3.
fn write_set(path: &Path) {
    let mut images: Vec<Vec<u8>> = pixels().chunks(64).map(<[u8]>::to_vec).collect();
    images.extend([images[3].clone(), images[3].clone()]);
    write_images(path, &images);
}

/// Scores `[queries][images]` from the array file of a run.
fn scores(run: &Path, method: &str, images: usize) -> Vec<Vec<f64>> {
    let folder = fs::read_dir(run.join("scores")).unwrap().map(|entry| entry.unwrap().path());
    let file = folder.map(|set| set.join(format!("{method}.npy"))).find(|file| file.exists()).unwrap();
    let bytes = fs::read(file).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values: Vec<f64> = bytes[header..]
        .chunks_exact(4)
        .map(|word| f64::from(f32::from_le_bytes(word.try_into().unwrap())))
        .collect();
    values.chunks_exact(images).map(<[f64]>::to_vec).collect()
}

fn curvature_and_scores(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut objects = objects(run);
    objects.retain(|name, _| name.starts_with("curvature/") || name.starts_with("scores/"));
    assert!(objects.len() >= 6, "{:?}", objects.keys());
    objects
}

/// Conjugate gradients go on from the blocks: not far from them in a few steps, to the same bytes with any threads, and with more
/// steps less is left.
#[test]
fn conjugate_gradients_solve_the_whole_curvature() {
    let laboratory = Laboratory::new();
    write_set(&laboratory.path("set.npy"));
    let asked = ["--method", "influence,influence-cg", "--query", "3,17"];
    let left = |said: &str| -> f64 {
        let line = said.lines().find(|line| line.contains("steps of conjugate gradients")).unwrap();
        assert_names(line, &["on the whole curvature, sampled by 200 pseudo-gradients, left"]);
        let percent = line.split(" left ").nth(1).unwrap().split(' ').next().unwrap();
        percent.parse().unwrap()
    };
    let run = laboratory.path("run");
    // With less damping, a network that was never trained has no solution within a few steps.
    let set = ["--set", "influence.cg_gradients=200", "--set", "influence.damping=0.1"];
    import(&run, &laboratory.path("set.npy"), &set);
    let said = succeed(&mut attribute(&run, &asked));
    assert_names(&said.stdout, &["5 steps of conjugate gradients"]);
    let of_few = left(&said.stdout);
    let last_step = |said: &str| -> f64 {
        let (_, rest) = said.split_once("the last one added ").unwrap();
        rest.split_once(" %").unwrap().0.parse().unwrap()
    };
    let last_of_few = last_step(&said.stdout);
    assert!(last_of_few > 0.0 && last_of_few < 50.0, "{last_of_few}");
    let [blocks, whole] = ["influence", "influence-cg"].map(|method| scores(&run, method, 62));
    for (blocks, whole) in blocks.iter().zip(&whole) {
        let correlation = spearman(blocks, whole).unwrap().unwrap();
        assert!((0.3..0.9999).contains(&correlation), "{correlation}");
    }
    let bytes = curvature_and_scores(&run);

    let again = laboratory.path("again");
    import(&again, &laboratory.path("set.npy"), &set);
    succeed(attribute(&again, &asked).args(["--threads", "1"]));
    for (name, bytes) in bytes.iter().filter(|(name, _)| !name.ends_with(".json")) {
        assert!(fs::read(again.join(name)).unwrap() == *bytes, "{name}");
    }

    let longer = laboratory.path("longer");
    import(
        &longer,
        &laboratory.path("set.npy"),
        &[set[0], set[1], set[2], set[3], "--set", "influence.cg_steps=40"],
    );
    let said = succeed(&mut attribute(&longer, &["--method", "influence-cg", "--query", "3,17"]));
    assert!(left(&said.stdout) < of_few.min(20.0), "{}", said.stdout);
    assert!(last_step(&said.stdout) < last_of_few, "{}", said.stdout);
    let few = laboratory.path("few");
    import(&few, &laboratory.path("set.npy"), &["--set", "influence.cg_gradients=8"]);
    let said = fail(&mut attribute(&few, &["--method", "influence-cg", "--query", "3,17"]), 42);
    assert_names(&said, &["influence.cg_gradients", "at least 32"]);
}

/// At draws that lie by the loss, unlearning has half the timesteps of a group: at the same ones as influence, if a recipe asks for twice
/// as many, and then they agree as well.
#[test]
fn unlearning_agrees_with_influence_where_draws_lie_by_the_loss() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set.npy");
    write_set(&set);
    let found = [("influence", 2), ("unlearning", 4)].map(|(method, timesteps)| {
        let (run, timesteps) = (laboratory.path(method), format!("gradients.timesteps={timesteps}"));
        // Queries have sixteen noises at one timestep in both.
        let more = ["influence.draws=8", "influence.query_timestep=12", &timesteps];
        import(&run, &set, &more.map(|value| ["--set", value]).concat());
        let said = succeed(&mut attribute(&run, &["--method", method, "--query", "3,17"])).stdout;
        let draws = "4 draws of each image and 16 of each query";
        assert_names(&said, &[draws, "draws of training images lie where the network's loss does"]);
        scores(&run, method, 62)
    });
    let [linear, unlearned] = found;
    // With three timesteps of a group, images have the same two, and queries other noises: nothing is taken for the same.
    let (run, recipe) = (laboratory.path("unlearning"), laboratory.path("unlearning").join("recipe.toml"));
    let kept = || fs::read_dir(run.join("curvature/unlearned")).unwrap().count();
    let text = fs::read_to_string(&recipe).unwrap();
    assert_eq!((text.matches("timesteps = 4\n").count(), kept()), (1, 2));
    fs::write(&recipe, text.replace("timesteps = 4\n", "timesteps = 3\n")).unwrap();
    succeed(&mut attribute(&run, &["--method", "unlearning", "--query", "3,17"]));
    assert_eq!(kept(), 4);
    assert_ne!(scores(&run, "unlearning", 62), unlearned);
    for (linear, unlearned) in linear.iter().zip(&unlearned) {
        let agreement = spearman(linear, unlearned).unwrap().unwrap();
        assert!(agreement > 0.98, "{agreement}");
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let ratio = dot(linear, unlearned) / dot(linear, linear);
        assert!((ratio / 0.01 - 1.0).abs() < 0.05, "{ratio}");
    }
}

/// A short step of unlearning does what the derivative says, image by image, and copies of an image share its scores.
#[test]
fn unlearning_by_a_short_step_agrees_with_influence() {
    let laboratory = Laboratory::new();
    write_set(&laboratory.path("set.npy"));
    let run = laboratory.path("run");
    import(&run, &laboratory.path("set.npy"), &["--set", "influence.timesteps=\"even\""]);
    let said = succeed(&mut attribute(
        &run,
        &["--method", "influence,unlearning,unlearning-ratio", "--query", "3,17"],
    ));
    assert_names(
        &said.stdout,
        &[
            "Mlodozeniec",
            "(100 %)",
            "predicted increase of the query's loss",
            "62 images with 4 draws each",
            "Wang",
        ],
    );
    let (linear, unlearned) = (scores(&run, "influence", 62), scores(&run, "unlearning", 62));
    for (linear, unlearned) in linear.iter().zip(&unlearned) {
        let agreement = spearman(linear, unlearned).unwrap().unwrap();
        assert!(agreement > 0.99, "{agreement}");
        // The step is alpha / N of F^-1 grad L(q), a score the derivative over N: their ratio is alpha.
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let ratio = dot(linear, unlearned) / dot(linear, linear);
        assert!((ratio / 0.01 - 1.0).abs() < 0.05, "{ratio}");
        assert_eq!([linear[60], linear[61]], [linear[3]; 2], "copies");
    }
    // Over the sum of both losses, which is positive, and queries are not unlearned again.
    let relative = scores(&run, "unlearning-ratio", 62);
    for (unlearned, relative) in unlearned.iter().flatten().zip(relative.iter().flatten()) {
        assert_eq!(unlearned.signum(), relative.signum());
        assert!(relative.abs() < unlearned.abs() / 1e-3 && relative.abs() < 1.0, "{unlearned} {relative}");
    }
    assert_eq!(
        said.stderr.matches("the loss of 62 training images after each").count(),
        1,
        "{}",
        said.stderr
    );
    let own = &linear[0];
    assert!(own.iter().all(|score| *score <= own[3]), "an image helped nobody more than itself");
    // What else is measured of a query.
    let methods = "influence-elbo,influence-square,influence-trajectory";
    succeed(&mut attribute(&run, &["--method", methods]));
    for method in methods.split(',') {
        let scores = scores(&run, method, 62);
        assert_eq!(scores.len(), 2);
        assert!(scores.iter().flatten().all(|score| score.is_finite()) && scores[0] != scores[1], "{method}");
    }
    // Any of them is on the page.
    let said =
        succeed(program([Path::new("report"), &run]).args(["--compare", "influence,unlearning,d-trak"]));
    let page = fs::read_to_string(said.stdout.trim()).unwrap();
    assert_names(&page, &["Mlodozeniec", "Wang", "D-TRAK", "predicted increase"]);
}

/// Other threads and batches give the same bytes, and what is damaged is made again.
#[test]
fn threads_change_no_byte_and_what_is_damaged_is_made_again() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set.npy");
    write_set(&set);
    let methods = ["--method", "influence,unlearning"];
    let alone = laboratory.path("alone");
    import(&alone, &set, &[]);
    succeed(attribute(&alone, &methods).args(["--threads", "1"]));
    let expected = curvature_and_scores(&alone);

    let run = laboratory.path("run");
    import(&run, &set, &[]);
    succeed(attribute(&run, &methods).args(["--threads", "2", "--batch", "3"]));
    assert_verified(&run);
    let same = |run: &Path| {
        let found = curvature_and_scores(run);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{name} differs");
        }
    };
    same(&run);

    // A damaged object is seen by its digest, said and made again.
    let bases = expected.keys().find(|name| name.ends_with("bases.safetensors")).unwrap();
    let eigenvalues = expected.keys().find(|name| name.ends_with("eigenvalues.safetensors")).unwrap();
    for name in [bases, eigenvalues] {
        let mut bytes = fs::read(run.join(name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(run.join(name), bytes).unwrap();
        let said = succeed(&mut attribute(&run, &methods)).stderr;
        assert_names(&said, &[name, "damaged", "made again"]);
        same(&run);
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set.npy");
    write_set(&set);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    for (setting, words) in [
        ("influence.draws=5", ["influence.draws", "even number"]),
        ("influence.images=0", ["influence.images", "1 or more"]),
        ("influence.damping=-1.0", ["influence.damping", "zero or a positive number"]),
        ("influence.damping=\"training\"", ["influence.damping", "trained here"]),
        ("influence.damping=\"whatever\"", ["influence", "damping"]),
        ("influence.query_timestep=1000", ["influence.query_timestep", "below 20"]),
        ("influence.unlearning_step=0.0", ["influence.unlearning_step", "positive"]),
    ] {
        let run = laboratory.path("refused");
        let mut command = program([Path::new("import"), &golden, Path::new("--run"), &run]);
        assert_names(&fail(command.args(["--set", setting]), 42), &words);
    }
    let run = laboratory.path("run");
    let refused = |more: &[&str], words: &[&str]| assert_names(&fail(&mut attribute(&run, more), 42), words);
    // Without a damping there is no inverse: some directions do not bend.
    import(&run, &set, &["--set", "influence.damping=0.0"]);
    refused(&["--method", "influence"], &["without curvature", "damping above zero"]);
    import(&run, &set, &["--set", "sampling.sampler=\"ddim\""]);
    refused(&["--method", "influence-trajectory"], &["not random", "ddpm"]);
    refused(&["--method", "influence-trajectory", "--query", "3"], &["samples of the run"]);

    // K-FAC, another sharing, another damping or timestep: each has scores of its own.
    let mut seen = Vec::new();
    for more in [
        vec![],
        vec!["--set", "influence.eigenvalues=\"kronecker\""],
        vec!["--set", "influence.sharing=\"reduce\""],
        vec!["--set", "influence.damping=1e-3"],
        vec!["--set", "influence.damping=\"block\"", "--set", "influence.images=20"],
        vec!["--set", "influence.query_timestep=12"],
    ] {
        import(&run, &set, &more);
        succeed(&mut attribute(&run, &["--method", "influence"]));
        let scores = scores(&run, "influence", 62);
        assert!(scores.iter().flatten().all(|score| score.is_finite()), "{more:?}");
        assert!(!seen.contains(&scores), "{more:?}");
        seen.push(scores);
    }
}

/// Of an ensemble, members that never saw an image have nothing to say of it, and the damping follows from the training.
#[test]
fn an_ensemble_asks_the_members_that_saw_an_image() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    let few = ["--set", "gradients.timesteps=2", "--set", "gradients.groups=2", "--set", "influence.draws=2"];
    let same = ["--set", "influence.unlearning_step=1e-4", "--set", "influence.timesteps=\"even\""];
    let few = [&few[..], &same].concat();
    succeed(run_command(&laboratory.class_recipe(), &run, &few).args(["--set", "samples.count=2"]));
    let said = succeed(&mut attribute(&run, &["--method", "influence,unlearning"]));
    assert_names(
        &said.stdout,
        &["networks", "of the first network", "from the training: learning rates that sum to"],
    );
    // Of each member the step is over the images that it saw, as its influence is.
    let (linear, unlearned) = (scores(&run, "influence", IMAGES), scores(&run, "unlearning", IMAGES));
    for (linear, unlearned) in linear.iter().zip(&unlearned) {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let ratio = dot(linear, unlearned) / dot(linear, linear);
        assert!((ratio / 1e-4 - 1.0).abs() < 0.05, "{ratio}");
        assert!(spearman(linear, unlearned).unwrap().unwrap() > 0.99);
    }
    // Scores of another recipe are told from today's.
    let ask =
        |run: &Path| succeed(program([Path::new("scores"), run]).args(["--method", "influence"])).stderr;
    assert!(!ask(&run).contains("changed"));
    let file = run.join("recipe.toml");
    let changed = run_command(&file, &run, &["--set", "influence.damping=1.0"]).output().unwrap();
    assert!(changed.status.success());
    assert_names(&ask(&run), &["have changed since these scores were made", "attribute"]);
}
