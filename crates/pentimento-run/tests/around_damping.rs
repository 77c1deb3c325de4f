//! Scores at multiples of a damping are those of recipes with such dampings.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Laboratory, QUERIES};
use pentimento_attribution::methods::Method;
use pentimento_run::data::coded_data;
use pentimento_run::gradients::{Queries, QuerySet, Subject, TrainingImages};
use pentimento_run::scores::{score, scores_around_damping};
use pentimento_run::{Networks, RunOptions, train};

/// Of a network that is hardly trained, some part of the eigenvalues, so that it decides scores.
const DAMPING: f64 = 1e-2;
const FACTORS: [f64; 2] = [1.0, 30.0];
/// Queries are kept in 8 bits, off by up to a 254th of the largest of 256 values: here as one mean, for scores in eight parts, whose
/// errors average.
///
/// Conjugate gradients go to their end here: stopped early, a solution is not linear in the query, and that of the mean of parts is not
/// the mean of theirs.
const TOLERANCE: f64 = 0.03;

/// What is found in a run whose damping is so many times as large.
fn with_damping<T>(
    laboratory: &Laboratory,
    factor: f64,
    found: impl FnOnce(&Subject<'_>, &Queries) -> T,
) -> T {
    let damping = factor * DAMPING;
    let gradients = format!(
        "timesteps = 2\ngroups = 4\n[influence]\ncg_gradients = 64\ncg_steps = 40\ndamping = {damping:?}"
    );
    let workspace = &laboratory.begin_with_influence("run", "seed = 7", &gradients, RunOptions::default());
    let data = coded_data(workspace).unwrap();
    train::train(workspace, &data, None).unwrap();
    let networks = &Networks::trained(workspace, &data).unwrap();
    let training = &TrainingImages::open(workspace, networks).unwrap();
    let subject = Subject::new(workspace, networks, training);
    let queries = QUERIES.parse::<QuerySet>().unwrap().make_and_open(&subject).unwrap();
    found(&subject, &queries)
}

#[test]
fn multiples_of_the_damping_are_other_dampings() {
    let laboratory = Laboratory::new();
    for name in ["influence", "influence-cg"] {
        let method = Method::named(name).unwrap();
        let around = with_damping(&laboratory, 1.0, |subject, queries| {
            scores_around_damping(subject, queries, method, 4, &FACTORS).unwrap().unwrap()
        });
        let differ = |a: &[Vec<f64>], b: &[Vec<f64>]| -> f64 {
            let pairs = a.iter().flatten().zip(b.iter().flatten());
            let largest = b.iter().flatten().fold(0.0, |most: f64, value| most.max(value.abs()));
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
        };
        let mut previous: Option<Vec<Vec<f64>>> = None;
        for (factor, around) in FACTORS.into_iter().zip(&around) {
            let own = with_damping(&laboratory, factor, |subject, queries| {
                score(subject, queries, method, None).unwrap().scores
            });
            assert!(differ(around, &own) < TOLERANCE, "{name} {factor}: {}", differ(around, &own));
            if let Some(previous) = previous.replace(own.clone()) {
                assert!(
                    differ(&previous, &own) > 5.0 * TOLERANCE,
                    "{name}: the damping {factor} changes nothing"
                );
            }
        }
    }
}
