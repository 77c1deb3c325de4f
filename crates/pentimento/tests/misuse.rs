//! Wrong input, full disks and other programs: the message says what is wrong with which file, key and bound, the exit
//! code says what to do (42: mend the input, 75: try again, 2: read the help, 1: the rest), and the run stays whole.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{
    IMAGES, Laboratory, assert_equal_runs, assert_names, assert_no_panic, assert_verified, fail, idx, labels,
    listed, objects, pixels, program, run_command, succeed, text,
};
use pentimento_testing::skipped;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const WRONG_INPUT: i32 = 42;
const TRY_AGAIN: i32 = 75;
const FAILED: i32 = 1;
const WRONG_USAGE: i32 = 2;

/// Runs a recipe that must be refused, in an empty folder and in a finished run, which must stay as it was.
struct Refusals {
    laboratory: Laboratory,
    recipe: PathBuf,
    finished: PathBuf,
    before: std::collections::BTreeMap<String, Vec<u8>>,
}

impl Refusals {
    fn new() -> Self {
        let laboratory = Laboratory::new();
        let recipe = laboratory.class_recipe();
        let finished = laboratory.path("finished");
        succeed(&mut run_command(&recipe, &finished, &[]));
        let before = objects(&finished);
        Self { laboratory, recipe, finished, before }
    }

    fn refused(&self, settings: &[&str], code: i32, words: &[&str]) {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let fresh = self.laboratory.path("fresh");
        for run in [&fresh, &self.finished] {
            let said = fail(&mut run_command(&self.recipe, run, &settings), code);
            assert_names(&said, words);
        }
        if fresh.exists() {
            assert_verified(&fresh);
            assert_eq!(listed(&fresh), [""; 0], "{settings:?}");
            fs::remove_dir_all(&fresh).unwrap();
        }
        assert_verified(&self.finished);
        assert_equal_runs(&self.before, &self.finished);
    }
}

#[test]
fn image_files_that_break_their_format_are_refused() {
    let refusals = Refusals::new();
    let images = |count: usize, bytes: &[u8]| idx(0x803, &[count, 8, 8], bytes);
    let whole = images(IMAGES, &pixels());
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("truncated", whole[..whole.len() - 100].to_vec(), &["length is 3756 bytes", "3856 bytes", "60"]),
        ("header-only", whole[..10].to_vec(), &["length is 10 bytes", "at least 16 bytes"]),
        ("magic", idx(0x804, &[IMAGES, 8, 8], &pixels()), &["magic number is 0x00000804", "0x00000803"]),
        ("fewer", images(59, &pixels()[..59 * 64]), &["labels", "number of labels is 60", "59"]),
        ("empty", Vec::new(), &["length is 0 bytes"]),
    ];
    for (name, bytes, words) in cases {
        let file = refusals.laboratory.path(name);
        fs::write(&file, bytes).unwrap();
        let setting = format!("data.images={file:?}");
        refusals.refused(&[&setting], WRONG_INPUT, &[&[file.to_str().unwrap()], words].concat());
    }
    let labels_file = refusals.laboratory.path("short-labels");
    fs::write(&labels_file, &idx(0x801, &[IMAGES], &labels())[..40]).unwrap();
    refusals.refused(
        &[&format!("data.labels={labels_file:?}")],
        WRONG_INPUT,
        &["short-labels", "length is 40 bytes"],
    );
    refusals.refused(
        &["data.images=\"/nowhere/images\""],
        WRONG_INPUT,
        &["/nowhere/images", "nothing exists", "--set data.images=PATH"],
    );
    let folder = refusals.laboratory.path("");
    refusals.refused(&[&format!("data.images={folder:?}")], WRONG_INPUT, &["a folder", "a regular file"]);
}

#[test]
fn recipes_that_do_not_hold_together_are_refused() {
    let refusals = Refusals::new();
    let cases: [(&[&str], &[&str]); 26] = [
        // Keys that do not exist.
        (&["training.stepz=3"], &["classes.toml", "stepz", "steps"]),
        (&["colour=\"red\""], &["classes.toml", "colour"]),
        (&["model.block_channels=[8]"], &["model.block_channels", "UNet2DModel"]),
        (&["=3"], &["classes.toml"]),
        // `--set` that sets nothing.
        (&["name.first=1"], &["name.first=1", "`name` is not a section"]),
        (&["training.steps=3\nseed=9"], &["--set training.steps=3", "several lines"]),
        (&["training.steps="], &["classes.toml", "steps", "string"]),
        (&["training.steps=many"], &["classes.toml", "many"]),
        // Values out of bounds.
        (&["training.learning_rate=nan"], &["learning_rate", "NaN", "positive"]),
        (&["training.learning_rate=-1"], &["learning_rate", "-1", "positive"]),
        (&["training.steps=0"], &["steps", "0", "1 to 2^32 - 1"]),
        (&["training.steps=-1"], &["classes.toml", "-1"]),
        (&["training.batch=0"], &["batch", "0", "1 to 1,048,576"]),
        (&["training.ema_decay=1.0"], &["ema_decay", "1", "below 1"]),
        (&["sampling.steps=1001"], &["steps", "1001", "1000"]),
        (&["sampling.steps=0"], &["steps", "0"]),
        (&["schedule.beta_end=1.5"], &["beta_end", "1.5", "between 0 and 1"]),
        (&["samples.count=0"], &["samples.count", "0", "1 to 16,777,216"]),
        (&["attribution.exact=9"], &["attribution.exact", "9", "8"]),
        (&["name=\"../elsewhere\""], &["name", "../elsewhere"]),
        (&["classifier.epochs=1"], &["`classifier` is given", "data.set", "`--unset classifier`"]),
        // Codes that do not exist.
        (
            &["codes.kind=drawn", "codes.groups=image", "codes.members=6", "codes.weight=3"],
            &["60 groups", "C(6, 3) = 20", "smallest n that would do is 8"],
        ),
        (&["codes.kind=drawn", "codes.members=6", "codes.weight=6"], &["weight h = 6", "1 to 5"]),
        (&["data.preprocessing.classes=[0, 1]"], &["3 to 63 groups", "2"]),
        // Images that the network cannot halve: 6 -> 3 -> no whole number.
        (
            &[
                "data.preprocessing.crop={top=0, left=0, height=6, width=6}",
                "model.block_out_channels=[8, 8, 8]",
                "model.down_block_types=[\"DownBlock2D\", \"DownBlock2D\", \"DownBlock2D\"]",
                "model.up_block_types=[\"UpBlock2D\", \"UpBlock2D\", \"UpBlock2D\"]",
            ],
            &["6", "4"],
        ),
        (&["model.norm_num_groups=3"], &["norm_num_groups", "3"]),
    ];
    for (settings, words) in cases {
        refusals.refused(settings, WRONG_INPUT, words);
    }
    // Without a value it is no setting at all.
    refusals.refused(&["nonsense"], WRONG_USAGE, &["'nonsense'", "--set", "section.key=value"]);
    let broken = refusals.laboratory.path("broken.toml");
    fs::write(&broken, "name = \"x\"\n[data\n").unwrap();
    assert_names(&fail(&mut program([Path::new("codes"), &broken]), WRONG_INPUT), &["broken.toml", "line 2"]);
    let absent = refusals.laboratory.path("absent.toml");
    let beside = format!("there is {}", refusals.recipe.display());
    for command in ["codes", "plan", "train", "run"] {
        let said = fail(&mut program([Path::new(command), &absent]), WRONG_INPUT);
        assert_names(&said, &["absent.toml does not exist: no recipe and no run", &beside]);
        // `broken.toml` is none.
        assert!(!said.contains("broken"), "{said}");
    }
    let nowhere = refusals.laboratory.path("nowhere");
    fs::create_dir(&nowhere).unwrap();
    let said = fail(program(["run", "nosuch"]).current_dir(&nowhere), WRONG_INPUT);
    assert_names(&said, &["nosuch does not exist", "`pentimento quickstart`"]);
    let recipes = refusals.laboratory.path("elsewhere");
    fs::create_dir_all(recipes.join("recipes")).unwrap();
    fs::copy(&refusals.recipe, recipes.join("recipes/classes.toml")).unwrap();
    for name in ["nosuch", "recipes/nosuch.toml"] {
        let said = fail(program(["run", name]).current_dir(&recipes), WRONG_INPUT);
        assert!(said.ends_with("no recipe and no run; there is recipes/classes.toml\n"), "{said}");
    }
    let said = fail(&mut program([Path::new("run"), &nowhere]), WRONG_INPUT);
    assert_names(&said, &["nowhere is no run"]);
}

#[test]
fn questions_about_what_a_run_does_not_have_are_refused() {
    let refusals = Refusals::new();
    let run = refusals.finished.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 5] = [
        (&["ablate", run, "--sample", "20", "--groups", "0"], &["sample 20 does not exist", "0 to 19"]),
        (
            &["ablate", run, "--sample", "0", "--groups", "nine"],
            &[
                "`nine` does not exist",
                "groups are 0, 1, 2 (`codes.groups` is \"class\": a group is a class)",
                "`--images` names training images",
            ],
        ),
        (&["ablate", run, "--sample", "0", "--images", "60"], &["training image 60", "60 images"]),
        (
            &["ablate", run, "--sample", "0", "--groups", "0,1,2"],
            &["none of the 3 members", "leave 1 in (group"],
        ),
        (&["train", run, "--member", "3"], &["member 3 does not exist", "0 to 2"]),
    ];
    for (arguments, words) in cases {
        assert_names(&fail(&mut program(arguments), WRONG_INPUT), words);
        assert_verified(&refusals.finished);
        assert_equal_runs(&refusals.before, &refusals.finished);
    }
}

#[test]
fn arguments_that_do_not_exist_are_wrong_usage() {
    let cases: [(&[&str], &str); 10] = [
        (&["frobnicate"], "frobnicate"),
        (&["run"], "RECIPE"),
        (&["verify", "x", "--threads", "0"], "--threads"),
        (&["verify", "x", "--threads", "1025"], "1..=1024"),
        (&["verify", "x", "--batch", "0"], "--batch"),
        (&["verify", "x", "--batch", "65536"], "1..=65535"),
        (&["verify", "x", "--checkpoint-seconds=-1"], "--checkpoint-seconds"),
        (&["ablate", "x", "--sample", "-1", "--groups", "0"], "-1"),
        (&["attribute", "x", "--method", "guess"], "guess"),
        (&["attribute", "x", "--method", "jacobian", "--top", "0"], "--top"),
    ];
    for (arguments, word) in cases {
        assert_names(&fail(&mut program(arguments), WRONG_USAGE), &[word]);
    }
}

#[test]
fn images_with_more_pixels_than_attention_takes_are_refused() {
    let laboratory = Laboratory::new();
    let mut large = run_command(&laboratory.class_recipe(), &laboratory.path("large"), &[]);
    large.args(["--set", "data.preprocessing.resize.height=512"]);
    large.args(["--set", "data.preprocessing.resize.width=512"]);
    // The level below the first attends.
    assert_names(&fail(&mut large, WRONG_INPUT), &["level 1", "65536 pixels", "at most 16384"]);
}

#[test]
fn a_folder_that_is_no_run_is_left_alone() {
    let laboratory = Laboratory::new();
    let folder = laboratory.path("holiday");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("photo.jpg"), "a photo").unwrap();
    for command in ["sample", "attribute", "report", "verify"] {
        let said = fail(&mut program([Path::new(command), &folder]), WRONG_INPUT);
        assert_names(&said, &["holiday is no run", "pentimento run"]);
        let said = fail(&mut program([Path::new(command), &laboratory.path("nowhere")]), WRONG_INPUT);
        assert_names(&said, &["nowhere does not exist", "pentimento run"]);
    }
    let said = fail(&mut run_command(&laboratory.class_recipe(), &folder, &[]), WRONG_INPUT);
    assert_names(&said, &["holiday", "is not a run", "photo.jpg"]);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["photo.jpg"]);
    assert!(!laboratory.path("nowhere").exists());
}

#[test]
fn a_stage_before_its_time_says_what_comes_first() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    let recipe = laboratory.class_recipe();
    let mut train = program([Path::new("train"), &recipe, Path::new("--run"), &run]);
    succeed(train.args(["--member", "0"]));
    for command in ["sample", "attribute", "report"] {
        let said = fail(&mut program([Path::new(command), &run]), WRONG_INPUT);
        assert_names(&said, &["member 1 is not there yet", "pentimento train"]);
    }
    succeed(&mut program([Path::new("train"), &run]));
    let said = fail(&mut program([Path::new("report"), &run]), WRONG_INPUT);
    assert_names(&said, &["attribution/shard-00000", "pentimento attribute"]);
    assert_verified(&run);
}

#[test]
fn a_second_program_on_a_run_is_told_so() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    let mut first = run_command(&recipe, &run, &["--set", "training.steps=100000"]).spawn().unwrap();
    let started = Instant::now();
    while !listed(&run).contains(&"codes.npy".to_string()) {
        assert!(started.elapsed() < Duration::from_secs(60) && first.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    let holder = format!("process {}", first.id());
    let recipe_before = fs::read(run.join("recipe.toml")).unwrap();
    let said = fail(&mut run_command(&recipe, &run, &[]), TRY_AGAIN);
    assert_names(&said, &[run.to_str().unwrap(), "in use", &holder]);
    assert_names(&fail(&mut program([Path::new("sample"), &run]), TRY_AGAIN), &["in use", &holder]);
    assert_eq!(recipe_before, fs::read(run.join("recipe.toml")).unwrap());
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock went with the process.
    succeed(&mut run_command(&recipe, &run, &[]));
    assert_verified(&run);
}

#[test]
fn a_run_that_cannot_be_written_is_refused() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("images").join("run");
    let said = fail(&mut run_command(&laboratory.class_recipe(), &run, &[]), FAILED);
    assert_names(&said, &[run.to_str().unwrap(), "Not a directory"]);
}

/// Runs a shell script in which folders may be mounted for as long as it runs; none if this system does not permit that.
fn with_mounts(script: &str) -> Option<Command> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user", "sh", "-ec"]);
    let mut trial = Command::new("unshare");
    trial.args(["--mount", "--map-root-user", "sh", "-ec", "mount -t tmpfs -o size=1m tmpfs /mnt"]);
    if !trial.output().is_ok_and(|output| output.status.success()) {
        return None;
    }
    unshare.arg(script);
    Some(unshare)
}

#[test]
fn a_read_only_run_is_refused_and_stays_whole() {
    let refusals = Refusals::new();
    let script = "mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro \"$0\"; shift; exec \"$@\"";
    let Some(mut command) = with_mounts(script) else {
        return skipped("unshare", "this system does not permit mounting, so no run was read-only");
    };
    command
        .arg(&refusals.finished)
        .arg("-")
        .arg(env!("CARGO_BIN_EXE_pentimento"))
        .arg("sample")
        .arg(&refusals.finished);
    let said = fail(&mut command, FAILED);
    assert_names(&said, &[refusals.finished.to_str().unwrap(), "no permission to", "Read-only file system"]);
    assert_verified(&refusals.finished);
    assert_equal_runs(&refusals.before, &refusals.finished);
}

#[test]
fn a_full_disk_leaves_a_whole_run_that_goes_on_with_more_room() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.image_recipe();
    // The disk exists only in this script: what is on it is verified there, and copied out. Then the same run goes on.
    let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\"
        code=0; \"$3\" run \"$4\" --run \"$2/run\" --threads 1 || code=$?
        \"$3\" verify \"$2/run\" >&2 || exit 99
        cp -a \"$2/run\" \"$5\"; exit $code";
    let undisturbed = laboratory.path("undisturbed");
    succeed(&mut run_command(&recipe, &undisturbed, &[]));
    let expected = objects(&undisturbed);
    let bytes: usize = expected.values().map(Vec::len).sum();
    let mut kept = Vec::new();
    // Full in training, in sampling or attribution, and at the report.
    for (number, share) in [0.1, 0.3, 0.6, 0.9, 0.97].into_iter().enumerate() {
        let Some(mut command) = with_mounts(script) else {
            return skipped("unshare", "this system does not permit mounting, so no disk was full");
        };
        let (disk, run) =
            (laboratory.path(&format!("disk-{number}")), laboratory.path(&format!("run-{number}")));
        fs::create_dir(&disk).unwrap();
        let size = ((bytes as f64 * share) as usize / 4096 * 4096).to_string();
        command.arg("-").arg(&size).arg(&disk).arg(env!("CARGO_BIN_EXE_pentimento")).arg(&recipe).arg(&run);
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(TRY_AGAIN), "{size} bytes: {said}");
        assert_no_panic(&said);
        assert_names(&said, &["no space left to", disk.to_str().unwrap(), "No space left on device"]);
        assert!(!said.contains("not listed"), "a leftover: {said}");
        kept.push(listed(&run).len());
        assert_verified(&run);
        succeed(&mut run_command(&recipe, &run, &[]));
        assert_equal_runs(&expected, &run);
    }
    assert!(kept.is_sorted() && kept[0] < kept[4], "larger disks hold more: {kept:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_told_and_a_closed_pipe_is_not() {
    use std::process::Stdio;
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = program([Path::new("codes"), &recipe]);
    let said = fail(command.stdout(full), FAILED);
    assert_names(&said, &["standard output", "No space left on device"]);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program([Path::new("codes"), &recipe]);
    assert_eq!(succeed(command.stdout(Stdio::from(writer))).stderr, "");
}
