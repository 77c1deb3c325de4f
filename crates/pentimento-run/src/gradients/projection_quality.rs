//! How well scores from projected gradients keep the order of scores from whole ones, measured on a part of the images.
//!
//! A projection has a noise of its own, which more draws do not lessen and intervals over draws do not show.

use super::featuring::{ImageDraws, Item, mean_over_draws};
use super::subject::Subject;
use crate::error::Result;
use crate::networks::Weights;
use crate::words::counted;
use pentimento_attribution::gradient::{
    Compared, FeatureBlock, GradientMethod, ImageRows, evenly, side_by_side,
};
use pentimento_attribution::scores::rank_agreement;
use pentimento_store::Fingerprint;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most training images and queries whose whole gradients are held at once.
const MOST_IMAGES: usize = 64;
const MOST_QUERIES: usize = 8;
/// Most memory for them. Networks of more than some three million parameters leave too few images to order.
const MOST_BYTES: usize = 2 << 30;
/// Bytes for each value of a gradient: itself and a copy in f32, and two blocks of the kernel's products in f64.
const BYTES_PER_VALUE: usize = 2 * size_of::<f32>() + 2 * size_of::<f64>();
/// Fewer images have too few orders to tell one projection from another.
const FEWEST_IMAGES: usize = 16;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectionQuality {
    /// Training images that took part.
    pub images: usize,
    /// Queries.
    pub queries: usize,
    /// Mean rank correlation over queries of the scores from projected gradients with those from whole ones.
    pub rank_agreement: f64,
}

/// Images whose gradients can be taken.
pub struct ItemSource<'a> {
    /// How many there are.
    pub count: usize,
    /// What the network is shown of one of them.
    pub item: &'a (dyn Fn(usize) -> Result<Item> + Sync),
}

/// What the whole gradients of so many images take.
pub fn bytes_of_whole_gradients(subject: &Subject<'_>, images: usize) -> usize {
    images * subject.networks.architecture.parameter_count() * BYTES_PER_VALUE
}

/// Of so many training images and queries, those on which it is measured; none if they are too few.
pub fn taking_part(subject: &Subject<'_>, images: usize, queries: usize) -> Option<(usize, usize)> {
    let fit = MOST_BYTES / (subject.networks.architecture.parameter_count() * BYTES_PER_VALUE);
    let asked = queries.min(MOST_QUERIES);
    let count = images.min(MOST_IMAGES).min(fit.saturating_sub(asked));
    let is_measured =
        subject.workspace.recipe.gradients.is_projected() && count >= FEWEST_IMAGES && asked > 0;
    is_measured.then_some((count, asked))
}

/// Measures it for one network and method, or reads what was measured before; none if the whole gradients of a few images
/// take more than two gigabytes, or if no query has an order to compare. `features_of` is what the training images' features
/// follow from.
///
/// # Errors
///
/// As taking gradients and scoring.
pub fn projection_quality(
    subject: &Subject<'_>,
    weights: &Weights,
    features_of: &str,
    method: GradientMethod,
    images: &ItemSource<'_>,
    queries: &ItemSource<'_>,
) -> Result<Option<ProjectionQuality>> {
    let Subject { workspace, networks, .. } = subject;
    let parameters = networks.architecture.parameter_count();
    let Some((count, asked)) = taking_part(subject, images.count, queries.count) else { return Ok(None) };
    // Spread over the set, whose images often lie in the order of their classes.
    let chosen = evenly(images.count, count);
    let items = side_by_side(count + asked, |place| match chosen.get(place) {
        Some(&index) => (images.item)(index),
        None => (queries.item)(place - count),
    })?;
    let shown: Vec<f32> = items
        .iter()
        .flat_map(|item| item.parts.iter().flatten().flat_map(|part| part.image.iter().copied()))
        .collect();
    let key = Fingerprint::of("projection quality")
        .text(features_of)
        .text(method.name)
        .json(&(count, asked, workspace.recipe.gradients.damping))?
        .bytes(&shown.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
        .finish();
    // One for each set of queries. A damaged one is measured again.
    let name = format!("scores/projection/{}-{}.json", method.name, &key.to_string()[..8]);
    let before = workspace.run.is_current(&name, key).then(|| workspace.run.get(&name).ok()).flatten();
    if let Some(found) = before.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(Some(found));
    }
    let (extractor, projection) = subject.extractor(weights, method)?;
    let Some(projection) = projection else { return Ok(None) };
    let progress = workspace.reporter().begin("projection", items.len() as u64, 0);
    let done = AtomicUsize::new(0);
    let gradients = side_by_side(items.len(), |place| -> Result<Vec<f32>> {
        let item = &items[place];
        let mut sum = vec![0.0f32; parameters];
        for part in &item.parts {
            let gradient = mean_over_draws(part, |ImageDraws { image, condition, draws }| {
                workspace.options.stop.check()?;
                Ok(extractor.gradient::<f32>(image, networks.size, condition, draws, &item.name)?)
            })?;
            for (sum, value) in sum.iter_mut().zip(gradient) {
                *sum += value / item.parts.len() as f32;
            }
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        progress.set(done as u64, "images, their whole gradients");
        Ok(sum)
    })?;
    progress.finish(&format!("compared with whole gradients of {}", counted(items.len(), "image")));
    let projected: Vec<Vec<f32>> = gradients.iter().map(|gradient| projection.project(gradient)).collect();
    let damping = workspace.recipe.gradients.damping;
    let exact = scores(&gradients, count, method, damping)?;
    let approximate = scores(&projected, count, method, damping)?;
    let Some(rank_agreement) = rank_agreement(&exact, &approximate)? else { return Ok(None) };
    let quality = ProjectionQuality { images: count, queries: asked, rank_agreement };
    workspace.run.put(&name, key, &serde_json::to_vec(&quality)?)?;
    Ok(Some(quality))
}

/// Scores of the images, the first `count` rows, for the queries, the others.
fn scores(
    rows: &[Vec<f32>],
    count: usize,
    method: GradientMethod,
    damping: Option<f64>,
) -> Result<Vec<Vec<f64>>> {
    let dimension = rows.first().map_or(0, Vec::len);
    let read = |images: Range<usize>| -> Result<FeatureBlock> { Ok(rows[images].concat().into()) };
    let compared =
        Compared::new(method.comparison, ImageRows { images: count, dimension, read: &read }, damping)?;
    compared.scores(&compared.queries(rows[count..].concat())?, 0..count)
}
