//! Image sets of a person's own: looking at one, training on one by its path, and importing a network beside one.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use std::fs;
use std::path::{Path, PathBuf};

/// Side of the laboratory's images.
const SIDE: usize = 8;

fn png(pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let side = SIDE as u32;
    PngEncoder::new(&mut bytes).write_image(pixels, side, side, ExtendedColorType::L8).unwrap();
    bytes
}

/// The laboratory's images as files in folders of their classes, in the same order.
fn class_folders(root: &Path, names: [&str; 3]) {
    for (index, (image, label)) in pixels().chunks_exact(SIDE * SIDE).zip(labels()).enumerate() {
        let folder = root.join(names[usize::from(label)]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{index:02}.png")), png(image)).unwrap();
    }
}

/// A command that keeps its indexes in the laboratory.
fn with_cache(laboratory: &Laboratory, mut command: std::process::Command) -> std::process::Command {
    command.env("PENTIMENTO_CACHE", laboratory.path("cache"));
    command
}

#[test]
fn a_set_is_inspected_with_a_contact_sheet() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set");
    class_folders(&set, ["ant", "bee", "cow"]);
    fs::write(set.join("bee/again.png"), png(&pixels()[..SIDE * SIDE])).unwrap();
    fs::write(set.join("cow/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let inspect = |sheet: &Path| {
        let arguments = [Path::new("data"), Path::new("inspect"), &set, Path::new("--contact-sheet"), sheet];
        with_cache(&laboratory, program(arguments))
    };
    let sheet = laboratory.path("sheet.png");
    let said = succeed(&mut inspect(&sheet)).stdout;
    let lines = [
        "layout: a folder of images",
        "images: 62",
        "channels: 1",
        "8 x 8: 61",
        "0 ant: 20",
        "1 bee: 21",
        "2 cow: 21",
        "2 times: ant/00.png, bee/again.png",
        "damaged images: 1",
        "cow/broken.png",
        "contact sheet: ",
    ];
    assert_names(&said, &lines);
    // A row for each class, of 16 pictures; in those of upright and of lying bars, the bar is where its number puts it.
    let picture = image::open(&sheet).unwrap().to_luma8();
    let step = picture.width() / 16;
    assert_eq!((picture.width() / step, picture.height() / step), (16, 3));
    let brightness = |left: u32, top: u32, width: u32, height: u32| -> u64 {
        let inside = (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y)));
        inside.map(|(x, y)| u64::from(picture.get_pixel(x, y).0[0])).sum()
    };
    let (gap, side) = (step % 8, step - step % 8);
    for (class, number) in (0..2).flat_map(|class| (0..16).map(move |number| (class, number))) {
        let (left, top, band) = (gap + number * step, gap + class * step, side / 8);
        let brightest = (0..8).max_by_key(|place| match class {
            0 => brightness(left + place * band, top, band, side),
            _ => brightness(left, top + place * band, side, band),
        });
        assert_eq!(brightest, Some(number % 8), "class {class}, image {number}");
    }

    // Nothing is written over, and no other format under this name.
    let before = fs::read(&sheet).unwrap();
    assert_names(&fail(&mut inspect(&sheet), 42), &["sheet.png exists already: nothing is written over it"]);
    assert!(fs::read(&sheet).unwrap() == before);
    let other = laboratory.path("sheet.jpg");
    assert_names(
        &fail(&mut inspect(&other), 42),
        &["sheet.jpg: the contact sheet is written as PNG, so its name has to end with .png"],
    );
    assert!(!other.exists());
}

/// The same images in the same order are the same run, wherever they lie.
#[test]
fn a_recipe_names_a_set_by_its_path() {
    let laboratory = Laboratory::new();
    let (of_files, of_folder) = (laboratory.path("files"), laboratory.path("folder"));
    let recipe = laboratory.class_recipe();
    succeed(&mut run_command(&recipe, &of_files, &[]));

    let set = laboratory.path("set");
    class_folders(&set, ["0", "1", "2"]);
    let text = fs::read_to_string(&recipe).unwrap();
    let (before, after) = text.split_once("[data]").unwrap();
    let after = &after[after.find("[codes]").unwrap()..];
    let by_path = laboratory.path("by-path.toml");
    fs::write(&by_path, format!("{before}[data]\npath = {set:?}\n{after}")).unwrap();
    let run = || with_cache(&laboratory, run_command(&by_path, &of_folder, &[]));
    let said = succeed(&mut run()).stderr;
    assert_names(&said, &["a folder of images, 60 images in 60 files", "indexing the set"]);
    let same = |run: &PathBuf| {
        let mut made = objects(run);
        // It says where the images lie.
        made.remove("recipe.toml").unwrap();
        made
    };
    assert_complete(&objects(&of_folder), 3, 20);
    assert!(same(&of_files) == same(&of_folder));
    assert!(!succeed(&mut run()).stderr.contains("indexing the set"), "the index was not kept");
}

#[test]
fn what_lies_beside_an_imported_network_is_looked_at() {
    let laboratory = Laboratory::new();
    let (set, run) = (laboratory.path("set"), laboratory.path("run"));
    class_folders(&set, ["ant", "bee", "cow"]);
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let import = |network: &str, run: &Path, settings: &[String]| {
        let mut command = program([Path::new("import"), &goldens.join(network), Path::new("--run"), run]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        with_cache(&laboratory, command)
    };
    let path = |path: &Path| format!("data.path={path:?}");
    let said = succeed(&mut import("plain", &run, &[path(&set)])).stderr;
    assert_names(&said, &["a folder of images, 60 images in 60 files"]);
    assert!(!said.contains("warning") && !said.contains("indexing"), "{said}");
    assert!(!laboratory.path("cache").exists(), "nothing is indexed");

    // Images of another size, unless they are brought to that of the network.
    let other = laboratory.path("other");
    let said = succeed(&mut import("ddpm_cifar_like", &other, &[path(&set)])).stderr;
    assert_names(&said, &["warning", "8x8", "12x12", "data.preprocessing"]);
    let cover = "data.preprocessing.cover={height=12, width=12}".to_owned();
    let said = succeed(&mut import("ddpm_cifar_like", &other, &[path(&set), cover])).stderr;
    assert!(!said.contains("warning"), "{said}");

    // What is no set is refused before anything is written.
    let (none, nothing) = (laboratory.path("none"), laboratory.path("nothing"));
    fs::create_dir(&none).unwrap();
    fs::write(none.join("notes.txt"), "nothing").unwrap();
    assert_names(&fail(&mut import("plain", &nothing, &[path(&none)]), 42), &["none", "the layout"]);
    let pair = |images: &str, labels: &str| {
        let name = |key: &str, file: &str| format!("data.{key}={:?}", laboratory.path(file));
        [name("images", images), name("labels", labels)]
    };
    let said = fail(&mut import("plain", &nothing, &pair("labels", "images")), 42);
    assert_names(&said, &["images", "magic"]);
    assert!(!nothing.exists());
    let said = succeed(&mut import("plain", &run, &pair("images", "labels"))).stderr;
    assert_names(&said, &["IDX files, 60 images in 2 files"]);
}

/// Names that other people gave may hold what a terminal obeys.
#[test]
fn control_characters_of_names_do_not_reach_the_terminal() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set");
    let red = "red\u{1b}[31m\u{9b}2J\r\u{7}";
    class_folders(&set, ["ant", red, "cow"]);
    fs::write(set.join(red).join("broken\u{1b}[2J.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let inspect =
        |path: &Path| with_cache(&laboratory, program([Path::new("data"), Path::new("inspect"), path]));
    let without_controls = |said: &str| {
        let control = said.chars().find(|&c| c.is_control() && !"\n\t".contains(c));
        assert_eq!(control, None, "{said:?}");
    };
    let finished = succeed(&mut inspect(&set));
    without_controls(&finished.stdout);
    without_controls(&finished.stderr);
    assert_names(
        &finished.stdout,
        &["red\u{fffd}[31m\u{fffd}2J\u{fffd}\u{fffd}: 21", "broken\u{fffd}[2J.png"],
    );

    // Errors and warnings, on stderr.
    let said = fail(&mut inspect(&laboratory.path("no\u{1b}[31m")), 42);
    without_controls(&said);
    assert_names(&said, &["no\u{fffd}[31m"]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let network = laboratory.path("network");
    fs::create_dir(&network).unwrap();
    for file in
        ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
    {
        fs::copy(golden.join(file), network.join(Path::new(file).file_name().unwrap())).unwrap();
    }
    let config = fs::read_to_string(network.join("config.json")).unwrap();
    fs::write(network.join("config.json"), config.replacen('{', "{\"wings\\u001b[31m\": 2,", 1)).unwrap();
    let finished = succeed(&mut program([Path::new("doctor"), &network]));
    without_controls(&finished.stderr);
    assert_names(&finished.stderr, &["`wings\u{fffd}[31m` is not known"]);
}
