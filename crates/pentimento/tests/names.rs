//! Images, classes and groups are called by their names.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CLASSES: [&str; 3] = ["cat", "dog", "elk"];

/// Writes the first of the laboratory's images that are asked for into a folder of classes.
fn write_set(
    root: &Path,
    images: impl IntoIterator<Item = usize>,
    class_of: impl Fn(usize) -> Option<String>,
) {
    for image in images {
        let folder = class_of(image).map_or_else(|| root.to_path_buf(), |class| root.join(class));
        fs::create_dir_all(&folder).unwrap();
        let mut png = Vec::new();
        let pixels = &pixels()[64 * image..64 * (image + 1)];
        PngEncoder::new(&mut png).write_image(pixels, 8, 8, ExtendedColorType::L8).unwrap();
        fs::write(folder.join(format!("{image:02}.png")), png).unwrap();
    }
}

/// The name of an image's class.
fn class(image: usize) -> Option<String> {
    Some(CLASSES[usize::from(labels()[image])].to_owned())
}

struct Asked {
    laboratory: Laboratory,
    run: PathBuf,
}

impl Asked {
    /// A network with classes, and training images in folders of them: every second image of the laboratory.
    fn new() -> Self {
        let laboratory = Laboratory::new();
        let (run, set) = (laboratory.path("run"), laboratory.path("set"));
        write_set(&set, (0..IMAGES).step_by(2), class);
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
        let network = tests.join("goldens_configurations/class_table");
        let mut command = program([Path::new("import"), &network, Path::new("--run"), &run]);
        command.arg("--scheduler").arg(tests.join("goldens/plain/scheduler"));
        command.args([
            "--set",
            "samples.class=1",
            "--set",
            "samples.count=1",
            "--set",
            "gradients.dimension=64",
        ]);
        succeed(command.arg("--set").arg(format!("data.path={set:?}")));
        Self { laboratory, run }
    }

    fn attribute(&self, query: &str) -> Command {
        let mut command = program([Path::new("attribute"), &self.run]);
        command
            .current_dir(self.laboratory.path(""))
            .args(["--method", "das", "--top", "1", "--query", query]);
        command
    }

    /// The scores that a command wrote.
    fn scores(&self, command: &mut Command) -> Vec<u8> {
        let said = succeed(command).stdout;
        let table = said.lines().last().unwrap();
        fs::read(self.laboratory.path("").join(table).with_extension("npy")).unwrap()
    }
}

/// Images 40, 42, … 58 of the laboratory are elks, and the last third of the training images.
#[test]
fn classes_of_queries_are_matched_by_name() {
    let asked = Asked::new();
    write_set(&asked.laboratory.path("query"), (40..IMAGES).step_by(2), class);
    let by_folder = asked.scores(&mut asked.attribute("query"));
    let positions: Vec<String> = (20..30).map(|position| position.to_string()).collect();
    let by_position = asked.scores(&mut asked.attribute(&positions.join(",")));
    assert_eq!(by_folder, by_position);
    let names: Vec<String> = (40..IMAGES).step_by(2).map(|image| format!("elk/{image:02}.png")).collect();
    assert_eq!(asked.scores(&mut asked.attribute(&names.join(","))), by_position);

    // Without classes they are asked for, and may be given for all.
    write_set(&asked.laboratory.path("flat"), (40..IMAGES).step_by(2), |_| None);
    let said = fail(&mut asked.attribute("flat"), 42);
    assert_names(&said, &["flat", "without classes", "cat, dog, elk", "--class"]);
    let said = succeed(asked.attribute("flat").args(["--class", "elk"])).stdout;
    assert_names(&said, &["40.png (as elk): 20 elk/40.png"]);
    assert_eq!(asked.scores(asked.attribute("flat").args(["--class", "elk"])), by_position);
    // Another class is another question.
    assert_ne!(asked.scores(asked.attribute("flat").args(["--class", "cat"])), by_position);

    write_set(&asked.laboratory.path("unknown"), [40], |_| Some("fox".into()));
    assert_names(&fail(&mut asked.attribute("unknown"), 42), &["`fox`", "cat, dog, elk"]);
    assert_names(&fail(asked.attribute("flat").args(["--class", "fox"]), 42), &["`fox`", "cat, dog, elk"]);
    assert_names(&fail(&mut asked.attribute("elk/41.png"), 42), &["`elk/41.png`", "30 training images"]);
}

#[test]
fn tables_have_names_and_say_when_the_pictures_are_others() {
    let asked = Asked::new();
    let query = asked.laboratory.path("query");
    write_set(&query, [0, 2], class);
    let said = succeed(&mut asked.attribute("query")).stdout;
    assert_names(&said, &["cat/00.png (as cat): 0 cat/00.png (+"]);
    let scores = |more: &[&str]| {
        let mut command = program([Path::new("scores"), &asked.run]);
        command
            .current_dir(asked.laboratory.path(""))
            .args(["--method", "das", "--query", "query"])
            .args(more);
        succeed(&mut command)
    };
    let shown = scores(&["--of", "cat/02.png", "--top", "1"]);
    assert_names(&shown.stdout, &["query cat/02.png", "1. 1 cat/02.png +"]);
    assert!(!shown.stderr.contains("changed"), "{}", shown.stderr);
    scores(&["--export", "scores.csv"]);
    let csv = fs::read_to_string(asked.laboratory.path("scores.csv")).unwrap();
    assert!(csv.starts_with("query,training_image,rank,score,low,high,label\ncat/00.png,0,1,"), "{csv}");

    fs::copy(query.join("cat/02.png"), query.join("cat/00.png")).unwrap();
    assert_names(&scores(&[]).stderr, &["the images that were asked about have changed", "--query query"]);
}
