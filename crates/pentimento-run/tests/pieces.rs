//! Pieces: a run that is stopped after every one of them, or whose pieces are made one by one in folders of their own, backwards,
//! has the bytes of a run that was made at once.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Laboratory, METHODS, QUERIES, digests, everything};
use pentimento_run::drive::Adoption;
use pentimento_run::piece::PieceName;
use pentimento_run::{Event, Reporter, RunError, RunOptions, Stop, Workspace, stages};
use pentimento_store::Run;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A run that was made at once.
fn made_at_once(laboratory: &Laboratory, name: &str) -> Workspace {
    let workspace = laboratory.begin(name, RunOptions::default());
    everything(&workspace).unwrap();
    workspace
}

/// Makes everything again and again, each time until `stops` says that an event ends it, by its number and that of the attempt.
/// Returns how often it was stopped.
fn stopped_by(laboratory: &Laboratory, name: &str, stops: fn(&Event<'_>, usize, usize) -> bool) -> usize {
    for attempt in 0.. {
        assert!(attempt < 2000, "it never ends");
        let stop = Stop::default();
        let (flag, seen) = (stop.clone(), AtomicUsize::new(0));
        let reporter = Reporter::new(move |event| {
            if stops(event, seen.load(Ordering::Relaxed), attempt) {
                flag.set();
            }
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let options =
            RunOptions { stop, reporter, checkpoint_every: Duration::ZERO, ..RunOptions::default() };
        match everything(&laboratory.begin(name, options)) {
            Ok(()) => return attempt,
            Err(RunError::Stopped) => {}
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
fn stopped_after_every_piece_it_ends_with_the_same_bytes() {
    let laboratory = Laboratory::new();
    let pieces = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pieces);
    let reporter = Reporter::new(move |event| {
        counted.fetch_add(usize::from(matches!(event, Event::PieceMade(_))), Ordering::Relaxed);
    });
    let workspace = laboratory.begin("once", RunOptions { reporter, ..RunOptions::default() });
    everything(&workspace).unwrap();
    let all = pieces.load(Ordering::Relaxed);
    // 3 members, 2 and 2 shards, features of images and queries by two methods, curvatures, products, unlearned queries.
    assert!(all > 60, "{all}");

    let stops = stopped_by(&laboratory, "stopped", |event, _, _| matches!(event, Event::PieceMade(_)));
    // The last piece is followed by work that has nothing to stop at; members side by side may stop together.
    assert!(stops + 8 >= all && stops <= all, "{stops} of {all}");
    assert_eq!(digests(&laboratory.path("once")), digests(&laboratory.path("stopped")));
}

#[test]
fn stopped_in_the_midst_of_pieces_it_ends_with_the_same_bytes() {
    let laboratory = Laboratory::new();
    made_at_once(&laboratory, "once");
    // Each attempt goes a little further than the one before: some pieces keep nothing until they are finished.
    let stops = stopped_by(&laboratory, "stopped", |event, seen, attempt| {
        matches!(event, Event::Progressed { .. }) && seen > 20 + 3 * attempt
    });
    assert!(stops > 20, "{stops}");
    assert_eq!(digests(&laboratory.path("once")), digests(&laboratory.path("stopped")));
}

/// Opens a run as another machine would: to read it, though its owner has it open for writing.
fn as_reader(laboratory: &Laboratory, run: &str) -> Workspace {
    Workspace::open_read_only(&laboratory.path(run), RunOptions::default()).unwrap()
}

#[test]
fn pieces_that_were_made_elsewhere_one_by_one_and_backwards_make_the_same_run() {
    let laboratory = Laboratory::new();
    made_at_once(&laboratory, "once");
    let workspace = laboratory.begin("spread", RunOptions::default());
    pentimento_run::data::coded_data(&workspace).unwrap();
    for (place, stage) in stages::names(&workspace, &[]).unwrap().into_iter().enumerate() {
        spread(&laboratory, &workspace, &stage, place);
    }
    // Methods are known once there are members.
    for (place, stage) in stages::names(&workspace, &METHODS).unwrap().into_iter().enumerate() {
        spread(&laboratory, &workspace, &stage, 100 + place);
    }
    // All that is left puts scores together.
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let reporter = Reporter::new(move |event| {
        counted.fetch_add(usize::from(matches!(event, Event::PieceMade(_))), Ordering::Relaxed);
    });
    drop(workspace);
    everything(&laboratory.begin("spread", RunOptions { reporter, ..RunOptions::default() })).unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 0);
    assert_eq!(digests(&laboratory.path("once")), digests(&laboratory.path("spread")));
}

/// Makes the missing pieces of a stage, the last one first, each in a folder of its own, and takes them over.
fn spread(laboratory: &Laboratory, workspace: &Workspace, stage: &str, place: usize) {
    let queries = QUERIES.parse().unwrap();
    let listed = stages::list(workspace, stage, &queries).unwrap();
    for (piece, is_there) in listed.into_iter().rev() {
        if is_there {
            continue;
        }
        let folder = laboratory.path(&format!("piece-{place}-{}", piece.number));
        let name: PieceName = piece.to_string().parse().unwrap();
        let reader = as_reader(laboratory, "spread");
        assert!(stages::make(&reader, &name, &queries, Some(&folder)).unwrap(), "{name}");
        // Again: it is there.
        assert!(!stages::make(&reader, &name, &queries, Some(&folder)).unwrap(), "{name}");
        assert!(!stages::list(workspace, stage, &queries).unwrap()[piece.number].1, "{name}");

        let taken = |workspace: &Workspace| {
            let found = stages::adopt(workspace, &folder, &queries).unwrap();
            found.into_iter().find(|(found, _)| *found == name)
        };
        let (_, adoption) = taken(workspace).unwrap_or_else(|| panic!("{name}"));
        assert!(matches!(adoption, Adoption::Adopted), "{name}: {adoption:?}");
        // And taken over twice, it is taken over once.
        let again = taken(workspace).map(|(_, adoption)| adoption);
        assert!(matches!(again, None | Some(Adoption::WasThere)), "{name}: {again:?}");
    }
}

/// What became of a piece.
fn of<'a>(found: &'a [(PieceName, Adoption)], piece: &str) -> Option<&'a Adoption> {
    found.iter().find(|(found, _)| found.to_string() == piece).map(|(_, adoption)| adoption)
}

#[test]
fn foreign_and_damaged_pieces_are_refused_and_nothing_is_lost() {
    let laboratory = Laboratory::new();
    let workspace = made_at_once(&laboratory, "run");
    let before = digests(&laboratory.path("run"));
    let queries = QUERIES.parse().unwrap();
    let name: PieceName = "attribute/1".parse().unwrap();
    let folder = laboratory.path("elsewhere");
    assert!(stages::make(&as_reader(&laboratory, "run"), &name, &queries, Some(&folder)).unwrap());

    // A piece of another recipe's run.
    let other = laboratory.begin_with("other", "seed = 8", RunOptions::default());
    everything(&other).unwrap();
    workspace.run.remove("attribution/shard-00001.safetensors").unwrap();
    let adopt = |folder: &Path| stages::adopt(&workspace, folder, &queries).unwrap();
    let found = adopt(&laboratory.path("other"));
    assert!(matches!(of(&found, "attribute/1"), Some(Adoption::Foreign)), "{found:?}");
    assert!(matches!(of(&found, "train/1"), Some(Adoption::Foreign | Adoption::WasThere)), "{found:?}");
    assert!(workspace.run.entry("attribution/shard-00001.safetensors").is_none());

    // One of this run that was damaged on its way; what lies beside it is taken.
    let file = folder.join("attribution/shard-00001.safetensors");
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&file, &damaged).unwrap();
    let also = "sample/0".parse().unwrap();
    assert!(stages::make(&as_reader(&laboratory, "run"), &also, &queries, Some(&folder)).unwrap());
    workspace.run.remove("samples/shard-00000.safetensors").unwrap();
    let found = adopt(&folder);
    let Some(Adoption::Damaged(error)) = of(&found, "attribute/1") else { panic!("{found:?}") };
    assert!(error.to_string().contains("shard-00001.safetensors` is damaged"), "{error}");
    assert!(matches!(of(&found, "sample/0"), Some(Adoption::Adopted)), "{found:?}");
    assert!(workspace.run.entry("attribution/shard-00001.safetensors").is_none());

    fs::write(&file, &whole).unwrap();
    assert!(matches!(of(&adopt(&folder), "attribute/1"), Some(Adoption::Adopted)));

    // One that is damaged here is taken over again.
    let own = laboratory.path("run").join("attribution/shard-00001.safetensors");
    fs::write(&own, &damaged).unwrap();
    assert!(matches!(of(&adopt(&folder), "attribute/1"), Some(Adoption::Adopted)));
    assert_eq!(fs::read(&own).unwrap(), whole);
    assert!(matches!(of(&adopt(&folder), "attribute/1"), Some(Adoption::WasThere)));

    // Whole runs have all of it, also what went into sums; another run takes their curvature without those.
    let again = adopt(&laboratory.path("other"));
    assert!(again.iter().all(|(_, adoption)| matches!(adoption, Adoption::WasThere)), "{again:?}");
    let twin = made_at_once(&laboratory, "twin");
    let results = |run: &Run| -> Vec<String> {
        run.names().into_iter().filter(|name| name.ends_with("/eigenvalues.safetensors")).collect()
    };
    assert_eq!(results(&twin.run).len(), 3);
    for name in results(&twin.run) {
        twin.run.remove(&name).unwrap();
    }
    let found = stages::adopt(&twin, &laboratory.path("run"), &queries).unwrap();
    assert!(matches!(of(&found, "curvature/1/eigenvalues/4"), Some(Adoption::Adopted)), "{found:?}");
    assert_eq!(results(&twin.run).len(), 3);
    assert!(!found.iter().any(|(_, adoption)| matches!(adoption, Adoption::Foreign)), "{found:?}");

    // Nothing is made inside a run, where it would be taken for a leftover.
    let inside = laboratory.path("run").join("attribution/inside");
    assert!(matches!(
        stages::make(&as_reader(&laboratory, "run"), &name, &queries, Some(&inside)),
        Err(RunError::InsideARun { .. })
    ));

    // A run that is not so far says so.
    let early = laboratory.begin("early", RunOptions::default());
    pentimento_run::data::coded_data(&early).unwrap();
    let found = stages::adopt(&early, &folder, &queries).unwrap();
    assert!(matches!(of(&found, "attribute/1"), Some(Adoption::TooEarly(_))), "{found:?}");
    drop(workspace);
    assert_eq!(digests(&laboratory.path("run")), before);

    // What is no run, and no piece.
    let workspace = laboratory.begin("run", RunOptions::default());
    assert!(matches!(
        stages::adopt(&workspace, Path::new("/nowhere"), &queries),
        Err(RunError::NoRun { .. })
    ));
    for (piece, bound) in [
        ("attribute/2", "0 to 1"),
        ("attributes/0", "a stage of this run is"),
        ("d-trak/9/images/0", "a stage of this run is"),
        ("d-trak/00/images/0", "a stage of this run is"),
    ] {
        let error = stages::make(&workspace, &piece.parse().unwrap(), &queries, None).unwrap_err();
        assert!(error.to_string().contains(bound), "{error}");
    }
    for text in ["attribute", "attribute/", "/3", "attribute/x", "attribute/07", "attribute/+7", ""] {
        assert!(text.parse::<PieceName>().is_err(), "{text}");
    }
    assert!(Run::open_read_only(&folder).unwrap().verify().unwrap().is_empty());
    assert!(matches!(
        Workspace::open_read_only(&folder, RunOptions::default()),
        Err(RunError::NoRecipe { .. })
    ));
}

#[test]
fn a_piece_that_is_not_finished_is_told_as_such_and_goes_on() {
    let laboratory = Laboratory::new();
    let workspace = laboratory.begin("run", RunOptions::default());
    pentimento_run::data::coded_data(&workspace).unwrap();
    let (folder, name) = (laboratory.path("elsewhere"), "train/1".parse::<PieceName>().unwrap());
    let queries = QUERIES.parse().unwrap();
    let stop = Stop::default();
    let flag = stop.clone();
    let reporter = Reporter::new(move |event| {
        if matches!(event, Event::Progressed { done: 3.., .. }) {
            flag.set();
        }
    });
    let options = RunOptions { stop, reporter, ..RunOptions::default() };
    let stopped = Workspace::open_read_only(&laboratory.path("run"), options).unwrap();
    assert!(matches!(stages::make(&stopped, &name, &queries, Some(&folder)), Err(RunError::Stopped)));
    let found = stages::adopt(&workspace, &folder, &queries).unwrap();
    assert!(matches!(of(&found, "train/1"), Some(Adoption::Unfinished)), "{found:?}");
    assert!(stages::make(&as_reader(&laboratory, "run"), &name, &queries, Some(&folder)).unwrap());
    let found = stages::adopt(&workspace, &folder, &queries).unwrap();
    assert!(matches!(of(&found, "train/1"), Some(Adoption::Adopted)), "{found:?}");
}

#[test]
fn looking_computes_nothing_and_says_what_is_to_be_made_first() {
    let laboratory = Laboratory::new();
    let workspace = laboratory.begin("run", RunOptions::default());
    pentimento_run::data::coded_data(&workspace).unwrap();
    assert!(matches!(stages::names(&workspace, &["d-trak"]), Err(RunError::Missing { .. })));
    let data = pentimento_run::data::coded_data(&workspace).unwrap();
    pentimento_run::train::train(&workspace, &data, None).unwrap();

    let before = digests(&laboratory.path("run"));
    let samples = "samples".parse().unwrap();
    let error = stages::list(&workspace, "d-trak/0/queries", &samples).unwrap_err();
    assert!(matches!(&error, RunError::Missing { what, .. } if what == "the samples"), "{error}");
    let reader = as_reader(&laboratory, "run");
    let piece = "d-trak/0/queries/0".parse().unwrap();
    let folder = laboratory.path("elsewhere");
    assert!(matches!(stages::make(&reader, &piece, &samples, Some(&folder)), Err(RunError::Missing { .. })));
    assert_eq!(digests(&laboratory.path("run")), before);
}
