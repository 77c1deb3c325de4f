//! For tests of all crates: a test that is skipped says so, and is counted; and files that several of them need.

pub mod image_files;

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::thread;

/// The environment variable that names a file in which skipped tests are listed.
pub const SKIPPED_VARIABLE: &str = "PENTIMENTO_SKIPPED";

/// Says that the test which calls this has shown nothing, because this machine lacks something. The test then returns, and
/// passes.
///
/// `missing` is one word (`chromium`, `mnist`), by which `.ci/run` knows what a machine cannot have; `why` is for a person.
/// The line on standard error begins with `SKIPPED:`. The test harness keeps back what a passing test prints with `eprintln`;
/// this is written past it. Where [`SKIPPED_VARIABLE`] names a file, a line is appended to it: the test, what is missing,
/// and why, with tabs between them.
///
/// # Panics
/// If that file cannot be written. The test fails then, as whoever counts would not see that it was skipped.
#[expect(clippy::panic, reason = "a test that cannot be counted as skipped fails")]
pub fn skipped(missing: &str, why: impl Display) {
    let why = one_line(&why.to_string());
    let test = running_test();
    // One call for the whole line, as other tests write at the same time.
    let _ = io::stderr().write_all(format!("SKIPPED: {test}: no {missing}: {why}\n").as_bytes());
    if let Some(path) = env::var_os(SKIPPED_VARIABLE)
        && let Err(error) = append(Path::new(&path), &format!("{test}\t{missing}\t{why}\n"))
    {
        panic!("{}: cannot list a skipped test: {error}", path.display());
    }
}

/// Such as `pentimento-data/public_sets::fashion_mnist_has_equal_classes`. The harness runs each test in a thread of its
/// name, and Cargo names the package; of the binary's name, a hash at its end is left out.
fn running_test() -> String {
    let package = env::var("CARGO_PKG_NAME").map(|name| name + "/").unwrap_or_default();
    let program = env::current_exe().unwrap_or_default();
    let binary = program.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let binary = binary.rsplit_once('-').map_or(binary, |(name, _)| name);
    format!("{package}{binary}::{}", thread::current().name().unwrap_or_default())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    File::options().append(true).create(true).open(path)?.write_all(line.as_bytes())
}
