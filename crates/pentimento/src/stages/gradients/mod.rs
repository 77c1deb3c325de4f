//! Attribution by gradients: features of training images and queries in the run, and scores from them.
//!
//! A feature follows from the network, the image and what the recipe's `gradients` says, so features can be made in any order
//! and again, and methods that measure the same share them.
//!
//! * `training_images`: the images that scores are for.
//! * `subject`: the networks that are asked, and what their features follow from.
//! * `queries`: the images that are asked about, and in which parts their gradients are taken.
//! * `feature_store`: features in the run, as Arrow files.
//! * `alike`: training images that share credit.
//! * `score`: scores, with intervals, by timestep, and what the damping does to them.
//! * `score_table`: the result, and its files.

mod alike;
mod feature_store;
mod queries;
mod score;
mod score_table;
mod subject;
mod training_images;

pub use alike::nearly_the_same;
pub use queries::{Query, QuerySet};
pub use score::score;
pub use score_table::{DampingPoint, DampingView, ScoreTable, Strips};
pub use subject::Subject;
pub use training_images::TrainingImages;

use pentimento_data::PreparedSet;

/// The positions of the largest scores, ties by position.
pub fn top(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

/// Cosines of the pixels of every query and training image: likeness without any network, to hold scores against.
pub fn pixel_cosines(queries: &[Query], images: &PreparedSet) -> Vec<Vec<f64>> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let images: Vec<Vec<f32>> = (0..images.len()).map(|index| images.scaled(index)).collect();
    let lengths: Vec<f64> = images.iter().map(|image| dot(image, image).sqrt()).collect();
    queries
        .iter()
        .map(|query| {
            let length = dot(&query.image, &query.image).sqrt();
            let cosine = |(image, of_image): (&Vec<f32>, &f64)| match length * of_image {
                0.0 => 0.0,
                both => dot(&query.image, image) / both,
            };
            images.iter().zip(&lengths).map(cosine).collect()
        })
        .collect()
}
