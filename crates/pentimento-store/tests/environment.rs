//! Locks, read-only folders and full disks.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use pentimento_store::{Fingerprint, Problem, Run, StoreError};
use pentimento_testing::skipped;

const RUN_VARIABLE: &str = "PENTIMENTO_STORE_TEST_LOCKED_RUN";

fn key(text: &str) -> Fingerprint {
    Fingerprint::of("test").text(text).finish()
}

/// The first of two processes: it opens the run, says so, and holds it until its input ends.
#[test]
fn child_holds_the_run() {
    let Some(path) = env::var_os(RUN_VARIABLE) else { return };
    let _run = Run::create_or_open(path).unwrap();
    println!("\nopened");
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn a_second_process_is_told_who_has_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    Run::create_or_open(&path).unwrap().put("a", key("1"), b"abc").unwrap();

    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_holds_the_run", "--nocapture"])
        .env(RUN_VARIABLE, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "opened"));

    let refused = Run::create_or_open(&path).unwrap_err();
    let message = refused.to_string();
    let StoreError::Locked { path: named, holder: who } = refused else { panic!("{refused:?}") };
    assert_eq!(named, path);
    assert!(who.starts_with(&format!("process {} on ", holder.id())), "{who}");
    assert!(message.contains(&who), "{message}");
    // Reading is allowed meanwhile.
    assert_eq!(Run::open_read_only(&path).unwrap().get("a").unwrap(), b"abc");

    // The lock ends with its process, however that ends.
    holder.kill().unwrap();
    holder.wait().unwrap();
    Run::create_or_open(&path).unwrap();
}

#[test]
fn one_process_cannot_open_a_run_twice() {
    let folder = tempfile::tempdir().unwrap();
    let first = Run::create_or_open(folder.path()).unwrap();
    assert!(matches!(Run::create_or_open(folder.path()), Err(StoreError::Locked { .. })));
    drop(first);
    Run::create_or_open(folder.path()).unwrap();
}

#[test]
fn a_run_that_is_open_for_reading_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    Run::create_or_open(folder.path()).unwrap().put("a", key("1"), b"abc").unwrap();
    let before = fs::read_dir(folder.path()).unwrap().count();
    let mut run = Run::open_read_only(folder.path()).unwrap();
    let refusals = [
        run.put("b", key("1"), b"1"),
        run.put_many([("b", b"1")], key("1")),
        run.put_with("b", key("1"), |_| Ok(())),
        run.remove("a").map(drop),
        run.clean(|_| true).map(drop),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(StoreError::OpenForReadingOnly { .. })), "{refusal:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
}

#[test]
fn a_run_that_is_moved_or_deleted_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (place, elsewhere) = (folder.path().join("run"), folder.path().join("moved"));
    let run = Run::create_or_open(&place).unwrap();
    run.put("a", key("1"), b"abc").unwrap();
    let refused = |run: &Run| {
        let refusals = [
            run.put("a", key("2"), b"other"),
            run.put_many([("folder/b", b"1")], key("1")),
            run.put_with("b", key("1"), |_| Ok(())),
            run.remove("a").map(drop),
        ];
        for refusal in refusals {
            assert!(matches!(&refusal, Err(StoreError::Moved { path }) if *path == place), "{refusal:?}");
        }
    };
    fs::rename(&place, &elsewhere).unwrap();
    refused(&run);
    assert!(!place.exists(), "the run was made anew");
    // Another run in its place is not this one.
    let other = Run::create_or_open(&place).unwrap();
    refused(&run);
    assert_eq!(other.names(), Vec::<String>::new());
    drop(other);
    fs::remove_dir_all(&place).unwrap();
    // Moved back, it is the run that was opened.
    fs::rename(&elsewhere, &place).unwrap();
    run.put("b", key("1"), b"1").unwrap();
    assert_eq!(run.get("a").unwrap(), b"abc");
    fs::remove_dir_all(&place).unwrap();
    refused(&run);
    assert!(!place.exists(), "the run was made anew");
}

/// Unmounts when it is dropped, also when a test fails.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// `None`, said aloud, where this user may not mount.
    fn new(point: &'a Path, arguments: &[&str]) -> Option<Self> {
        let mount = |arguments: &[&str]| {
            let status = Command::new("mount").args(arguments).arg(point).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        if mount(arguments) {
            return Some(Self(point));
        }
        skipped("mount", "this user cannot mount a file system, so there is none to test on");
        None
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// A read-only mount, because the administrator may write to a folder whatever its permissions are.
#[test]
fn a_read_only_folder_is_readable_and_not_writable() {
    let folder = tempfile::tempdir().unwrap();
    let (path, point) = (folder.path().join("run"), folder.path().join("read-only"));
    Run::create_or_open(&path).unwrap().put("a/b", key("1"), b"abc").unwrap();
    fs::create_dir(&point).unwrap();
    let Some(_mount) = Mount::new(&point, &["--bind", path.to_str().unwrap()]) else { return };
    assert!(Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&point).status().unwrap().success());

    let refused = Run::create_or_open(&point).unwrap_err();
    let StoreError::ReadOnly { path: named, .. } = &refused else { panic!("{refused:?}") };
    assert!(named.starts_with(&point) && refused.to_string().contains(point.to_str().unwrap()), "{refused}");
    let refused = Run::create_or_open(point.join("new")).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused:?}");

    let run = Run::open_read_only(&point).unwrap();
    assert_eq!(run.get("a/b").unwrap(), b"abc");
    assert!(run.is_current("a/b", key("1")));
    assert!(run.verify().unwrap().is_empty());
}

/// A run on a file system of one MiB, filled so far that each time a little less room is left: for the object, then for
/// the object but not for the manifest, and so on. Whatever fails, nothing that is listed is half-written.
#[test]
fn a_full_disk_leaves_the_old_objects() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(folder.path(), &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]) else { return };
    let path = folder.path().join("run");
    let filler = folder.path().join("filler");
    let run = Run::create_or_open(&path).unwrap();
    run.put("checkpoint", key("old"), &[1; 9000]).unwrap();
    run.put("other", key("old"), &[2; 100]).unwrap();

    let (mut failures, mut successes) = (0, 0);
    // tmpfs gives room in pages of 4 KiB; the sizes pass the room that there is in steps of one page.
    for filler_bytes in (900_000..1_048_576).step_by(4096) {
        fs::write(&filler, []).unwrap();
        let old = [b"old", [3; 9000].as_slice()].concat();
        run.put("checkpoint", key("old"), &old).unwrap();
        run.remove("added").unwrap();

        if fs::write(&filler, vec![0; filler_bytes]).is_err() {
            // The filler has taken all that there is; what follows is the fullest disk.
            assert!(fs::metadata(&filler).unwrap().len() > 900_000);
        }
        let new = [b"new", [4; 9000].as_slice()].concat();
        let outcomes = [run.put("checkpoint", key("new"), &new), run.put("added", key("new"), &new)];
        for outcome in &outcomes {
            match outcome {
                Ok(()) => successes += 1,
                Err(StoreError::DiskFull { .. }) => failures += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        // In this process, and as another one would find it.
        for run in [&run, &Run::open_read_only(&path).unwrap()] {
            for problem in run.verify().unwrap() {
                assert!(matches!(problem, Problem::Unlisted { .. }), "{problem}");
            }
            assert_eq!(run.get("other").unwrap(), [2; 100]);
            match run.get("checkpoint") {
                Ok(found) => assert!(found == old && outcomes[0].is_err() || found == new),
                // Decided but not finished: there is no room for the last manifest.
                Err(error) => assert!(matches!(error, StoreError::NotListed { .. }) && outcomes[0].is_err()),
            }
            assert_eq!(run.entry("added").is_some(), outcomes[1].is_ok());
        }
    }
    assert!(
        failures > 5 && successes > 5,
        "{failures} failures, {successes} successes: the sizes do not pass the limit"
    );

    // With room again, everything goes on, and nothing lies about.
    fs::write(&filler, []).unwrap();
    run.put("added", key("new"), &[5; 9000]).unwrap();
    assert_eq!(run.get("added").unwrap(), [5; 9000]);
    assert!(run.verify().unwrap().is_empty());
    drop(run);
    let run = Run::create_or_open(&path).unwrap();
    assert_eq!(run.names(), ["added", "checkpoint", "other"]);
    assert!(run.verify().unwrap().is_empty());
}
