//! As many draws as it takes: scores of more draws go on with those of fewer, end as they should, and say why.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Laboratory, QUERIES, digests};
use pentimento_attribution::gradient::TimestepShares;
use pentimento_attribution::methods::Method;
use pentimento_run::data::coded_data;
use pentimento_run::gradients::{Details, EndedBy, QuerySet, ScoreTable, Subject, TrainingImages};
use pentimento_run::scores::score;
use pentimento_run::{Event, Networks, Reporter, RunError, RunOptions, Stop, TimeAllowed, Workspace, train};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// More than any score reaches here, so that only the bound ends the draws: 4 groups of 2, then 8.
const UP_TO_16: &str = "timesteps = 2\nreliability = 0.999999\nmost_draws = 16";
const SEED: &str = "seed = 7";

/// The members, and scores by some methods.
fn scores(workspace: &Workspace, methods: &[&str]) -> Result<Vec<ScoreTable>, RunError> {
    let data = coded_data(workspace)?;
    train::train(workspace, &data, None)?;
    let networks = &Networks::trained(workspace, &data)?;
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = Subject::new(workspace, networks, training);
    let set: QuerySet = QUERIES.parse().unwrap();
    let queries = set.make_and_open(&subject)?;
    let mut tables = Vec::new();
    for name in methods {
        let table = score(&subject, &queries, Method::named(name).unwrap(), None)?;
        table.write(workspace, &queries.set.name())?;
        tables.push(table);
    }
    Ok(tables)
}

fn drawn(table: &ScoreTable) -> (usize, EndedBy) {
    let taken = table.taken().unwrap();
    (taken.draws, taken.ended_by)
}

/// A reporter, and the names of the pieces that it was told of.
fn pieces() -> (Reporter, Arc<Mutex<Vec<String>>>) {
    let made = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&made);
    let reporter = Reporter::new(move |event| {
        if let Event::PieceMade(piece) = event {
            told.lock().unwrap().push(piece.stage.clone());
        }
    });
    (reporter, made)
}

fn of_stage(made: &Mutex<Vec<String>>, what: &str) -> usize {
    made.lock().unwrap().iter().filter(|stage| stage.split('/').nth(2) == Some(what)).count()
}

/// The objects that scores rest on, but for the words about them.
fn compared(run: &Path) -> Vec<(String, pentimento_store::Digest)> {
    let is_compared = |name: &String| {
        ["features/", "curvature/", "scores/"].iter().any(|folder| name.starts_with(folder))
            && (!name.ends_with(".json") || name.contains("projection"))
    };
    digests(run).into_iter().filter(|(name, _)| is_compared(name)).collect()
}

#[test]
fn scores_that_went_on_have_the_bytes_of_as_many_draws_at_once() {
    let laboratory = Laboratory::new();
    let methods = ["d-trak", "gradient-cosine", "influence", "influence-cg"];
    let (reporter, made) = pieces();
    let rounds = Arc::new(AtomicUsize::new(0));
    let (counted, inner) = (Arc::clone(&rounds), reporter);
    let reporter = Reporter::new(move |event| {
        counted.fetch_add(usize::from(matches!(event, Event::MoreDraws { .. })), Ordering::Relaxed);
        inner.tell(event.clone());
    });
    let options = RunOptions { reporter, ..RunOptions::default() };
    // A small sample of the whole curvature.
    let begin = |name: &str, gradients: &str, options| {
        let gradients = format!("{gradients}\n[influence]\ncg_gradients = 64");
        laboratory.begin_with_influence(name, SEED, &gradients, options)
    };
    let went_on = scores(&begin("went-on", UP_TO_16, options), &methods).unwrap();
    for table in &went_on {
        assert_eq!(drawn(table), (16, EndedBy::MostDraws), "{}", table.method.name);
        assert!(table.spread.reliability(&table.scores).unwrap() < 0.999_999);
        // Also where draws lie by what was measured before.
        let shares = table.influence().map(|influence| influence.timestep_shares);
        assert_eq!(shares.is_some(), table.method.name.starts_with("influence"));
        assert_ne!(shares, Some(TimestepShares::EVEN));
    }
    assert_eq!(rounds.load(Ordering::Relaxed), methods.len());
    // What was made of the first draws is not made again: three members, features of images and queries by two measurements,
    // products by two inverses.
    for (what, count) in [("images", 6), ("images-4-7", 6), ("queries", 6), ("queries-4-7", 6)] {
        assert_eq!(of_stage(&made, what), count, "{what}");
    }
    assert_eq!((of_stage(&made, "products"), of_stage(&made, "products-4-7")), (6, 6));

    let workspace = begin("at-once", "timesteps = 2\ngroups = 8", RunOptions::default());
    let at_once = scores(&workspace, &methods).unwrap();
    for (table, other) in at_once.iter().zip(&went_on) {
        assert_eq!(drawn(table), (16, EndedBy::FixedNumber));
        assert!(table.scores == other.scores && table.spread.is_known(), "{}", table.method.name);
    }
    assert_eq!(compared(&laboratory.path("went-on")), compared(&laboratory.path("at-once")));
}

/// A recipe that asks for more goes on with what is there.
#[test]
fn features_of_fewer_draws_stay_in_use() {
    let laboratory = Laboratory::new();
    let methods = ["d-trak", "influence"];
    let few = laboratory.begin_drawing("run", SEED, "timesteps = 2\ngroups = 4", RunOptions::default());
    scores(&few, &methods).unwrap();
    drop(few);
    let (reporter, made) = pieces();
    let options = RunOptions { reporter, ..RunOptions::default() };
    scores(&laboratory.begin_drawing("run", SEED, UP_TO_16, options), &methods).unwrap();
    let mut stages = made.lock().unwrap().clone();
    stages.sort();
    stages.dedup();
    assert!(!stages.is_empty() && stages.iter().all(|stage| stage.ends_with("-4-7")), "{stages:?}");
}

#[test]
fn stopped_after_every_piece_it_goes_on_to_the_same_bytes() {
    let laboratory = Laboratory::new();
    let methods = ["d-trak", "influence"];
    let begin = |name: &str, options| laboratory.begin_drawing(name, SEED, UP_TO_16, options);
    scores(&begin("once", RunOptions::default()), &methods).unwrap();
    for attempt in 0.. {
        assert!(attempt < 200, "it never ends");
        let stop = Stop::default();
        let flag = stop.clone();
        let reporter = Reporter::new(move |event| {
            // Pieces of the curvature have nothing to do with draws.
            if matches!(event, Event::PieceMade(piece) if !piece.stage.starts_with("curvature")) {
                flag.set();
            }
        });
        match scores(&begin("stopped", RunOptions { stop, reporter, ..RunOptions::default() }), &methods) {
            Ok(_) => {
                // Members, and for each features of images and queries and products, twice each.
                assert!(attempt >= 18, "{attempt}");
                break;
            }
            Err(RunError::Stopped) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(digests(&laboratory.path("once")), digests(&laboratory.path("stopped")));
}

#[test]
fn draws_end_by_what_is_reached_first_and_say_so() {
    let laboratory = Laboratory::new();
    let drawn_by = |gradients: &str, methods: &[&str]| {
        let workspace = laboratory.begin_drawing("run", SEED, gradients, RunOptions::default());
        scores(&workspace, methods).unwrap().iter().map(drawn).collect::<Vec<_>>()
    };
    let reached = drawn_by("timesteps = 2\nreliability = 1e-9\nmost_draws = 16", &["das", "influence"]);
    assert_eq!(reached, [(8, EndedBy::Reliability); 2]);
    assert_eq!(drawn_by(UP_TO_16, &["das"]), [(16, EndedBy::MostDraws)]);
    // Eight groups of two timesteps are 16 of 20.
    let all = "timesteps = 2\nreliability = 0.999999\nmost_draws = 100000";
    let line = "seed = 7\n[schedule]\nnum_train_timesteps = 20";
    let workspace = laboratory.begin_drawing("few", line, all, RunOptions::default());
    let found: Vec<_> = scores(&workspace, &["gradient-cosine"]).unwrap().iter().map(drawn).collect();
    assert_eq!(found, [(16, EndedBy::Schedule)]);
    // Events of training are as many as there were, and to unlearn a query costs the losses of all images, at half of the draws.
    let fixed = drawn_by(UP_TO_16, &["tracin", "unlearning"]);
    assert_eq!(fixed, [(8, EndedBy::FixedNumber), (4, EndedBy::FixedNumber)]);
    let words =
        [EndedBy::FixedNumber, EndedBy::Reliability, EndedBy::MostDraws, EndedBy::Schedule, EndedBy::Time]
            .map(EndedBy::in_words);
    assert!(words.iter().enumerate().all(|(place, word)| !words[..place].contains(word)));
}

/// Time that is used ends a round in its midst: the scores are those of the round before, and what was made is used later.
#[test]
fn time_that_is_used_ends_with_the_draws_before() {
    let laboratory = Laboratory::new();
    let methods = ["influence"];
    let begin = |name: &str, options| laboratory.begin_drawing(name, SEED, UP_TO_16, options);
    let workspace =
        laboratory.begin_drawing("four", SEED, "timesteps = 2\ngroups = 4", RunOptions::default());
    let four = scores(&workspace, &methods).unwrap();

    // None is left when the first draws are there.
    let options = RunOptions { time_allowed: TimeAllowed::until(|| true), ..RunOptions::default() };
    let none = scores(&begin("none", options), &methods).unwrap();
    assert_eq!(drawn(&none[0]), (8, EndedBy::Time));
    assert!(none[0].scores == four[0].scores);

    // It is used after the first piece of the second round.
    let is_used = Arc::new(AtomicBool::new(false));
    let (reporter_of_time, asked) = (Arc::clone(&is_used), Arc::clone(&is_used));
    let reporter = Reporter::new(move |event| {
        if let Event::PieceMade(piece) = event {
            let is_second = piece.stage.ends_with("products-4-7");
            reporter_of_time.fetch_or(is_second, Ordering::Relaxed);
        }
    });
    let time_allowed = TimeAllowed::until(move || asked.load(Ordering::Relaxed));
    let options = RunOptions { reporter, time_allowed, ..RunOptions::default() };
    let some = scores(&begin("some", options), &methods).unwrap();
    assert!(is_used.load(Ordering::Relaxed));
    assert_eq!(drawn(&some[0]), (8, EndedBy::Time));
    assert!(some[0].scores == four[0].scores);

    // With time again, the two members that are left are asked.
    let (reporter, made) = pieces();
    let options = RunOptions { reporter, ..RunOptions::default() };
    let all = scores(&begin("some", options), &methods).unwrap();
    assert_eq!(drawn(&all[0]), (16, EndedBy::MostDraws));
    assert_eq!(*made.lock().unwrap(), ["influence/1/products-4-7", "influence/2/products-4-7"]);
}

/// With shared noise and one group of draws, a training image that is asked about has its own gradient: its score for itself is
/// its self-influence, but for the 8 bits in which queries are kept. With noise of their own it is not.
#[test]
fn noise_is_shared_if_the_recipe_says_so() {
    let laboratory = Laboratory::new();
    let difference = |noise: &str| {
        let gradients = format!("timesteps = 2\ngroups = 1\n[influence]\nnoise = \"{noise}\"");
        let workspace = laboratory.begin_with_influence("run", SEED, &gradients, RunOptions::default());
        let table = scores(&workspace, &["influence"]).unwrap().remove(0);
        let Details::Influence(details) = &table.details else { panic!("influence") };
        let of = |(query, image): (usize, usize)| {
            let own = details.self_influence[image];
            assert!(own > 0.0);
            (table.scores[query][image] / own - 1.0).abs()
        };
        // As `QUERIES` has them.
        f64::max(of((0, 3)), of((1, 17)))
    };
    let shared = difference("shared");
    // A quarter of a percent of the largest values at the most.
    assert!(shared < 0.01, "{shared}");
    let apart = difference("per_image");
    assert!(apart > 0.05, "{apart}");
}
