//! The softmax and the loss, image by image in f64.

use burn::tensor::{Element, Tensor, TensorData};
use pentimento_kernels::extension::device_for;

use super::network::{LayerTensors, Network, pixel_means};

/// Turns class scores `[classes]` into probabilities; the largest score is taken away first, so nothing overflows.
pub(super) fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|score| *score = libm::exp(*score - largest));
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The mean cross-entropy over images, -ln of the probability of the label, and its gradient in the class scores.
/// `scores` is `[images, classes]`, and so is the gradient.
pub(super) fn cross_entropy(mut scores: Vec<f64>, classes: usize, labels: &[u32]) -> (f64, Vec<f64>) {
    let images = labels.len() as f64;
    let mut loss = 0.0;
    for (scores, &label) in scores.chunks_exact_mut(classes).zip(labels) {
        let (label, largest) = (label as usize, scores.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        let above_label = largest - scores[label];
        let sum: f64 = scores.iter().map(|score| libm::exp(score - largest)).sum();
        loss += libm::log(sum) + above_label;
        softmax(scores);
        scores[label] -= 1.0;
        scores.iter_mut().for_each(|gradient| *gradient /= images);
    }
    (loss / images, scores)
}

/// The loss of a batch and its gradient in every parameter of the (untracked) `tensors`, in the order of the parameters.
///
/// The gradient of the loss in the class scores is computed in a fixed order; automatic differentiation then only
/// carries it on.
pub(super) fn loss_and_gradients<T: Element>(
    network: &Network,
    tensors: &[LayerTensors],
    images: Tensor<4>,
    labels: &[u32],
) -> (f64, Vec<Vec<T>>) {
    let tracked: Vec<LayerTensors> = tensors.iter().map(LayerTensors::tracked).collect();
    let (_, scores) = network.forward(&tracked, images);
    let [count, height, width, classes] = scores.dims();
    let (loss, in_means) = cross_entropy(pixel_means(scores.clone().inner()), classes, labels);
    // A mean hands each of its pixels an equal share.
    let pixels = height * width;
    let in_scores: Vec<f64> = in_means
        .chunks_exact(classes)
        .flat_map(|image| std::iter::repeat_n(image, pixels).flatten())
        .map(|gradient| gradient / pixels as f64)
        .collect();
    let shape = [count, height, width, classes];
    let in_scores =
        Tensor::<4>::from_data(TensorData::new(in_scores, shape), (&device_for(T::dtype()), T::dtype()));
    let mut gradients = (scores * in_scores).sum().backward();
    let gradients = tracked.iter().flat_map(|layer| layer.take_gradients(&mut gradients)).collect();
    (loss, gradients)
}
