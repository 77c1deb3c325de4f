//! How well scores of training images predict what networks do that were trained on subsets of them.

use pentimento_statistics::linear_datamodelling::{
    HeldOutChoice, LinearDatamodellingScore, NoiseCeiling, held_out_choice, noise_ceiling, predictions,
    score, without_query_mean,
};
use pentimento_statistics::{IntervalSettings, StatisticsError, pearson};
use serde::{Deserialize, Serialize};

/// A table `[subsets][queries]`.
pub type Table = Vec<Vec<f64>>;

/// The linear datamodelling score of some scores, and how high it could be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Datamodelling {
    /// The score.
    pub score: LinearDatamodellingScore,
    /// The same with the mean over queries taken from outcomes and predictions: what subsets do to all queries alike, which is
    /// mostly the luck of their training, is gone. Absent with one query, of which nothing would be left.
    pub without_query_mean: Option<LinearDatamodellingScore>,
}

/// Of more pairs than this a drawing shows no more.
pub const MOST_SHOWN: usize = 2000;

/// Predicted changes of losses beside measured ones, over all pairs of a subset and a query; each query's own mean is taken from
/// both, since what it shares over subsets says nothing of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedAgainstMeasured {
    /// The measured change for a predicted change of one: below one, predictions are too large.
    pub slope: f64,
    /// Pearson's correlation.
    pub pearson: f64,
    /// Pairs of a subset and a query.
    pub pairs: usize,
    /// Pairs for a drawing, query by query: all of them, or an even choice of at most [`MOST_SHOWN`]. In no file, as they follow
    /// from scores and outcomes.
    #[serde(skip)]
    pub shown: Vec<ShownPair>,
}

/// What was predicted and measured of a query on the network of a subset, each less the query's mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownPair {
    /// The query's place.
    pub query: usize,
    /// The predicted change.
    pub predicted: f64,
    /// The measured one.
    pub measured: f64,
}

/// Holds scores that predict numbers, `[queries][images]`, against what happened: the loss of a query on a subset is predicted to
/// be higher by the scores of the images that are missing. None if all predictions of every query are one.
///
/// # Errors
///
/// If the tables do not fit each other, are empty, or hold what is not finite.
pub fn predicted_against_measured(
    scores: &[Vec<f64>],
    masks: &[Vec<bool>],
    outcomes: &[Vec<f64>],
) -> Result<Option<PredictedAgainstMeasured>, StatisticsError> {
    let queries = scores.len();
    // Minus the sum over those that stayed differs from the sum over those that are missing by a constant of the query.
    let predicted = predictions::<_, _, f64>(scores, &weights(masks))?;
    let centred = |table: &[Vec<f64>]| -> Vec<f64> {
        let column = |query: usize| -> Vec<f64> {
            let values: Vec<f64> = table.iter().map(|row| row[query]).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.into_iter().map(|value| value - mean).collect()
        };
        (0..queries).flat_map(column).collect()
    };
    if let Some(row) = outcomes.iter().find(|row| row.len() != queries) {
        let (length, expected) = (row.len(), queries);
        return Err(StatisticsError::WrongLength { field: "outcomes of a subset".into(), length, expected });
    }
    let (predicted, measured) = (centred(&predicted), centred(outcomes));
    let Some(pearson) = pearson(&predicted, &measured)? else { return Ok(None) };
    let squares: f64 = predicted.iter().map(|value| value * value).sum();
    let products: f64 = predicted.iter().zip(&measured).map(|(p, m)| p * m).sum();
    let (subsets, pairs) = (outcomes.len(), predicted.len());
    // Every so many pairs, beginning elsewhere for each query, so that it is not the same few subsets that are shown.
    let every = pairs.div_ceil(MOST_SHOWN).max(1);
    let shown = predicted
        .iter()
        .zip(&measured)
        .enumerate()
        .map(|(place, (&predicted, &measured))| {
            (place % subsets, ShownPair { query: place / subsets, predicted, measured })
        })
        .filter(|(subset, pair)| (subset + pair.query) % every == 0)
        .map(|(_, pair)| pair)
        .take(MOST_SHOWN)
        .collect();
    Ok(Some(PredictedAgainstMeasured { slope: products / squares, pearson, pairs, shown }))
}

/// Holds scores with each of several settings of a method, such as dampings, `[settings][queries][images]`, against what happened
/// on subsets: chosen on one half of them and told of the other, halved by `seed`. None with too few subsets.
///
/// # Errors
///
/// If the tables do not fit each other, are empty, or hold what is not finite.
pub fn setting_chosen_elsewhere(
    settings: &[Vec<Vec<f64>>],
    masks: &[Vec<bool>],
    outcomes: &[Vec<f64>],
    seed: u64,
) -> Result<Option<HeldOutChoice>, StatisticsError> {
    let weights = weights(masks);
    let predicted = settings
        .iter()
        .map(|scores| predictions::<_, _, f64>(scores, &weights))
        .collect::<Result<Vec<_>, _>>()?;
    let predicted: Vec<&[Vec<f64>]> = predicted.iter().map(Vec::as_slice).collect();
    held_out_choice(&predicted, outcomes, seed)
}

fn weights(masks: &[Vec<bool>]) -> Table {
    masks.iter().map(|mask| mask.iter().map(|&kept| f64::from(u8::from(kept))).collect()).collect()
}

/// How far outcomes come back with another seed: the most that any scores can predict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Of the outcomes.
    pub outcomes: NoiseCeiling,
    /// With the mean over queries taken away; absent with one query.
    pub without_query_mean: Option<NoiseCeiling>,
}

/// Judges scores `[queries][images]`, larger for images whose presence lowers the loss, by `outcomes` `[subsets][queries]` of
/// networks that were trained on subsets; `masks` `[subsets][images]` says on which images.
///
/// # Errors
///
/// If the tables do not fit each other, are empty, or hold what is not finite.
pub fn datamodelling(
    scores: &[Vec<f64>],
    masks: &[Vec<bool>],
    outcomes: &[Vec<f64>],
    interval: IntervalSettings,
) -> Result<Datamodelling, StatisticsError> {
    let predicted = predictions::<_, _, f64>(scores, &weights(masks))?;
    let centred = |table: &[Vec<f64>]| without_query_mean(table);
    Ok(Datamodelling {
        score: score(&predicted, outcomes, interval)?,
        without_query_mean: match scores.len() {
            0 | 1 => None,
            _ => Some(score(&centred(&predicted)?, &centred(outcomes)?, interval)?),
        },
    })
}

/// The mean of the outcomes of all seeds, `[subsets][queries]` of each.
///
/// # Errors
///
/// If there is no seed, or the tables differ in shape.
pub fn mean_over_seeds(seeds: &[Table]) -> Result<Table, StatisticsError> {
    let Some(first) = seeds.first() else {
        return Err(StatisticsError::Empty { field: "seeds".into() });
    };
    let mut mean = first.clone();
    let share = 1.0 / seeds.len() as f64;
    for table in seeds {
        let lengths = |table: &Table| table.iter().map(Vec::len).collect::<Vec<_>>();
        if lengths(table) != lengths(first) {
            let (length, expected) = (table.len(), first.len());
            return Err(StatisticsError::WrongLength {
                field: "outcomes of a seed".into(),
                length,
                expected,
            });
        }
    }
    for (subset, row) in mean.iter_mut().enumerate() {
        for (query, value) in row.iter_mut().enumerate() {
            *value = seeds.iter().map(|table| share * table[subset][query]).sum();
        }
    }
    Ok(mean)
}

/// How far the outcomes of seeds, `[subsets][queries]` of each, agree; none with one seed.
///
/// # Errors
///
/// As [`noise_ceiling`].
pub fn ceiling(seeds: &[Table]) -> Result<Option<Ceiling>, StatisticsError> {
    if seeds.len() < 2 {
        return Ok(None);
    }
    let of = |tables: &[Table]| noise_ceiling(&tables.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let queries = seeds.first().and_then(|table| table.first()).map_or(0, Vec::len);
    let without_query_mean = match queries {
        0 | 1 => None,
        _ => {
            let centred: Vec<Table> =
                seeds.iter().map(|table| without_query_mean(table)).collect::<Result<_, _>>()?;
            Some(of(&centred)?)
        }
    };
    Ok(Some(Ceiling { outcomes: of(seeds)?, without_query_mean }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_noise::{Purpose, Stream};

    const QUERIES: usize = 5;
    const IMAGES: usize = 40;
    const SUBSETS: usize = 24;

    fn normals(id: u32, rows: usize, columns: usize) -> Table {
        let mut values = vec![0.0; rows * columns];
        Stream::new(3, Purpose::Test, id, 0).fill_normal(&mut values);
        values
            .chunks_exact(columns)
            .map(|row| row.iter().map(|&value: &f32| f64::from(value)).collect())
            .collect()
    }

    fn masks() -> Vec<Vec<bool>> {
        normals(1, SUBSETS, IMAGES).iter().map(|row| row.iter().map(|value| *value > 0.0).collect()).collect()
    }

    /// Outcomes that are linear in the images: the loss of each query falls with each image by its true effect.
    fn outcomes(effects: &[Vec<f64>]) -> Table {
        let of = |mask: &Vec<bool>, effects: &Vec<f64>| -> f64 {
            mask.iter().zip(effects).filter(|(kept, _)| **kept).map(|(_, effect)| -effect).sum()
        };
        masks().iter().map(|mask| effects.iter().map(|effects| of(mask, effects)).collect()).collect()
    }

    #[test]
    fn the_truth_scores_one_its_negative_minus_one_and_noise_nothing() {
        let effects = normals(2, QUERIES, IMAGES);
        let (masks, outcomes) = (masks(), outcomes(&effects));
        let interval = IntervalSettings { resamples: 500, ..IntervalSettings::default() };
        let judged = |scores: &[Vec<f64>]| datamodelling(scores, &masks, &outcomes, interval).unwrap();
        let mean = |judged: &Datamodelling| judged.score.mean.unwrap().value;
        let truth = judged(&effects);
        assert!((mean(&truth) - 1.0).abs() < 1e-12);
        assert!((truth.without_query_mean.unwrap().mean.unwrap().value - 1.0).abs() < 1e-12);
        let negative: Table = effects.iter().map(|row| row.iter().map(|value| -value).collect()).collect();
        assert!((mean(&judged(&negative)) + 1.0).abs() < 1e-12);
        // Twice the truth predicts twice the change.
        let twice: Table = effects.iter().map(|row| row.iter().map(|value| 2.0 * value).collect()).collect();
        let found = predicted_against_measured(&twice, &masks, &outcomes).unwrap().unwrap();
        assert!((found.slope - 0.5).abs() < 1e-12 && (found.pearson - 1.0).abs() < 1e-12, "{found:?}");
        assert_eq!(found.pairs, QUERIES * SUBSETS);
        // All pairs are few enough to be shown. The truth's own predictions are what was measured, and twice the truth is twice that.
        assert_eq!(found.shown.len(), QUERIES * SUBSETS);
        let mean = |query: usize| outcomes.iter().map(|row| row[query]).sum::<f64>() / SUBSETS as f64;
        for (place, pair) in found.shown.iter().enumerate() {
            let (query, subset) = (place / SUBSETS, place % SUBSETS);
            let measured = outcomes[subset][query] - mean(query);
            assert_eq!(pair.query, query);
            assert!((pair.measured - measured).abs() < 1e-12, "{pair:?}");
            assert!((pair.predicted - 2.0 * measured).abs() < 1e-11, "{pair:?}");
        }
        let zeros = vec![vec![0.0; IMAGES]; QUERIES];
        assert_eq!(predicted_against_measured(&zeros, &masks, &outcomes), Ok(None));
        let noise = judged(&normals(9, QUERIES, IMAGES)).score.mean.unwrap();
        assert!(noise.low < 0.0 && noise.high > 0.0, "{noise:?}");
    }

    /// Of many pairs an even choice is shown: of every query, and over all queries of every subset.
    #[test]
    fn many_pairs_are_thinned_evenly() {
        let queries = 150;
        let (masks, scores) = (masks(), normals(2, queries, IMAGES));
        let outcomes = outcomes(&scores);
        let found = predicted_against_measured(&scores, &masks, &outcomes).unwrap().unwrap();
        assert_eq!(found.pairs, queries * SUBSETS);
        // 3,600 pairs: every second one.
        assert_eq!(found.shown.len(), queries * SUBSETS / 2);
        let mut seen = [0; SUBSETS];
        for pair in &found.shown {
            let mean = outcomes.iter().map(|row| row[pair.query]).sum::<f64>() / SUBSETS as f64;
            let of = |subset: &usize| (outcomes[*subset][pair.query] - mean - pair.measured).abs() < 1e-12;
            seen[(0..SUBSETS).find(of).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| count == queries / 2), "{seen:?}");
    }

    #[test]
    fn seeds_are_averaged_and_agree_as_far_as_they_do() {
        let truth = outcomes(&normals(2, QUERIES, IMAGES));
        let noisy = |id| -> Table {
            let noise = normals(id, SUBSETS, QUERIES);
            truth
                .iter()
                .zip(noise)
                .map(|(row, noise)| row.iter().zip(noise).map(|(value, noise)| value + 4.0 * noise).collect())
                .collect()
        };
        let seeds = [noisy(20), noisy(21)];
        let mean = mean_over_seeds(&seeds).unwrap();
        assert!((mean[3][2] - (seeds[0][3][2] + seeds[1][3][2]) / 2.0).abs() < 1e-12);
        let found = ceiling(&seeds).unwrap().unwrap();
        let between = found.outcomes.between_seeds.mean.unwrap();
        assert!(between > 0.2 && between < 0.95, "{between}");
        assert!(found.without_query_mean.is_some());
        assert_eq!(ceiling(&seeds[..1]), Ok(None));
        assert!(mean_over_seeds(&[]).is_err());
        assert!(mean_over_seeds(&[seeds[0].clone(), seeds[1][1..].to_vec()]).is_err());
    }
}
