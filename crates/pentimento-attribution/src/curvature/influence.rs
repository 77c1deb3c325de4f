//! Scores from products and from losses, with those that each group of draws would be missed in.

use crate::scores::{ScoreRows, Scores};

/// Gradients of training images times those of queries, through the inverse of a network's curvature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InfluenceProducts {
    /// `[images][groups of the image][queries, groups of the query]`: the gradient of an image in one group of draws with
    /// that of a query in one. Empty for an image that the network never saw.
    pub of_images: Vec<Vec<Vec<f64>>>,
    /// The gradient of each image with itself, over different draws if there are several groups; 0 for one that the network
    /// never saw.
    pub self_influence: Vec<f64>,
}

/// The predicted change when an image is removed from `seen` that the network saw: its products over their number (Koh and
/// Liang 2017), mean over groups.
///
/// Where nothing of the query is drawn, as of a trajectory, whose groups are parts of one sum, a replicate leaves out draws of
/// the training images only.
pub fn predicted_changes(
    products: &InfluenceProducts,
    queries: usize,
    groups: usize,
    seen: usize,
    query_is_drawn: bool,
) -> Scores {
    let without = |left_out: Option<usize>| -> ScoreRows {
        let kept: Vec<usize> = (0..groups).filter(|&group| Some(group) != left_out).collect();
        let of_query: Vec<usize> =
            (0..groups).filter(|&group| !query_is_drawn || Some(group) != left_out).collect();
        let share = 1.0 / (kept.len() * of_query.len() * seen).max(1) as f64;
        let score = |query: usize, of_image: &Vec<Vec<f64>>| -> f64 {
            let of = |&group: &usize| -> f64 {
                let row = of_image.get(group).map_or(&[][..], Vec::as_slice);
                of_query
                    .iter()
                    .map(|&other| row.get(query * groups + other).copied().unwrap_or_default())
                    .sum()
            };
            share * kept.iter().map(of).sum::<f64>()
        };
        (0..queries)
            .map(|query| products.of_images.iter().map(|image| score(query, image)).collect())
            .collect()
    };
    Scores {
        scores: without(None),
        replicates: (0..groups).filter(|_| groups > 1).map(|group| without(Some(group))).collect(),
        self_influence: products.self_influence.iter().map(|value| value / seen.max(1) as f64).collect(),
    }
}

/// Scores from the increase of each image's loss when a query is unlearned, `[queries][images][groups]`, mean over groups; 0 for
/// images that the network never saw. What an image does to its own loss is not measured (NaN): no training image is
/// unlearned.
pub fn loss_increases(increases: &[Vec<Vec<f64>>], groups: usize, saw: &[bool]) -> Scores {
    let without = |left_out: Option<usize>| -> ScoreRows {
        let kept: Vec<usize> = (0..groups).filter(|&group| Some(group) != left_out).collect();
        let mean = |(values, &saw): (&Vec<f64>, &bool)| match saw {
            true => kept.iter().map(|&group| values[group]).sum::<f64>() / kept.len().max(1) as f64,
            false => 0.0,
        };
        increases.iter().map(|images| images.iter().zip(saw).map(mean).collect()).collect()
    };
    Scores {
        scores: without(None),
        replicates: (0..groups).filter(|_| groups > 1).map(|group| without(Some(group))).collect(),
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

    #[test]
    fn of_a_trajectory_only_draws_of_images_are_left_out() {
        let found = predicted_changes(&products(), 2, 2, 2, false);
        assert_eq!(found.scores, predicted_changes(&products(), 2, 2, 2, true).scores);
        // Group 1 of the image with both groups of the query: (3 + 4) / 2 / 2.
        assert_eq!(found.replicates[0], [vec![1.75, 0.0, 0.0], vec![17.5, 0.0, 1.0]]);
        // One group has nothing to be left out.
        let single = InfluenceProducts { of_images: vec![vec![vec![4.0]]], self_influence: vec![1.0] };
        let found = predicted_changes(&single, 1, 1, 1, true);
        assert_eq!((found.scores, found.replicates.len()), (vec![vec![4.0]], 0));
    }

    #[test]
    fn an_increase_of_the_loss_is_the_mean_over_groups() {
        let increases = [vec![vec![1.0, 3.0], vec![5.0, 5.0]]];
        let found = loss_increases(&increases, 2, &[true, false]);
        assert_eq!(found.scores, [vec![2.0, 0.0]]);
        assert_eq!(found.replicates, [[vec![3.0, 0.0]], [vec![1.0, 0.0]]]);
        assert!(found.self_influence.iter().all(|value| value.is_nan()) && found.self_influence.len() == 2);
    }
}
