//! The linear datamodelling score against SciPy, against a plain reimplementation, and by what it must be for scores of a known
//! kind. `make_statistics.py` made the fixture.

#![expect(clippy::unwrap_used, reason = "a broken fixture should fail the test")]

use pentimento_noise::{Purpose, Stream};
use pentimento_statistics::linear_datamodelling::{
    LinearDatamodellingScore, difference, held_out_choice, noise_ceiling, predictions, score,
    without_query_mean,
};
use pentimento_statistics::{IntervalSettings, spearman};
use proptest::prelude::*;
use serde::Deserialize;

type Table = Vec<Vec<f64>>;

#[derive(Deserialize)]
struct Case {
    scores: Table,
    masks: Table,
    weights: Table,
    outcomes: Vec<Table>,
    average: Table,
    predictions: Table,
    weighted: Table,
    queries: Vec<Option<Query>>,
    mean: f64,
    significant_share: f64,
    centred_mean: f64,
    weighted_mean: f64,
    between_seeds: f64,
    reliability: f64,
    largest_score: f64,
}

#[derive(Deserialize)]
struct Query {
    correlation: f64,
    p: f64,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("linear_datamodelling.json")).unwrap()
}

#[track_caller]
fn assert_close(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance * expected.abs(), "{actual} instead of {expected}");
}

const INTERVAL: IntervalSettings = IntervalSettings { confidence: 0.95, resamples: 500, seed: 7 };

fn mean_of(score: &LinearDatamodellingScore) -> f64 {
    score.mean.unwrap().value
}

#[test]
fn scores_are_scipys() {
    for case in cases() {
        // All values are multiples of 1/64, or of 1/256 with weights, so every sum is exact.
        assert_eq!(predictions(&case.scores, &case.masks).as_ref(), Ok(&case.predictions));
        assert_eq!(predictions(&case.scores, &case.weights).as_ref(), Ok(&case.weighted));
        let score_of =
            |predictions: &Table, outcomes: &Table| score(predictions, outcomes, INTERVAL).unwrap();
        let actual = score_of(&case.predictions, &case.average);
        assert_close(mean_of(&actual), case.mean, 1e-12);
        let defined = case.queries.iter().flatten().count();
        assert_eq!((actual.defined, actual.undefined), (defined, case.queries.len() - defined));
        assert_close(actual.significant_share.unwrap(), case.significant_share, 1e-12);
        assert_eq!(actual.queries.len(), case.queries.len());
        for (actual, expected) in actual.queries.iter().zip(&case.queries) {
            assert_eq!(actual.is_some(), expected.is_some());
            if let (Some(actual), Some(expected)) = (actual, expected) {
                assert_close(actual.correlation, expected.correlation, 1e-12);
                assert_close(actual.p_value, expected.p, 1e-12);
            }
        }
        let centred = score_of(
            &without_query_mean(&case.predictions).unwrap(),
            &without_query_mean(&case.average).unwrap(),
        );
        assert_close(mean_of(&centred), case.centred_mean, 1e-12);
        // A small mean of larger correlations.
        assert_close(mean_of(&score_of(&case.weighted, &case.average)), case.weighted_mean, 1e-12);

        let seeds: Vec<&[Vec<f64>]> = case.outcomes.iter().map(Vec::as_slice).collect();
        let ceiling = noise_ceiling(&seeds).unwrap();
        assert_close(ceiling.between_seeds.mean.unwrap(), case.between_seeds, 1e-12);
        assert_close(ceiling.reliability.unwrap(), case.reliability, 1e-12);
        assert_close(ceiling.largest_score.unwrap(), case.largest_score, 1e-12);
    }
}

/// The columns of a table at some subsets.
fn columns(table: &Table, subsets: &[usize]) -> Table {
    (0..table[0].len()).map(|query| subsets.iter().map(|&subset| table[subset][query]).collect()).collect()
}

fn correlations(predictions: &Table, outcomes: &Table, subsets: &[usize]) -> Vec<Option<f64>> {
    let (predictions, outcomes) = (columns(predictions, subsets), columns(outcomes, subsets));
    predictions.iter().zip(&outcomes).map(|(left, right)| spearman(left, right).unwrap()).collect()
}

fn mean(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.into_iter().flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The ends of a percentile interval of a statistic of resampled subsets.
fn plain_interval(
    subsets: usize,
    interval: IntervalSettings,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> (f64, f64) {
    let resample = |step| -> Vec<usize> {
        let stream = Stream::new(interval.seed, Purpose::Bootstrap, 0, step);
        (0..subsets).map(|index| stream.below(index as u64, subsets as u64) as usize).collect()
    };
    let mut values: Vec<f64> =
        (0..interval.resamples).filter_map(|step| statistic(&resample(step))).collect();
    values.sort_by(f64::total_cmp);
    let quantile = |probability: f64| {
        let position = probability * (values.len() - 1) as f64;
        let below = position as usize;
        let above = (below + 1).min(values.len() - 1);
        values[below] + (values[above] - values[below]) * (position - below as f64)
    };
    (quantile((1.0 - interval.confidence) / 2.0), quantile((1.0 + interval.confidence) / 2.0))
}

fn table(subsets: usize, queries: usize, values: std::ops::Range<i32>) -> impl Strategy<Value = Table> {
    let value = values.prop_map(f64::from);
    prop::collection::vec(prop::collection::vec(value, queries), subsets)
}

fn tables() -> impl Strategy<Value = [Table; 3]> {
    (2_usize..12, 1_usize..4).prop_flat_map(|(subsets, queries)| {
        [table(subsets, queries, -9..9), table(subsets, queries, -2..2), table(subsets, queries, 0..5)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bootstraps_are_those_of_plain_loops([first, second, outcomes] in tables(), seed: u64) {
        let interval = IntervalSettings { confidence: 0.9, resamples: 60, seed };
        let subsets: Vec<usize> = (0..outcomes.len()).collect();
        // Values of order 1 go through about a hundred roundings.
        let close = |(low, high): (f64, f64), estimate: pentimento_statistics::Estimate| {
            (estimate.low - low).abs() < 1e-12 && (estimate.high - high).abs() < 1e-12
        };
        let actual = score(&first, &outcomes, interval).unwrap();
        let of_first = |subsets: &[usize]| mean(correlations(&first, &outcomes, subsets));
        if let Some(estimate) = actual.mean {
            prop_assert!((estimate.value - of_first(&subsets).unwrap()).abs() < 1e-12);
            prop_assert!(close(plain_interval(subsets.len(), interval, of_first), estimate), "{:?}", estimate);
        }
        let gaps = |subsets: &[usize]| {
            let (first, second) =
                (correlations(&first, &outcomes, subsets), correlations(&second, &outcomes, subsets));
            first.into_iter().zip(second).map(|(first, second)| Some(first? - second?)).collect::<Vec<_>>()
        };
        let actual = difference(&first, &second, &outcomes, interval).unwrap();
        if let Some(actual) = actual {
            let gaps_on_all = gaps(&subsets);
            prop_assert_eq!(actual.defined, gaps_on_all.iter().flatten().count());
            prop_assert_eq!(actual.defined + actual.undefined, outcomes[0].len());
            prop_assert!((actual.difference.value - mean(gaps_on_all).unwrap()).abs() < 1e-12);
            prop_assert!((actual.first - actual.second - actual.difference.value).abs() < 1e-12);
            let expected = plain_interval(subsets.len(), interval, |subsets| mean(gaps(subsets)));
            prop_assert!(close(expected, actual.difference), "{:?}", actual);
        }
    }

    #[test]
    fn intervals_do_not_depend_on_threads([first, second, outcomes] in tables(), seed: u64) {
        let interval = IntervalSettings { confidence: 0.9, resamples: 100, seed };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let both = || {
                let score = score(&first, &outcomes, interval).unwrap();
                (score, difference(&first, &second, &outcomes, interval).unwrap())
            };
            pool.install(both)
        };
        prop_assert_eq!(run(1), run(3));
    }

    #[test]
    fn turned_scores_turn_the_score([first, _, outcomes] in tables()) {
        let turned: Table = first.iter().map(|row| row.iter().map(|value| -value).collect()).collect();
        let (plain, turned) =
            (score(&first, &outcomes, INTERVAL).unwrap(), score(&turned, &outcomes, INTERVAL).unwrap());
        prop_assert_eq!(plain.defined, turned.defined);
        if let Some((plain, turned)) = plain.mean.zip(turned.mean) {
            prop_assert_eq!(plain.value, -turned.value);
            prop_assert!((plain.low + turned.high).abs() < 1e-12 && (plain.high + turned.low).abs() < 1e-12);
        }
    }

    #[test]
    fn choices_are_those_of_plain_loops([first, second, outcomes] in tables(), seed: u64) {
        let settings = [first, second];
        let score_of = |setting: usize, subsets: &[usize]| {
            mean(correlations(&settings[setting], &outcomes, subsets))
        };
        // Correlations of both ways differ by roundings, so scores that close may both be the best.
        let best = |subsets: &[usize]| -> Vec<usize> {
            let scores = [score_of(0, subsets), score_of(1, subsets)];
            let Some(highest) = scores.into_iter().flatten().max_by(f64::total_cmp) else { return Vec::new() };
            (0..2).filter(|&setting| scores[setting].is_some_and(|score| score > highest - 1e-12)).collect()
        };
        let order = Stream::new(seed, Purpose::Bootstrap, 1, 0).permutation(outcomes.len() as u32);
        let (first, second) = order.split_at(outcomes.len() / 2);
        let halves = [first, second].map(|half| {
            let mut half: Vec<usize> = half.iter().map(|&subset| subset as usize).collect();
            half.sort_unstable();
            half
        });
        let all: Vec<usize> = (0..outcomes.len()).collect();
        let close = |actual: f64, expected: Option<f64>| expected.is_some_and(|value| (value - actual).abs() < 1e-12);
        let slices: Vec<&[Vec<f64>]> = settings.iter().map(Vec::as_slice).collect();
        let Some(choice) = held_out_choice(&slices, &outcomes, seed).unwrap() else {
            let has_none = |half: usize| {
                let chosen = best(&halves[1 - half]);
                chosen.is_empty() || chosen.iter().any(|&setting| score_of(setting, &halves[half]).is_none())
            };
            prop_assert!(has_none(0) || has_none(1));
            return Ok(());
        };
        for (half, told) in choice.halves.iter().enumerate() {
            prop_assert_eq!(&told.subsets, &halves[half]);
            prop_assert!(best(&halves[1 - half]).contains(&told.setting));
            prop_assert!(close(told.score_where_chosen, score_of(told.setting, &halves[1 - half])));
            prop_assert!(close(told.score, score_of(told.setting, &halves[half])));
        }
        prop_assert_eq!(choice.score, (choice.halves[0].score + choice.halves[1].score) / 2.0);
        prop_assert!(best(&all).contains(&choice.best_setting));
        prop_assert!(close(choice.best_score, score_of(choice.best_setting, &all)));
        for (setting, score) in choice.scores.iter().enumerate() {
            let expected = score_of(setting, &all);
            prop_assert_eq!(score.is_some(), expected.is_some());
            prop_assert!(score.is_none_or(|score| close(score, expected)));
        }
    }
}

/// Normal scores `[queries][images]` and random halves of the images `[subsets][images]`.
fn drawn(subsets: usize, queries: usize, images: usize, seed: u64) -> (Table, Vec<Vec<bool>>) {
    let normals = |id| {
        let mut values = vec![0.0; images];
        Stream::new(seed, Purpose::Test, id, 0).fill_normal_f64(&mut values);
        values
    };
    let mask = |id| {
        let order = Stream::new(seed, Purpose::Test, id, 1).permutation(images as u32);
        order.iter().map(|&place| (place as usize) < images / 2).collect()
    };
    ((0..queries as u32).map(normals).collect(), (0..subsets as u32).map(mask).collect())
}

/// Losses of networks that are linear in their training images: each image lowers the loss of a query by its weight.
fn linear_outcomes(weights: &Table, masks: &[Vec<bool>]) -> Table {
    let loss = |mask: &Vec<bool>, weights: &Vec<f64>| {
        let present = weights.iter().zip(mask).rev().filter(|(_, is_present)| **is_present);
        present.fold(100.0, |loss, (weight, _)| loss - weight)
    };
    masks.iter().map(|mask| weights.iter().map(|weights| loss(mask, weights)).collect()).collect()
}

#[test]
fn the_true_linear_model_scores_one_and_its_opposite_minus_one() {
    let (scores, masks) = drawn(64, 12, 200, 1);
    let outcomes = linear_outcomes(&scores, &masks);
    // Scores may be on any scale and shifted by any constant, as all subsets have the same size.
    let moved = |factor: f64| -> Table {
        scores.iter().map(|row| row.iter().map(|score| factor * score + 3.0).collect()).collect()
    };
    for (factor, expected) in [(1.0, 1.0), (0.01, 1.0), (-2.0, -1.0)] {
        let predictions = predictions(&moved(factor), &masks).unwrap();
        let score = score(&predictions, &outcomes, INTERVAL).unwrap();
        let mean = score.mean.unwrap();
        for value in [mean.value, mean.low, mean.high] {
            // Two subsets whose losses are as close as roundings may change places.
            assert!((value - expected).abs() < 1e-3, "{mean:?}");
        }
        assert_eq!(score.significant_share, Some(1.0));
    }
}

#[test]
fn scores_of_integers_that_are_the_truth_score_exactly_one() {
    let (scores, masks) = drawn(64, 12, 200, 2);
    let whole: Table =
        scores.iter().map(|row| row.iter().map(|score| (score * 1e6).round()).collect()).collect();
    let score =
        score(&predictions(&whole, &masks).unwrap(), &linear_outcomes(&whole, &masks), INTERVAL).unwrap();
    let mean = score.mean.unwrap();
    assert_eq!((mean.value, mean.low, mean.high), (1.0, 1.0, 1.0));
    assert!(score.queries.iter().flatten().all(|query| query.p_value == 0.0 && query.ln_p_value.is_none()));
}

#[test]
fn random_scores_have_zero_in_their_interval() {
    let draws = 60;
    let (mut inside, mut significant) = (0, 0.0);
    for seed in 0..draws {
        let (weights, masks) = drawn(64, 16, 2000, seed);
        let (random, _) = drawn(1, 16, 2000, 1000 + seed);
        let outcomes = linear_outcomes(&weights, &masks);
        let score = score(&predictions(&random, &masks).unwrap(), &outcomes, INTERVAL).unwrap();
        let mean = score.mean.unwrap();
        inside += u32::from(mean.low <= 0.0 && 0.0 <= mean.high);
        significant += score.significant_share.unwrap();
    }
    // Many more images than subsets, for which p-values are meant (see `significant_share`).
    // Of 60 intervals of 95 % fewer than 51 hold the truth with a probability of 0.1 %; the p-values of 960 queries, which
    // share masks, are below 0.05 in 5 % with a standard deviation of about 1 %.
    assert!(inside >= 51, "{inside} of {draws}");
    let share = significant / draws as f64;
    assert!((share - 0.05).abs() < 0.03, "{share}");
}

#[test]
fn differences_cancel_what_subsets_do_to_both() {
    let (weights, masks) = drawn(64, 16, 100, 3);
    let (noise, _) = drawn(1, 16, 100, 4);
    let outcomes = linear_outcomes(&weights, &masks);
    let noisy = |share: f64| {
        let mix = |(row, noise): (&Vec<f64>, &Vec<f64>)| {
            row.iter().zip(noise).map(|(s, n)| s + share * n).collect()
        };
        let scores: Table = weights.iter().zip(&noise).map(mix).collect();
        predictions(&scores, &masks).unwrap()
    };
    let (better, worse) = (noisy(1.0), noisy(1.2));
    let same = difference(&better, &better, &outcomes, INTERVAL).unwrap().unwrap();
    assert_eq!((same.difference.value, same.difference.low, same.difference.high), (0.0, 0.0, 0.0));
    let apart = difference(&better, &worse, &outcomes, INTERVAL).unwrap().unwrap();
    let mean = score(&better, &outcomes, INTERVAL).unwrap().mean.unwrap();
    assert_eq!(apart.first, mean.value);
    assert!(apart.difference.low > 0.0, "{apart:?}");
    assert!(
        apart.difference.high - apart.difference.low < (mean.high - mean.low) / 2.0,
        "{apart:?} {mean:?}"
    );
    let back = difference(&worse, &better, &outcomes, INTERVAL).unwrap().unwrap();
    assert!((back.difference.value + apart.difference.value).abs() < 1e-15);
}

#[test]
fn without_their_mean_queries_that_move_together_say_nothing() {
    // What a subset does is the same for all queries, so it is gone.
    let (quality, masks) = drawn(20, 1, 50, 5);
    let shared: Table = vec![quality[0].clone(); 4];
    let outcomes = linear_outcomes(&shared, &masks);
    let centred = without_query_mean(&outcomes).unwrap();
    assert!(centred.iter().flatten().all(|value| *value == 0.0));
    let score = score(&predictions(&shared, &masks).unwrap(), &centred, INTERVAL).unwrap();
    assert_eq!((score.mean, score.defined, score.undefined, score.significant_share), (None, 0, 4, None));
}

#[test]
fn a_setting_is_chosen_where_it_is_not_told() {
    // Forty settings that know nothing: the best of them looks well on the subsets that chose it, and only there.
    let (mut told, mut best, mut where_chosen) = (0.0, 0.0, 0.0);
    for seed in 0..20 {
        let (weights, masks) = drawn(64, 8, 100, 100 + seed);
        let outcomes = linear_outcomes(&weights, &masks);
        let settings: Vec<Table> = (0..40)
            .map(|setting| predictions(&drawn(1, 8, 100, 1000 + 40 * seed + setting).0, &masks).unwrap())
            .collect();
        let slices: Vec<&[Vec<f64>]> = settings.iter().map(Vec::as_slice).collect();
        let choice = held_out_choice(&slices, &outcomes, seed).unwrap().unwrap();
        told += choice.score / 20.0;
        best += choice.best_score / 20.0;
        where_chosen += choice.halves.iter().map(|half| half.score_where_chosen).sum::<f64>() / 40.0;
    }
    // A mean over 8 queries and 64 subsets has a standard deviation of about 1 / sqrt(8 * 63) = 0.045 by chance, one over
    // half of the subsets 0.063; the largest of forty is about 2.2 of them. Means over twenty draws are four times closer.
    assert!(told.abs() < 0.04, "{told}");
    assert!((best - 0.098).abs() < 0.03, "{best}");
    assert!((where_chosen - 0.139).abs() < 0.04, "{where_chosen}");
}

#[test]
fn one_setting_that_knows_is_chosen_by_both_halves() {
    let (weights, masks) = drawn(16, 4, 100, 6);
    let outcomes = linear_outcomes(&weights, &masks);
    let true_ones = predictions(&weights, &masks).unwrap();
    let random = predictions(&drawn(1, 4, 100, 7).0, &masks).unwrap();
    let choice = held_out_choice(&[&random[..], &true_ones, &random], &outcomes, 0).unwrap().unwrap();
    assert_eq!(choice.halves.each_ref().map(|half| half.setting), [1, 1]);
    assert!(choice.score > 0.99 && choice.best_setting == 1 && choice.best_score > 0.99);
}

#[test]
fn results_come_back_from_json() {
    let (weights, masks) = drawn(16, 4, 100, 8);
    let outcomes = linear_outcomes(&weights, &masks);
    // Correlations of 1, whose p has no logarithm, and a constant query.
    let mut predictions = outcomes.clone();
    predictions.iter_mut().for_each(|row| row[2] = 0.0);
    let before = score(&predictions, &outcomes, INTERVAL).unwrap();
    let text = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<LinearDatamodellingScore>(&text).unwrap(), before);
}

#[test]
fn wrong_data_is_refused() {
    let outcomes = [[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]];
    let none: [[f64; 2]; 0] = [];
    let message = |predictions: &[[f64; 2]]| score(predictions, &outcomes, INTERVAL).unwrap_err().to_string();
    assert_eq!(message(&none), "predictions: empty, at least one value is needed");
    assert_eq!(message(&outcomes[..2]), "predictions, subsets: 2 values, but there must be 3");
    assert_eq!(
        message(&[[1.0, 2.0], [3.0, f64::NAN], [2.0, 2.0]]),
        "predictions, subset 1: value 1 is NaN, not a finite number"
    );
    assert_eq!(
        score(&[[1.0], [2.0], [3.0]], &outcomes, INTERVAL).unwrap_err().to_string(),
        "predictions, queries: 1 values, but there must be 2"
    );
    assert!(score(&outcomes, &none, INTERVAL).unwrap_err().to_string().starts_with("outcomes: empty"));
    assert_eq!(
        difference(&outcomes, &[vec![1.0, 2.0], vec![1.0], vec![2.0]], &outcomes, INTERVAL)
            .unwrap_err()
            .to_string(),
        "second predictions, subset 1: 1 values, but there must be 2"
    );
    for wrong in
        [IntervalSettings { resamples: 0, ..INTERVAL }, IntervalSettings { confidence: 1.0, ..INTERVAL }]
    {
        assert!(score(&outcomes, &outcomes, wrong).is_err());
        assert!(difference(&outcomes, &outcomes, &outcomes, wrong).is_err());
    }
}
