//! What only the inside shows; `tests/classifier.rs` has the rest.

use burn::tensor::{Device, Tensor, TensorData};
use pentimento_noise::{Purpose, Stream};

use super::loss::{cross_entropy, loss_and_gradients, softmax};
use super::network::{Network, pixel_means};
use super::{Classifier, ClassifierConfig};

fn normals(id: u32, length: usize) -> Vec<f64> {
    let mut values = vec![0.0; length];
    Stream::new(5, Purpose::Test, id, 0).fill_normal_f64(&mut values);
    values
}

/// A network with values that are nowhere special (a fresh one has biases of zero), in f64.
fn random_values(network: &Network) -> Vec<Vec<f64>> {
    let initial = network.initial_values(3);
    let moved = |(place, values): (usize, &Vec<f32>)| {
        let noise = normals(place as u32, values.len());
        values.iter().zip(noise).map(|(&value, noise)| f64::from(value) + 0.1 * noise).collect()
    };
    initial.iter().enumerate().map(moved).collect()
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let config = ClassifierConfig::new(4, [9, 8, 3]);
    let network = Network::new(&config);
    let labels = [2, 0];
    let shape = [2, 9, 8, 3];
    let pixels = normals(1000, shape.iter().product());
    let images = || {
        Tensor::<4>::from_data(
            TensorData::new(pixels.clone(), shape),
            (&Device::flex(), burn::tensor::DType::F64),
        )
    };
    let loss = |values: &[Vec<f64>]| {
        let (_, scores) = network.forward(&network.load(values), images());
        cross_entropy(pixel_means(scores), config.classes, &labels).0
    };

    let values = random_values(&network);
    let (value, gradients) = loss_and_gradients::<f64>(&network, &network.load(&values), images(), &labels);
    assert_eq!(value, loss(&values));
    // Each parameter along a random direction of its own, so that none hides behind another.
    let parameters = network.parameters();
    assert_eq!(gradients.len(), parameters.len());
    for (place, parameter) in parameters.iter().enumerate() {
        let direction = normals(2000 + place as u32, parameter.length());
        let at = |distance: f64| {
            let mut moved = values.clone();
            moved[place].iter_mut().zip(&direction).for_each(|(value, along)| *value += distance * along);
            loss(&moved)
        };
        let step = 1e-4;
        // The error of this difference is of order step⁴.
        let expected = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
        let slope: f64 = gradients[place].iter().zip(&direction).map(|(g, d)| g * d).sum();
        let error = (slope - expected).abs();
        assert!(expected.abs() > 1e-6, "{}: {expected} shows nothing", parameter.name);
        assert!(error < 1e-7 * expected.abs().max(1e-2), "{}: {slope} {expected}", parameter.name);
    }
}

#[test]
fn cross_entropy_by_hand() {
    // The probabilities are 1/4, 3/4 and 1/2, 1/2.
    let (loss, gradient) = cross_entropy(vec![0.0, libm::log(3.0), 7.0, 7.0], 2, &[1, 0]);
    assert!((loss - (libm::log(4.0 / 3.0) + libm::log(2.0)) / 2.0).abs() < 1e-15, "{loss}");
    for (gradient, expected) in gradient.iter().zip([0.125, -0.125, -0.25, 0.25]) {
        assert!((gradient - expected).abs() < 1e-15, "{gradient} {expected}");
    }
    // Neither overflows nor loses what is left of it.
    let (loss, gradient) = cross_entropy(vec![1e6, 0.0], 2, &[1]);
    assert_eq!((loss, gradient), (1e6, vec![1.0, -1.0]));
}

#[test]
fn probabilities_are_the_softmax_of_the_linear_layer_on_the_features() {
    let config = ClassifierConfig::new(5, [14, 11, 1]);
    let network = Network::new(&config);
    let values: Vec<Vec<f32>> = random_values(&network)
        .iter()
        .map(|values| values.iter().map(|&value| value as f32).collect())
        .collect();
    let classifier = Classifier { config, network, values };
    let images: Vec<f32> = normals(1, 3 * config.image_length()).iter().map(|&value| value as f32).collect();
    let features = classifier.features(&images).unwrap();
    let probabilities = classifier.probabilities(&images).unwrap();
    let [.., weight, bias] = classifier.values.as_slice() else { panic!("no linear layer") };
    for (features, probabilities) in
        features.chunks_exact(Classifier::FEATURES).zip(probabilities.chunks_exact(5))
    {
        let mut expected: Vec<f64> = bias.iter().map(|&bias| f64::from(bias)).collect();
        for (feature, weights) in features.iter().zip(weight.chunks_exact(5)) {
            expected
                .iter_mut()
                .zip(weights)
                .for_each(|(score, &w)| *score += f64::from(*feature) * f64::from(w));
        }
        softmax(&mut expected);
        for (probability, expected) in probabilities.iter().zip(expected) {
            assert!((f64::from(*probability) - expected).abs() < 1e-5, "{probability} {expected}");
        }
    }
}
