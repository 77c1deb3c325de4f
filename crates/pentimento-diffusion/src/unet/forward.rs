//! The forward pass, for whatever flows through.

use super::architecture::{Architecture, Attention, ClassEmbedding, Conv, Resampling, Resize, Resnet};
use super::flow::Flow;
use super::parameters::{Parameters, Precision};
use burn::tensor::{Int, Tensor, TensorData};
use pentimento_kernels::extension::device_for;

/// What a network is told beside the images: at which timestep each one is and, if it was trained with classes, of which
/// class it is.
#[derive(Clone, Debug)]
pub struct Condition {
    sinusoids: Tensor<4>,
    class: Option<Class>,
}

#[derive(Clone, Debug)]
enum Class {
    /// Rows of the table, `[classes]`.
    Rows(Tensor<1, Int>),
    /// The embedding of classes as timesteps, `[classes, 1, 1, channels]`.
    Sinusoids(Tensor<4>),
}

impl Condition {
    /// Timesteps and classes, of each one per image or one for all; no class for a network without them.
    ///
    /// # Panics
    ///
    /// If there are classes and the network knows none, or the other way round, or a class is not a row of
    /// the table.
    pub fn new<T: Precision>(architecture: &Architecture, timesteps: &[usize], classes: &[u32]) -> Self {
        let class = architecture.class_embedding.map(|embedding| {
            assert!(!classes.is_empty(), "a network with classes is told none");
            match embedding {
                ClassEmbedding::AsTimestep(_) => {
                    let classes: Vec<usize> = classes.iter().map(|&class| class as usize).collect();
                    Class::Sinusoids(timestep_embedding::<T>(architecture, &classes))
                }
                ClassEmbedding::Table(_) => {
                    let bound = architecture.config().num_class_embeds.unwrap_or(0);
                    assert!(classes.iter().all(|&class| (class as usize) < bound), "classes below {bound}");
                    let rows: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
                    let data = TensorData::new(rows, [classes.len()]);
                    Class::Rows(Tensor::from_data(data, &device_for(T::dtype())))
                }
            }
        });
        assert!(class.is_some() || classes.is_empty(), "a network without classes is told some");
        Self { sinusoids: timestep_embedding::<T>(architecture, timesteps), class }
    }
}

impl Condition {
    /// The row of the table of classes for each image; none for networks without a table.
    pub(super) fn class_rows(&self) -> Option<Vec<usize>> {
        match &self.class {
            Some(Class::Rows(rows)) => Some(rows.to_data().iter::<i32>().map(|row| row as usize).collect()),
            _ => None,
        }
    }
}

/// The sinusoidal embedding of timesteps, `[timesteps, 1, 1, channels]` as diffusers has it:
/// frequencies `exp(-ln(10000) i / (half - freq_shift))`, sines before cosines unless flipped.
fn timestep_embedding<T: Precision>(architecture: &Architecture, timesteps: &[usize]) -> Tensor<4> {
    let config = architecture.config();
    let channels = config.block_out_channels[0];
    let half = channels / 2;
    let mut values = Vec::with_capacity(timesteps.len() * channels);
    for &timestep in timesteps {
        let angle = |index: usize| {
            let exponent = -libm::log(10_000.0) * index as f64 / (half as f64 - config.freq_shift);
            timestep as f64 * libm::exp(exponent)
        };
        let sines = (0..half).map(|index| libm::sin(angle(index)));
        let cosines = (0..half).map(|index| libm::cos(angle(index)));
        let row: Vec<f64> = if config.flip_sin_to_cos {
            cosines.chain(sines).collect()
        } else {
            sines.chain(cosines).collect()
        };
        values.extend(row.into_iter().map(T::of));
        // An odd width ends with a zero, as in diffusers.
        values.extend(std::iter::repeat_n(T::of(0.0), channels - 2 * half));
    }
    let data = TensorData::new(values, [timesteps.len(), 1, 1, channels]);
    Tensor::from_data(data, (&device_for(T::dtype()), T::dtype()))
}

impl Architecture {
    /// Runs the network on `input`, `[images, height, width, in_channels]`.
    ///
    /// # Panics
    ///
    /// If the image does not fit ([`super::UnetConfig::check_image`]) or the parameters are another network's.
    pub fn forward<F: Flow>(&self, parameters: &Parameters, input: F, condition: &Condition) -> F {
        let pass = Pass { parameters, scale_shift: self.config().scale_shift() };
        let [first, second] = self.time_embedding;
        let embedding = pass.conv(first, F::constant(condition.sinusoids.clone())).silu();
        let mut embedding = pass.conv(second, embedding);
        match (self.class_embedding, &condition.class) {
            (Some(ClassEmbedding::Table(at)), Some(Class::Rows(rows))) => {
                embedding = embedding.add(F::constant(parameters.rows(at, rows)));
            }
            (Some(ClassEmbedding::AsTimestep([first, second])), Some(Class::Sinusoids(sinusoids))) => {
                let class = pass.conv(first, F::constant(sinusoids.clone())).silu();
                embedding = embedding.add(pass.conv(second, class));
            }
            _ => {}
        }
        // Every residual block takes SiLU of the embedding; it is the same for all, so it is computed once.
        let embedding = embedding.silu();
        let input = if self.config().center_input_sample { pass.centred(input) } else { input };

        let mut x = pass.conv(self.conv_in, input);
        let mut skips = vec![x.clone()];
        for level in &self.down {
            for (resnet, attention) in &level.blocks {
                x = pass.block(resnet, attention.as_ref(), x, &embedding);
                skips.push(x.clone());
            }
            if let Some(resize) = &level.resize {
                x = match resize {
                    Resize::Conv(conv) => pass.conv(*conv, x),
                    Resize::Resnet(resnet) => pass.resnet(resnet, x, &embedding),
                };
                skips.push(x.clone());
            }
        }
        x = pass.block(&self.middle.before, self.middle.attention.as_ref(), x, &embedding);
        x = pass.resnet(&self.middle.after, x, &embedding);
        for level in &self.up {
            for (resnet, attention) in &level.blocks {
                if let Some(skip) = skips.pop() {
                    x = x.concatenate_channels(skip);
                }
                x = pass.block(resnet, attention.as_ref(), x, &embedding);
            }
            if let Some(resize) = &level.resize {
                x = match resize {
                    Resize::Conv(conv) => pass.conv(*conv, x.upsample_nearest()),
                    Resize::Resnet(resnet) => pass.resnet(resnet, x, &embedding),
                };
            }
        }
        pass.conv(self.conv_out, x.group_norm(parameters.norm(self.norm_out, true)))
    }
}

struct Pass<'a> {
    parameters: &'a Parameters,
    scale_shift: bool,
}

impl Pass<'_> {
    fn conv<F: Flow>(&self, conv: Conv, input: F) -> F {
        input.conv2d(self.parameters.conv(conv))
    }

    /// `2 x - 1`.
    fn centred<F: Flow>(&self, input: F) -> F {
        input.affine(2.0, -1.0)
    }

    fn block<F: Flow>(&self, resnet: &Resnet, attention: Option<&Attention>, x: F, embedding: &F) -> F {
        let x = self.resnet(resnet, x, embedding);
        match attention {
            Some(attention) => self.attention(attention, x),
            None => x,
        }
    }

    /// `ResnetBlock2D` of diffusers: norm, SiLU, convolution, time embedding, norm, SiLU, convolution, shortcut.
    fn resnet<F: Flow>(&self, resnet: &Resnet, x: F, embedding: &F) -> F {
        let hidden = x.clone().group_norm(self.parameters.norm(resnet.norm1, true));
        let (hidden, x) = match resnet.resampling {
            None => (hidden, x),
            Some(Resampling::Halve) => (hidden.average_pool(), x.average_pool()),
            Some(Resampling::Double) => (hidden.upsample_nearest(), x.upsample_nearest()),
        };
        let projected = self.conv(resnet.time_projection, embedding.clone());
        let hidden = if self.scale_shift {
            let hidden = self.conv(resnet.conv1, hidden);
            let channels = resnet.output_channels;
            let scale = projected.clone().channels(0..channels);
            let shift = projected.channels(channels..2 * channels);
            hidden.group_norm(self.parameters.norm(resnet.norm2, false)).scale_shift(scale, shift).silu()
        } else {
            hidden
                .conv2d_with_embedding(self.parameters.conv(resnet.conv1), projected)
                .group_norm(self.parameters.norm(resnet.norm2, true))
        };
        let straight = match resnet.shortcut {
            Some(shortcut) => self.conv(shortcut, x),
            None => x,
        };
        let sum = hidden.conv2d_with_residual(self.parameters.conv(resnet.conv2), straight);
        rescaled(sum, resnet.output_scale)
    }

    /// `Attention` of diffusers with a residual: norm, queries, keys and values, softmax, output.
    fn attention<F: Flow>(&self, attention: &Attention, x: F) -> F {
        let normalised = match attention.norm {
            Some(norm) => x.clone().group_norm(self.parameters.norm(norm, false)),
            None => x.clone(),
        };
        let queries = self.conv(attention.query, normalised.clone());
        let keys = self.conv(attention.key, normalised.clone());
        let values = self.conv(attention.value, normalised);
        let mixed = queries.attention(keys, values, attention.heads);
        let sum = mixed.conv2d_with_residual(self.parameters.conv(attention.output), x);
        rescaled(sum, attention.output_scale)
    }
}

fn rescaled<F: Flow>(x: F, scale: f64) -> F {
    if scale == 1.0 { x } else { x.affine(1.0 / scale, 0.0) }
}
