//! The images that networks predict on the way to a sample.

use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;

/// What was predicted at each step of each trajectory, `[trajectories][steps][image]` (Georgiev et al. 2023, in the variant of
/// D-TRAK's authors: all steps). Predictions are kept in `range`, as whoever clips them does.
///
/// # Errors
///
/// Whatever `go_on` returns, which is called at each step.
pub fn journeys<E>(
    mixture: &Mixture,
    sampler: &Sampler,
    seed: u64,
    trajectories: &[Trajectory],
    range: Option<f32>,
    mut go_on: impl FnMut() -> Result<(), E>,
) -> Result<Vec<Vec<Vec<f32>>>, E> {
    let length = mixture.image_length();
    let mut images: Vec<Vec<Vec<f32>>> = vec![Vec::new(); trajectories.len()];
    mixture.follow::<f32, E>(sampler, seed, trajectories, |step, x, predicted| {
        go_on()?;
        let mut predicted = sampler.predicted_image(step, x, predicted);
        // The sampler leaves it to others in its last step.
        if let Some(range) = range {
            predicted.iter_mut().for_each(|value| *value = value.clamp(-range, range));
        }
        for (images, image) in images.iter_mut().zip(predicted.chunks_exact(length)) {
            images.push(image.to_vec());
        }
        Ok(())
    })?;
    Ok(images)
}
