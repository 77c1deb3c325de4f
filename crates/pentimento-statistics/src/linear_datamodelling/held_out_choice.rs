use pentimento_noise::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::resampling::{Methods, RunningMean};
use crate::StatisticsError;
use crate::error::check_range;

/// The id of the stream that halves the subsets. Resamples have the id 0.
const HALVES: u32 = 1;

/// A setting that was chosen on one half of the subsets, and its score on the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutHalf {
    /// The subsets on which the score is told, rising.
    pub subsets: Vec<usize>,
    /// The setting with the highest score on all other subsets, the first one of equals.
    pub setting: usize,
    /// Its score on those other subsets, which the choice has made too high.
    pub score_where_chosen: f64,
    /// Its score on `subsets`.
    pub score: f64,
}

/// What a method scores if its setting is not chosen on the subsets that the score is told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutChoice {
    /// The two halves, each told with the setting that was chosen on the other.
    pub halves: [HeldOutHalf; 2],
    /// The mean of the two scores.
    pub score: f64,
    /// The score of each setting on all subsets; `None` where no query has a correlation.
    pub scores: Vec<Option<f64>>,
    /// The setting with the highest of them, the first one of equals.
    pub best_setting: usize,
    /// Its score on all subsets: what is told where the setting is chosen on the same subsets. Too high.
    pub best_score: f64,
}

/// Chooses a setting of a method, such as a damping, by its linear datamodelling score on one half of the subsets, takes its
/// score on the other half, and does the same the other way round.
///
/// `settings` has the predictions of each setting, and like `outcomes` these are `[subsets][queries]`. A score is the mean
/// over the queries that have a correlation there. The halves are those of a permutation drawn with `seed`; of an odd number
/// of subsets the first half is smaller by one.
///
/// `None` if on one of the halves no setting has a score, or the chosen one has none on the other. With fewer than four
/// subsets that is always so.
///
/// # Errors
///
/// If there is no setting, a table is empty, the tables differ in shape, a value is not finite, or there are 2^32 subsets
/// or more.
pub fn held_out_choice<P: AsRef<[f64]>, Y: AsRef<[f64]>>(
    settings: &[&[P]],
    outcomes: &[Y],
    seed: u64,
) -> Result<Option<HeldOutChoice>, StatisticsError> {
    if settings.is_empty() {
        return Err(StatisticsError::Empty { field: "settings".to_owned() });
    }
    let names: Vec<String> =
        (0..settings.len()).map(|setting| format!("predictions of setting {setting}")).collect();
    let tables: Vec<(&str, &[P])> = names.iter().map(String::as_str).zip(settings.iter().copied()).collect();
    let methods = Methods::new(&tables, ("outcomes", outcomes))?;
    check_range("subsets", methods.subsets() as f64, 1.0, f64::from(u32::MAX))?;
    let mut halves = halves(methods.subsets(), seed);
    let scores = halves.each_ref().map(|subsets| scores_on(&methods, subsets.iter().copied()));
    let all = scores_on(&methods, 0..methods.subsets());
    let (Some(first), Some(second), Some((best_setting, best_score))) =
        (told(&mut halves, &scores, 0), told(&mut halves, &scores, 1), best(&all))
    else {
        return Ok(None);
    };
    let score = (first.score + second.score) / 2.0;
    Ok(Some(HeldOutChoice { halves: [first, second], score, scores: all, best_setting, best_score }))
}

/// Two sets of subsets, rising, that together are all of them.
fn halves(subsets: usize, seed: u64) -> [Vec<usize>; 2] {
    let order = Stream::new(seed, Purpose::Bootstrap, HALVES, 0).permutation(subsets as u32);
    let (first, second) = order.split_at(subsets / 2);
    [first, second].map(|half| {
        let mut half: Vec<usize> = half.iter().map(|&subset| subset as usize).collect();
        half.sort_unstable();
        half
    })
}

/// The score of each setting on some subsets.
fn scores_on(methods: &Methods, subsets: impl Iterator<Item = usize>) -> Vec<Option<f64>> {
    let mut counts = vec![0.0; methods.subsets()];
    subsets.for_each(|subset| counts[subset] = 1.0);
    let mut means: Vec<RunningMean> = Vec::new();
    means.resize_with(methods.count(), RunningMean::default);
    methods.for_each_correlation(&counts, &mut methods.ranks(), |_, setting, correlation| {
        correlation.into_iter().for_each(|value| means[setting].add(value));
    });
    means.iter().map(RunningMean::mean).collect()
}

/// Half `half` with the setting that is best on the other one.
fn told(halves: &mut [Vec<usize>; 2], scores: &[Vec<Option<f64>>; 2], half: usize) -> Option<HeldOutHalf> {
    let (setting, score_where_chosen) = best(&scores[1 - half])?;
    let score = scores[half][setting]?;
    Some(HeldOutHalf { subsets: std::mem::take(&mut halves[half]), setting, score_where_chosen, score })
}

/// The first of the highest scores.
fn best(scores: &[Option<f64>]) -> Option<(usize, f64)> {
    let defined = scores.iter().enumerate().filter_map(|(setting, score)| Some((setting, (*score)?)));
    defined.reduce(|best, other| if other.1 > best.1 { other } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_of_one_size_and_together_all() {
        for subsets in [1, 2, 5, 64, 101] {
            let [first, second] = halves(subsets, 3);
            assert_eq!((first.len(), second.len()), (subsets / 2, subsets - subsets / 2));
            let mut all = [first, second].concat();
            all.sort_unstable();
            assert_eq!(all, (0..subsets).collect::<Vec<_>>());
        }
        assert_ne!(halves(64, 3), halves(64, 4));
    }

    #[test]
    fn the_first_of_the_highest_scores_is_best() {
        assert_eq!(best(&[None, Some(0.1), Some(0.3), Some(0.3), None]), Some((2, 0.3)));
        assert_eq!(best(&[None, None]), None);
    }

    #[test]
    fn wrong_data_is_refused_and_too_few_subsets_have_no_choice() {
        let outcomes = [[1.0], [2.0], [3.0]];
        let none: [&[[f64; 1]]; 0] = [];
        assert!(held_out_choice(&none, &outcomes, 0).is_err());
        assert_eq!(
            held_out_choice(&[&outcomes[..], &outcomes[..2]], &outcomes, 0).unwrap_err().to_string(),
            "predictions of setting 1, subsets: 2 values, but there must be 3"
        );
        assert_eq!(held_out_choice(&[&outcomes[..]], &outcomes, 0), Ok(None));
    }
}
