//! Forecasts against real runs of tiny recipes: what is counted, what is written, what is held; and refusals.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{Laboratory, assert_names, fail, pixels, program, run_command, succeed, write_images};
use pentimento::plan::{Plan, PlanRequest};
use pentimento::run::RunOptions;
use pentimento::run::Stop;
use pentimento::run::recipe::Recipe;
use pentimento_testing::skipped;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const WRONG_INPUT: i32 = 42;
const WRONG_USAGE: i32 = 2;

fn plan_of(recipe: &Path, run: &Path, overrides: &[&str]) -> Plan {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    let recipe = Recipe::open(recipe, &overrides).unwrap();
    let options = RunOptions::default();
    let stop = Stop::default();
    let request =
        PlanRequest { recipe: &recipe, folder: run, options: &options, memory_limit: None, stop: &stop };
    Plan::make(&request).unwrap()
}

/// The number with which what a stage has to do begins.
fn units(plan: &Plan) -> BTreeMap<&str, u64> {
    let number = |work: &str| work.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    plan.stages.iter().map(|stage| (stage.name, number(&stage.work))).collect()
}

/// Bytes of all files of a folder.
fn folder_bytes(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { folder_bytes(&entry.path()) } else { metadata.len() }
        })
        .sum()
}

/// Runs a command, and says how much it held at the most.
fn peak_kibibytes(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let mut peak_kibibytes = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(peak) = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()) {
            peak_kibibytes = peak;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    peak_kibibytes
}

/// The golden network beside the test's 60 images, with 20 draws of each.
fn import(laboratory: &Laboratory) -> PathBuf {
    let (run, images) = (laboratory.path("imported"), laboratory.path("set.npy"));
    write_images(&images, &pixels().chunks(64).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let mut command = program([Path::new("import"), &golden, Path::new("--run"), &run]);
    for setting in [&*format!("data.path={images:?}"), "samples.count=2", "sampling.steps=10"] {
        command.args(["--set", setting]);
    }
    for setting in ["gradients.timesteps=5", "gradients.groups=2", "influence.draws=4"] {
        command.args(["--set", setting]);
    }
    succeed(&mut command);
    run
}

/// The row of a method in a forecast of scores.
fn row<'a>(said: &'a str, method: &str) -> &'a str {
    said.lines().find(|line| line.split_whitespace().next() == Some(method)).unwrap()
}

#[test]
fn scores_of_a_run_are_forecast_from_what_is_missing() {
    let laboratory = Laboratory::new();
    let run = import(&laboratory);
    let plan = |more: &[&str]| succeed(program([Path::new("plan"), &run]).args(more)).stdout;
    let before = folder_bytes(&run);
    let said = plan(&[]);
    assert_names(row(&said, "sampling"), &["2 samples in 10 steps"]);
    assert_names(row(&said, "influence-cg"), &["60 training images at 10 draws"]);
    let methods = "das,influence,unlearning,pixel-cosine";
    let said = plan(&["--method", methods, "--query", "3,17,40"]);
    assert!(!said.contains("sampling"), "{said}");
    assert_names(row(&said, "das"), &["60 training images and 3 queries"]);
    let curvature = "the curvature of 1 network on 60 images";
    assert_names(
        row(&said, "influence"),
        &[curvature, "60 training images at 10 draws of each and of 3 queries at 20"],
    );
    assert_names(row(&said, "unlearning"), &[curvature, "3 times the loss of every training image"]);
    assert_names(row(&said, "pixel-cosine"), &["nothing that takes long"]);
    assert_eq!(folder_bytes(&run), before);

    // What is there is not forecast again: the curvature serves both methods, features of images serve all queries.
    succeed(program([Path::new("attribute"), &run]).args(["--method", "das,influence", "--query", "3,17"]));
    let said = plan(&["--method", methods, "--query", "3,17"]);
    for method in ["das", "influence"] {
        assert_names(row(&said, method), &["nothing that takes long"]);
    }
    assert!(!row(&said, "unlearning").contains("curvature"), "{said}");
    assert_names(row(&said, "unlearning"), &["2 times the loss"]);

    // By what an ensemble's codes tell there is a plan of its recipe.
    let said = fail(program([Path::new("plan"), &run]).args(["--method", "jacobian"]), WRONG_INPUT);
    assert_names(&said, &["jacobian", "without `--method`"]);
}

#[test]
fn scores_never_hold_more_than_their_forecast() {
    let laboratory = Laboratory::new();
    let run = import(&laboratory);
    for method in ["trak", "influence", "unlearning"] {
        let asked = ["--method", method, "--threads", "2"];
        let said = succeed(program([Path::new("plan"), &run]).args(asked)).stdout;
        let words: Vec<&str> = row(&said, method).split_whitespace().collect();
        let Some(place) = words.iter().position(|word| *word == "MiB") else {
            return skipped("proc", "there is no /proc/self/status, so nobody knows how much memory is used");
        };
        let forecast: u64 = words[place - 1].parse().unwrap();
        let real = peak_kibibytes(program([Path::new("attribute"), &run]).args(asked));
        assert!(real > 0 && real <= 1024 * forecast, "{method} held {real} KiB, forecast {forecast} MiB");
    }
}

#[test]
fn units_and_bytes_are_those_of_the_run() {
    let laboratory = Laboratory::new();
    let recipes =
        [(laboratory.class_recipe(), "training.keep_checkpoints=3"), (laboratory.image_recipe(), "seed=7")];
    for (recipe, setting) in recipes {
        let run = laboratory.path("run");
        let plan = plan_of(&recipe, &run, &[setting]);
        assert!(!run.exists());
        succeed(&mut run_command(&recipe, &run, &["--set", setting]));

        let costs: serde_json::Value =
            serde_json::from_slice(&fs::read(run.join("costs.json")).unwrap()).unwrap();
        let mut made: BTreeMap<&str, u64> = BTreeMap::new();
        for piece in costs["pieces"].as_object().unwrap().values() {
            for (stage, cost) in piece.as_object().unwrap() {
                *made.entry(stage).or_default() += cost[1].as_u64().unwrap();
            }
        }
        // It calls no network.
        assert!(made.remove("last step").is_some());
        let mut forecast = units(&plan);
        for without_cost in ["data", "report"] {
            assert!(forecast.remove(without_cost).is_some());
        }
        assert_eq!(forecast, made);

        // What follows from shapes alone is forecast to the byte; pictures and the page are not known before.
        let of = |name: &str| plan.stages.iter().find(|stage| stage.name == name).unwrap().disk;
        let file = |name: &str| fs::metadata(run.join(name)).unwrap().len();
        assert_eq!(of("data"), ["recipe.toml", "data.json", "codes.npy"].map(file).iter().sum::<u64>());
        assert_eq!(of("training"), folder_bytes(&run.join("members")));
        assert_eq!(of("base trajectories"), folder_bytes(&run.join("attribution")));
        // A length of a picture may have a digit more or less.
        let manifest = file("manifest.json") as f64;
        assert!(
            (plan.manifest_bytes as f64 / manifest - 1.0).abs() < 0.01,
            "{} {manifest}",
            plan.manifest_bytes
        );

        // The figures of a tiny run are a third of it, and how many of them are defined is not known before.
        let (real, forecast) = (folder_bytes(&run) as f64, plan.disk() as f64);
        assert!((forecast / real - 1.0).abs() < 0.03, "forecast {forecast}, real {real}");
        fs::remove_dir_all(&run).unwrap();
    }
}

#[test]
fn a_finished_run_has_nothing_left_and_a_longer_one_what_is_missing() {
    let laboratory = Laboratory::new();
    let (recipe, run) = (laboratory.class_recipe(), laboratory.path("run"));
    succeed(&mut run_command(&recipe, &run, &[]));
    let before = folder_bytes(&run);
    let plan = plan_of(&recipe, &run, &[]);
    assert!(units(&plan).iter().all(|(stage, units)| *stage == "data" || *units == 0), "{plan:?}");
    assert_eq!(plan.disk(), plan_of(&recipe, &laboratory.path("none"), &[]).disk());
    // Shards of 16: of 36 samples the first 16 are there, and 16 to 19 stood in a shard of another size.
    let longer = plan_of(&recipe, &run, &["samples.count=36"]);
    let units = units(&longer);
    assert_eq!([units["training"], units["sampling"], units["base trajectories"]], [0, 20, 20]);
    assert_eq!(units["exact counterfactuals"], 3 * 20);
    assert_eq!(folder_bytes(&run), before);
    let said = succeed(&mut program([Path::new("plan"), &run]));
    assert_names(&said.stdout, &["3 of 3 members", "20 of 20 samples", "there already"]);
}

#[test]
fn a_run_never_holds_more_than_its_forecast() {
    let laboratory = Laboratory::new();
    let (recipe, run) = (laboratory.image_recipe(), laboratory.path("run"));
    let said = succeed(program([Path::new("plan"), &recipe]).args(["--threads", "2"])).stdout;
    if said.contains("does not tell") {
        return skipped("proc", "there is no /proc/self/status, so nobody knows how much memory is used");
    }
    let all = said.lines().find(|line| line.starts_with("all ")).unwrap();
    let words: Vec<&str> = all.split_whitespace().collect();
    // `... 57 MiB 3 MiB`: memory and disk end the line.
    let forecast: u64 = words[words.len() - 4].parse().unwrap();

    let peak_kibibytes = peak_kibibytes(&mut run_command(&recipe, &run, &["--threads", "2"]));
    assert!(run.join("report.html").exists());
    let real: u64 = peak_kibibytes;
    assert!(real > 0 && real <= 1024 * forecast, "held {real} KiB, forecast {forecast} MiB");
}

#[test]
fn without_its_images_a_recipe_is_planned_and_nothing_is_written() {
    let laboratory = Laboratory::new();
    let (cache, here) = (laboratory.path("cache"), laboratory.path("here"));
    for folder in [&cache, &here] {
        fs::create_dir(folder).unwrap();
    }
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/quickstart.toml");
    let mut command = program([Path::new("plan"), &recipe]);
    let said = succeed(command.current_dir(&here).env("PENTIMENTO_CACHE", &cache));
    assert_names(&said.stdout, &["not in the cache", "7000 images", "7 members, 5600 steps", "128 samples"]);
    for folder in [cache, here] {
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    }
}

#[test]
fn limits_are_kept_or_refused_with_what_would_do() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.image_recipe();
    let plan = |limit: &str| {
        let mut command = program([Path::new("plan"), &recipe]);
        command.args(["--limit-memory", limit]).current_dir(laboratory.path(""));
        command
    };
    let said = succeed(&mut plan("100GiB")).stdout;
    assert_names(&said, &["--batch 64", "102400 MiB"]);
    let said = fail(&mut plan("1MB"), WRONG_INPUT);
    assert_names(&said, &["--limit-memory 1 MiB", " MiB would do, with `--batch 1`"]);
    for nonsense in ["much", "-1", "2GiBs", ""] {
        let mut command = program([Path::new("plan"), &recipe]);
        command.arg(format!("--limit-memory={nonsense}"));
        assert_names(&fail(&mut command, WRONG_USAGE), &["--limit-memory", "is not a size", "`2GiB`"]);
    }
    let absent = laboratory.path("absent.toml");
    let said = fail(&mut program([Path::new("plan"), &absent]), WRONG_INPUT);
    assert_names(&said, &["absent.toml", "does not exist"]);
    assert!(!laboratory.path("runs").exists());
}

#[test]
fn a_bank_is_forecast_and_nothing_is_begun() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.bank_recipe("subsets = 4\nseeds = 2");
    let bank = laboratory.path("bank");
    let ask = |command: &str| {
        let mut command = program([command]);
        command.arg(&recipe).arg("--run").arg(&bank).args(["--set", "training.steps=3"]);
        succeed(&mut command).stdout
    };
    // All images, and four halves of them, with two seeds.
    assert_names(&ask("plan"), &["bank", "10 networks of 3 steps", "a few steps of one network"]);
    assert!(!bank.exists());
    ask("bank");
    assert_names(&ask("plan"), &["nothing that takes long"]);
}
