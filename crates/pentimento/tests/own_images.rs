//! Image sets of a person's own: looking at one, training on one by its path, and importing a network beside one.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Side of the laboratory's images.
const SIDE: usize = 8;

fn png(pixels: &[u8]) -> Vec<u8> {
    png_of(pixels, SIDE, ExtendedColorType::L8)
}

/// Of eight rows.
fn png_of(pixels: &[u8], width: usize, colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width as u32, SIDE as u32, colour).unwrap();
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
    fs::write(set.join("notes.txt"), "").unwrap();
    let sheet = laboratory.path("sheet.png");
    let finished = succeed(&mut inspect(&sheet));
    let said = finished.stdout;
    // Everything is said once.
    for line in ["a folder of images", "labels: class folders", "not read: 1 .txt", "cow/broken.png: "] {
        let times = said.matches(line).count() + finished.stderr.matches(line).count();
        assert_eq!(times, 1, "{line:?} in {said}\n{}", finished.stderr);
    }
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

/// Everything that the lines say is in the JSON, with all of the lists.
#[test]
fn a_set_is_described_in_json() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set");
    class_folders(&set, ["ant", "bee", "cow"]);
    fs::write(set.join("bee/again.png"), png(&pixels()[..SIDE * SIDE])).unwrap();
    fs::write(set.join("cow/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let through: Vec<u8> = [0, 0, 0, 0].repeat(SIDE * SIDE);
    fs::write(set.join("cow/through.png"), png_of(&through, SIDE, ExtendedColorType::Rgba8)).unwrap();
    fs::write(set.join("cow/notes.TXT"), "text").unwrap();
    let arguments = [Path::new("data"), Path::new("inspect"), &set, Path::new("--json")];
    let mut command = with_cache(&laboratory, program(arguments));
    let described: Value = serde_json::from_str(&succeed(&mut command).stdout).unwrap();
    assert_eq!(described["layout"], "folder");
    assert_eq!((&described["images"], &described["channels"]), (&json!(63), &json!(3)));
    assert_eq!(described["sizes"], json!([{ "height": 8, "width": 8, "images": 62 }]));
    let class =
        |label: u32, name: &str, images: u32| json!({ "label": label, "name": name, "images": images });
    assert_eq!(described["classes"], json!([class(0, "ant", 20), class(1, "bee", 21), class(2, "cow", 22)]));
    assert_eq!(described["groups"][1], json!({ "name": "bee", "images": 21 }));
    assert_eq!(described["exact_duplicates"]["images"], json!([["ant/00.png", "bee/again.png"]]));
    assert!(described["near_duplicates"]["pairs"].is_u64());
    let damaged = &described["damaged"];
    assert_eq!(damaged["by_kind"], json!({ "damaged": 1 }));
    assert_eq!(damaged["images"][0]["name"], "cow/broken.png");
    assert_names(damaged["images"][0]["reason"].as_str().unwrap(), &["broken.png"]);
    assert_eq!(described["left_out"], json!({ "damaged": {}, "files": { ".txt": 1 }, "folders": [] }));
    assert_eq!(described["transparent"], json!({ "images": 1, "background": [255, 255, 255] }));
    let mut command = with_cache(&laboratory, program(arguments));
    let described: Value = serde_json::from_str(&succeed(command.arg("--skip-damaged")).stdout).unwrap();
    assert_eq!(described["left_out"]["damaged"], json!({ "damaged": 1 }));
}

/// Captions are counted with an example, and what is wrong with some of them stands beside.
#[test]
fn captions_are_inspected() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set");
    fs::create_dir(&set).unwrap();
    let lines = [
        json!({ "file_name": "0.png", "prompt": "" }),
        json!({ "file_name": "1.png", "prompt": ["a \"red\" bar", "a bar"] }),
        json!({ "file_name": "2.png", "prompt": "a bar" }),
        json!({ "file_name": "3.png", "prompt": 3 }),
    ];
    for number in 0..lines.len() {
        let image = &pixels()[number * SIDE * SIDE..(number + 1) * SIDE * SIDE];
        fs::write(set.join(format!("{number}.png")), png(image)).unwrap();
    }
    let table: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(set.join("metadata.jsonl"), table.join("\n")).unwrap();
    let arguments = [Path::new("data"), Path::new("inspect"), &set];
    let finished = succeed(&mut with_cache(&laboratory, program(arguments)));
    let said = finished.stdout;
    assert_names(
        &said,
        &[
            "captions: 2 images with one each, 1 with several, 1 empty; e.g. \"a \\\"red\\\" bar\" (1.png)\n",
            "  1 with something else than texts: 3.png (",
            "captions: `prompt`\n",
        ],
    );
    assert_eq!(said.matches("with something else than texts").count(), 1, "{said}");
    let mut command = with_cache(&laboratory, program(arguments));
    let described: Value = serde_json::from_str(&succeed(command.arg("--json")).stdout).unwrap();
    let captions = &described["captions"];
    assert_eq!(captions["source"], "`prompt`");
    let counts =
        ["images_with_one", "images_with_several", "empty"].map(|name| captions[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1]);
    assert_eq!(captions["example"], json!({ "image": "1.png", "caption": "a \"red\" bar" }));
    assert_eq!(
        (&captions["faults"][0]["name"], &captions["faults"][0]["kind"]),
        (&json!("3.png"), &json!("kind"))
    );
    // A set without captions says nothing of them.
    fs::remove_file(set.join("metadata.jsonl")).unwrap();
    let mut command = with_cache(&laboratory, program(arguments));
    let described: Value = serde_json::from_str(&succeed(command.arg("--json")).stdout).unwrap();
    assert!(described["captions"].is_null());
}

/// Where there is no folder for a cache, the work is done without one.
#[test]
fn without_a_home_nothing_is_kept_and_that_is_said() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set");
    class_folders(&set, ["ant", "bee", "cow"]);
    for _ in 0..2 {
        let mut command = program([Path::new("data"), Path::new("inspect"), &set]);
        for variable in ["HOME", "XDG_CACHE_HOME", "PENTIMENTO_CACHE"] {
            command.env_remove(variable);
        }
        let finished = succeed(&mut command);
        assert_names(&finished.stdout, &["images: 60"]);
        assert_names(&finished.stderr, &["anew each time", "PENTIMENTO_CACHE", "HOME"]);
    }
}

/// A picture that was saved with one channel is asked about like those that were saved with three, also if it is alone.
#[test]
fn a_grey_query_is_asked_of_a_network_in_colour() {
    let laboratory = Laboratory::new();
    let (set, run, query) = (laboratory.path("set"), laboratory.path("run"), laboratory.path("query"));
    fs::create_dir_all(&set).unwrap();
    fs::create_dir_all(&query).unwrap();
    let side = 12;
    let encoded = |pixels: &[u8], colour| {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(pixels, side, side, colour).unwrap();
        bytes
    };
    for index in 0..5_u32 {
        let pixels: Vec<u8> = (0..side * side * 3).map(|at| (at * (index + 3) * 7) as u8).collect();
        fs::write(set.join(format!("{index}.png")), encoded(&pixels, ExtendedColorType::Rgb8)).unwrap();
    }
    let grey: Vec<u8> = (0..side * side).map(|at| (at * at) as u8).collect();
    let equal: Vec<u8> = grey.iter().flat_map(|&byte| [byte; 3]).collect();
    fs::write(set.join("5.png"), encoded(&equal, ExtendedColorType::Rgb8)).unwrap();
    fs::write(query.join("grey.png"), encoded(&grey, ExtendedColorType::L8)).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/ddpm_cifar_like");
    let mut import = program([Path::new("import"), &golden, Path::new("--run"), &run]);
    let data = format!("data.path={set:?}");
    succeed(&mut with_cache(&laboratory, {
        import.args(["--set", &data, "--set", "samples.count=1", "--set", "sampling.steps=2"]);
        import
    }));
    let mut attribute = program([Path::new("attribute"), &run, Path::new("--query"), &query]);
    attribute.args(["--method", "pixel-cosine", "--top", "1"]);
    let said = succeed(&mut with_cache(&laboratory, attribute)).stdout;
    // It is training image 5 itself.
    assert_names(&said, &["grey.png: 5 5.png (+1.000e0)"]);
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
    fs::write(set.join("notes.txt"), "what is said of the set").unwrap();
    let said = succeed(&mut run()).stderr;
    assert_names(&said, &["a folder of images, 60 images in 60 files", "indexing the set"]);
    let times = |said: &str, what: &str| said.matches(what).count();
    assert_eq!([times(&said, "60 images"), times(&said, "not read: 1 .txt")], [1, 1], "{said}");
    let same = |run: &PathBuf| {
        let mut made = objects(run);
        // They say where the images lie, and what they are called there.
        made.remove("recipe.toml").unwrap();
        let mut data: Value = serde_json::from_slice(&made["data.json"]).unwrap();
        data["names"].take();
        made.insert("data.json".into(), data.to_string().into_bytes());
        made
    };
    assert_complete(&objects(&of_folder), 3, 20);
    assert!(same(&of_files) == same(&of_folder));
    // What was said is not said again, while the set is unchanged.
    let again = succeed(&mut run()).stderr;
    assert!(!again.contains("indexing the set"), "the index was not kept");
    assert_names(&again, &["a folder of images, 60 images as before"]);
    assert_eq!([times(&again, "60 images"), times(&again, "not read")], [1, 0], "{again}");
    fs::write(set.join("0/more.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let mut skipping = run();
    let said = succeed(skipping.arg("--skip-damaged")).stderr;
    assert_names(&said, &["1 image of 61 left out", "0/more.png", "not read: 1 .txt"]);
    let mut skipping = run();
    let again = succeed(skipping.arg("--skip-damaged")).stderr;
    let line =
        format!("61 images as before; 1 left out (`pentimento data inspect {}` shows all)", set.display());
    assert_names(&again, &[&line]);
    assert!(!again.contains("more.png"), "{again}");
}

/// A recipe of a public set is refused with own pictures, and what the refusal says to add is all that is missing.
#[test]
fn a_recipe_with_a_classifier_takes_own_pictures_with_what_its_refusal_says() {
    let laboratory = Laboratory::new();
    let set = laboratory.path("set");
    class_folders(&set, ["ant", "bee", "cow"]);
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    for (name, keys) in [
        ("quickstart", &["classifier", "data.preprocessing.split", "data.preprocessing.classes"][..]),
        ("mnist-classes", &["classifier", "data.preprocessing.split", "data.preprocessing.classes"]),
        ("mnist-codes", &["classifier", "data.preprocessing.split"]),
    ] {
        let (recipe, run) = (recipes.join(format!("{name}.toml")), laboratory.path(name));
        let train = || {
            let mut command = program([Path::new("train"), &recipe, Path::new("--run"), &run]);
            command.args(["--member", "0", "--set", &format!("data.path={set:?}")]);
            for small in ["training.steps=1", "training.warmup_steps=0", "training.batch=2"] {
                command.args(["--set", small]);
            }
            with_cache(&laboratory, command)
        };
        let said = fail(&mut train(), 42);
        assert_names(&said, &["`classifier` is given", "only with `data.set`", "recipes/own-images.toml"]);
        let added = said.split('`').find(|part| part.starts_with("--unset")).unwrap();
        let settings: Vec<String> = keys.iter().map(|key| format!("--unset {key}")).collect();
        assert_eq!(added, settings.join(" "), "{name}");
        assert!(!run.exists());
        succeed(train().args(added.split(' ')));
    }
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
    assert_names(&said, &["a folder of images, 60 images in 60 files", "indexing the set"]);

    // Images of another size are refused, unless they are brought to that of the network. Grey ones are in colour, too.
    let other = laboratory.path("other");
    let said = fail(&mut import("ddpm_cifar_like", &other, &[path(&set)]), 42);
    assert_names(&said, &["8x8", "12x12", "data.preprocessing.cover = { height = 12, width = 12 }"]);
    assert!(!other.exists());
    let cover = "data.preprocessing.cover={height=12, width=12}".to_owned();
    succeed(&mut import("ddpm_cifar_like", &other, &[path(&set), cover]));

    // All images are looked at, not only the first: those of another size, those in colour, and those that are damaged.
    fs::write(set.join("cow/wide.png"), png_of(&[7; 10 * SIDE], 10, ExtendedColorType::L8)).unwrap();
    let said = fail(&mut import("plain", &other, &[path(&set)]), 42);
    assert_names(
        &said,
        &["60 of 8 x 8 pixels (ant/", "1 of 8 x 10 pixels (cow/wide.png)", "preprocessing.cover"],
    );
    fs::remove_file(set.join("cow/wide.png")).unwrap();
    let colour: Vec<u8> = (0..SIDE * SIDE * 3).map(|value| value as u8).collect();
    fs::write(set.join("cow/colour.png"), png_of(&colour, SIDE, ExtendedColorType::Rgb8)).unwrap();
    let nowhere = laboratory.path("nowhere");
    let said = fail(&mut import("plain", &nowhere, &[path(&set)]), 42);
    assert_names(&said, &["1 of 61 images have colour (cow/colour.png)", "`--set data.channels=grey`"]);
    succeed(&mut import("plain", &run, &[path(&set), "data.channels=grey".into()]));
    fs::remove_file(set.join("cow/colour.png")).unwrap();
    fs::write(set.join("cow/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let said = fail(&mut import("plain", &nowhere, &[path(&set)]), 42);
    assert_names(&said, &["1 of 61 images cannot be read", "1 damaged: cow/broken.png", "`--skip-damaged`"]);
    assert!(!nowhere.exists());
    let said = succeed(import("plain", &run, &[path(&set)]).arg("--skip-damaged")).stderr;
    assert_names(&said, &["1 image of 61 left out", "cow/broken.png"]);
    assert!(fs::read_to_string(run.join("recipe.toml")).unwrap().contains("skip_damaged = true"));
    fs::remove_file(set.join("cow/broken.png")).unwrap();

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
    succeed(&mut import("plain", &run, &pair("images", "labels")));
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
