//! The layers: blocks of a 3x3 convolution, a group normalisation (Wu and He 2018) and SiLU, then the mean over the
//! pixels and a linear layer.
//!
//! The linear layer and the mean over the pixels commute. So the linear layer runs on every pixel, as a convolution with
//! a kernel of one pixel, and the mean is taken of what comes out: every tensor operation is then one of the kernels,
//! whose results do not depend on threads or batches.

use burn::tensor::{Element, Gradients, Tensor, TensorData};
use pentimento_kernels::ConvGeometry;
use pentimento_kernels::extension::{GroupNormSettings, conv2d, device_for, group_norm};
use pentimento_noise::{Purpose, Stream};

use super::ClassifierConfig;

/// Number of features: channels of the last block.
pub(super) const FEATURES: usize = 64;
/// Channels of the first block, which keeps the image's size; each halving of the size doubles them up to [`FEATURES`].
const FIRST_CHANNELS: usize = 16;
/// The size is halved until the shorter side has no more pixels than this.
const LAST_SIDE_PIXELS: usize = 4;
const GROUPS: usize = 8;
const EPSILON: f64 = 1e-5;

/// One convolution, with what follows it.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    name: String,
    inputs: usize,
    outputs: usize,
    geometry: ConvGeometry,
    /// Whether group normalisation and SiLU follow.
    normalised: bool,
}

/// The structure of a classifier, without values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    layers: Vec<Layer>,
}

/// The name and the shape of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    start: Start,
}

impl Parameter {
    pub(super) fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Zero,
    One,
    /// Uniform within one over the root of the number of inputs of an output.
    Uniform,
}

impl Network {
    /// The network for images and classes of a valid configuration.
    pub(super) fn new(config: &ClassifierConfig) -> Self {
        let mut layers = Vec::new();
        let mut channels = config.channels;
        let mut block = |outputs: usize, stride: usize| {
            let geometry = ConvGeometry { stride, ..ConvGeometry::SAME_3X3 };
            let name = format!("blocks.{}", layers.len());
            layers.push(Layer { name, inputs: channels, outputs, geometry, normalised: true });
            channels = outputs;
        };
        block(FIRST_CHANNELS, 1);
        let (mut side, mut outputs) = (config.height.min(config.width), FIRST_CHANNELS);
        while side > LAST_SIDE_PIXELS || outputs < FEATURES {
            outputs = (2 * outputs).min(FEATURES);
            side = side.div_ceil(2);
            block(outputs, 2);
        }
        // This block sees the whole image. Without it two epochs of MNIST at 14x14 pixels gave 97.5 to 97.8 % instead of
        // 98.5 to 98.7 %, both with a learning rate of 3e-3.
        block(FEATURES, 1);
        layers.push(Layer {
            name: "head".to_owned(),
            inputs: FEATURES,
            outputs: config.classes,
            geometry: ConvGeometry::POINTWISE,
            normalised: false,
        });
        Self { layers }
    }

    /// The parameters, in the order of the values.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        for Layer { name, inputs, outputs, geometry, normalised } in &self.layers {
            let mut parameter = |part: &str, shape: &[usize], start| {
                parameters.push(Parameter { name: format!("{name}.{part}"), shape: shape.to_vec(), start });
            };
            parameter("weight", &[geometry.kernel, geometry.kernel, *inputs, *outputs], Start::Uniform);
            parameter("bias", &[*outputs], Start::Zero);
            if *normalised {
                parameter("norm.scale", &[*outputs], Start::One);
                parameter("norm.shift", &[*outputs], Start::Zero);
            }
        }
        parameters
    }

    /// The values of an untrained network.
    pub(super) fn initial_values(&self, seed: u64) -> Vec<Vec<f32>> {
        let start = |(place, parameter): (usize, Parameter)| {
            let mut values = vec![0.0; parameter.length()];
            match parameter.start {
                Start::Zero => {}
                Start::One => values.fill(1.0),
                Start::Uniform => {
                    let inputs: usize = parameter.shape.iter().take(3).product();
                    let bound = (1.0 / (inputs as f64).sqrt()) as f32;
                    Stream::new(seed, Purpose::ClassifierTraining, super::WEIGHTS_ID, place as u32)
                        .fill_uniform(&mut values);
                    values.iter_mut().for_each(|value| *value = bound * (2.0 * *value - 1.0));
                }
            }
            values
        };
        self.parameters().into_iter().enumerate().map(start).collect()
    }

    /// Puts values, one vector for each of [`parameters`](Self::parameters), into tensors of their type.
    ///
    /// # Panics
    ///
    /// If the number or a length of the values is not that of the parameters.
    pub(super) fn load<T: Element>(&self, values: &[Vec<T>]) -> Vec<LayerTensors> {
        let options = (&device_for(T::dtype()), T::dtype());
        let vector =
            |values: &Vec<T>| Tensor::from_data(TensorData::new(values.clone(), [values.len()]), options);
        let mut values = values;
        let mut next = |count: usize| {
            let (taken, rest) = values.split_at(count);
            values = rest;
            taken
        };
        let tensors = |layer: &Layer| {
            let taken = next(if layer.normalised { 4 } else { 2 });
            let shape = [layer.geometry.kernel, layer.geometry.kernel, layer.inputs, layer.outputs];
            LayerTensors {
                weight: Tensor::from_data(TensorData::new(taken[0].clone(), shape), options),
                vectors: taken[1..].iter().map(vector).collect(),
            }
        };
        self.layers.iter().map(tensors).collect()
    }

    /// Features and class scores of every pixel of the last block, `[images, height, width, features]` and
    /// `[images, height, width, classes]`; `images` is `[images, height, width, channels]`.
    pub(super) fn forward(&self, tensors: &[LayerTensors], images: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let (mut input, mut output) = (images.clone(), images);
        for (layer, tensors) in self.layers.iter().zip(tensors) {
            input = output;
            output = conv2d(
                input.clone(),
                tensors.weight.clone(),
                Some(tensors.vectors[0].clone()),
                layer.geometry,
            );
            if let [_, scale, shift] = tensors.vectors.as_slice() {
                let settings = GroupNormSettings { groups: GROUPS, epsilon: EPSILON, silu: true };
                output = group_norm(output, scale.clone(), shift.clone(), settings);
            }
        }
        (input, output)
    }
}

/// The values of one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerTensors {
    weight: Tensor<4>,
    /// The bias; then scale and shift of the normalisation, if there is one.
    vectors: Vec<Tensor<1>>,
}

impl LayerTensors {
    /// The same values as leaves of automatic differentiation.
    pub(super) fn tracked(&self) -> Self {
        Self {
            weight: self.weight.clone().autodiff().require_grad(),
            vectors: self.vectors.iter().map(|vector| vector.clone().autodiff().require_grad()).collect(),
        }
    }

    /// The gradients of tracked values, in the order of the parameters. Every parameter has one, as all of them lead to
    /// the class scores.
    #[allow(clippy::panic, reason = "a gradient that does not come back must not pass for none")]
    pub(super) fn take_gradients<T: Element>(&self, gradients: &mut Gradients) -> Vec<Vec<T>> {
        let vectors: Vec<_> =
            self.vectors.iter().map(|vector| vector.grad_remove(gradients).map(Tensor::into_data)).collect();
        [self.weight.grad_remove(gradients).map(Tensor::into_data)]
            .into_iter()
            .chain(vectors)
            .map(|data| match data.map(TensorData::try_into_vec) {
                Some(Ok(gradient)) => gradient,
                other => panic!("gradient of the classifier: {:?}", other.map(|found| found.err())),
            })
            .collect()
    }
}

/// The mean over the pixels of each image: `[images, channels]` from `[images, height, width, channels]`, summed in f64
/// pixel after pixel.
pub(super) fn pixel_means(map: Tensor<4>) -> Vec<f64> {
    let [images, height, width, channels] = map.dims();
    let values: Vec<f64> = map.into_data().iter::<f64>().collect();
    let mut means = vec![0.0; images * channels];
    for (mean, image) in means.chunks_exact_mut(channels).zip(values.chunks_exact(height * width * channels))
    {
        for pixel in image.chunks_exact(channels) {
            mean.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= (height * width) as f64);
    }
    means
}
