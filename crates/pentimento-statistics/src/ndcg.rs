use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use crate::error::{StatisticsError, check_finite, check_range};
use crate::ranking::{by_falling_score, check_ranking};

/// What an item adds to a discounted cumulative gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// 2^relevance - 1 (Burges and others, 2005): what evaluations of attribution use.
    Exponential,
    /// The relevance itself (Järvelin and Kekäläinen, 2002), as in scikit-learn.
    Linear,
}

/// The normalised discounted cumulative gain of the `first` items with the highest scores, within [0, 1].
///
/// The item at place r, from 1, adds its gain divided by log2(r + 1); the sum is divided by that of the best order. `None`
/// if no item has any relevance. `relevances` and `scores` are paired. Equal scores get the mean over all orders of them, as
/// in scikit-learn.
///
/// # Errors
///
/// If the two differ in length, are empty or not finite, a relevance is negative, or `first` is 0 or more than there are
/// items.
pub fn ndcg_at(
    relevances: &[f64],
    scores: &[f64],
    first: usize,
    gain: Gain,
) -> Result<Option<f64>, StatisticsError> {
    check_ranking(scores, relevances.len(), first)?;
    check_finite("relevances", relevances)?;
    for (item, &relevance) in relevances.iter().enumerate() {
        check_range(&format!("relevance {item}"), relevance, 0.0, f64::INFINITY)?;
    }
    let greatest = relevances.iter().copied().fold(0.0, f64::max);
    if greatest == 0.0 {
        return Ok(None);
    }
    // Gains are taken as shares of a power of two near the greatest one, which the ratio does not see: 2^relevance may
    // overflow.
    let gains: Vec<f64> = match gain {
        Gain::Exponential => relevances
            .iter()
            .map(|&relevance| libm::exp2(relevance - greatest) * -libm::expm1(-relevance * LN_2))
            .collect(),
        Gain::Linear => {
            let (_, exponent) = libm::frexp(greatest);
            relevances.iter().map(|&relevance| libm::scalbn(relevance, -exponent)).collect()
        }
    };
    let best = discounted(&gains, relevances, first);
    Ok(Some((discounted(&gains, scores, first) / best).min(1.0)))
}

/// Σ gain / log2(place + 1) over the first places, the gain of equal scores being their mean.
fn discounted(gains: &[f64], scores: &[f64], first: usize) -> f64 {
    let (order, ends) = by_falling_score(scores);
    let (mut sum, mut start) = (0.0, 0);
    for end in ends {
        let run = &order[start..end];
        let gain = run.iter().map(|&item| gains[item]).sum::<f64>() / run.len() as f64;
        let discounts: f64 = (start..end.min(first)).map(|place| 1.0 / libm::log2((place + 2) as f64)).sum();
        sum += gain * discounts;
        if end >= first {
            break;
        }
        start = end;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_bounded_and_one_for_the_best_order(
            items in prop::collection::vec((0.0..9.0_f64, -5_i32..5), 1..30), share in 0.0..1.0_f64,
        ) {
            let first = 1 + (share * items.len() as f64) as usize;
            let (relevances, scores): (Vec<f64>, Vec<i32>) = items.into_iter().unzip();
            prop_assume!(relevances.iter().any(|&relevance| relevance > 0.0));
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            for gain in [Gain::Exponential, Gain::Linear] {
                let ndcg = |scores: &[f64]| ndcg_at(&relevances, scores, first, gain).unwrap().unwrap();
                prop_assert!((0.0..=1.0).contains(&ndcg(&scores)));
                prop_assert_eq!(ndcg(&relevances), 1.0);
            }
        }
    }

    #[test]
    fn gains_far_outside_the_range_of_f64_have_a_ratio() {
        // 2^5000 at the second of two places.
        let ndcg = |relevances: &[f64], gain| ndcg_at(relevances, &[1.0, 0.0], 2, gain).unwrap().unwrap();
        let expected = 1.0 / libm::log2(3.0);
        for gain in [Gain::Exponential, Gain::Linear] {
            assert!((ndcg(&[0.0, 5000.0], gain) - expected).abs() < 1e-15);
            assert!((ndcg(&[0.0, 1e-300], gain) - expected).abs() < 1e-15);
            assert!((ndcg(&[0.0, f64::MAX], gain) - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn wrong_data_is_refused() {
        let ndcg =
            |relevances: &[f64], scores: &[f64], first| ndcg_at(relevances, scores, first, Gain::Linear);
        assert_eq!(ndcg(&[0.0, 0.0], &[1.0, 2.0], 1), Ok(None));
        assert!(
            ndcg(&[1.0, -1.0], &[1.0, 2.0], 1).unwrap_err().to_string().starts_with("relevance 1: -1 must")
        );
        assert!(ndcg(&[1.0, f64::NAN], &[1.0, 2.0], 1).is_err());
        assert!(ndcg(&[1.0, 2.0], &[1.0, f64::INFINITY], 1).is_err());
        assert!(ndcg(&[1.0, 2.0], &[1.0], 1).is_err());
        assert!(ndcg(&[1.0, 2.0], &[1.0, 2.0], 3).is_err());
    }
}
