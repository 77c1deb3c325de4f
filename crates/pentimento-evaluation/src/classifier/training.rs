use std::f64::consts::PI;

use burn::tensor::{DType, Tensor, TensorData};
use pentimento_diffusion::optimiser::{Adam, AdamConfig};
use pentimento_kernels::extension::device_for;
use pentimento_noise::{Purpose, Stream};
use rayon::prelude::*;

use super::loss::loss_and_gradients;
use super::network::Network;
use super::{Classifier, ClassifierConfig, ClassifierError};

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// The mean cross-entropy over the batch of the last step, before its update; ln(classes) is that of guessing.
    pub loss: f64,
}

impl Classifier {
    /// Trains a classifier on labelled images with softmax cross-entropy and Adam.
    ///
    /// `images` writes the image with an index below `count`, `[height, width, channels]` in [-1, 1]; `labels` has its
    /// class. Each epoch visits the images in a new order, and leaves out what does not fill a batch. The result depends
    /// on the configuration and the images only.
    ///
    /// # Errors
    ///
    /// [`ClassifierError`] if a setting is out of bounds, there are no images, the labels are not as many or one is no
    /// class, an image has a value that is not finite, or the loss is no longer finite. And whatever `progress` returns,
    /// which is called after each step.
    pub fn train<E: From<ClassifierError>>(
        config: ClassifierConfig,
        images: &(dyn Fn(usize, &mut [f32]) + Sync),
        count: usize,
        labels: &[u32],
        mut progress: impl FnMut(Progress) -> Result<(), E>,
    ) -> Result<Self, E> {
        config.validate()?;
        check_labels(count, labels, config.classes)?;
        let count_u32 = u32::try_from(count).map_err(|_| ClassifierError::TooManyImages { count })?;

        let network = Network::new(&config);
        let mut values = network.initial_values(config.seed);
        let mut adam = Adam::new(AdamConfig::default(), values.iter().map(Vec::len));
        let batch = config.batch.min(count);
        let batches = count / batch;
        let steps = config.epochs * batches;
        for epoch in 0..config.epochs {
            let stream = Stream::new(config.seed, Purpose::ClassifierTraining, super::ORDER_ID, epoch as u32);
            let order = stream.permutation(count_u32);
            for (place, chosen) in order.chunks_exact(batch).enumerate() {
                let step = epoch * batches + place;
                let input = read_batch(&config, images, chosen)?;
                let labels: Vec<u32> = chosen.iter().map(|&index| labels[index as usize]).collect();
                let (loss, gradients) = loss_and_gradients(&network, &network.load(&values), input, &labels);
                if !loss.is_finite() {
                    return Err(ClassifierError::Diverged { step, loss }.into());
                }
                adam.update(step + 1, learning_rate_at(&config, step, steps), &mut values, &gradients);
                progress(Progress { step: step + 1, steps, loss })?;
            }
        }
        // The loss of the last step is from before its update.
        if values.iter().flatten().any(|value| !value.is_finite()) {
            return Err(ClassifierError::Diverged { step: steps - 1, loss: f64::NAN }.into());
        }
        Ok(Self { config, network, values })
    }
}

pub(super) fn check_labels(images: usize, labels: &[u32], classes: usize) -> Result<(), ClassifierError> {
    if images == 0 {
        return Err(ClassifierError::NoImages);
    }
    if labels.len() != images {
        return Err(ClassifierError::LabelCount { labels: labels.len(), images });
    }
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(index) => Err(ClassifierError::LabelOutOfRange { index, label: labels[index], classes }),
        None => Ok(()),
    }
}

/// Half a cosine from the configured rate to zero (Loshchilov and Hutter 2017, without restarts).
fn learning_rate_at(config: &ClassifierConfig, step: usize, steps: usize) -> f64 {
    config.learning_rate * 0.5 * (1.0 + libm::cos(PI * step as f64 / steps as f64))
}

fn read_batch(
    config: &ClassifierConfig,
    images: &(dyn Fn(usize, &mut [f32]) + Sync),
    chosen: &[u32],
) -> Result<Tensor<4>, ClassifierError> {
    let length = config.image_length();
    let mut pixels = vec![0.0_f32; chosen.len() * length];
    pixels.par_chunks_exact_mut(length).zip(chosen).for_each(|(image, &index)| images(index as usize, image));
    if let Some(position) = pixels.iter().position(|value| !value.is_finite()) {
        let (image, index) = (chosen[position / length] as usize, position % length);
        return Err(ClassifierError::NotFinite { image, index, value: pixels[position] });
    }
    let shape = [chosen.len(), config.height, config.width, config.channels];
    Ok(Tensor::from_data(TensorData::new(pixels, shape), &device_for(DType::F32)))
}
