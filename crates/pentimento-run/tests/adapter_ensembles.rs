//! An ensemble that begins with a text pipeline, of adapters or of whole networks, as a run: stopped in the midst of everything, or made in pieces elsewhere, it has the
//! bytes of one that was made at once.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{captioned_pictures, digests, write_scores};
use pentimento_run::data::coded_data;
use pentimento_run::error::Result;
use pentimento_run::gradients::QuerySet;
use pentimento_run::{
    Event, Networks, Recipe, Reporter, RunError, RunOptions, Stop, Workspace, analyse, page, stages, train,
};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const METHODS: [&str; 2] = ["tracin", "influence"];

#[derive(Clone, Copy)]
enum Members {
    Adapters,
    Whole,
}

fn begin(folder: &TempDir, name: &str, members: Members, options: RunOptions) -> Workspace {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens_latent/sd_conv");
    let text = format!(
        r#"
name = "adapters"
seed = 3
[data]
path = {pictures:?}
[codes]
members = 4
[base]
folder = {base:?}
{adapter}
[training]
steps = 5
batch = 2
learning_rate = 0.01
condition_dropout = 0.3
keep_checkpoints = 2
[sampling]
steps = 3
[samples]
count = 2
prompts = ["a cat", "the dog"]
[attribution]
counterfactuals = 2
fidelity_samples = 1
candidates = 3
exact = 1
top = 2
[gradients]
dimension = 64
timesteps = 2
groups = 2
[influence]
images = 4
draws = 4
"#,
        pictures = folder.path().join("pictures"),
        adapter = match members {
            Members::Adapters => "[adapter]\nrank = 2",
            Members::Whole => "",
        },
    );
    let recipe = Recipe::parse(&text, "adapters", &[]).unwrap();
    Workspace::for_recipe(&folder.path().join(name), recipe, options).unwrap()
}

fn everything(workspace: &Workspace) -> Result<()> {
    let data = coded_data(workspace)?;
    train::train(workspace, &data, None)?;
    let networks = &Networks::trained(workspace, &data)?;
    analyse::sample(workspace, networks)?;
    analyse::attribute(workspace, &data, networks)?;
    page::report(workspace, &data, networks)?;
    write_scores(workspace, networks, QuerySet::Samples, &METHODS)
}

#[test]
fn adapters_stopped_in_the_midst_of_everything_end_with_the_same_bytes() {
    stopped_in_the_midst_of_everything(Members::Adapters);
}

#[test]
fn whole_networks_stopped_in_the_midst_of_everything_end_with_the_same_bytes() {
    stopped_in_the_midst_of_everything(Members::Whole);
}

fn stopped_in_the_midst_of_everything(members: Members) {
    let folder = tempfile::tempdir().unwrap();
    captioned_pictures(folder.path());
    everything(&begin(&folder, "once", members, RunOptions::default())).unwrap();
    let (mut stops, mut unfinished) = (0, 0);
    loop {
        let stop = Stop::default();
        // Later each time, as a shard of samples is made in one go.
        let (flag, seen, most) = (stop.clone(), AtomicUsize::new(0), 2 + stops / 3);
        let reporter = Reporter::new(move |event| {
            let is_step = matches!(event, Event::Progressed { .. });
            let steps = seen.fetch_add(usize::from(is_step), Ordering::Relaxed);
            if matches!(event, Event::PieceMade(_)) || is_step && steps >= most {
                flag.set();
            }
        });
        let options =
            RunOptions { stop, reporter, checkpoint_every: Duration::ZERO, ..RunOptions::default() };
        let workspace = begin(&folder, "stopped", members, options);
        match everything(&workspace) {
            Ok(()) => break,
            Err(RunError::Stopped) => stops += 1,
            Err(error) => panic!("{error}"),
        }
        let is_state = |name: &String| name.ends_with("training_state.safetensors");
        unfinished += usize::from(workspace.run.names().iter().any(is_state));
        assert!(stops < 300, "it never ends");
    }
    assert!(stops > 10 && unfinished > 2, "{stops} stops, {unfinished} in trainings");
    assert_eq!(digests(&folder.path().join("once")), digests(&folder.path().join("stopped")));
}

/// Latents, captions, members, samples and counterfactuals are made by another machine, and taken over.
#[test]
fn pieces_made_elsewhere_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    captioned_pictures(folder.path());
    let workspace = begin(&folder, "run", Members::Adapters, RunOptions::default());
    coded_data(&workspace).unwrap();
    let names = stages::names(&workspace, &[]).unwrap();
    assert_eq!(names, ["latents", "texts", "train", "sample", "attribute"]);
    let queries = QuerySet::Samples;
    for stage in &names {
        for (piece, there) in stages::list(&workspace, stage, &queries).unwrap() {
            assert!(!there, "{piece}");
            let elsewhere = folder.path().join(format!("elsewhere-{stage}-{}", piece.number));
            let reader =
                Workspace::open_read_only(&folder.path().join("run"), RunOptions::default()).unwrap();
            assert!(stages::make(&reader, &piece.name(), &queries, Some(&elsewhere)).unwrap());
            stages::adopt(&workspace, &elsewhere, &queries).unwrap();
        }
        let all = stages::list(&workspace, stage, &queries).unwrap();
        assert!(all.iter().all(|(_, there)| *there), "{stage}");
    }
    drop(workspace);
    everything(&begin(&folder, "run", Members::Adapters, RunOptions::default())).unwrap();
    everything(&begin(&folder, "once", Members::Adapters, RunOptions::default())).unwrap();
    assert_eq!(digests(&folder.path().join("once")), digests(&folder.path().join("run")));
}
