//! The bytes of a run do not depend on the number of threads or on how many images pass through a network at once.

mod common;

use common::{Laboratory, assert_complete, assert_equal_runs, objects, run_command, succeed};
use std::path::Path;

fn same_bytes(laboratory: &Laboratory, recipe: &Path, members: usize) {
    let reference = laboratory.path("reference");
    succeed(&mut run_command(recipe, &reference, &["--threads", "1", "--batch", "64"]));
    let reference = objects(&reference);
    assert_complete(&reference, members, 20);
    for (threads, batch) in [("2", "64"), ("1", "1"), ("2", "1"), ("1", "7"), ("2", "7")] {
        let run = laboratory.path(&format!("threads-{threads}-batch-{batch}"));
        succeed(&mut run_command(recipe, &run, &["--threads", threads, "--batch", batch]));
        assert_equal_runs(&reference, &run);
    }
}

#[test]
fn class_codes_give_the_same_bytes_with_any_threads_and_batch() {
    let laboratory = Laboratory::new();
    same_bytes(&laboratory, &laboratory.class_recipe(), 3);
}

#[test]
fn image_codes_give_the_same_bytes_with_any_threads_and_batch() {
    let laboratory = Laboratory::new();
    same_bytes(&laboratory, &laboratory.image_recipe(), 6);
}

/// Guards the other tests of this file: the comparison sees a difference when there is one.
#[test]
#[should_panic(expected = "has other bytes")]
fn another_seed_gives_other_bytes() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let (one, other) = (laboratory.path("one"), laboratory.path("other"));
    succeed(&mut run_command(&recipe, &one, &[]));
    succeed(&mut run_command(&recipe, &other, &["--set", "seed=8"]));
    assert_equal_runs(&objects(&one), &other);
}
