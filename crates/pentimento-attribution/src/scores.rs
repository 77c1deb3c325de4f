//! Scores of training images for queries, whatever they come from: sums of several tables, and their order.

use pentimento_statistics::{StatisticsError, spearman};

/// Scores of one kind, `[queries][images]`.
pub type ScoreRows = Vec<Vec<f64>>;

/// Scores with what they would have been with fewer draws.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// With all draws.
    pub scores: ScoreRows,
    /// Without each group of draws in turn; none if they were not made.
    pub replicates: Vec<ScoreRows>,
    /// The score of each training image for itself.
    pub self_influence: Vec<f64>,
}

impl Scores {
    /// Adds a share of scores for the same queries and images, such as those of another network. To nothing, they are added
    /// whole.
    pub fn add(&mut self, share: f64, other: &Self) {
        add_rows(&mut self.scores, share, &other.scores);
        self.replicates.resize_with(other.replicates.len(), Vec::new);
        for (sum, replicate) in self.replicates.iter_mut().zip(&other.replicates) {
            add_rows(sum, share, replicate);
        }
        self.self_influence.resize(other.self_influence.len(), 0.0);
        for (sum, value) in self.self_influence.iter_mut().zip(&other.self_influence) {
            *sum += share * value;
        }
    }

    /// The first score that is infinite or no number: its query and its image.
    pub fn first_not_finite(&self) -> Option<(usize, usize)> {
        let in_query = |(query, scores): (usize, &Vec<f64>)| {
            scores.iter().position(|score| !score.is_finite()).map(|image| (query, image))
        };
        self.scores.iter().enumerate().find_map(in_query)
    }

    /// The first query for which all images have the same score, if there is more than one image.
    pub fn first_flat_query(&self) -> Option<usize> {
        let is_flat =
            |scores: &Vec<f64>| scores.len() > 1 && scores.iter().all(|score| Some(score) == scores.first());
        self.scores.iter().position(is_flat)
    }

    /// Scores of the images at some positions among `all`; the others have none (NaN). Of images by themselves nothing is
    /// said, as others may have been scored with other queries.
    pub fn among(self, images: &[usize], all: usize) -> Self {
        let row = |scores: Vec<f64>| {
            let mut row = vec![f64::NAN; all];
            images.iter().zip(scores).for_each(|(&image, score)| row[image] = score);
            row
        };
        let rows = |rows: ScoreRows| rows.into_iter().map(row).collect();
        Self {
            scores: rows(self.scores),
            replicates: self.replicates.into_iter().map(rows).collect(),
            self_influence: Vec::new(),
        }
    }

    /// Takes in the scores of further queries, with the same images and as many replicates.
    pub fn append(&mut self, other: Self) {
        self.scores.extend(other.scores);
        self.replicates.resize_with(other.replicates.len(), Vec::new);
        for (replicate, more) in self.replicates.iter_mut().zip(other.replicates) {
            replicate.extend(more);
        }
    }
}

/// Adds a share of scores to a sum of as many, or to nothing yet.
pub(crate) fn add_rows(sum: &mut ScoreRows, share: f64, rows: &[Vec<f64>]) {
    if sum.is_empty() {
        *sum = rows.iter().map(|row| vec![0.0; row.len()]).collect();
    }
    for (sum, row) in sum.iter_mut().zip(rows) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += share * value);
    }
}

/// The positions of the largest scores, ties by position; what was not scored (NaN) is not among them.
pub fn top(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&image| !scores[image].is_nan()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

/// Mean rank correlation of two tables of scores, query by query; none if no query has an order in both.
///
/// # Errors
///
/// If a score is not finite, or the tables have different numbers of images.
pub fn rank_agreement(a: &[Vec<f64>], b: &[Vec<f64>]) -> Result<Option<f64>, StatisticsError> {
    let mut values = Vec::new();
    for (a, b) in a.iter().zip(b) {
        values.extend(spearman(a, b)?);
    }
    Ok((!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(factor: f64) -> Scores {
        Scores {
            scores: vec![vec![factor, 2.0 * factor], vec![3.0 * factor, 0.0]],
            replicates: vec![vec![vec![factor, factor], vec![factor, factor]]; 3],
            self_influence: vec![factor, 4.0 * factor],
        }
    }

    #[test]
    fn networks_are_averaged() {
        let mut mean = Scores::default();
        mean.add(0.5, &scores(1.0));
        assert_eq!(mean, scores(0.5));
        mean.add(0.5, &scores(3.0));
        assert_eq!(mean, scores(2.0));
    }

    #[test]
    fn scores_of_candidates_stand_at_their_images_and_the_rest_has_none() {
        let mut all = Scores::default();
        for own in [[4, 1], [2, 0]] {
            let of_query = Scores {
                scores: vec![vec![0.5, -1.0]],
                replicates: vec![vec![vec![7.0, 8.0]], vec![vec![9.0, 6.0]]],
                self_influence: vec![1.0, 1.0],
            };
            all.append(of_query.among(&own, 5));
        }
        let known = |rows: &ScoreRows| -> Vec<(usize, usize, f64)> {
            let places = (0..2).flat_map(|query| (0..5).map(move |image| (query, image)));
            places.map(|(q, i)| (q, i, rows[q][i])).filter(|one| !one.2.is_nan()).collect()
        };
        assert_eq!(known(&all.scores), [(0, 1, -1.0), (0, 4, 0.5), (1, 0, -1.0), (1, 2, 0.5)]);
        assert_eq!(all.replicates.len(), 2);
        assert_eq!(known(&all.replicates[1]), [(0, 1, 6.0), (0, 4, 9.0), (1, 0, 6.0), (1, 2, 9.0)]);
        assert!(all.self_influence.is_empty());
    }

    #[test]
    fn what_cannot_be_ranked_is_found() {
        let rows = |scores: ScoreRows| Scores { scores, ..Scores::default() };
        assert_eq!(rows(vec![vec![1.0, 2.0], vec![0.0, f64::INFINITY]]).first_not_finite(), Some((1, 1)));
        assert_eq!(rows(vec![vec![1.0, 2.0]]).first_not_finite(), None);
        assert_eq!(rows(vec![vec![1.0, 2.0], vec![3.0, 3.0]]).first_flat_query(), Some(1));
        // One image has no order to lose.
        assert_eq!(rows(vec![vec![1.0], vec![3.0]]).first_flat_query(), None);
    }

    #[test]
    fn the_largest_come_first_and_ties_in_the_order_of_images() {
        let scores = [0.5, f64::NAN, 2.0, -1.0, 2.0, f64::NAN];
        assert_eq!(top(&scores, 3), [2, 4, 0]);
        assert_eq!(top(&scores, 9), [2, 4, 0, 3]);
        assert!(top(&[], 3).is_empty());
    }

    #[test]
    fn agreement_is_the_mean_over_queries_that_have_an_order() {
        let rising = vec![1.0, 2.0, 3.0];
        let falling = vec![9.0, 4.0, 1.0];
        let flat = vec![5.0, 5.0, 5.0];
        let agreement = |a: &[&Vec<f64>], b: &[&Vec<f64>]| {
            let rows = |rows: &[&Vec<f64>]| rows.iter().map(|&row| row.clone()).collect::<ScoreRows>();
            rank_agreement(&rows(a), &rows(b)).unwrap()
        };
        // But for the rounding of two square roots.
        let is = |found: Option<f64>, wanted: f64| found.is_some_and(|found| (found - wanted).abs() < 1e-15);
        assert!(is(agreement(&[&rising], &[&falling]), -1.0));
        assert!(is(agreement(&[&rising, &rising, &flat], &[&rising, &falling, &rising]), 0.0));
        assert_eq!(agreement(&[&flat], &[&rising]), None);
        assert!(rank_agreement(&[vec![f64::NAN, 1.0]], &[vec![0.0, 1.0]]).is_err());
    }
}
