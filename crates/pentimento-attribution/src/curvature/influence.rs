//! Scores from products and from losses, with those that each group of draws would be missed in.

use super::LossChange;
use crate::scores::{ScoreRows, Scores};

/// Gradients of training images times those of queries, through the inverse of a network's curvature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InfluenceProducts {
    /// `[images][blocks of the image][queries, rows of the query]`: the gradient of an image in one block of draws with that of
    /// a query in one part of its draws. Empty for an image that the network never saw.
    pub of_images: Vec<Vec<Vec<f64>>>,
    /// Rows of each query: parts of its draws, of which as many as of any other stand for each block.
    pub rows: usize,
    /// The gradient of each image with itself, over different draws if there are several groups; 0 for one that the network
    /// never saw.
    pub self_influence: Vec<f64>,
}

/// The predicted change when an image is removed from `seen` that the network saw: its products over their number (Koh and
/// Liang 2017), mean over blocks of draws.
///
/// Where nothing of the query is drawn, as of a trajectory, a replicate leaves out draws of the training images only.
pub fn predicted_changes(
    products: &InfluenceProducts,
    queries: usize,
    blocks: usize,
    seen: usize,
    query_is_drawn: bool,
) -> Scores {
    let rows = products.rows;
    let without = |left_out: Option<usize>| -> ScoreRows {
        let kept: Vec<usize> = (0..blocks).filter(|&block| Some(block) != left_out).collect();
        // The block of a row; rows follow each other as blocks do.
        let is_kept = |&row: &usize| !query_is_drawn || Some(row * blocks / rows.max(1)) != left_out;
        let of_query: Vec<usize> = (0..rows).filter(is_kept).collect();
        let share = 1.0 / (kept.len() * of_query.len() * seen).max(1) as f64;
        let score = |query: usize, of_image: &Vec<Vec<f64>>| -> f64 {
            let of = |&block: &usize| -> f64 {
                let row = of_image.get(block).map_or(&[][..], Vec::as_slice);
                of_query.iter().map(|&other| row.get(query * rows + other).copied().unwrap_or_default()).sum()
            };
            share * kept.iter().map(of).sum::<f64>()
        };
        (0..queries)
            .map(|query| products.of_images.iter().map(|image| score(query, image)).collect())
            .collect()
    };
    Scores {
        scores: without(None),
        replicates: (0..blocks).filter(|_| blocks > 1).map(|block| without(Some(block))).collect(),
        self_influence: products.self_influence.iter().map(|value| value / seen.max(1) as f64).collect(),
    }
}

/// What is added to the sum of both losses in a ratio (MUCS, arXiv 2605.17938).
pub const RATIO_OFFSET: f64 = 1e-3;

/// The losses of training images, before and after each query was unlearned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnlearningLosses {
    /// The mean loss of each image in each block of draws before, `[images][blocks]`; empty if only increases are compared.
    pub before: Vec<Vec<f64>>,
    /// How much more it is after a query was unlearned, `[queries][images][blocks]`.
    pub increases: Vec<Vec<Vec<f64>>>,
}

/// Scores from the losses of each image when a query is unlearned, mean over blocks; 0 for images that the network never saw. What an
/// image does to its own loss is not measured (NaN): no training image is unlearned.
pub fn loss_changes(losses: &UnlearningLosses, change: LossChange, blocks: usize, saw: &[bool]) -> Scores {
    let UnlearningLosses { before, increases } = losses;
    let without = |left_out: Option<usize>| -> ScoreRows {
        let kept: Vec<usize> = (0..blocks).filter(|&block| Some(block) != left_out).collect();
        let mean =
            |values: &[f64]| kept.iter().map(|&block| values[block]).sum::<f64>() / kept.len().max(1) as f64;
        let of_image = |(image, values): (usize, &Vec<f64>)| match (saw[image], change) {
            (false, _) => 0.0,
            (true, LossChange::Increase) => mean(values),
            (true, LossChange::Ratio) => {
                let increase = mean(values);
                increase / (increase + 2.0 * mean(&before[image]) + RATIO_OFFSET)
            }
        };
        increases.iter().map(|images| images.iter().enumerate().map(of_image).collect()).collect()
    };
    Scores {
        scores: without(None),
        replicates: (0..blocks).filter(|_| blocks > 1).map(|block| without(Some(block))).collect(),
        self_influence: vec![f64::NAN; saw.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two queries, two groups; the second image was never seen. Column q * 2 + g is query q in its group g.
    fn products() -> InfluenceProducts {
        InfluenceProducts {
            of_images: vec![
                vec![vec![1.0, 2.0, 10.0, 20.0], vec![3.0, 4.0, 30.0, 40.0]],
                Vec::new(),
                vec![vec![0.0, -8.0, 0.0, 0.0], vec![0.0, 0.0, 4.0, 0.0]],
            ],
            rows: 2,
            self_influence: vec![6.0, 0.0, -2.0],
        }
    }

    #[test]
    fn a_prediction_is_the_mean_product_over_the_images_seen() {
        let found = predicted_changes(&products(), 2, 2, 2, true);
        // (1 + 2 + 3 + 4) / 4 / 2 and so on.
        assert_eq!(found.scores, [vec![1.25, 0.0, -1.0], vec![12.5, 0.0, 0.5]]);
        assert_eq!(found.self_influence, [3.0, 0.0, -1.0]);
        // Without group 0 of image and query, what is left is the product of group 1 with group 1.
        assert_eq!(found.replicates[0], [vec![2.0, 0.0, 0.0], vec![20.0, 0.0, 0.0]]);
        assert_eq!(found.replicates[1], [vec![0.5, 0.0, 0.0], vec![5.0, 0.0, 0.0]]);
    }

    /// A query with more rows than blocks: each block takes the rows that stand for it with it.
    #[test]
    fn rows_of_a_query_belong_to_blocks() {
        let products = InfluenceProducts {
            of_images: vec![vec![vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]]],
            rows: 4,
            self_influence: vec![0.0],
        };
        let found = predicted_changes(&products, 1, 2, 1, true);
        assert_eq!(found.scores, [vec![4.5]]);
        // Block 1 with rows 2 and 3, and block 0 with rows 0 and 1.
        assert_eq!(found.replicates, [[vec![7.5]], [vec![1.5]]]);
    }

    #[test]
    fn of_a_trajectory_only_draws_of_images_are_left_out() {
        let found = predicted_changes(&products(), 2, 2, 2, false);
        assert_eq!(found.scores, predicted_changes(&products(), 2, 2, 2, true).scores);
        // Group 1 of the image with both groups of the query: (3 + 4) / 2 / 2.
        assert_eq!(found.replicates[0], [vec![1.75, 0.0, 0.0], vec![17.5, 0.0, 1.0]]);
        // One group has nothing to be left out.
        let single =
            InfluenceProducts { of_images: vec![vec![vec![4.0]]], rows: 1, self_influence: vec![1.0] };
        let found = predicted_changes(&single, 1, 1, 1, true);
        assert_eq!((found.scores, found.replicates.len()), (vec![vec![4.0]], 0));
    }

    #[test]
    fn a_change_of_the_loss_is_that_of_means_over_blocks() {
        let losses = UnlearningLosses {
            before: vec![vec![1.0, 2.0], vec![7.0, 7.0]],
            increases: vec![vec![vec![1.0, 3.0], vec![5.0, 5.0]]],
        };
        let found = loss_changes(&losses, LossChange::Increase, 2, &[true, false]);
        assert_eq!(found.scores, [vec![2.0, 0.0]]);
        assert_eq!(found.replicates, [[vec![3.0, 0.0]], [vec![1.0, 0.0]]]);
        assert!(found.self_influence.iter().all(|value| value.is_nan()) && found.self_influence.len() == 2);
        // From 1.5 to 3.5, from 2 to 5 and from 1 to 2: (after - before) / (after + before + 0.001).
        let found = loss_changes(&losses, LossChange::Ratio, 2, &[true, false]);
        assert_eq!(found.scores, [vec![2.0 / 5.001, 0.0]]);
        assert_eq!(found.replicates, [[vec![3.0 / 7.001, 0.0]], [vec![1.0 / 3.001, 0.0]]]);
    }
}
