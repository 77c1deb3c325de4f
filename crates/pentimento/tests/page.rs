//! The page of a run: what an ensemble's samples do without training images, and what methods score, alone and together.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{
    Laboratory, assert_names, assert_verified, fail, listed, objects, program, run_command, succeed,
};
use std::fs;
use std::path::{Path, PathBuf};

/// A trained run whose gradients cost little.
fn trained(laboratory: &Laboratory) -> PathBuf {
    let run = laboratory.path("run");
    let cheap = [
        "--set",
        "gradients.timesteps=2",
        "--set",
        "gradients.groups=2",
        "--set",
        "gradients.dimension=64",
        "--set",
        "samples.count=4",
    ];
    succeed(&mut run_command(&laboratory.class_recipe(), &run, &cheap));
    run
}

fn report(run: &Path, more: &[&str]) -> std::process::Command {
    let mut command = program([Path::new("report"), run]);
    command.args(more);
    command
}

fn page(run: &Path) -> String {
    fs::read_to_string(run.join("report.html")).unwrap()
}

/// Texts of counterfactuals, and of the scores of samples.
const COUNTERFACTUALS: [&str; 4] = [
    "Made again without\u{2026}",
    "rests most on",
    "made by all members of the ensemble together",
    "counterfactual",
];
const SCORES: [&str; 2] = ["Helped most to make it, by d-trak", "Look most like it, by cosine of pixels"];

#[test]
fn an_ensemble_has_counterfactuals_and_scores_on_one_page() {
    let laboratory = Laboratory::new();
    let run = trained(&laboratory);
    let (alone, before) = (page(&run), objects(&run));
    assert_names(&alone, &COUNTERFACTUALS);
    for text in SCORES {
        assert!(!alone.contains(text), "{text}");
    }

    let said = succeed(&mut report(&run, &["--compare", "d-trak,pixel-cosine"])).stdout;
    assert_names(&said, &["4 samples", "report.html"]);
    let both = page(&run);
    assert_names(&both, &COUNTERFACTUALS);
    assert_names(&both, &SCORES);
    // Two samples are shown in detail, each with a list by each method, and nearest patches that nobody asked for.
    for list in
        ["Helped most to make it, by d-trak", "cosine of pixels</", "Look most like it, by nearest patches"]
    {
        assert_eq!(both.matches(list).count(), 2, "{list}");
    }
    // Under each list stands what it is about: three of scores, and that of the ensemble.
    for (about, lists) in [
        ("the mean square of the network", 2),
        ("none: nothing is taken away", 4),
        ("the members that saw the image", 2),
    ] {
        assert_eq!(both.matches(about).count(), lists, "{about}");
    }
    // Every counterfactual and figure stands there as before.
    for part in ["class=\"again", "class=\"map", "<div class=\"figure\"", "<tr"] {
        assert!(both.matches(part).count() >= alone.matches(part).count(), "{part}");
    }
    assert_names(&both, &["gradients of all 3 members", "the members' average", "Damping"]);
    // The codes' groups are the three classes, each of which has one sum of scores.
    let groups = both.split("<details class=\"groups\">").nth(1).unwrap().split("</details>").next().unwrap();
    assert_eq!(groups.matches("<th scope=\"row\">").count(), 3, "{groups}");
    let after = objects(&run);
    for (name, bytes) in &before {
        assert!(after[name] == *bytes, "{name} changed");
    }

    // What is asked without methods is the page of before, and so it is after everything was run again.
    succeed(&mut report(&run, &[]));
    let again = page(&run);
    assert_names(&again, &COUNTERFACTUALS);
    for text in SCORES {
        assert!(!again.contains(text), "{text}");
    }
    assert_verified(&run);
}

#[test]
fn other_pictures_get_a_page_of_their_own() {
    let laboratory = Laboratory::new();
    let run = trained(&laboratory);
    let alone = page(&run);
    let pages = |run: &Path| -> Vec<String> {
        listed(run).into_iter().filter(|name| name.starts_with("report-")).collect()
    };
    let said = succeed(&mut report(&run, &["--query", "3,5"])).stdout;
    let [name] = pages(&run).try_into().unwrap();
    assert_names(&said, &[&name]);
    let other = fs::read_to_string(run.join(&name)).unwrap();
    assert_names(
        &other,
        &[
            "training image 3",
            "training image 5",
            "Taught most of it, by influence-cg",
            "gradients of an ensemble point",
        ],
    );
    for text in ["Made again without", "Helped most to make it", "Training loss"] {
        assert!(!other.contains(text), "{text}");
    }
    assert!(page(&run) == alone, "the page of the samples is another one");

    // What codes tell is of samples, and stands on their page unasked.
    let said = fail(&mut report(&run, &["--query", "3", "--compare", "jacobian"]), 42);
    assert_names(&said, &["jacobian", "samples of the run"]);
    let said = fail(&mut report(&run, &["--compare", "second-order"]), 42);
    assert_names(&said, &["second-order", "without being asked"]);
    // An ensemble is asked about pictures that it did not make as any network is.
    let said = succeed(program([Path::new("attribute"), &run]).args(["--query", "3", "--top", "2"])).stdout;
    assert_names(&said, &["training image 3: ", "influence-cg.parquet"]);
    assert_verified(&run);
}
