//! Scores by gradients of whole runs: what they find, how features are kept, and what is refused.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use pentimento::data::{FetchError, FetchOptions, ImageSet, PublicSet, Split, default_cache_dir, fetch};
use pentimento::noise::{Purpose, Stream};
use pentimento_testing::skipped;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain")
}

/// Imports the small golden network beside images.
fn import(run: &Path, images: &str, more: &[&str]) {
    let golden = golden();
    let mut command = program([Path::new("import"), &golden, Path::new("--run"), run]);
    let common = ["--set", images, "--set", "samples.count=2", "--set", "gradients.dimension=512"];
    // The same run is taken for one setting after another.
    command.arg("--replace");
    let draws = ["--set", "gradients.timesteps=5", "--set", "gradients.groups=4"];
    succeed(command.args(common).args(draws).args(more));
}

fn attribute(run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("attribute"), run]);
    command.args(more);
    command
}

fn bars() -> Vec<Vec<u8>> {
    pixels().chunks(64).map(<[u8]>::to_vec).collect()
}

/// Images of which no two are alike.
fn random_images(count: u32) -> Vec<Vec<u8>> {
    let of = |image| {
        let mut values = [0.0f32; 64];
        Stream::new(9, Purpose::Test, image, 0).fill_uniform(&mut values);
        values.iter().map(|value| (value * 255.0) as u8).collect()
    };
    (0..count).map(of).collect()
}

/// Training images by rank, for each query, as `pentimento scores --export` writes them.
fn ranked(run: &Path, method: &str, query: &str) -> BTreeMap<String, Vec<usize>> {
    let file = run.join("../exported.csv");
    let _ = fs::remove_file(&file);
    let mut command = program([Path::new("scores"), run]);
    succeed(command.args(["--method", method, "--query", query]).arg("--export").arg(&file));
    let mut ranked: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for line in fs::read_to_string(&file).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let row = (fields[2].parse().unwrap(), fields[1].parse().unwrap());
        ranked.entry(fields[0].into()).or_default().push(row);
    }
    let in_order = |mut rows: Vec<(usize, usize)>| {
        rows.sort_unstable();
        rows.into_iter().map(|(_, image)| image).collect()
    };
    ranked.into_iter().map(|(query, rows)| (query, in_order(rows))).collect()
}

/// What follows from the recipe, but for the page.
fn features_and_scores(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut objects = objects(run);
    objects.retain(|name, _| name.starts_with("features/") || name.starts_with("scores/"));
    assert!(objects.len() > 4, "{:?}", objects.keys());
    objects
}

/// An image that is asked for itself is its own first, and planted copies of it come with it.
#[test]
fn images_find_themselves_and_their_copies() {
    let laboratory = Laboratory::new();
    let mut images = random_images(60);
    // Copies of images 3 and 25: exact ones, and one that a careless hand saved again.
    images.push(images[3].clone());
    images.push(images[3].iter().map(|&value| value.saturating_sub(1)).collect());
    images.push(images[25].clone());
    write_images(&laboratory.path("set.npy"), &images);
    let run = laboratory.path("run");
    import(&run, &format!("data.path={:?}", laboratory.path("set.npy")), &[]);
    for method in ["trak", "d-trak", "das", "relative-influence", "gradient-cosine"] {
        let query = "0,3,17,25,44,61";
        succeed(&mut attribute(&run, &["--method", method, "--query", query]));
        let ranked = ranked(&run, method, query);
        for (query, alike) in [
            ("0", vec![0]),
            ("3", vec![3, 60, 61]),
            ("17", vec![17]),
            ("25", vec![25, 62]),
            ("44", vec![44]),
            ("61", vec![3, 60, 61]),
        ] {
            let mut first = ranked[query][..alike.len()].to_vec();
            first.sort_unstable();
            assert_eq!(first, alike, "query {query} by {method}: {:?}", &ranked[query][..6]);
        }
    }
    // The order of equal images is not said to be established.
    let said =
        succeed(&mut attribute(&run, &["--method", "d-trak,das", "--query", "25", "--top", "2"])).stdout;
    for line in said.lines().filter(|line| line.starts_with("training image 25")) {
        assert!(line.matches(" ~").count() >= 1 && line.contains("~, "), "{line}");
    }
    // On the page they stand there once.
    succeed(program([Path::new("report"), &run]).args(["--query", "3", "--compare", "das,trak"]));
    let page = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("report-images-"))
        .unwrap();
    let page = fs::read_to_string(page).unwrap();
    assert_names(
        &page,
        &["together with 2 nearly the same", "Taught most of it, by das", "by trak", "Damping"],
    );
}

/// A row is found by its image: what is added is all that is computed, and what is left out costs nothing.
#[test]
fn images_are_added_and_left_out_without_taking_gradients_again() {
    let laboratory = Laboratory::new();
    let images = bars();
    let set = laboratory.path("set.npy");
    let run = laboratory.path("run");
    let at = format!("data.path={set:?}");
    write_images(&set, &images[..40]);
    import(&run, &at, &[]);
    let by_kernel = ["--method", "d-trak"];
    succeed(&mut attribute(&run, &by_kernel));
    let before = features_and_scores(&run);
    let rows = |objects: &BTreeMap<String, Vec<u8>>| {
        let ledger = |name: &&String| name.contains("/groups-") && name.ends_with(".images");
        objects.keys().filter(ledger).map(|name| objects[name].len() / 65).collect::<Vec<_>>()
    };
    assert_eq!(rows(&before), [40]);

    // Ten more, in front of the others.
    write_images(&set, &images[40..50].iter().chain(&images[..40]).cloned().collect::<Vec<_>>());
    succeed(&mut attribute(&run, &by_kernel));
    let added = features_and_scores(&run);
    assert_eq!(rows(&added), [40, 10]);
    for (name, bytes) in before.iter().filter(|(name, _)| name.starts_with("features/")) {
        assert!(added[name] == *bytes, "{name} changed");
    }
    // The same scores as of a run that saw all of them at once.
    let whole = laboratory.path("whole");
    import(&whole, &at, &[]);
    succeed(&mut attribute(&whole, &by_kernel));
    let at_once = features_and_scores(&whole);
    assert!(added["scores/samples/d-trak.npy"] == at_once["scores/samples/d-trak.npy"]);

    // Without them again: nothing new, and the scores of the first time.
    write_images(&set, &images[..40]);
    succeed(&mut attribute(&run, &by_kernel));
    let left_out = features_and_scores(&run);
    assert_eq!(rows(&left_out), [40, 10]);
    assert!(left_out["scores/samples/d-trak.npy"] == before["scores/samples/d-trak.npy"]);
}

/// Other threads and batches give the same bytes.
#[test]
fn threads_and_batches_change_no_byte() {
    let laboratory = Laboratory::new();
    // Three files of rows.
    write_images(&laboratory.path("set.npy"), &random_images(150));
    let at = format!("data.path={:?}", laboratory.path("set.npy"));
    let (alone, run) = (laboratory.path("alone"), laboratory.path("run"));
    import(&alone, &at, &[]);
    succeed(&mut attribute(&alone, &["--threads", "1", "--method", "d-trak"]));
    import(&run, &at, &[]);
    succeed(&mut attribute(&run, &["--threads", "2", "--batch", "3", "--method", "d-trak"]));
    assert_verified(&run);
    let (expected, found) = (features_and_scores(&alone), features_and_scores(&run));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{name} differs");
    }
}

/// Another seed, projection or schedule gives features of its own, which are never mixed with what is there.
#[test]
fn features_of_other_settings_are_kept_apart() {
    let laboratory = Laboratory::new();
    write_images(&laboratory.path("set.npy"), &bars()[..20]);
    let at = format!("data.path={:?}", laboratory.path("set.npy"));
    let run = laboratory.path("run");
    let mut folders = 0;
    for more in [
        vec![],
        vec!["--set", "seed=2"],
        vec!["--set", "gradients.projection=none", "--set", "gradients.precision=f32"],
        vec!["--set", "gradients.noise=per_image"],
        vec!["--set", "gradients.antithetic=true"],
        vec!["--set", "gradients.groups=2"],
        vec!["--set", "gradients.precision=bf16"],
    ] {
        import(&run, &at, &more);
        let said = succeed(&mut attribute(&run, &["--method", "d-trak"]));
        assert_names(&said.stdout, &["(100 %)", "sample 1: "]);
        let names = listed(&run);
        let tables: std::collections::BTreeSet<&str> =
            names.iter().filter_map(|name| name.strip_prefix("features/")?.split('/').next()).collect();
        folders += 1;
        assert_eq!(tables.len(), folders, "{more:?}: {tables:?}");
    }
    // A single group has no spread, and says nothing of how sure scores are.
    import(&run, &at, &["--set", "gradients.groups=1"]);
    let said = succeed(&mut attribute(&run, &["--method", "d-trak"])).stdout;
    assert!(!said.contains('\u{b1}') && !said.contains("no noise of the draws"), "{said}");
}

/// Draws are taken until scores are reliable enough, or until the recipe or the person says that it is enough.
#[test]
fn what_ends_the_draws_is_said() {
    let laboratory = Laboratory::new();
    write_images(&laboratory.path("set.npy"), &bars()[..20]);
    let run = laboratory.path("run");
    let mut import = program([Path::new("import"), &golden(), Path::new("--run"), &run]);
    import.args(["--set", &format!("data.path={:?}", laboratory.path("set.npy"))]);
    for setting in [
        "samples.count=2",
        "gradients.dimension=64",
        "gradients.timesteps=1",
        "gradients.most_draws=8",
        "gradients.reliability=0.999999",
    ] {
        import.args(["--set", setting]);
    }
    succeed(&mut import);
    let ended_by = || -> serde_json::Value {
        let described = fs::read(run.join("scores/samples/das.json")).unwrap();
        let described: serde_json::Value = serde_json::from_slice(&described).unwrap();
        described["draws_ended_by"].clone()
    };
    let said = succeed(&mut attribute(&run, &["--method", "das", "--time-allowed", "0s"])).stdout;
    assert_names(&said, &["with 4 draws", "the time allowed was used", "the same command goes on"]);
    assert_eq!(ended_by(), "time");
    let said = succeed(&mut attribute(&run, &["--method", "das", "--time-allowed", "2h"]));
    assert_names(&said.stderr, &["das: with 4 draws", "100 % is wanted: going on to 8"]);
    assert_names(&said.stdout, &["with 8 draws", "`gradients.most_draws`"]);
    assert_eq!(ended_by(), "most_draws");
    let page =
        succeed(program([Path::new("report"), &run]).args(["--compare", "das", "--time-allowed", "1m"]));
    assert_names(&page.stdout, &["report.html"]);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert_names(&page, &["twice as many are more than"]);
    assert_names(&fail(&mut attribute(&run, &["--time-allowed", "soon"]), 2), &["`soon`", "`30m`"]);
    for (setting, bound) in [
        ("gradients.groups=9", "16 or 20"),
        ("gradients.reliability=1.0", "between 0 and 1"),
        ("gradients.most_draws=0", "1 to 1,000,000"),
    ] {
        let mut import = program([Path::new("import"), &golden(), Path::new("--run"), &run]);
        assert_names(
            &fail(import.args(["--set", setting]), 42),
            &[setting.split('=').next().unwrap(), bound],
        );
    }
}

/// Without a projection the kernel is exact; a wide projection tells nearly the same.
#[test]
fn a_projection_keeps_the_order_of_the_exact_kernel() {
    let laboratory = Laboratory::new();
    write_images(&laboratory.path("set.npy"), &bars());
    let at = format!("data.path={:?}", laboratory.path("set.npy"));
    let scores = |name: &str, more: &[&str]| {
        let run = laboratory.path(name);
        import(&run, &at, more);
        succeed(&mut attribute(&run, &["--method", "das"]));
        let bytes = fs::read(run.join("scores/samples/das.npy")).unwrap();
        let values: Vec<f64> = bytes[128..]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
            .collect();
        assert_eq!(values.len(), 2 * IMAGES);
        let description: serde_json::Value =
            serde_json::from_slice(&fs::read(run.join("scores/samples/das.json")).unwrap()).unwrap();
        (values, description["projection"]["rank_agreement"].as_f64())
    };
    let exact = scores("exact", &["--set", "gradients.projection=none", "--set", "gradients.precision=f32"]);
    let wide = scores("wide", &["--set", "gradients.dimension=16384"]);
    let narrow = scores("narrow", &["--set", "gradients.dimension=128"]);
    let agreement = |a: &[f64], b: &[f64]| {
        let of = |query: usize| {
            let range = query * IMAGES..(query + 1) * IMAGES;
            pentimento::evaluation::statistics::spearman(&a[range.clone()], &b[range]).unwrap().unwrap()
        };
        (of(0) + of(1)) / 2.0
    };
    // With 60 images all of them are measured, so what a run says of its projection is what is found here.
    assert_eq!(exact.1, None);
    let (wide, said_of_wide) = (agreement(&exact.0, &wide.0), wide.1.unwrap());
    let (narrow, said_of_narrow) = (agreement(&exact.0, &narrow.0), narrow.1.unwrap());
    assert!(wide > 0.98, "{wide}");
    assert!(narrow < wide, "{narrow} and {wide}");
    assert!((wide - said_of_wide).abs() < 0.005, "{wide}, but {said_of_wide} was said");
    assert!((narrow - said_of_narrow).abs() < 0.005, "{narrow}, but {said_of_narrow} was said");
}

#[test]
fn what_does_not_fit_is_said() {
    let laboratory = Laboratory::new();
    write_images(&laboratory.path("set.npy"), &bars());
    let at = format!("data.path={:?}", laboratory.path("set.npy"));
    let run = laboratory.path("run");
    import(&run, &at, &[]);
    let refused = |more: &[&str], words: &[&str]| {
        assert_names(&fail(&mut attribute(&run, more), 42), words);
    };
    refused(&["--query", "3,99"], &["training image `99`", "60 training images", "0 to 59"]);
    refused(&["--query", "3", "--method", "journey-trak"], &["journey-trak", "samples of the run"]);
    refused(&["--method", "jacobian"], &["jacobian", "trained with codes", "`d-trak`"]);
    refused(&["--query", "nowhere"], &["file, folder or training image `nowhere` does not exist"]);
    // Queries of another size.
    let large = laboratory.path("large.npy");
    let mut bytes = fs::read(laboratory.path("set.npy")).unwrap();
    let shape = bytes.windows(8).position(|window| window == b"60, 8, 8").unwrap();
    bytes[shape..shape + 8].copy_from_slice(b"15,16,16");
    fs::write(&large, bytes).unwrap();
    refused(&["--query", large.to_str().unwrap()], &["large.npy", "16x16", "8x8"]);
    let mut scores = program([Path::new("scores"), &run]);
    assert_names(&fail(&mut scores, 42), &["not there yet", "pentimento attribute"]);
    succeed(&mut attribute(&run, &["--method", "das,trak"]));
    let ask = |more: &[&str]| {
        let mut command = program([Path::new("scores"), &run]);
        command.args(more);
        command
    };
    assert_names(
        &fail(&mut ask(&[]), 42),
        &["scores by several methods, and none was named: das, trak; name one with `--method`"],
    );
    assert_names(&fail(&mut ask(&["--method", "das", "--of", "7"]), 42), &["query 7", "--of"]);
    let file = laboratory.path("scores.txt");
    let to = ["--method", "das", "--export", file.to_str().unwrap()];
    assert_names(&fail(&mut ask(&to), 42), &["scores.txt: tables are written as .csv, .parquet or .npy"]);
    // Nothing that exists is written over, least of all the images themselves.
    let set = laboratory.path("set.npy");
    let to = ["--method", "das", "--export", set.to_str().unwrap()];
    assert_names(
        &fail(&mut ask(&to), 42),
        &["set.npy exists already: nothing is written over it; give another name"],
    );
    let said = succeed(&mut ask(&["--method", "das", "--of", "1", "--top", "3", "--bottom"])).stdout;
    assert_names(&said, &["query 1", "60. ", "58. "]);
}

/// Python reads features and scores with pyarrow alone.
#[test]
fn python_reads_features_and_scores() {
    let python = std::env::var("PENTIMENTO_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import numpy, pyarrow.ipc, pyarrow.parquet"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        let why = format!("{python} has no pyarrow (PENTIMENTO_PYTHON names another interpreter)");
        return skipped("python-pyarrow", why);
    }
    let laboratory = Laboratory::new();
    write_images(&laboratory.path("set.npy"), &bars());
    let run = laboratory.path("run");
    import(&run, &format!("data.path={:?}", laboratory.path("set.npy")), &[]);
    succeed(&mut attribute(&run, &["--method", "d-trak,journey-trak"]));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/read_features.py");
    let output = Command::new(&python).arg(script).arg(&run).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Rows of 60 images in 4 groups for each of two measurements; of 2 samples in 20 timesteps, and in 50 steps.
    assert_names(&text(&output.stdout), &[&format!("{} rows", 2 * 60 * 4 + 2 * 20 + 2 * sampling_steps())]);
}

/// Steps of the golden network's sampler.
fn sampling_steps() -> usize {
    let scheduler = fs::read_to_string(golden().join("scheduler/scheduler_config.json")).unwrap();
    let scheduler: serde_json::Value = serde_json::from_str(&scheduler).unwrap();
    scheduler["num_train_timesteps"].as_u64().unwrap() as usize
}

/// A zero of MNIST that lies among the clothes of Fashion-MNIST is what other zeros are told to rest on, by the gradients
/// of all members of an ensemble that was trained on them.
#[test]
fn a_foreign_image_is_found_by_its_kind() {
    let open = |set: PublicSet| -> Option<ImageSet> {
        let fetched =
            default_cache_dir().and_then(|cache| fetch(set, &FetchOptions::new(cache), &mut |_| {}));
        match fetched {
            Err(error @ (FetchError::NothingAnswered { .. } | FetchError::NoCacheFolder)) => {
                skipped(set.name(), error);
                None
            }
            fetched => Some(fetched.unwrap().open(Split::Test).unwrap()),
        }
    };
    let (Some(digits), Some(clothes)) = (open(PublicSet::Mnist), open(PublicSet::FashionMnist)) else {
        return;
    };
    // To 7 x 7 by means, with a frame of one at the right and below.
    let small = |set: &ImageSet, image: usize| {
        let pixels = set.image(image);
        let mut values = vec![0u8; 64];
        for (row, column) in (0..7).flat_map(|row| (0..7).map(move |column| (row, column))) {
            let cell = (0..4).flat_map(|y| (0..4).map(move |x| (4 * row + y) * 28 + 4 * column + x));
            values[8 * row + column] = (cell.map(|at| u32::from(pixels[at])).sum::<u32>() / 16) as u8;
        }
        values
    };
    let zeros: Vec<usize> = (0..digits.len()).filter(|&image| digits.label(image) == 0).take(7).collect();
    let laboratory = Laboratory::new();
    let foreign = 123;
    let mut images: Vec<Vec<u8>> = (0..200).map(|image| small(&clothes, image)).collect();
    images.insert(foreign, small(&digits, zeros[0]));
    let labels = idx(0x801, &[images.len()], &vec![0; images.len()]);
    fs::write(laboratory.path("images"), idx(0x803, &[images.len(), 8, 8], &images.concat())).unwrap();
    fs::write(laboratory.path("labels"), labels).unwrap();
    write_images(
        &laboratory.path("zeros.npy"),
        &zeros[1..].iter().map(|&image| small(&digits, image)).collect::<Vec<_>>(),
    );
    let recipe = laboratory.image_recipe();
    let run = laboratory.path("run");
    let mut train = program([Path::new("train"), &recipe, Path::new("--run"), &run]);
    succeed(
        train
            .args([
                "--set",
                "data.preprocessing.first=201",
                "--set",
                "codes.members=12",
                "--set",
                "codes.weight=6",
            ])
            .args(["--set", "training.steps=40", "--set", "gradients.timesteps=5"]),
    );
    let query = laboratory.path("zeros.npy");
    for method in ["d-trak", "das"] {
        let said = succeed(&mut attribute(&run, &["--method", method, "--query", query.to_str().unwrap()]));
        let ranked = ranked(&run, method, query.to_str().unwrap());
        let first = ranked.values().filter(|images| images[0] == foreign).count();
        assert!(first >= 5, "{method}: first for {first} of {}\n{}", ranked.len(), said.stdout);
    }
}

/// `scores` says what else was asked about, and that images or files are no longer what they were.
#[test]
fn scores_tell_of_other_queries_and_of_images_that_changed() {
    let laboratory = Laboratory::new();
    let (set, run) = (laboratory.path("set.npy"), laboratory.path("run"));
    write_images(&set, &bars()[..20]);
    import(&run, &format!("data.path={set:?}"), &[]);
    succeed(&mut attribute(&run, &["--method", "d-trak"]));
    let said = succeed(&mut attribute(&run, &["--method", "das,trak", "--query", "3"])).stdout;
    assert_eq!(said.lines().filter(|line| line.starts_with("behaviour: ")).count(), 2, "{said}");
    let scores = |more: &[&str]| {
        let mut command = program([Path::new("scores"), &run]);
        command.args(more);
        command
    };
    let said = succeed(&mut scores(&[])).stderr;
    assert_names(&said, &["`--query 3` by das, trak"]);
    assert!(!said.contains("changed"), "{said}");
    let refused = fail(&mut scores(&["--query", "7"]), 42);
    assert_names(&refused, &["`--query samples` by d-trak", "`--query 3` by das, trak", "attribute"]);
    assert_names(&fail(&mut scores(&["--of", "9"]), 42), &["are of 0, 1", "`--query 3`"]);
    // A set goes by its folder too, which is all that is left to say of a path that has moved.
    let folder = fs::read_dir(run.join("scores"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("images-"))
        .unwrap();
    let shown = succeed(&mut scores(&["--query", &folder, "--method", "das"])).stdout;
    assert_names(&shown, &["das, asked about 3", "query 3"]);
    // What it is about is said in one line, and line by line in the table.
    let about = "behaviour: the mean of the network's output of the query, mean over draws, each timestep's gradient at unit \
                 length; intervention: one training image, to first order; training process: a linear model";
    assert_names(&shown, &[about]);
    let kept = fs::read(run.join("scores").join(&folder).join("das.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["intervention"], "one training image, to first order");
    assert!(about.contains(kept["behaviour"].as_str().unwrap()), "{kept}");
    assert!(kept["training_process"].as_str().unwrap().starts_with("a linear model"), "{kept}");

    // One pixel of one image.
    let mut images = bars()[..20].to_vec();
    images[4][9] ^= 1;
    write_images(&set, &images);
    let said = succeed(&mut scores(&["--query", "3", "--method", "das"]));
    assert_names(&said.stderr, &["have changed", "pentimento attribute", "--method das --query 3`"]);
    assert_names(&said.stdout, &["query 3"]);
    fs::remove_file(&set).unwrap();
    assert_names(&succeed(&mut scores(&[])).stderr, &["cannot be opened", "set.npy"]);

    // A damaged file is made again by what is said.
    write_images(&set, &bars()[..20]);
    let table = run.join("scores").join(&folder).join("das.parquet");
    let mut bytes = fs::read(&table).unwrap();
    bytes[20] ^= 1;
    fs::write(&table, &bytes).unwrap();
    let said = fail(&mut scores(&["--query", "3", "--method", "das"]), 1);
    assert_names(&said, &["das.parquet", "--method das --query 3` makes it again"]);
    succeed(&mut attribute(&run, &["--method", "das", "--query", "3"]));
    succeed(&mut scores(&["--query", "3", "--method", "das"]));
    assert_verified(&run);
}

/// Images of which nothing is known but their place are called by their place alone.
#[test]
fn images_without_labels_are_called_by_their_place() {
    let laboratory = Laboratory::new();
    write_images(&laboratory.path("set.npy"), &bars()[..20]);
    let run = laboratory.path("run");
    import(&run, &format!("data.path={:?}", laboratory.path("set.npy")), &[]);
    let said = succeed(&mut attribute(&run, &["--method", "d-trak", "--query", "3", "--top", "1"])).stdout;
    let line = said.lines().find(|line| line.starts_with("training image 3: ")).unwrap();
    assert!(line.starts_with("training image 3: 3 (+"), "{line}");
}

/// Only the images that look most like a query are scored, each query by itself, and what that keeps of full scores is
/// measured rightly.
#[test]
fn candidates_are_the_most_alike_and_what_they_keep_is_measured() {
    const CANDIDATES: usize = 20;
    let laboratory = Laboratory::new();
    write_images(&laboratory.path("set.npy"), &random_images(60));
    let at = format!("data.path={:?}", laboratory.path("set.npy"));
    let (full, few) = (laboratory.path("full"), laboratory.path("few"));
    import(&full, &at, &[]);
    import(&few, &at, &["--set", "gradients.candidates=20"]);
    let query = "0,3,17,40";
    succeed(&mut attribute(&full, &["--method", "das,pixel-cosine", "--query", query]));
    let said = succeed(&mut attribute(&few, &["--method", "das", "--query", query, "--top", "3"])).stdout;
    assert_names(&said, &["approximation: only the 20 training images", "4 queries and 60 training images"]);
    let (exact, alike) = (ranked(&full, "das", query), ranked(&full, "pixel-cosine", query));
    let scored = ranked(&few, "das", query);
    let mut kept = Vec::new();
    for (name, images) in &scored {
        let mut images = images.clone();
        images.sort_unstable();
        let mut expected = alike[name][..CANDIDATES].to_vec();
        expected.sort_unstable();
        assert_eq!(images, expected, "query {name}");
        let first = exact[name][..10].iter().filter(|image| expected.contains(image)).count();
        kept.push(first as f64 / 10.0);
    }
    let folder = |run: &Path| {
        let mut sets = fs::read_dir(run.join("scores")).unwrap().map(|entry| entry.unwrap().path());
        sets.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("images-")).unwrap()
    };
    let description: serde_json::Value =
        serde_json::from_slice(&fs::read(folder(&few).join("das.json")).unwrap()).unwrap();
    let found = &description["candidates"];
    let mean = kept.iter().sum::<f64>() / kept.len() as f64;
    assert!((found["kept"].as_f64().unwrap() - mean).abs() < 1e-9, "{found}, but {kept:?}");
    assert!(found["interval"].is_null(), "of four queries there is none: {found}");

    // What is not scored is NaN, and alone a query has the scores that it has among others.
    let values = |run: &Path, set: &Path| -> Vec<f32> {
        let bytes = fs::read(run.join(set).join("das.npy")).unwrap();
        bytes[128..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let together = values(&few, &folder(&few));
    let nothing = together.iter().filter(|score| score.is_nan()).count();
    assert_eq!(nothing, 4 * (60 - CANDIDATES));
    let alone = laboratory.path("alone");
    import(&alone, &at, &["--set", "gradients.candidates=20"]);
    succeed(&mut attribute(&alone, &["--method", "das", "--query", "17"]));
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&values(&alone, &folder(&alone))), bits(&together[2 * 60..3 * 60]));

    succeed(program([Path::new("report"), &few]).args(["--query", "3", "--compare", "das"]));
    let page = fs::read_dir(&few)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("report-images-"))
        .unwrap();
    assert_names(
        &fs::read_to_string(page).unwrap(),
        &["approximation: the others were not scored", "An approximation"],
    );
}
