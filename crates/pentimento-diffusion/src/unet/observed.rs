//! A pass that remembers what goes into each layer, and whose backward pass tells the gradient of what comes out of it.
//!
//! Those two are what the curvature of a layer is made of. The gradient of an output is that of a *probe*. Parameters are not
//! tracked, so the backward pass spends nothing on their gradients.

use super::architecture::Architecture;
use super::batch_condition::BatchCondition;
use super::flow::{ConvLayer, Flow, LayerNormLayer, NormLayer};
use super::layers::ParameterIndex;
use super::observer::{Observation, ObservedLayer, Observer};
use super::parameters::Parameters;
use super::precision::Precision;
use burn::tensor::{Gradients, Tensor, TensorData};
use pentimento_kernels::ConvGeometry;
use pentimento_kernels::extension::{self, GroupNormSettings};
use std::marker::PhantomData;
use std::ops::Range;

/// Values of a layer for some images, `[images, height, width, channels]`, where the pass left them.
#[derive(Clone, Debug)]
pub struct LayerValues<T> {
    data: TensorData,
    element: PhantomData<T>,
    /// Images, height, width, channels.
    pub sides: [usize; 4],
}

impl<T: Precision> LayerValues<T> {
    /// Takes values `[images, height, width, channels]`.
    pub fn new(values: Vec<T>, sides: [usize; 4]) -> Self {
        Self { data: TensorData::new(values, sides), element: PhantomData, sides }
    }

    /// The values in the order of `sides`, channels last.
    pub fn values(&self) -> &[T] {
        // The float type was checked where they were taken.
        self.data.as_slice().unwrap_or_default()
    }
}

/// What one layer saw in a pass and its backward pass.
#[derive(Clone, Debug)]
pub struct LayerRecord<T> {
    /// Place of the layer's first parameter (weight or scale) among [`Architecture::parameters`]; its bias, if it has one, or
    /// its shift follows it. Of an adapter, A and B are layers of their own, with the scale between them; layers beneath an
    /// adapter are not seen.
    pub at: usize,
    /// What went in. Of a normalisation: the normalised values, before scale and shift. Of a table of classes: one for the
    /// class of each image and zero for the others, `[images, 1, 1, classes]`.
    pub input: LayerValues<T>,
    /// The gradient in what came out, before SiLU.
    pub output_gradient: LayerValues<T>,
    /// Kernel, stride and padding; none for a normalisation.
    pub geometry: Option<ConvGeometry>,
}

/// What flows through: a tensor under automatic differentiation.
#[derive(Clone, Debug)]
struct Observed(Tensor<4>);

fn lift<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.is_autodiff() { tensor } else { tensor.autodiff() }
}

impl Observed {
    /// The output of a layer with its probe; SiLU is not part of it.
    fn probed(
        observer: Option<Observer>,
        at: ParameterIndex,
        layer: ObservedLayer,
        input: Self,
        output: Tensor<4>,
    ) -> Self {
        let Some(observer) = observer else { return Self(output) };
        let sides = output.dims();
        let (output, probe) = extension::probed(output);
        observer.push(Observation { at, input: input.0.inner(), probe, output: sides, layer });
        Self(output)
    }

    fn convolved(
        self,
        layer: ConvLayer,
        with: impl FnOnce(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvGeometry) -> Tensor<4>,
    ) -> Self {
        let output = with(self.0.clone(), lift(layer.weight), layer.bias.map(lift), layer.geometry);
        Self::probed(layer.observer, layer.at, ObservedLayer::Convolution(layer.geometry), self, output)
    }
}

impl Flow for Observed {
    fn constant(value: Tensor<4>) -> Self {
        Self(lift(value))
    }
    fn sides(&self) -> [usize; 4] {
        self.0.sides()
    }
    fn for_images(self, images: usize) -> Self {
        Self(self.0.for_images(images))
    }
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0))
    }
    fn conv2d(self, layer: ConvLayer) -> Self {
        self.convolved(layer, extension::conv2d)
    }
    fn conv2d_with_embedding(self, layer: ConvLayer, embedding: Self) -> Self {
        self.convolved(layer, |x, weight, bias, geometry| {
            extension::conv2d_with_embedding(x, weight, bias, embedding.0, geometry)
        })
    }
    fn conv2d_with_residual(self, layer: ConvLayer, residual: Self) -> Self {
        self.convolved(layer, |x, weight, bias, geometry| {
            extension::conv2d_with_residual(x, weight, bias, residual.0, geometry)
        })
    }
    fn group_norm(self, layer: NormLayer) -> Self {
        let (silu, settings) = (layer.settings.silu, GroupNormSettings { silu: false, ..layer.settings });
        let output = extension::group_norm(self.0.clone(), lift(layer.scale), lift(layer.shift), settings);
        let output = Self::probed(layer.observer, layer.at, ObservedLayer::Norm(settings), self, output);
        if silu { Flow::silu(output) } else { output }
    }
    fn layer_norm(self, layer: LayerNormLayer) -> Self {
        let output =
            extension::layer_norm(self.0.clone(), lift(layer.scale), lift(layer.shift), layer.epsilon);
        Self::probed(layer.observer, layer.at, ObservedLayer::LayerNorm(layer.epsilon), self, output)
    }
    fn silu(self) -> Self {
        Self(Flow::silu(self.0))
    }
    fn geglu(self) -> Self {
        Self(self.0.geglu())
    }
    fn attention(self, keys: Self, values: Self, heads: usize) -> Self {
        Self(self.0.attention(keys.0, values.0, heads))
    }
    fn upsample_nearest(self) -> Self {
        Self(self.0.upsample_nearest())
    }
    fn cropped(self, height: usize, width: usize) -> Self {
        Self(self.0.cropped(height, width))
    }
    fn average_pool(self) -> Self {
        Self(self.0.average_pool())
    }
    fn scale_shift(self, scale: Self, shift: Self) -> Self {
        Self(self.0.scale_shift(scale.0, shift.0))
    }
    fn concatenate_channels(self, other: Self) -> Self {
        Self(self.0.concatenate_channels(other.0))
    }
    fn channels(self, range: Range<usize>) -> Self {
        Self(self.0.channels(range))
    }
    fn affine(self, factor: f64, shift: f64) -> Self {
        Self(self.0.affine(factor, shift))
    }
}

impl Architecture {
    /// Runs the network on `input`, `[images, height, width, in_channels]`, lets `cotangent` turn the values of the output
    /// into the gradient of something in it, and gives what every layer saw, in the order of the pass.
    ///
    /// A condition must have a timestep, and a class or a text if the network is told such, for every image.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), or if `cotangent` gives another number of values, there is not a text for every image,
    /// or `T` is not the float type of the parameters.
    pub fn observe<T: Precision>(
        &self,
        parameters: &Parameters,
        input: Tensor<4>,
        condition: &BatchCondition,
        cotangent: impl FnOnce(&[T]) -> Vec<T>,
    ) -> Vec<LayerRecord<T>> {
        let observer = Observer::default();
        let images = input.dims()[0];
        let texts = condition.text.as_ref().map_or(images, |text| text.dims()[0]);
        assert_eq!(texts, images, "texts of observed images");
        let output =
            self.forward(&parameters.observed_by(&observer), Observed(input.autodiff()), condition).0;
        let values = taken::<T>(output.clone().inner());
        let cotangent = TensorData::new(cotangent(values.values()), values.sides);
        let cotangent = Tensor::<4>::from_data(cotangent, (&output.clone().inner().device(), T::dtype()));
        let mut gradients = (output * cotangent.autodiff()).sum().backward();
        let observations = observer.take();
        let mut records: Vec<LayerRecord<T>> =
            observations.into_iter().map(|observation| observation.record(&mut gradients)).collect();
        let embedding = self.time_embedding[1].at.0;
        let table = self.class_rows::<T>(condition, images).filter(|_| self.frozen().is_none());
        if let (Some((at, classes)), Some(linear)) =
            (table, records.iter().find(|record| record.at == embedding))
        {
            let output_gradient = linear.output_gradient.clone();
            records.push(LayerRecord {
                at,
                input: classes,
                output_gradient,
                geometry: Some(ConvGeometry::POINTWISE),
            });
        }
        records
    }

    /// Place of the table of classes, and which row of it each image takes.
    fn class_rows<T: Precision>(
        &self,
        condition: &BatchCondition,
        images: usize,
    ) -> Option<(usize, LayerValues<T>)> {
        let (at, rows) = (self.class_table()?, condition.class_rows()?);
        let classes = self.config().num_class_embeds?;
        let mut values = vec![T::of(0.0); images * classes];
        for (image, row) in rows.into_iter().enumerate() {
            values[image * classes + row] = T::of(1.0);
        }
        Some((at.0, LayerValues::new(values, [images, 1, 1, classes])))
    }
}

impl Observation {
    fn record<T: Precision>(self, gradients: &mut Gradients) -> LayerRecord<T> {
        let Self { at, input, probe, output, layer } = self;
        // A layer whose output reaches nothing has no gradient.
        let gradient = probe
            .grad_remove(gradients)
            .unwrap_or_else(|| Tensor::zeros(output, (&input.device(), T::dtype())));
        let (input, geometry) = match layer {
            ObservedLayer::Convolution(geometry) => (input, Some(geometry)),
            ObservedLayer::Norm(settings) => {
                let [scale, shift] = neutral::<T>(&input);
                (extension::group_norm(input, scale, shift, settings), None)
            }
            ObservedLayer::LayerNorm(epsilon) => {
                let [scale, shift] = neutral::<T>(&input);
                (extension::layer_norm(input, scale, shift, epsilon), None)
            }
        };
        LayerRecord { at: at.0, input: taken(input), output_gradient: taken(gradient), geometry }
    }
}

/// Scale and shift that leave normalised values as they are.
fn neutral<T: Precision>(input: &Tensor<4>) -> [Tensor<1>; 2] {
    let (channels, options) = (input.dims()[3], (&input.device(), T::dtype()));
    [Tensor::ones([channels], options), Tensor::zeros([channels], options)]
}

fn taken<T: Precision>(tensor: Tensor<4>) -> LayerValues<T> {
    let sides = tensor.dims();
    let data = tensor.into_data();
    assert!(data.as_slice::<T>().is_ok(), "values of a layer have another float type");
    LayerValues { data, element: PhantomData, sides }
}
