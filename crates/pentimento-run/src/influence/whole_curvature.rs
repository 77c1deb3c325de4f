//! A sample of a network's whole curvature, for conjugate gradients.

use super::curvature_store::Measurement;
use crate::error::{Result, RunError};
use crate::gradients::noise_id;
use pentimento_attribution::curvature::{CurvaturePass, SampledCurvature, whole_curvature_draw};
use pentimento_attribution::gradient::side_by_side;
use pentimento_diffusion::unet::Parameters;

/// Fewer pseudo-gradients are no sample of a matrix.
const FEWEST: usize = 32;

/// Pseudo-gradients of a network on the images of its curvature, each image as often as any other.
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
    let of_image = count.div_ceil(images.len().max(1));
    let progress = workspace.reporter().begin(&measurement.work_on("whole curvature"), count as u64, 0);
    let mut sample = SampledCurvature::zeros(length, count);
    let at_once = rayon::current_num_threads().max(1);
    for first in (0..count).step_by(at_once) {
        let found = side_by_side(at_once.min(count - first), |index| -> Result<Vec<f32>> {
            workspace.options.stop.check()?;
            // First one draw of every image, then the next one.
            let (round, place) = ((first + index) / images.len(), (first + index) % images.len());
            let image = images[place];
            let values = subject.training.images.scaled(image);
            let id = noise_id(&subject.image_key(image));
            let draw = whole_curvature_draw(&recipe.schedule, recipe.seed, round, of_image, id, values.len());
            let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
            Ok(pass.pseudo_gradient(&values, subject.class_of(image), &[draw], &name)?)
        })?;
        for (index, gradient) in found.iter().enumerate() {
            sample.set(first + index, gradient)?;
        }
        progress.set((first + found.len()) as u64, "pseudo-gradients");
    }
    progress.finish(&format!("{count} pseudo-gradients"));
    Ok(sample)
}
