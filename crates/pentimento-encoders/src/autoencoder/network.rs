//! The forward passes, and how pictures are shared out to threads.

use super::plan::{Attention, Coder, Conv, Level, Middle, Norm, Plan, Resnet};
use burn::tensor::{DType, Tensor, TensorData};
use pentimento_diffusion::side_by_side::side_by_side;
use pentimento_kernels::extension::{self, DeviceKind, GroupNormSettings, chosen_device_kind, device_for};
use std::convert::Infallible;

/// Added to the variance in every norm of an autoencoder, whatever else a pipeline says.
const EPSILON: f64 = 1e-6;

/// Pixels that pass through together. A call prepares its weights once, which for pictures of 32x32 pixels takes longer than
/// to encode one; and what is in memory at once grows with the pixels.
const PIXELS_TOGETHER: usize = 1 << 14;

#[derive(Clone, Debug)]
enum Value {
    Weight(Tensor<4>),
    Vector(Tensor<1>),
}

/// An autoencoder with its values.
#[derive(Clone, Debug)]
pub(super) struct Network {
    plan: Plan,
    values: Vec<Value>,
}

impl Network {
    /// Takes values in memory layout, one vector per parameter of the plan.
    ///
    /// # Panics
    ///
    /// If the number or the lengths are not those of the plan.
    pub(super) fn new(plan: Plan, values: Vec<Vec<f32>>) -> Self {
        assert_eq!(values.len(), plan.parameters.len(), "number of parameters");
        let options = (&device_for(DType::F32), DType::F32);
        let with_shape = |(spec, values): (&pentimento_diffusion::unet::ParameterSpec, Vec<f32>)| {
            assert_eq!(values.len(), spec.len(), "length of {}", spec.name);
            let shape = spec.memory_shape();
            if shape.len() == 1 {
                Value::Vector(Tensor::from_data(TensorData::new(values, shape), options))
            } else {
                Value::Weight(Tensor::from_data(TensorData::new(values, shape), options))
            }
        };
        let values = plan.parameters.iter().zip(values).map(with_shape).collect();
        Self { plan, values }
    }

    /// From pictures `[images, height, width, channels]` of `size` (height, width, channels) to what the encoder and its
    /// convolution make of them.
    pub(super) fn encode(&self, pictures: &[f32], size: [usize; 3]) -> Vec<f32> {
        in_parts(pictures, size, size[0] * size[1], |images| {
            let Coder { conv_in, levels, middle, norm_out, conv_out } = &self.plan.encoder;
            let mut x = self.conv(conv_in, images);
            for Level { resnets, resize } in levels {
                x = resnets.iter().fold(x, |x, resnet| self.resnet(resnet, x));
                if let Some(conv) = resize {
                    x = self.conv(conv, x);
                }
            }
            let x = self.middle(middle, x);
            let x = self.conv(conv_out, self.norm(norm_out, x, true));
            self.optional_conv(self.plan.quant_conv.as_ref(), x)
        })
    }

    /// From latents of `size` to pictures.
    pub(super) fn decode(&self, latents: &[f32], size: [usize; 3]) -> Vec<f32> {
        let factor = 1 << (self.plan.decoder.levels.len() - 1);
        in_parts(latents, size, size[0] * factor * size[1] * factor, |latents| {
            let Coder { conv_in, levels, middle, norm_out, conv_out } = &self.plan.decoder;
            let x = self.optional_conv(self.plan.post_quant_conv.as_ref(), latents);
            let mut x = self.middle(middle, self.conv(conv_in, x));
            for Level { resnets, resize } in levels {
                x = resnets.iter().fold(x, |x, resnet| self.resnet(resnet, x));
                if let Some(conv) = resize {
                    x = self.conv(conv, extension::upsample_nearest(x));
                }
            }
            self.conv(conv_out, self.norm(norm_out, x, true))
        })
    }

    fn middle(&self, middle: &Middle, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.resnet(&middle.before, x);
        if let Some(attention) = &middle.attention {
            x = self.attention(attention, x);
        }
        self.resnet(&middle.after, x)
    }

    fn resnet(&self, resnet: &Resnet, x: Tensor<4>) -> Tensor<4> {
        let inside = self.conv(&resnet.conv1, self.norm(&resnet.norm1, x.clone(), true));
        let inside = self.norm(&resnet.norm2, inside, true);
        let past = self.optional_conv(resnet.shortcut.as_ref(), x);
        self.conv_with_residual(&resnet.conv2, inside, past)
    }

    fn attention(&self, attention: &Attention, x: Tensor<4>) -> Tensor<4> {
        let inside = self.norm(&attention.norm, x.clone(), false);
        let queries = self.conv(&attention.query, inside.clone());
        let keys = self.conv(&attention.key, inside.clone());
        let values = self.conv(&attention.value, inside);
        let attended = extension::attention(queries, keys, values, 1);
        self.conv_with_residual(&attention.output, attended, x)
    }

    fn conv(&self, conv: &Conv, x: Tensor<4>) -> Tensor<4> {
        extension::conv2d(x, self.weight(conv.at), Some(self.vector(conv.at + 1)), conv.geometry)
    }

    fn conv_with_residual(&self, conv: &Conv, x: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight(conv.at), self.vector(conv.at + 1));
        extension::conv2d_with_residual(x, weight, Some(bias), residual, conv.geometry)
    }

    fn optional_conv(&self, conv: Option<&Conv>, x: Tensor<4>) -> Tensor<4> {
        match conv {
            Some(conv) => self.conv(conv, x),
            None => x,
        }
    }

    fn norm(&self, norm: &Norm, x: Tensor<4>, silu: bool) -> Tensor<4> {
        let settings = GroupNormSettings { groups: self.plan.groups, epsilon: EPSILON, silu };
        extension::group_norm(x, self.vector(norm.at), self.vector(norm.at + 1), settings)
    }

    #[allow(clippy::panic, reason = "a plan's places and kinds are its own")]
    fn weight(&self, at: usize) -> Tensor<4> {
        match &self.values[at] {
            Value::Weight(tensor) => tensor.clone(),
            Value::Vector(_) => panic!("parameter {at} is not a weight"),
        }
    }

    #[allow(clippy::panic, reason = "a plan's places and kinds are its own")]
    fn vector(&self, at: usize) -> Tensor<1> {
        match &self.values[at] {
            Value::Vector(tensor) => tensor.clone(),
            Value::Weight(_) => panic!("parameter {at} is not a vector"),
        }
    }
}

/// Runs `pass` on a few images at a time, parts side by side on threads of their own. `pixels` are those of an image where it
/// is largest. How images are cut into parts changes no byte, as the layers work image by image.
#[allow(clippy::panic, reason = "the layers keep the type of their values")]
fn in_parts(
    values: &[f32],
    [height, width, channels]: [usize; 3],
    pixels: usize,
    pass: impl Fn(Tensor<4>) -> Tensor<4> + Sync,
) -> Vec<f32> {
    let length = height * width * channels;
    assert!(values.len().is_multiple_of(length), "{} values are no images of {length}", values.len());
    let images = values.len() / length;
    let per_thread = images.div_ceil(rayon::current_num_threads()).max(1);
    let together = (PIXELS_TOGETHER / pixels).clamp(1, per_thread);
    let parts: Vec<&[f32]> = values.chunks(together * length).collect();
    let work = |index: usize| {
        let part = parts[index];
        let shape = [part.len() / length, height, width, channels];
        let options = (&device_for(DType::F32), DType::F32);
        let data = pass(Tensor::from_data(TensorData::new(part.to_vec(), shape), options)).into_data();
        Ok::<Vec<f32>, Infallible>(data.try_into_vec().unwrap_or_else(|error| panic!("images: {error:?}")))
    };
    let done = match chosen_device_kind() {
        DeviceKind::Cpu => side_by_side(parts.len(), work),
        // Other devices share out each layer by themselves.
        _ => (0..parts.len()).map(work).collect(),
    };
    match done {
        Ok(parts) => parts.concat(),
        Err(never) => match never {},
    }
}
