//! A skipped test is seen by a person and counted by `.ci/skipped`.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pentimento_testing::{SKIPPED_VARIABLE, skipped};

/// Set for this binary when it is started again, so that only then its test is skipped.
const CHILD_VARIABLE: &str = "PENTIMENTO_TESTING_CHILD";

#[test]
fn child_is_skipped() {
    if env::var_os(CHILD_VARIABLE).is_some() {
        skipped("unicorns", "they are said\n\tto be shy");
    }
}

fn run_child(list: Option<&Path>) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child_is_skipped"]).env(CHILD_VARIABLE, "1").env_remove(SKIPPED_VARIABLE);
    if let Some(list) = list {
        command.env(SKIPPED_VARIABLE, list);
    }
    command.output().unwrap()
}

const TEST: &str = "pentimento-testing/skipped::child_is_skipped";

#[test]
fn a_skipped_test_passes_and_its_line_gets_past_the_harness() {
    let output = run_child(None);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, format!("SKIPPED: {TEST}: no unicorns: they are said to be shy\n"));
}

#[test]
fn skipped_tests_are_appended_to_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("skipped");
    let line = format!("{TEST}\tunicorns\tthey are said to be shy\n");
    for times in 1..=2 {
        assert!(run_child(Some(&list)).status.success());
        assert_eq!(fs::read_to_string(&list).unwrap(), line.repeat(times));
    }
}

#[test]
fn a_test_that_cannot_be_listed_fails() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!run_child(Some(folder.path())).status.success());
}

/// What `.ci/skipped` says of a list, and whether it is content.
fn tally(list: &str, excused: &[&str]) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skipped");
    fs::write(&file, list).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/skipped");
    let output = Command::new("bash").arg(script).arg(file).args(excused).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn the_tally_names_every_skipped_test_once() {
    assert_eq!(tally("", &[]), ("skipped 0 tests\n".into(), true));
    let list = "b/t::two\tmount\tnot root\na/t::one\tmnist\tno network\nb/t::two\tmount\tnot root\n";
    let said = "skipped 2 tests:\n  a/t::one: no mnist: no network\n  b/t::two: no mount: not root\n";
    assert_eq!(tally(list, &["mnist", "mount"]), (said.into(), true));
    assert_eq!(tally(list, &["everything"]), (said.into(), true));
}

#[test]
fn the_tally_fails_where_the_machine_could_have_had_what_is_missing() {
    let list = "a/t::one\tmnist\tno network\nb/t::two\tmount\tnot root\nb/t::three\tmnist-like\tas above\n";
    let (said, content) = tally(list, &["mount", "mnist-like"]);
    assert!(!content);
    assert!(said.starts_with("skipped 3 tests:\n  a/t::one: no mnist: no network\n"), "{said}");
    assert!(said.ends_with("\nThis machine can have what these tests lack: mnist\n"), "{said}");
    let (said, content) = tally(list, &[]);
    assert!(!content && said.ends_with("lack: mnist, mnist-like, mount\n"), "{said}");
}
