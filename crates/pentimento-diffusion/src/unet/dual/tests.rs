//! Every operation, with and without tangents in each of its arguments.

use super::super::layers::ParameterIndex;
use super::super::precision::Precision;
use super::*;
use burn::tensor::TensorData;
use pentimento_kernels::ConvGeometry;
use pentimento_kernels::extension::{GroupNormSettings, device_for};
use pentimento_noise::{Purpose, Stream};

const IMAGES: usize = 2;
const DIRECTIONS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Add,
    Conv2d,
    Conv2dWithEmbedding,
    Conv2dWithResidual,
    GroupNorm,
    LayerNorm,
    Silu,
    Geglu,
    Attention,
    AttentionOverText,
    ForImages,
    UpsampleNearest,
    Cropped,
    AveragePool,
    ScaleShift,
    ConcatenateChannels,
    Channels,
    Affine,
}

use Operation::*;

const ALL: [Operation; 18] = [
    Add,
    Conv2d,
    Conv2dWithEmbedding,
    Conv2dWithResidual,
    GroupNorm,
    LayerNorm,
    Silu,
    Geglu,
    Attention,
    AttentionOverText,
    ForImages,
    UpsampleNearest,
    Cropped,
    AveragePool,
    ScaleShift,
    ConcatenateChannels,
    Channels,
    Affine,
];

/// An operation on values of some sides, and which of them have tangents.
#[derive(Clone, Debug)]
struct Case {
    operation: Operation,
    sides: Vec<[usize; 4]>,
    has_tangent: Vec<bool>,
}

/// Every operation with every choice of arguments that have tangents, and with embeddings of each image and of all of
/// them. Convolutions are narrow, and wide enough for Winograd's way.
fn cases() -> Vec<Case> {
    let image = |channels| [IMAGES, 4, 6, channels];
    let mut cases = Vec::new();
    for (embeddings, input, output) in [(1, 3, 4), (IMAGES, 32, 33)] {
        for operation in ALL {
            let sides = match operation {
                Add => vec![[embeddings, 1, 1, 5], [IMAGES, 1, 1, 5]],
                Conv2dWithEmbedding => vec![image(input), [embeddings, 1, 1, output]],
                Conv2dWithResidual => vec![image(input), image(output)],
                Attention => vec![image(8); 3],
                AttentionOverText => vec![image(8), [IMAGES, 1, 7, 8], [IMAGES, 1, 7, 8]],
                ForImages => vec![[embeddings, 1, 3, 5]],
                ScaleShift => vec![image(5), [embeddings, 1, 1, 5], [embeddings, 1, 1, 5]],
                ConcatenateChannels => vec![image(3), image(5)],
                Conv2d => vec![image(input)],
                GroupNorm | LayerNorm | Silu | Geglu | UpsampleNearest | Cropped | AveragePool | Channels
                | Affine => {
                    vec![image(6)]
                }
            };
            for choice in 0..1 << sides.len() {
                let has_tangent = (0..sides.len()).map(|place| choice >> place & 1 == 1).collect();
                cases.push(Case { operation, sides: sides.clone(), has_tangent });
            }
        }
    }
    cases
}

/// Standard normal values that are the same for the same number.
fn normals(number: usize, length: usize) -> Vec<f64> {
    let mut values = vec![0.0; length];
    Stream::new(1, Purpose::Test, number as u32, 0).fill_normal(&mut values);
    values.into_iter().map(f64::from).collect()
}

fn tensor<T: Precision, const D: usize>(values: &[f64], sides: [usize; D]) -> Tensor<D> {
    let values: Vec<T> = values.iter().map(|&value| T::of(value)).collect();
    Tensor::from_data(TensorData::new(values, sides), (&device_for(T::dtype()), T::dtype()))
}

fn values_of<T: Precision>(tensor: Tensor<4>) -> Vec<T> {
    tensor.into_data().try_into_vec().unwrap()
}

fn conv<T: Precision>(input: usize, output: usize) -> ConvLayer {
    ConvLayer {
        weight: tensor::<T, 4>(&normals(100, 9 * input * output), [3, 3, input, output]),
        bias: Some(tensor::<T, 1>(&normals(101, output), [output])),
        geometry: ConvGeometry::SAME_3X3,
        at: ParameterIndex(0),
        observer: None,
    }
}

impl Case {
    fn apply<T: Precision, F: Flow>(&self, values: Vec<F>) -> F {
        let channels = |place: usize| self.sides[place][3];
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap();
        match self.operation {
            Add => next().add(next()),
            Conv2d => next().conv2d(conv::<T>(channels(0), 4)),
            Conv2dWithEmbedding => next().conv2d_with_embedding(conv::<T>(channels(0), channels(1)), next()),
            Conv2dWithResidual => next().conv2d_with_residual(conv::<T>(channels(0), channels(1)), next()),
            GroupNorm => next().group_norm(NormLayer {
                scale: tensor::<T, 1>(&normals(102, channels(0)), [channels(0)]),
                shift: tensor::<T, 1>(&normals(103, channels(0)), [channels(0)]),
                settings: GroupNormSettings { groups: 2, epsilon: 1e-5, silu: true },
                at: ParameterIndex(0),
                observer: None,
            }),
            LayerNorm => next().layer_norm(LayerNormLayer {
                scale: tensor::<T, 1>(&normals(102, channels(0)), [channels(0)]),
                shift: tensor::<T, 1>(&normals(103, channels(0)), [channels(0)]),
                epsilon: 1e-2,
                at: ParameterIndex(0),
                observer: None,
            }),
            Silu => next().silu(),
            Geglu => next().geglu(),
            ForImages => next().for_images(IMAGES),
            Attention | AttentionOverText => next().attention(next(), next(), 2),
            UpsampleNearest => next().upsample_nearest(),
            Cropped => next().cropped(3, 5),
            AveragePool => next().average_pool(),
            ScaleShift => next().scale_shift(next(), next()),
            ConcatenateChannels => next().concatenate_channels(next()),
            Channels => next().channels(1..4),
            Affine => next().affine(2.0, -1.0),
        }
    }

    fn point(&self, place: usize) -> Vec<f64> {
        normals(place, self.sides[place].iter().product())
    }

    fn tangents(&self, place: usize) -> Vec<f64> {
        normals(10 + place, DIRECTIONS * self.sides[place].iter().product::<usize>())
    }

    /// The operation on values with tangents; `absent` makes those that have none.
    fn derivative<T: Precision>(&self, absent: impl Fn(Tensor<4>) -> Dual) -> Dual {
        let argument = |(place, &sides): (usize, &[usize; 4])| {
            let primal = tensor::<T, 4>(&self.point(place), sides);
            if !self.has_tangent[place] {
                return absent(primal);
            }
            let [images, height, width, channels] = sides;
            let sides = [images * DIRECTIONS, height, width, channels];
            Dual::new(primal, tensor::<T, 4>(&self.tangents(place), sides))
        };
        self.apply::<T, Dual>(self.sides.iter().enumerate().map(argument).collect())
    }

    /// The operation in f64 where every argument that has tangents lies `step` further in one of the directions.
    fn moved(&self, step: f64, direction: usize) -> Vec<f64> {
        let argument = |(place, &sides): (usize, &[usize; 4])| {
            let (mut values, tangents) = (self.point(place), self.tangents(place));
            let length = values.len() / sides[0];
            for (at, value) in values.iter_mut().enumerate().filter(|_| self.has_tangent[place]) {
                *value += step * tangents[(at / length * DIRECTIONS + direction) * length + at % length];
            }
            tensor::<f64, 4>(&values, sides)
        };
        values_of(self.apply::<f64, Tensor<4>>(self.sides.iter().enumerate().map(argument).collect()))
    }
}

/// Differences over four places with step 1e-3 are off by 1e-12 / 30 times a fifth derivative (of a softmax some
/// hundred), plus some 1e-13 of rounding.
#[test]
fn tangents_are_those_of_finite_differences() {
    for case in cases() {
        let (value, tangents) = case.derivative::<f64>(<Dual as Flow>::constant).into_parts(DIRECTIONS);
        let [images, sides @ ..] = value.dims();
        assert_eq!((images, tangents.dims()[0]), (IMAGES, IMAGES * DIRECTIONS), "{case:?}");
        let (value, tangents) = (values_of::<f64>(value), values_of::<f64>(tangents));
        assert_eq!(value, case.moved(0.0, 0), "{case:?}: the primal is the plain value");
        let length: usize = sides.iter().product();
        for direction in 0..DIRECTIONS {
            let [near, before, far, long_before] =
                [1e-3, -1e-3, 2e-3, -2e-3].map(|step| case.moved(step, direction));
            for at in 0..value.len() {
                let expected = (8.0 * (near[at] - before[at]) - (far[at] - long_before[at])) / 12e-3;
                let found = tangents[(at / length * DIRECTIONS + direction) * length + at % length];
                let error = (found - expected).abs();
                assert!(
                    error < 1e-9 * expected.abs().max(1.0),
                    "{case:?}, direction {direction}, value {at}: {found} instead of {expected}"
                );
            }
        }
    }
}

/// With the kernels of f32, too: adding zero changes no value, so neither does leaving it out.
#[test]
fn an_absent_tangent_is_the_same_as_zeros() {
    let zeros = |primal: Tensor<4>| {
        let [images, height, width, channels] = primal.dims();
        let options = (&primal.device(), primal.dtype());
        let tangent = Tensor::zeros([images * DIRECTIONS, height, width, channels], options);
        Dual::new(primal, tangent)
    };
    for case in cases() {
        let absent = case.derivative::<f32>(<Dual as Flow>::constant);
        let some = case.has_tangent.contains(&true);
        assert_eq!(absent.tangent.is_some(), some, "{case:?}: zeros are not made for nothing");
        let (value, tangents) = absent.into_parts(DIRECTIONS);
        let (same_value, same_tangents) = case.derivative::<f32>(zeros).into_parts(DIRECTIONS);
        assert_eq!(tangents.dims(), same_tangents.dims(), "{case:?}");
        assert_eq!(values_of::<f32>(value), values_of::<f32>(same_value), "{case:?}");
        assert_eq!(values_of::<f32>(tangents), values_of::<f32>(same_tangents), "{case:?}");
    }
}

#[test]
#[should_panic(expected = "tangents along different directions")]
fn numbers_of_directions_do_not_mix() {
    let along = |directions| {
        Dual::new(
            tensor::<f32, 4>(&[1.0], [1; 4]),
            tensor::<f32, 4>(&vec![1.0; directions], [directions, 1, 1, 1]),
        )
    };
    along(1).add(along(2));
}

#[test]
#[should_panic(expected = "tangents of 1 images")]
fn another_number_of_tangents_is_no_answer() {
    let one = tensor::<f32, 4>(&[1.0], [1; 4]);
    Dual::new(one.clone(), one).into_parts(2);
}
