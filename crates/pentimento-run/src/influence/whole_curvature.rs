//! A sample of a network's whole curvature, for conjugate gradients.

use super::curvature_store::Measurement;
use crate::error::{Result, RunError};
use crate::gradients::noise_id;
use pentimento_attribution::curvature::{CurvaturePass, SampledCurvature, whole_curvature_draw};
use pentimento_attribution::gradient::side_by_side;
use pentimento_diffusion::unet::Parameters;

/// Fewer pseudo-gradients are no sample of a matrix.
const FEWEST: usize = 32;

/// Pseudo-gradients of a network on the images of its curvature: their number divides the images evenly, as it divides the schedule.
///
/// # Errors
///
/// [`RunError::RecipeValue`] if too few fit into memory, [`RunError::Stopped`]; as taking gradients.
pub(super) fn whole_curvature(
    measurement: &Measurement<'_>,
    parameters: &Parameters,
) -> Result<SampledCurvature> {
    let Measurement { subject, images, .. } = measurement;
    let (workspace, networks) = (subject.workspace, subject.networks);
    let (recipe, length) = (&workspace.recipe, networks.architecture.parameter_count());
    let count = recipe.influence.pseudo_gradients(length);
    if count < FEWEST {
        return Err(RunError::RecipeValue {
            file: "recipe".into(),
            field: "influence.cg_gradients".into(),
            value: format!("{count} for a network of {length} parameters"),
            bound: format!(
                "at least {FEWEST}, of which each takes a byte for a parameter; `influence` needs none of them"
            ),
        });
    }
    let pass =
        CurvaturePass::new(&networks.architecture, parameters.clone(), &recipe.schedule, networks.size);
    let stride = stride_through(count);
    let progress = workspace.reporter().begin(&measurement.work_on("whole curvature"), count as u64, 0);
    let mut sample = SampledCurvature::zeros(length, count);
    let at_once = rayon::current_num_threads().max(1);
    for first in (0..count).step_by(at_once) {
        let found = side_by_side(at_once.min(count - first), |index| -> Result<Vec<f32>> {
            workspace.options.stop.check()?;
            // The images in their order, and the parts of the schedule in another one: whatever their numbers, each image is as
            // often there as any other, or one more time, and each part of the schedule once.
            let number = first + index;
            let (image, part) = (images[number * images.len() / count], number * stride % count);
            let values = subject.training.input(image);
            let id = noise_id(&subject.image_key(image));
            let draw = whole_curvature_draw(&recipe.schedule, recipe.seed, part, count, id, values.len());
            let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
            Ok(pass.pseudo_gradient(&values, subject.condition_of(image, number), &[draw], &name)?)
        })?;
        for (index, gradient) in found.iter().enumerate() {
            sample.set(first + index, gradient)?;
        }
        progress.set((first + found.len()) as u64, "pseudo-gradients");
    }
    progress.finish(&format!("{count} pseudo-gradients"));
    Ok(sample)
}

/// A step that visits every one of `count` places once, modulo their number, and is far from those it visited last: the golden
/// section of their number, or the next number above that has no divisor in common with it.
fn stride_through(count: usize) -> usize {
    const GOLDEN_SECTION: f64 = 0.618_033_988_749_895;
    let is_coprime = |stride: &usize| {
        let (mut a, mut b) = (*stride, count);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let first = (count as f64 * GOLDEN_SECTION) as usize;
    (first.max(1)..).find(is_coprime).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_schedule_is_visited_once_and_neighbours_are_far_apart() {
        for count in [1, 2, 32, 59, 147, 1000, 2147, 4000] {
            let stride = stride_through(count);
            let places: Vec<usize> = (0..count).map(|number| number * stride % count).collect();
            let mut sorted = places.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<_>>(), "{count}");
            // Four draws of one image: no two of them in the same tenth of the schedule.
            let between = |a: usize, b: usize| a.abs_diff(b).min(count - a.abs_diff(b));
            for four in places.windows(4).filter(|_| count >= 100) {
                for (first, &a) in four.iter().enumerate() {
                    assert!(
                        four[first + 1..].iter().all(|&b| between(a, b) > count / 10),
                        "{count}: {four:?}"
                    );
                }
            }
        }
    }
}
