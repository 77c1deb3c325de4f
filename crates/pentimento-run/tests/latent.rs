//! A pipeline with an autoencoder and prompts as a run: what networks are shown and told, and that stopping it after every piece, or
//! making its pieces elsewhere, changes no byte.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{CAPTIONS, captioned_pictures, digests, write_scores};
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::condition::Condition;
use pentimento_run::checkpoint::{Selection, import_checkpoint, open_checkpoint};
use pentimento_run::error::Result;
use pentimento_run::gradients::{QuerySet, Subject, TrainingImages};
use pentimento_run::{Event, Networks, Reporter, RunError, RunOptions, Stop, Workspace, analyse, stages};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const METHODS: [&str; 2] = ["d-trak", "influence"];

/// Opens or begins the run.
fn begin(folder: &TempDir, name: &str, options: RunOptions) -> Workspace {
    begin_of(folder, name, "[\"a cat\", \"the dog\"]", options)
}

/// The same with samples of other prompts.
fn begin_of(folder: &TempDir, name: &str, prompts: &str, options: RunOptions) -> Workspace {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens_latent/sd_conv");
    let pictures = folder.path().join("pictures");
    let opened = open_checkpoint(&case, &Selection::default(), &options.reporter).unwrap();
    let settings = [
        "name=\"run\"".to_owned(),
        format!("data.path={pictures:?}"),
        "samples.count=2".into(),
        format!("samples.prompts={prompts}"),
        "sampling.steps=3".into(),
        "gradients={dimension=64, timesteps=2, groups=2}".into(),
        "influence={images=4, draws=4}".into(),
    ];
    import_checkpoint(&opened, Some(&folder.path().join(name)), &settings, options).unwrap()
}

fn everything(workspace: &Workspace) -> Result<()> {
    let networks = &Networks::imported(workspace)?;
    analyse::sample(workspace, networks)?;
    write_scores(workspace, networks, QuerySet::Samples, &METHODS)
}

#[test]
fn images_are_shown_and_told_as_they_should() {
    let folder = tempfile::tempdir().unwrap();
    captioned_pictures(folder.path());
    let workspace = &begin(&folder, "run", RunOptions::default());
    everything(workspace).unwrap();
    let networks = &Networks::imported(workspace).unwrap();
    let training = &TrainingImages::open(workspace, networks).unwrap();
    let subject = Subject::new(workspace, networks, training);
    assert_eq!((subject.shape(), subject.picture_shape()), ([8, 8, 4], [16, 16, 3]));
    let encoders = networks.encoders.as_ref().unwrap();
    let text = encoders.text_encoder().unwrap();
    for (image, caption) in CAPTIONS.iter().enumerate() {
        let latent = encoders.latents(&training.images.scaled(image), [16, 16]).unwrap();
        assert_eq!(training.input(image), latent);
        let states = text.embeddings(&[caption], 0).unwrap();
        for group in 0..2 {
            match subject.condition_of(image, group) {
                Condition::Text(told) => assert_eq!(told.states(), states),
                other => panic!("{other:?}"),
            }
        }
    }
    // An image under another caption is found under another key.
    assert_eq!(training.conditions(0), training.conditions(3));
    assert_ne!(training.conditions(0), training.conditions(1));
    let queries = QuerySet::Samples.open(&subject).unwrap();
    for (query, prompt) in queries.images.iter().zip(["a cat", "the dog"]) {
        assert_eq!((query.told.as_deref(), query.input.len(), query.picture.len()), (Some(prompt), 256, 768));
        let decoded = encoders.pictures(&query.input, [8, 8]).unwrap();
        assert!(query.picture.iter().zip(&decoded).all(|(shown, value)| *shown == value.clamp(-1.0, 1.0)));
        let Condition::Text(told) = &query.condition else { panic!("{:?}", query.condition) };
        assert_eq!(told.states(), text.embeddings(&[prompt], 0).unwrap());
    }
}

/// Of an image with several captions the groups of draws take turns; which is first depends on nothing but image and seed.
#[test]
fn several_captions_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = captioned_pictures(folder.path());
    for place in 0..CAPTIONS.len() {
        fs::remove_file(path.join(format!("{place}.txt"))).unwrap();
    }
    let rows = ["{\"file_name\": \"0.png\", \"text\": [\"one\", \"two\", \"three\"]}"]
        .into_iter()
        .map(str::to_owned);
    let others = (1..4).map(|place| format!("{{\"file_name\": \"{place}.png\", \"text\": [\"four\"]}}"));
    fs::write(path.join("metadata.jsonl"), rows.chain(others).collect::<Vec<_>>().join("\n")).unwrap();
    let workspace = &begin(&folder, "run", RunOptions::default());
    let networks = &Networks::imported(workspace).unwrap();
    let training = &TrainingImages::open(workspace, networks).unwrap();
    let subject = Subject::new(workspace, networks, training);
    let all = training.conditions(0);
    assert_eq!(all.len(), 3);
    let first = all.iter().position(|condition| *condition == subject.condition_of(0, 0)).unwrap();
    for group in 0..7 {
        assert_eq!(subject.condition_of(0, group), all[(first + group) % 3]);
        assert_eq!(subject.condition_of(1, group), training.conditions(1)[0]);
    }
}

/// Each sample is made of its own prompt, whatever the others are made of.
#[test]
fn samples_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    captioned_pictures(folder.path());
    let latents = |name: &str, prompts: &str| -> Vec<f32> {
        let workspace = begin_of(&folder, name, prompts, RunOptions::default());
        analyse::sample(&workspace, &Networks::imported(&workspace).unwrap()).unwrap();
        let shard = "samples/shard-00000.safetensors";
        ArrayReader::new(&workspace.run.get(shard).unwrap(), shard).unwrap().f32("latent").unwrap()
    };
    let (both, one) = (latents("both", "[\"a cat\", \"the dog\"]"), latents("one", "[\"the dog\"]"));
    let half = both.len() / 2;
    assert_ne!(both[..half], one[..half]);
    assert_eq!(both[half..], one[half..]);
}

#[test]
fn stopped_after_every_piece_it_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    captioned_pictures(folder.path());
    everything(&begin(&folder, "once", RunOptions::default())).unwrap();
    let mut stops = 0;
    loop {
        let stop = Stop::default();
        let flag = stop.clone();
        let reporter = Reporter::new(move |event| {
            if matches!(event, Event::PieceMade(_)) {
                flag.set();
            }
        });
        match everything(&begin(&folder, "stopped", RunOptions { stop, reporter, ..RunOptions::default() })) {
            Ok(()) => break,
            Err(RunError::Stopped) => stops += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(stops < 200, "it never ends");
    }
    // Prompts, samples, latents, captions, features and the curvature.
    assert!(stops > 8, "{stops}");
    assert_eq!(digests(&folder.path().join("once")), digests(&folder.path().join("stopped")));
}

/// Latents and captions are made by another machine, and taken over.
#[test]
fn pieces_made_elsewhere_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    captioned_pictures(folder.path());
    let workspace = begin(&folder, "run", RunOptions::default());
    let names = stages::names(&workspace, &[]).unwrap();
    assert_eq!(names, ["latents", "texts", "sample"]);
    let queries = QuerySet::Samples;
    for stage in &names {
        for (piece, there) in stages::list(&workspace, stage, &queries).unwrap() {
            assert!(!there, "{piece}");
            let elsewhere = folder.path().join(format!("elsewhere-{stage}"));
            let reader =
                Workspace::open_read_only(&folder.path().join("run"), RunOptions::default()).unwrap();
            assert!(stages::make(&reader, &piece.name(), &queries, Some(&elsewhere)).unwrap());
            stages::adopt(&workspace, &elsewhere, &queries).unwrap();
        }
        assert!(
            stages::list(&workspace, stage, &queries).unwrap().iter().all(|(_, there)| *there),
            "{stage}"
        );
    }
    drop(workspace);
    everything(&begin(&folder, "run", RunOptions::default())).unwrap();
    everything(&begin(&folder, "once", RunOptions::default())).unwrap();
    assert_eq!(digests(&folder.path().join("once")), digests(&folder.path().join("run")));
}
