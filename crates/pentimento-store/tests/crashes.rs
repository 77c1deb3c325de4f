//! A writing process dies at every single system call, and the run is whole.
//!
//! The process that dies is this test binary, started again for the `child_…` test with the environment
//! variable [`RUN_VARIABLE`]; without it that test has nothing to do.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pentimento_store::{Fingerprint, Problem, Run, StoreError};
use pentimento_testing::skipped;

const RUN_VARIABLE: &str = "PENTIMENTO_STORE_TEST_RUN";

/// What is left of a run after a kill: every listed object is whole. Files that are not listed may lie about.
fn open_and_check(path: &Path) -> Run {
    let run = Run::create_or_open(path).unwrap();
    for problem in run.verify().unwrap() {
        assert!(matches!(problem, Problem::Unlisted { .. }), "{problem}");
    }
    run
}

/// Every file of a cleaned run, by its path.
fn files_of(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut run = open_and_check(path);
    run.clean(|_| true).unwrap();
    assert!(run.verify().unwrap().is_empty());
    let mut files: Vec<_> = run.names().into_iter().map(PathBuf::from).collect();
    files.push("manifest.json".into());
    files.into_iter().map(|file| (file.clone(), fs::read(path.join(&file)).unwrap())).collect()
}

fn child(test: &str, run: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads=1"]).env(RUN_VARIABLE, run);
    command.stdout(Stdio::null());
    command
}

// Every kind of change in a few steps, to be stopped at each of their system calls.

fn key(text: &str) -> Fingerprint {
    Fingerprint::of("test").text(text).finish()
}

fn old_objects() -> Vec<(&'static str, &'static str)> {
    vec![("pair/1", "old 1"), ("pair/2", "old 2"), ("replaced", "old"), ("removed", "old")]
}

fn make_changes(run: &Run) -> Result<(), StoreError> {
    run.put_many([("pair/1", "new 1"), ("pair/2", "new 2"), ("pair/3", "new 3")], key("new"))?;
    run.put("deep/inside/added", key("new"), b"new")?;
    run.put("replaced", key("new"), b"new")?;
    run.remove("removed").map(drop)
}

fn run_before_changes(path: &Path) {
    let run = Run::create_or_open(path).unwrap();
    run.put_many(old_objects(), key("old")).unwrap();
}

/// What may be there while the changes are made: each object old or new, the three of the pair together. `may_be_absent`
/// is for an error that was reported, after which an object may also be absent.
fn check_between(run: &Run, may_be_absent: bool) {
    let content = |name: &str| match run.get(name) {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(StoreError::NotListed { .. }) => "absent".to_owned(),
        Err(error) => panic!("{error}"),
    };
    let pair = ["pair/1", "pair/2", "pair/3"].map(content);
    let pair: Vec<_> = pair.iter().map(String::as_str).collect();
    assert!(
        pair == ["old 1", "old 2", "absent"]
            || pair == ["new 1", "new 2", "new 3"]
            || may_be_absent && pair == ["absent"; 3],
        "{pair:?}"
    );
    for (name, allowed) in [
        ("deep/inside/added", ["absent", "new"]),
        ("replaced", ["old", "new"]),
        ("removed", ["old", "absent"]),
    ] {
        let found = content(name);
        assert!(allowed.contains(&found.as_str()) || may_be_absent && found == "absent", "{name}: {found}");
    }
}

/// Makes the changes. Where a system call fails, it looks at the run as the same process sees it, and goes on.
#[test]
fn child_makes_changes() {
    let Some(path) = env::var_os(RUN_VARIABLE) else { return };
    // Opening may fail too, if the injected error hits it.
    let run = Run::create_or_open(&path).or_else(|_| Run::create_or_open(&path)).unwrap();
    if make_changes(&run).is_err() {
        for problem in run.verify().unwrap() {
            assert!(matches!(problem, Problem::Unlisted { .. }), "{problem}");
        }
        check_between(&run, true);
        make_changes(&run).unwrap();
    }
}

/// The system calls that change a file or a folder, or bring it to the disk.
const CALLS: &[&str] = &[
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "ftruncate",
    "write",
];

/// Says aloud if it does not.
fn strace_works() -> bool {
    let status = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let works = status.is_ok_and(|status| status.success());
    if !works {
        skipped("strace", "it cannot be used here, so no system call was watched or made to fail");
    }
    works
}

/// Runs `child_makes_changes` with `injection` at the first, second, … of each of `calls`, as long as there are more,
/// and gives how often it hit; `None`, said aloud, without strace. `check` sees the run after each.
fn inject_at_every_call(injection: &str, calls: &[&str], check: impl Fn(&Path, &Output)) -> Option<u32> {
    if !strace_works() {
        return None;
    }
    // In memory where there is such a folder: a kill asks nothing of the disk, and there are many runs.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let log = folder.path().join("strace.log");
    let mut hits = 0;
    for call in calls {
        for number in 1.. {
            let path = folder.path().join(format!("{call}-{number}"));
            run_before_changes(&path);
            let inner = child("child_makes_changes", &path);
            // The question mark is for calls that a processor does not have.
            let output = Command::new("strace")
                .args(["-f", "-o"])
                .arg(&log)
                .args(["-e", &format!("trace=?{call}")])
                .args(["-e", &format!("inject=?{call}:{injection}:when={number}")])
                .arg(inner.get_program())
                .args(inner.get_args())
                .env(RUN_VARIABLE, &path)
                .output()
                .unwrap();
            let trace = fs::read_to_string(&log).unwrap();
            let hit = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
            check(&path, &output);
            make_changes(&open_and_check(&path)).unwrap();
            let files = files_of(&path);
            let names: Vec<_> = files.iter().map(|(file, _)| file.to_str().unwrap()).collect();
            assert_eq!(
                names,
                ["deep/inside/added", "pair/1", "pair/2", "pair/3", "replaced", "manifest.json"]
            );
            fs::remove_dir_all(&path).unwrap();
            if !hit {
                let says = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{call}: the child failed by itself: {says}");
                break;
            }
            hits += 1;
        }
    }
    Some(hits)
}

/// Eight objects and manifests at least are synced, each with its folder, and renamed.
const MIN_HITS: u32 = 24;

#[test]
fn a_kill_at_any_system_call_leaves_old_or_new() {
    let hits = inject_at_every_call("signal=SIGKILL", CALLS, |path, _| {
        // A reader that may not write sees whole objects too, or none where a replacement is unfinished.
        check_between(&Run::open_read_only(path).unwrap(), true);
        check_between(&open_and_check(path), false);
    });
    assert!(hits.is_none_or(|hits| hits >= MIN_HITS), "only {hits:?} system calls were stopped at");
}

#[test]
fn a_failure_of_any_system_call_is_reported_and_can_be_repeated() {
    // Not `write`, with which the test's own messages would fail; the test of a full disk has that.
    let calls: Vec<&str> = CALLS.iter().copied().filter(|call| *call != "write").collect();
    let hits = inject_at_every_call("error=ENOSPC", &calls, |path, output| {
        let says = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "after an injected error the same process could not go on: {says}");
        check_between(&open_and_check(path), false);
    });
    assert!(hits.is_none_or(|hits| hits >= MIN_HITS), "only {hits:?} system calls were made to fail");
}

/// A kill cannot show what a power failure would: that bytes reach the disk before their name, and the name before the
/// next step. So the order of the system calls is read from a trace.
#[test]
fn every_rename_follows_a_sync_of_the_file_and_precedes_one_of_its_folder() {
    if !strace_works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("run"), folder.path().join("strace.log"));
    run_before_changes(&path);
    let inner = child("child_makes_changes", &path);
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "4096", "-e", "trace=fsync,?rename,?renameat,?renameat2", "-o"])
        .arg(&log)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(RUN_VARIABLE, &path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());

    let trace = fs::read_to_string(&log).unwrap();
    let mut synced = Vec::new();
    let mut folders_to_sync: Vec<PathBuf> = Vec::new();
    let mut renames = 0;
    for line in trace.lines() {
        if line.contains("fsync(") {
            // fsync(3</path/of/the/file>) = 0
            let file = PathBuf::from(&line[line.find('<').unwrap() + 1..line.rfind('>').unwrap()]);
            folders_to_sync.retain(|folder| *folder != file);
            synced.push(file);
        } else if line.contains("rename") {
            // rename("/path/from", "/path/to") = 0, or with a folder's number before each path
            let paths: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            let [from, to] = [Path::new(paths[0]), Path::new(paths[1])];
            assert!(synced.iter().any(|file| file == from), "renamed before it was synced: {line}");
            if to.ends_with("manifest.json") {
                assert!(folders_to_sync.is_empty(), "listed before {folders_to_sync:?} was synced");
            }
            folders_to_sync.push(to.parent().unwrap().to_path_buf());
            renames += 1;
        }
    }
    assert!(folders_to_sync.is_empty(), "{folders_to_sync:?} not synced at the end");
    // Three of the pair, one added, one replaced; manifests: two for each replacement, one added, one removed.
    assert_eq!(renames, 5 + 6, "{trace}");
}

// What a replacement leaves on the disk between its steps, laid out by hand.

/// Lays out a run whose manifest says that `a` and `b`, both `old`, are to become `new a` and `new b`.
fn interrupted_run(path: &Path) {
    let run = Run::create_or_open(path).unwrap();
    run.put_many([("a", "old"), ("b", "old")], key("old")).unwrap();
    drop(run);
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(path.join("manifest.json")).unwrap()).unwrap();
    for name in ["a", "b"] {
        let content = format!("new {name}");
        manifest["pending"][name] = serde_json::json!({
            "temporary": format!(".tmp-{name}"),
            "entry": {
                "bytes": content.len(),
                "blake3": blake3::hash(content.as_bytes()).to_hex().as_str(),
                "made_from": key("new"),
            },
        });
        fs::write(path.join(format!(".tmp-{name}")), content).unwrap();
    }
    fs::write(path.join("manifest.json"), manifest.to_string()).unwrap();
}

#[test]
fn a_decided_replacement_is_finished_by_the_next_writer() {
    for renamed in [&[][..], &["a"], &["b"], &["a", "b"]] {
        let folder = tempfile::tempdir().unwrap();
        interrupted_run(folder.path());
        for name in renamed {
            fs::rename(folder.path().join(format!(".tmp-{name}")), folder.path().join(name)).unwrap();
        }
        // Nobody finishes it, so a reader goes on after a while, and knows why the objects are absent.
        if renamed.len() == 1 {
            let reader = Run::open_read_only(folder.path()).unwrap();
            assert!(reader.names().is_empty(), "unfinished objects were shown");
            assert!(reader.is_being_replaced("a") && !reader.is_being_replaced("c"));
        }
        let run = open_and_check(folder.path());
        assert_eq!([run.get("a").unwrap(), run.get("b").unwrap()], [b"new a", b"new b"]);
        assert!(run.is_current("a", key("new")));
        assert!(run.verify().unwrap().is_empty());
    }
}

/// A reader that comes between the two manifests of a replacement sees what the writer makes of it.
#[test]
fn a_reader_waits_for_a_replacement_that_is_being_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (path, finished) = (folder.path().join("run"), folder.path().join("finished"));
    for run in [&path, &finished] {
        interrupted_run(run);
    }
    drop(open_and_check(&finished));
    let reader = std::thread::scope(|threads| {
        let reader = threads.spawn(|| Run::open_read_only(&path).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        // What the writer does last, without its syncs, which may take longer than a reader waits.
        for name in ["a", "b", "manifest.json"] {
            fs::rename(finished.join(name), path.join(name)).unwrap();
        }
        reader.join().unwrap()
    });
    assert_eq!([reader.get("a").unwrap(), reader.get("b").unwrap()], [b"new a", b"new b"]);
    assert!(!reader.is_being_replaced("a"));
}

#[test]
fn a_replacement_without_its_files_is_given_up() {
    // Nothing was renamed: the old objects stay.
    let folder = tempfile::tempdir().unwrap();
    interrupted_run(folder.path());
    fs::remove_file(folder.path().join(".tmp-b")).unwrap();
    let run = open_and_check(folder.path());
    assert_eq!([run.get("a").unwrap(), run.get("b").unwrap()], [b"old", b"old"]);
    assert!(run.verify().unwrap().is_empty());

    // One file was lost after the other was renamed: that one is neither, and is not listed.
    let folder = tempfile::tempdir().unwrap();
    interrupted_run(folder.path());
    fs::remove_file(folder.path().join(".tmp-b")).unwrap();
    fs::rename(folder.path().join(".tmp-a"), folder.path().join("a")).unwrap();
    let run = open_and_check(folder.path());
    assert_eq!(run.names(), ["b"]);
    assert_eq!(run.get("b").unwrap(), b"old");
}
