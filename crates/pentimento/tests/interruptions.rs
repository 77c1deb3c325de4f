//! Killed and stopped at random moments, a run still ends with the bytes of one that was left alone.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{
    Laboratory, assert_complete, assert_equal_runs, assert_no_panic, assert_verified, listed, objects,
    program, run_command, succeed, text,
};
use pentimento::noise::{Cursor, Purpose, Stream};
use safetensors::SafeTensors;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;

/// So often that most kills in a training come after a checkpoint, and some within the writing of one.
const CHECKPOINTS: [&str; 2] = ["--checkpoint-seconds", "0.01"];

/// Longer than the other tests' recipes, so that each stage takes long enough to be hit: more steps, three shards.
const LONGER: [&str; 6] =
    ["--set", "training.steps=40", "--set", "samples.count=34", "--set", "sampling.steps=4"];

/// Samples that [`LONGER`] asks for.
const SAMPLES: usize = 34;

/// The stage that a run is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Opening,
    Training,
    Sampling,
    Attribution,
    Report,
}

/// Tells the stage by what the manifest lists.
fn stage(run: &Path, members: usize) -> Stage {
    let names = listed(run);
    let count = |start: &str, end: &str| {
        names.iter().filter(|name| name.starts_with(start) && name.ends_with(end)).count()
    };
    let shards = SAMPLES.div_ceil(16);
    if count("codes", ".npy") == 0 {
        Stage::Opening
    } else if count("members/", "losses.npy") < members {
        Stage::Training
    } else if count("samples/shard", "") < shards {
        Stage::Sampling
    } else if count("attribution/shard", "") < shards {
        Stage::Attribution
    } else {
        Stage::Report
    }
}

fn has_training_state(run: &Path) -> bool {
    listed(run).iter().any(|name| name.ends_with("training_state.safetensors"))
}

/// Waits until the run is in a stage or past it, or the program ends.
fn wait_for(child: &mut Child, run: &Path, members: usize, wanted: Stage) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if stage(run, members) >= wanted {
            return None;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "never came to {wanted:?}");
        sleep(Duration::from_millis(1));
    }
}

/// How long each stage takes when nothing disturbs it.
fn durations(recipe: &Path, run: &Path, members: usize) -> Vec<(Stage, Duration)> {
    let mut child = run_command(recipe, run, &[&LONGER[..], &CHECKPOINTS].concat()).spawn().unwrap();
    let mut begun = Vec::new();
    for wanted in [Stage::Training, Stage::Sampling, Stage::Attribution, Stage::Report] {
        wait_for(&mut child, run, members, wanted);
        begun.push((wanted, Instant::now()));
    }
    assert!(child.wait().unwrap().success());
    begun.windows(2).map(|pair| (pair[0].0, pair[1].1 - pair[0].1)).collect()
}

/// What the kills of a run hit.
#[derive(Default)]
struct Hits {
    stages: Vec<Stage>,
    with_training_state: usize,
}

/// Kills a run once for each entry of `order`, at a random moment after the stage began and before it usually ends, and
/// then lets it finish. A stage of which part is done may end before its kill; the kill then hits a later one.
fn kill_and_resume(
    recipe: &Path,
    run: &Path,
    members: usize,
    threads: &str,
    order: &[(Stage, Duration)],
    cursor: &mut Cursor,
) -> Hits {
    let mut hits = Hits::default();
    let more = [&LONGER[..], &CHECKPOINTS, &["--threads", threads]].concat();
    for &(wanted, usual) in order {
        let mut child = run_command(recipe, run, &more).spawn().unwrap();
        if wait_for(&mut child, run, members, wanted).is_none() {
            sleep(usual.mul_f64(cursor.uniform()));
        }
        let before = stage(run, members);
        // Killing a program that has ended is no error, and then it was not killed.
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_no_panic(&text(&output.stderr));
        if output.status.signal() == Some(SIGKILL) {
            hits.stages.push(before);
            hits.with_training_state += usize::from(has_training_state(run));
        } else {
            assert!(output.status.success(), "{}\n{}", output.status, text(&output.stderr));
        }
    }
    succeed(&mut run_command(recipe, run, &more));
    hits
}

#[test]
fn twenty_kills_change_no_byte() {
    let laboratory = Laboratory::new();
    let mut cursor = Stream::new(11, Purpose::Test, 0, 0).cursor();
    let (mut stages, mut with_training_state) = (Vec::new(), 0);
    for (recipe, members) in [(laboratory.class_recipe(), 3), (laboratory.image_recipe(), 6)] {
        let undisturbed = laboratory.path(&format!("undisturbed-{members}"));
        let durations = durations(&recipe, &undisturbed, members);
        let [training, sampling, attribution] = durations[..] else { panic!("{durations:?}") };
        let expected = objects(&undisturbed);
        assert_complete(&expected, members, SAMPLES);
        // Two runs are twelve kills; more runs if some came after the end, as on a machine that is busy by turns.
        let mut hit = 0;
        for number in 0..6 {
            if number >= 2 && hit >= 10 {
                break;
            }
            let run = laboratory.path(&format!("killed-{members}-{number}"));
            let order = [training, training, sampling, sampling, attribution, attribution];
            let threads = ["1", "2"][number % 2];
            let hits = kill_and_resume(&recipe, &run, members, threads, &order, &mut cursor);
            assert_equal_runs(&expected, &run);
            assert_verified(&run);
            hit += hits.stages.len();
            stages.extend(hits.stages);
            with_training_state += hits.with_training_state;
        }
    }
    println!("killed in {stages:?}, {with_training_state} times with a training state");
    assert!(stages.len() >= 20, "only {} kills hit: {stages:?}", stages.len());
    for wanted in [Stage::Training, Stage::Sampling, Stage::Attribution] {
        assert!(stages.iter().filter(|&&stage| stage == wanted).count() >= 2, "{wanted:?}: {stages:?}");
    }
    assert!(with_training_state >= 2, "no training went on from a checkpoint");
}

/// Steps that the one training state of a run has behind it, and which member's it is.
fn steps_done(run: &Path) -> (String, usize) {
    let states: Vec<String> =
        listed(run).into_iter().filter(|name| name.ends_with("training_state.safetensors")).collect();
    let [state] = &states[..] else { panic!("one member was in training: {states:?}") };
    let bytes = fs::read(run.join(state)).unwrap();
    let steps = SafeTensors::deserialize(&bytes).unwrap().tensor("losses").unwrap().shape().iter().product();
    (state.clone(), steps)
}

/// Waits until a program has the lock of a run, and so handles signals.
fn wait_for_lock(child: &mut Child, run: &Path) {
    let holder = format!("process {} ", child.id());
    let started = Instant::now();
    while !fs::read_to_string(run.join(".lock")).unwrap().starts_with(&holder) {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(1));
    }
}

fn terminate(child: &Child) {
    // The shell's own `kill`, as not every machine has one as a program.
    let status = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_stopped_training_keeps_its_state_and_goes_on_from_it() {
    const STEPS: usize = 300;
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let steps = format!("training.steps={STEPS}");
    // No checkpoint but that of the signal: the default is 30 seconds.
    let more = ["--set", &steps, "--threads", "1"];
    let undisturbed = laboratory.path("undisturbed");
    succeed(&mut run_command(&recipe, &undisturbed, &more));
    let run = laboratory.path("stopped");
    let started = Instant::now();
    let mut child = run_command(&recipe, &run, &more).spawn().unwrap();
    assert_eq!(wait_for(&mut child, &run, 3, Stage::Training), None);
    // Into the second member: the first one is finished then.
    while !run.join("members/000/losses.npy").exists() {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(100));
    terminate(&child);
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("stopped") && said.contains("goes on"), "{said}");
    assert_no_panic(&said);
    assert_verified(&run);
    let (member, done) = steps_done(&run);
    assert!(done > 0 && done < STEPS, "{done}");

    // The rest of the member only: stopped again after its next steps, it is further than before, not behind.
    let mut child = run_command(&recipe, &run, &more).spawn().unwrap();
    wait_for_lock(&mut child, &run);
    sleep(Duration::from_millis(60));
    terminate(&child);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(75));
    let (member_after, done_after) = steps_done(&run);
    assert!(
        (&member_after, done_after) >= (&member, done),
        "{member_after} {done_after}, before {member} {done}"
    );

    succeed(&mut program([Path::new("train"), &run]));
    assert!(!has_training_state(&run));
    succeed(&mut run_command(&recipe, &run, &more));
    assert_equal_runs(&objects(&undisturbed), &run);
    assert_verified(&run);
}

#[test]
fn a_stopped_attribution_goes_on() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.image_recipe();
    let more = ["--set", "samples.count=34", "--set", "sampling.steps=10"];
    let undisturbed = laboratory.path("undisturbed");
    succeed(&mut run_command(&recipe, &undisturbed, &more));
    let run = laboratory.path("stopped");
    let mut child = run_command(&recipe, &run, &more).spawn().unwrap();
    assert_eq!(wait_for(&mut child, &run, 6, Stage::Attribution), None);
    terminate(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    assert_verified(&run);
    assert_eq!(stage(&run, 6), Stage::Attribution);
    // The single commands go on as `run` does.
    for command in ["sample", "attribute", "report"] {
        succeed(&mut program([Path::new(command), &run]));
    }
    assert_equal_runs(&objects(&undisturbed), &run);
    assert_verified(&run);
}

/// A kill between the last two operations of a member's training leaves its state beside the finished member. The moment
/// is too short to be hit, so it is made: a copy of the store's own state of that moment.
#[test]
fn a_state_beside_a_finished_member_is_removed() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let expected = objects(&run);
    {
        let store = pentimento::store::Run::create_or_open(&run).unwrap();
        let key = store.entry("members/002/losses.npy").unwrap().made_from;
        store.put("members/002/training_state.safetensors", key, b"of the last checkpoint").unwrap();
    }
    succeed(&mut run_command(&recipe, &run, &[]));
    assert_equal_runs(&expected, &run);
}

/// Leftovers of a killed process, which no later stage may take for its own.
#[test]
fn single_commands_remove_leftovers_too() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let expected = objects(&run);
    for command in ["sample", "attribute", "report", "train"] {
        fs::write(run.join("samples/.tmp-abcdef"), "half of a shard").unwrap();
        fs::write(run.join("samples/shard-00009.safetensors"), "renamed, but never listed").unwrap();
        succeed(&mut program([Path::new(command), &run]));
        assert_verified(&run);
    }
    assert_equal_runs(&expected, &run);
}
