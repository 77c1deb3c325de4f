//! Judging scores by banks: whole commands on small images.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use std::fs;
use std::path::{Path, PathBuf};

const WRONG_INPUT: i32 = 42;
const WRONG_USAGE: i32 = 2;

/// A bank of the test's 60 images, in halves.
fn bank(laboratory: &Laboratory, name: &str, more: &[&str]) -> PathBuf {
    let recipe = laboratory.bank_recipe("subsets = 6\nseeds = 2");
    let folder = laboratory.path(name);
    succeed(program([Path::new("bank"), &recipe, Path::new("--run"), &folder]).args(more));
    folder
}

/// The bank's network on all images as a run of its own.
fn import(laboratory: &Laboratory, bank: &Path, set: &str) -> PathBuf {
    let run = laboratory.path("run");
    let network = bank.join("networks/0000-0");
    let mut command = program([Path::new("import"), &network, Path::new("--run"), &run]);
    for setting in [set, "samples.count=3", "sampling.steps=4", "gradients.timesteps=3", "gradients.groups=2"]
    {
        command.args(["--set", setting]);
    }
    succeed(command.args(["--set", "influence.draws=4"]));
    run
}

/// What a person reads, without marks and with single spaces.
fn text_of_page(page: &str) -> String {
    let mut text = String::new();
    for part in page.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        text.push(' ');
    }
    text.replace('\u{a0}', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// With a true minus sign, and none before zero.
fn percent(value: f64) -> String {
    let text = format!("{:.1} %", value.abs());
    if value < 0.0 && text != "0.0 %" { format!("\u{2212}{text}") } else { text }
}

#[test]
fn methods_are_judged_by_a_bank_and_nothing_is_measured_twice() {
    let laboratory = Laboratory::new();
    let bank = bank(&laboratory, "bank", &[]);
    let images = laboratory.path("set.npy");
    write_images(&images, &pixels().chunks(64).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let run = import(&laboratory, &bank, &format!("data.path={images:?}"));
    let evaluate = |more: &[&str]| {
        let mut command = program([Path::new("evaluate"), &run, Path::new("--bank"), &bank]);
        command.args(["--query", "samples", "--query", "3,17,41"]).args(more);
        command
    };
    let judged = ["--draws", "8", "--method", "das,random"];
    let said = succeed(&mut evaluate(&judged));
    assert_names(
        &said.stdout,
        &[
            "behaviour: the loss of a query",
            "intervention: training on 50 % of the images, 6 subsets",
            "training process: from first weights, by the bank's recipe, 2 seeds",
            "3 queries (samples), loss",
            "3 queries (3,17,41), weighted loss",
            "the most that outcomes of 2 seeds let expect",
        ],
    );
    for method in ["das", "random"] {
        assert_eq!(said.stdout.lines().filter(|line| line.starts_with(method)).count(), 4, "{}", said.stdout);
    }
    let outcomes = |run: &Path| {
        let mut found = objects(run);
        found.retain(|name, _| name.starts_with("evaluation/"));
        found
    };
    let first = outcomes(&run);
    // 14 networks and two sets of queries; masks, and of each set two targets and two methods, with what their axes are.
    let of = |folder: &str| first.keys().filter(|name| name.starts_with(folder)).count();
    assert_eq!((of("evaluation/outcomes/"), of("evaluation/arrays/")), (2 * 14, 1 + 2 * (2 + 2) + 1));
    // The results in two files, and their page.
    assert_eq!(first.len(), 28 + 10 + 3, "{:?}", first.keys());
    let found: serde_json::Value = serde_json::from_slice(&first["evaluation/subsets.json"]).unwrap();
    assert_eq!(found["sets"][1]["judged"].as_array().unwrap().len(), 4);
    let mean = &found["sets"][0]["judged"][0]["datamodelling"]["score"]["mean"];
    let [value, low, high] = ["value", "low", "high"].map(|key| mean[key].as_f64().unwrap());
    assert!(-1.0 <= low && low <= value && value <= high && high <= 1.0, "{mean}");

    // The arrays that are kept say the same again.
    let arrays = run.join("evaluation/arrays");
    let axes: serde_json::Value =
        serde_json::from_slice(&fs::read(arrays.join("axes.json")).unwrap()).unwrap();
    assert_eq!(axes["axes"]["masks.npy"], serde_json::json!(["subsets", "images"]));
    assert_eq!(axes["names"]["subsets"].as_array().unwrap().len(), 6);
    let mut lds = program(["evaluate", "lds", "--scores"]);
    lds.arg(arrays.join("samples/scores-das.npy")).arg("--masks").arg(arrays.join("masks.npy"));
    let said_of_arrays = succeed(lds.arg("--outcomes").arg(arrays.join("samples/loss.npy"))).stdout;
    let [low, high] = [low, high].map(|value| 100.0 * value);
    assert_names(&said_of_arrays, &[&format!("score: {:.1} % [{low:.1}, {high:.1}]", 100.0 * value)]);

    // The page is named last, and says of both methods what the JSON says.
    assert_eq!(said.stdout.lines().last(), run.join("evaluation/subsets.html").to_str());
    let page = text_of_page(&String::from_utf8(first["evaluation/subsets.html"].clone()).unwrap());
    for set in found["sets"].as_array().unwrap() {
        for judged in set["judged"].as_array().unwrap() {
            let score = &judged["datamodelling"]["score"];
            let value = 100.0 * score["mean"]["value"].as_f64().unwrap();
            let row = format!("{} {}", judged["method"].as_str().unwrap(), percent(value));
            assert!(page.contains(&row), "{row} in {page}");
            let below = score["queries"].as_array().unwrap();
            let below =
                below.iter().filter(|test| test["correlation"].as_f64().is_some_and(|value| value < 0.0));
            assert!(page.contains(&format!("{} of 3 below 0", below.count())), "{page}");
        }
    }
    // What was measured, and what the methods stand for.
    for what in ["behaviour the loss of a query, mean over", "intervention: none: nothing is taken away"] {
        assert!(page.contains(what), "{what} in {page}");
    }

    // Again, with other threads: the same bytes, and no network is measured.
    let again = succeed(evaluate(&judged).args(["--threads", "1"]));
    assert_eq!(again.stdout, said.stdout);
    assert!(!again.stderr.contains("measuring the bank"), "{}", again.stderr);
    assert_eq!(outcomes(&run), first);

    // At its own damping a method scores what it scores without the others, and none of them is better than the best.
    let with_dampings = succeed(&mut evaluate(&["--draws", "8", "--method", "das,random", "--dampings"]));
    assert_names(&with_dampings.stdout, &["das: ", "with its own damping", "times its own, would give"]);
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("evaluation/subsets.json")).unwrap()).unwrap();
    for set in found["sets"].as_array().unwrap() {
        let dampings = set["dampings"].as_array().unwrap();
        assert_eq!(dampings.len(), 2, "only `das` has one, and there are two targets: {dampings:?}");
        for damping in dampings {
            let is_same = |judged: &&serde_json::Value| {
                judged["method"] == damping["method"] && judged["target"] == damping["target"]
            };
            let judged = set["judged"].as_array().unwrap().iter().find(is_same).unwrap();
            let own = damping["own"].as_f64().unwrap();
            let mean = judged["datamodelling"]["score"]["mean"]["value"].as_f64().unwrap();
            assert!((own - mean).abs() < 1e-9, "{own} instead of {mean}");
            let scores =
                damping["choice"]["scores"].as_array().unwrap().iter().filter_map(|score| score.as_f64());
            let best = scores.fold(f64::MIN, f64::max);
            assert!((best - damping["choice"]["best_score"].as_f64().unwrap()).abs() < 1e-12 && best >= own);
        }
    }
    // A set that is named twice is judged once; where nothing is held out, only samples are asked about unless more is named.
    let twice = succeed(&mut evaluate(&["--draws", "8", "--method", "random", "--query", "samples"]));
    assert_eq!(twice.stdout.matches("3 queries (samples), loss").count(), 1, "{}", twice.stdout);
    let mut unasked = program([Path::new("evaluate"), &run, Path::new("--bank"), &bank]);
    let unasked = succeed(unasked.args(["--draws", "8", "--method", "random"]));
    assert_names(&unasked.stderr, &["only samples are asked about", "held-out"]);
    assert_names(&unasked.stdout, &["3 queries (samples), loss"]);
    succeed(&mut evaluate(&judged));

    // A damaged outcome is measured again; a network that is missing or damaged is named.
    let name = first.keys().find(|name| name.starts_with("evaluation/outcomes/")).unwrap();
    fs::write(run.join(name), b"x").unwrap();
    assert_eq!(succeed(&mut evaluate(&judged)).stdout, said.stdout);
    assert_eq!(outcomes(&run), first);
    let weights = bank.join("networks/0003-1/unet/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&weights, bytes).unwrap();
    let said = fail(&mut evaluate(&["--draws", "4"]), WRONG_INPUT);
    assert_names(&said, &["networks/0003-1", "pentimento bank"]);
    // The other seed is whole.
    let said = succeed(&mut evaluate(&["--draws", "4", "--bank-seed", "0", "--method", "influence"]));
    assert_names(&said.stdout, &["1 seed", "influence: the measured change is", "of the predicted one"]);
    let page = fs::read_to_string(run.join("evaluation/subsets.html")).unwrap();
    // 6 subsets, 3 queries, two sets.
    let text = text_of_page(&page);
    assert_eq!(text.matches("All 18 pairs of a network and a query are shown.").count(), 2, "{text}");
    assert_eq!(page.matches("h0").count(), 2 * 18, "a dot for each pair");
    assert!(text.contains("Nobody knows how high scores could be"), "one seed has no ceiling: {text}");
}

#[test]
fn an_ensemble_is_a_bank_of_its_own_members() {
    let laboratory = Laboratory::new();
    let (recipe, run) = (laboratory.image_recipe(), laboratory.path("ensemble"));
    succeed(
        program([Path::new("train"), &recipe, Path::new("--run"), &run]).args(["--set", "samples.count=3"]),
    );
    let mut command = program([Path::new("evaluate"), &run, Path::new("--bank"), &run]);
    command.args(["--method", "pixel-cosine", "--query", "samples", "--draws", "4"]);
    let said = succeed(&mut command);
    assert_names(&said.stdout, &["of the images, ", " subsets", "1 seed", "pixel-cosine"]);
    assert!(!said.stdout.contains("the most that outcomes"), "{}", said.stdout);
}

#[test]
fn known_sources_are_found_by_what_looks_like_them() {
    let laboratory = Laboratory::new();
    let bank = bank(&laboratory, "bank", &["--set", "bank.subsets=1", "--set", "bank.seeds=1"]);
    let images = laboratory.path("set.npy");
    write_images(&images, &pixels().chunks(64).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let run = import(&laboratory, &bank, &format!("data.path={images:?}"));
    let sources = laboratory.path("sources.csv");
    let retrieval = |text: &str| {
        fs::write(&sources, text).unwrap();
        let mut command = program([Path::new("evaluate"), Path::new("retrieval"), &run]);
        command.arg("--sources").arg(&sources).args([
            "--query",
            "3,17,41",
            "--method",
            "pixel-cosine,random",
        ]);
        command
    };
    // Two of three queries are known to rest on themselves: nothing looks more like them.
    let said = succeed(&mut retrieval("query,training_image\n3,3\n 41 , 41\n")).stdout;
    assert_names(
        &said,
        &[
            "2 queries (3,17,41) with 2 sources among 60 training images; 1 without known sources left out",
            "first 1: 100.0 [100.0, 100.0] of at most 100.0",
            "first 5: 20.0 [20.0, 20.0] of at most 20.0",
            "by chance: 1.7",
        ],
    );
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("evaluation/retrieval.json")).unwrap()).unwrap();
    assert_eq!(found["methods"][0]["retrieved"]["reciprocal_rank"]["value"], 1.0);
    for (text, named) in [
        ("image,group\n3,3\n", ["the header", "query,training_image"]),
        ("query,training_image\n3,3\n4,4\n", ["query in line 3", "one of the 3 queries"]),
        ("query,training_image\n3,60\n", ["training_image in line 2", "\"60\""]),
        ("query,training_image\n", ["the number of lines", "at least 1"]),
        ("query,training_image\n3\n", ["the table", "sources.csv"]),
    ] {
        assert_names(&fail(&mut retrieval(text), WRONG_INPUT), &named);
    }
    fs::remove_file(&sources).unwrap();
    let mut gone = program([Path::new("evaluate"), Path::new("retrieval"), &run]);
    assert_names(&fail(gone.arg("--sources").arg(&sources), WRONG_INPUT), &["sources.csv"]);
}

#[test]
fn what_cannot_be_judged_is_said() {
    let laboratory = Laboratory::new();
    let bank = bank(
        &laboratory,
        "bank",
        &["--set", "bank.subsets=4", "--set", "bank.seeds=1", "--set", "training.steps=2"],
    );
    let images = laboratory.path("set.npy");
    let mut all: Vec<Vec<u8>> = pixels().chunks(64).map(<[u8]>::to_vec).collect();
    all.pop();
    write_images(&images, &all);
    let run = import(&laboratory, &bank, &format!("data.path={images:?}"));
    // A bank that would leave nothing out.
    let whole = laboratory.path("whole");
    let mut leaving_nothing = program(["bank", "--set", "bank.share=0.999", "--run"]);
    leaving_nothing.arg(&whole).arg(laboratory.path("bank.toml"));
    assert_names(&fail(&mut leaving_nothing, WRONG_INPUT), &["bank.share", "0.999", "one of 60 groups"]);
    assert!(!whole.join("networks").exists());
    let evaluate = |run: &Path, bank: &Path, more: &[&str]| {
        let mut command = program([Path::new("evaluate"), run, Path::new("--bank"), bank]);
        command.args(["--query", "3"]).args(more);
        command
    };
    let said = fail(&mut evaluate(&run, &bank, &["--method", "random"]), WRONG_INPUT);
    assert_names(&said, &["other images than the run", "0 training images of the run", "1 of the bank"]);
    // Its networks know other timesteps than those at which they would be asked.
    let set = format!("data.path={images:?}");
    let other_schedule = laboratory.path("other-schedule");
    let mut import =
        program([Path::new("import"), &bank.join("networks/0000-0"), Path::new("--run"), &other_schedule]);
    succeed(import.args(["--set", &set, "--set", "schedule.beta_end=0.01"]));
    let said = fail(&mut evaluate(&other_schedule, &bank, &["--method", "random"]), WRONG_INPUT);
    assert_names(&said, &["networks cannot be asked", "`schedule`"]);
    let said = fail(&mut evaluate(&run, &run, &["--method", "random"]), WRONG_INPUT);
    assert_names(&said, &["it is no bank"]);
    let said = fail(&mut evaluate(&bank, &bank, &["--method", "random"]), WRONG_INPUT);
    assert_names(&said, &["it is a bank of networks"]);
    let said = fail(&mut evaluate(&run, &bank, &["--method", "jacobian"]), WRONG_INPUT);
    assert_names(&said, &["jacobian"]);
    let said = fail(program(["evaluate"]).args(Vec::<String>::new()), WRONG_INPUT);
    assert_names(&said, &["--bank", "evaluate lds"]);
    fail(program([Path::new("evaluate"), &run]).args(["--draws", "0"]), WRONG_USAGE);
    let said = fail(
        program(["evaluate", "lds", "--scores", "/nowhere.npy"]).args(["--masks", "/a", "--outcomes", "/b"]),
        WRONG_INPUT,
    );
    assert_names(&said, &["/nowhere.npy"]);
}
