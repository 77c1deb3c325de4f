//! How sure a score is: what it would have been without some of the draws.
//!
//! The draws of an image come in groups, each over the whole schedule. Scores are made again without each group in turn (the
//! delete-one-group jackknife of Quenouille and Tukey), with features, kernel and queries of the others. What the scores
//! differ gives a standard error, and with Student's t for as many groups an interval. It covers the noise,
//! that is what another seed would have given with as many draws, and what groups differ by their timesteps. All groups are grids from the
//! schedule's beginning, and what that shifts in all of them it does not cover. Nor does it cover what many more draws would change
//! in the same way for all (the noise of few draws goes through the inverse of a kernel, and is shared by images): there a score
//! by TRAK with 40 draws was 0.74 of its value with 480 and the interval held that in 91 of 100 cases (5,000 parameters, 120
//! images). Nor the projection, which all groups share, and the training of the network.

use super::draws::MOST_BLOCKS;

/// Scores without each block of groups of draws in turn, `[blocks][queries][images]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    replicates: Vec<Vec<Vec<f64>>>,
}

/// 97.5th percentiles of Student's t with 1, 2, … degrees of freedom (any table of it).
const STUDENT: [f64; MOST_BLOCKS - 1] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365];

/// Differences smaller than this share of the scores are of rounding: features are kept with 11 bits and scored in f32.
const ROUNDING: f64 = 1e-6;

impl Spread {
    /// Takes scores without each block in turn; of one block or none there is no spread.
    pub fn new(replicates: Vec<Vec<Vec<f64>>>) -> Self {
        Self { replicates: if replicates.len() < 2 { Vec::new() } else { replicates } }
    }

    /// Whether there is any.
    pub fn is_known(&self) -> bool {
        !self.replicates.is_empty()
    }

    /// By how many standard errors an interval of 95 % reaches to both sides.
    pub fn factor(&self) -> f64 {
        STUDENT.get(self.replicates.len().wrapping_sub(2)).copied().unwrap_or(f64::INFINITY)
    }

    /// Standard error of any sum of scores of one query: `of` picks it from the scores of a replicate.
    pub fn standard_error(&self, query: usize, of: impl Fn(&[f64]) -> f64) -> Option<f64> {
        if !self.is_known() {
            return None;
        }
        let values: Vec<f64> = self.replicates.iter().map(|replicate| of(&replicate[query])).collect();
        let groups = values.len() as f64;
        let mean = values.iter().sum::<f64>() / groups;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(((groups - 1.0) / groups * squares).sqrt())
    }

    /// Standard error of the score of one image.
    pub fn of_image(&self, query: usize, image: usize) -> Option<f64> {
        self.standard_error(query, |scores| scores[image])
    }

    /// Whether the order of two values, such as the scores of two images, is not established: an interval of 95 % of their
    /// difference has zero in it, or the difference is one of rounding. It is about this pair by itself: among many pairs,
    /// some are told apart by chance. Without a spread nothing is known of it.
    pub fn is_tie(
        &self,
        query: usize,
        scores: &[f64],
        first: impl Fn(&[f64]) -> f64,
        second: impl Fn(&[f64]) -> f64,
    ) -> Option<bool> {
        let error = self.standard_error(query, |values| first(values) - second(values))?;
        let (a, b) = (first(scores), second(scores));
        Some((a - b).abs() <= self.factor() * error + ROUNDING * a.abs().max(b.abs()))
    }

    /// Which share of the variance between the images' scores is no noise of the draws, from 0 to 1; the median over
    /// queries. What all scores of a query have in common says nothing of their order, so it is taken out. Images without a
    /// score (NaN) do not take part.
    pub fn reliability(&self, scores: &[Vec<f64>]) -> Option<f64> {
        if !self.is_known() || scores.is_empty() {
            return None;
        }
        let of_query = |(query, scores): (usize, &Vec<f64>)| {
            let scored: Vec<usize> = (0..scores.len()).filter(|&image| !scores[image].is_nan()).collect();
            let count = scored.len() as f64;
            let mean_of = |values: &[f64]| scored.iter().map(|&image| values[image]).sum::<f64>() / count;
            let mean = mean_of(scores);
            let total = scored.iter().map(|&image| (scores[image] - mean).powi(2)).sum::<f64>();
            let groups = self.replicates.len() as f64;
            let replicates: Vec<(&[f64], f64)> = self
                .replicates
                .iter()
                .map(|replicate| {
                    let values = replicate[query].as_slice();
                    (values, mean_of(values))
                })
                .collect();
            let noise_of = |image: usize| {
                let centred = |(values, mean): &(&[f64], f64)| values[image] - mean;
                let middle = replicates.iter().map(centred).sum::<f64>() / groups;
                replicates.iter().map(|one| (centred(one) - middle).powi(2)).sum::<f64>()
            };
            let noise = (groups - 1.0) / groups * scored.iter().map(|&image| noise_of(image)).sum::<f64>();
            if total > 0.0 { (1.0 - noise / total).clamp(0.0, 1.0) } else { 0.0 }
        };
        let mut shares: Vec<f64> = scores.iter().enumerate().map(of_query).collect();
        shares.sort_by(f64::total_cmp);
        let middle = shares.len() / 2;
        Some(if shares.len().is_multiple_of(2) {
            f64::midpoint(shares[middle - 1], shares[middle])
        } else {
            shares[middle]
        })
    }

    /// How many times as many draws would make a `wanted` share of the variance between scores no noise, if noise falls as one
    /// over their number. None if it is so already, or if there is nothing but noise.
    ///
    /// With few draws this is more than is needed, and the reliability less than it is: a score is a product of two
    /// gradients, and what the jackknife sees of the product of both noises falls as the square of their number.
    pub fn recommended_factor(&self, scores: &[Vec<f64>], wanted: f64) -> Option<f64> {
        let reliability = self.reliability(scores)?;
        let noise = 1.0 - reliability;
        let factor = noise / reliability * wanted / (1.0 - wanted);
        (factor > 1.0 && factor.is_finite()).then_some(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_noise::{Purpose, Stream};

    /// Scores that are means over groups of draws: truth plus noise.
    fn groups(groups: usize, images: usize, noise: f64, seed: u64) -> (Vec<f64>, Vec<Vec<f64>>) {
        let mut truth = vec![0.0; images];
        Stream::new(seed, Purpose::Test, 0, 0).fill_normal_f64(&mut truth);
        let of_group = |group: usize| {
            let mut values = vec![0.0; images];
            Stream::new(seed, Purpose::Test, 1, group as u32).fill_normal_f64(&mut values);
            values.iter().zip(&truth).map(|(value, truth)| truth + noise * value).collect()
        };
        let values = (0..groups).map(of_group).collect();
        (truth, values)
    }

    fn mean(values: &[Vec<f64>], without: Option<usize>) -> Vec<f64> {
        let kept: Vec<&Vec<f64>> = values
            .iter()
            .enumerate()
            .filter(|(group, _)| Some(*group) != without)
            .map(|(_, row)| row)
            .collect();
        (0..values[0].len()).map(|i| kept.iter().map(|row| row[i]).sum::<f64>() / kept.len() as f64).collect()
    }

    fn spread(values: &[Vec<f64>]) -> (Vec<f64>, Spread) {
        let without = |group| vec![mean(values, Some(group))];
        (mean(values, None), Spread::new((0..values.len()).map(without).collect()))
    }

    /// Of a mean over groups, the jackknife is the usual standard error of the mean.
    #[test]
    fn of_a_mean_it_is_the_usual_standard_error() {
        let (_, values) = groups(5, 7, 1.0, 3);
        let (_, spread) = spread(&values);
        for image in 0..7 {
            let of_image: Vec<f64> = values.iter().map(|row| row[image]).collect();
            let mean = of_image.iter().sum::<f64>() / 5.0;
            let variance = of_image.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 4.0;
            let truth = (variance / 5.0).sqrt();
            assert!((spread.of_image(0, image).unwrap() / truth - 1.0).abs() < 1e-5);
        }
    }

    /// The intervals hold the truth as often as they say, and a difference is called a tie as often as it should.
    #[test]
    fn intervals_hold_the_truth_in_95_of_100_cases() {
        let (mut held, mut ties, mut all) = (0, 0, 0);
        for seed in 0..400 {
            let (truth, values) = groups(4, 10, 0.5, seed);
            let (scores, spread) = spread(&values);
            for image in 0..10 {
                let reach = spread.factor() * spread.of_image(0, image).unwrap();
                held += usize::from((scores[image] - truth[image]).abs() <= reach);
                all += 1;
            }
            // Two images with the same truth: the noise alone.
            let equal: Vec<Vec<f64>> =
                values.iter().map(|row| row.iter().zip(&truth).map(|(a, b)| a - b).collect()).collect();
            let without = |group| vec![mean(&equal, Some(group))];
            let noise = Spread::new((0..4).map(without).collect());
            ties += usize::from(
                noise.is_tie(0, &mean(&equal, None), |scores| scores[0], |scores| scores[1]).unwrap(),
            );
        }
        // Four standard errors of a share of 95 %.
        let held = held as f64 / all as f64;
        assert!((held - 0.95).abs() < 4.0 * (0.95 * 0.05 / all as f64).sqrt(), "{held}");
        let ties = ties as f64 / 400.0;
        assert!((ties - 0.95).abs() < 4.0 * (0.95f64 * 0.05 / 400.0).sqrt(), "{ties}");
    }

    /// Reliability is the share of the truth's variance, and the recommendation reaches nine tenths.
    #[test]
    fn the_recommended_draws_make_nine_tenths_reliable() {
        let (_, values) = groups(8, 20_000, 2.0, 1);
        let (scores, spread) = spread(&values);
        let reliability = spread.reliability(std::slice::from_ref(&scores)).unwrap();
        let truth = 1.0 / (1.0 + 4.0 / 8.0);
        assert!((reliability - truth).abs() < 0.02, "{reliability} instead of {truth}");
        let factor = spread.recommended_factor(std::slice::from_ref(&scores), 0.9).unwrap();
        let then = 1.0 / (1.0 + 4.0 / (8.0 * factor));
        assert!((then - 0.9).abs() < 0.01, "{then} with {factor} times the draws");
        // A noise that all images have in common does not count.
        let shifted: Vec<Vec<f64>> = values
            .iter()
            .enumerate()
            .map(|(group, row)| row.iter().map(|value| value + 100.0 * group as f64).collect())
            .collect();
        let without = |group| vec![mean(&shifted, Some(group))];
        let spread = Spread::new((0..8).map(without).collect());
        let again = spread.reliability(&[mean(&shifted, None)]).unwrap();
        assert!((again - reliability).abs() < 1e-3, "{again} instead of {reliability}");
        assert!(Spread::new(vec![vec![vec![1.0]]]).of_image(0, 0).is_none());
        // Of two queries, both count.
        let both =
            Spread::new((0..8).map(|group| [without(group), vec![vec![0.0; 20_000]]].concat()).collect());
        let half = both.reliability(&[mean(&shifted, None), vec![0.0; 20_000]]).unwrap();
        assert!((half - again / 2.0).abs() < 1e-9, "{half} instead of half of {again}");
        // Images without a score change nothing.
        let with = |row: &[f64]| vec![[row, &[f64::NAN; 3]].concat()];
        let unscored = Spread::new((0..8).map(|group| with(&without(group)[0])).collect());
        assert_eq!(unscored.reliability(&with(&mean(&shifted, None))), Some(again));
    }
}
