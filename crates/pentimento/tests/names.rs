//! Images, classes and groups are called by their names.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;
#[allow(dead_code, reason = "some of the writers are used")]
#[path = "../../pentimento-data/tests/image_sets/writers.rs"]
mod writers;

use common::*;
use pentimento_data::Image;
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
        fs::write(folder.join(format!("{image:02}.png")), png(image)).unwrap();
    }
}

/// An image of the laboratory as PNG.
fn png(image: usize) -> Vec<u8> {
    writers::png(&Image::new(8, 8, 1, pixels()[64 * image..64 * (image + 1)].to_vec()).unwrap())
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
        Self::about(|set| write_set(set, (0..IMAGES).step_by(2), class))
    }

    /// The same with the training images that are written into a folder.
    fn about(write: impl FnOnce(&Path)) -> Self {
        let laboratory = Laboratory::new();
        let (run, set) = (laboratory.path("run"), laboratory.path("set"));
        write(&set);
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
            "--set",
            "gradients.groups=4",
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

/// Writes images of the laboratory with the names of their classes.
type WriteSet = fn(&Path, &[usize]);

/// A Hugging Face data set: a feature lists the names, in an order that is not the alphabet's, and rows have numbers.
fn write_parquet(folder: &Path, images: &[usize]) {
    let is_there = |name: &&str| images.iter().any(|&image| class(image).as_deref() == Some(*name));
    let names: Vec<&str> = ["dog", "elk", "cat"].into_iter().filter(is_there).collect();
    let rows: Vec<writers::Row> = images
        .iter()
        .map(|&image| {
            let label = names.iter().position(|name| class(image).as_deref() == Some(*name)).unwrap();
            (Some(png(image)), Some(label as i64))
        })
        .collect();
    let features = serde_json::json!({"info": {"features": {
        "img": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": names},
    }}});
    let file = folder.join("train-00000-of-00001.parquet");
    writers::write_parquet(&file, &[&rows], Some(&features.to_string()));
}

fn write_tar(folder: &Path, images: &[usize]) {
    let entries: Vec<(String, Vec<u8>)> = images
        .iter()
        .flat_map(|&image| {
            let name = class(image).unwrap().into_bytes();
            [(format!("{image:02}.cls"), name), (format!("{image:02}.png"), png(image))]
        })
        .collect();
    fs::write(folder.join("shard-000000.tar"), writers::tar_of(&entries)).unwrap();
}

fn write_csv(folder: &Path, images: &[usize]) {
    write_set(folder, images.iter().copied(), |_| None);
    let rows: String =
        images.iter().map(|&image| format!("{image:02}.png,{}\n", class(image).unwrap())).collect();
    fs::write(folder.join("metadata.csv"), format!("file_name,label\n{rows}")).unwrap();
}

fn write_jsonl(folder: &Path, images: &[usize]) {
    write_set(folder, images.iter().copied(), |_| None);
    let row = |&image: &usize| {
        let row = serde_json::json!({"file_name": format!("{image:02}.png"), "label": class(image)});
        format!("{row}\n")
    };
    fs::write(folder.join("metadata.jsonl"), images.iter().map(row).collect::<String>()).unwrap();
}

/// An archive of NumPy arrays, whose labels are texts of three letters.
fn write_npz(folder: &Path, images: &[usize]) {
    let pixels: Vec<u8> =
        images.iter().flat_map(|&image| pixels()[64 * image..64 * (image + 1)].to_vec()).collect();
    let names: String = images.iter().filter_map(|&image| class(image)).collect();
    let letters: Vec<u8> = names.chars().flat_map(|letter| (letter as u32).to_le_bytes()).collect();
    let members = [
        ("images.npy", writers::npy("|u1", &[images.len(), 8, 8], &pixels)),
        ("labels.npy", writers::npy("<U3", &[images.len()], &letters)),
    ];
    fs::write(folder.join("set.npz"), writers::zip_of(&members, false)).unwrap();
}

/// In every layout that has names of classes, a set of queries with some of the classes is asked as the same images are by their
/// positions among the training images, where the classes have other numbers.
#[test]
fn classes_are_matched_by_name_in_every_layout() {
    let layouts: [(&str, WriteSet); 5] = [
        ("Hugging Face Parquet", write_parquet),
        ("WebDataset", write_tar),
        ("metadata.csv", write_csv),
        ("metadata.jsonl", write_jsonl),
        (".npz", write_npz),
    ];
    let into = |write: WriteSet, folder: &Path, images: &[usize]| {
        fs::create_dir_all(folder).unwrap();
        write(folder, images);
    };
    let all: Vec<usize> = (0..IMAGES).step_by(2).collect();
    let mut of_first = None;
    for (layout, write) in layouts {
        let asked = Asked::about(|set| into(write, set, &all));
        // Elks alone, and a dog before elks.
        for (name, positions) in [("elks", vec![20, 21, 29]), ("both", vec![12, 25, 26])] {
            let images: Vec<usize> = positions.iter().map(|position| 2 * position).collect();
            into(write, &asked.laboratory.path(name), &images);
            let by_set = asked.scores(&mut asked.attribute(name));
            let names: Vec<String> = positions.iter().map(ToString::to_string).collect();
            let by_position = asked.scores(&mut asked.attribute(&names.join(",")));
            assert!(by_set == by_position, "{layout}: {name} have other scores than by position");
            if name == "elks" {
                // As another class they have others, so the class decides.
                let mut by_folder = asked.laboratory.path(name);
                by_folder.set_file_name("flat");
                write_set(&by_folder, images.iter().copied(), |_| None);
                let as_elks = asked.scores(asked.attribute("flat").args(["--class", "elk"]));
                assert!(as_elks == by_position, "{layout}: `--class elk`");
                let as_cats = asked.scores(asked.attribute("flat").args(["--class", "cat"]));
                assert!(as_cats != by_position, "{layout}: the class decides nothing");
            } else if layout != "Hugging Face Parquet" {
                // The others number their classes by the alphabet, so the networks are told the same.
                let first = of_first.get_or_insert_with(|| by_position.clone());
                assert!(*first == by_position, "{layout}: other scores than in another layout");
            }
        }
    }
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
