//! What a network is told of a batch of images.

use super::architecture::Architecture;
use super::layers::ClassEmbedding;
use super::precision::Precision;
use crate::condition::{Condition, TextEmbedding};
use burn::tensor::{Int, Tensor, TensorData};
use pentimento_kernels::extension::device_for;

/// What a network is told beside the images: at which timestep each one is and under which condition it is made.
#[derive(Clone, Debug)]
pub struct BatchCondition {
    /// `[timesteps, 1, 1, channels]`.
    pub(super) sinusoids: Tensor<4>,
    pub(super) class: Option<Class>,
    /// `[texts, 1, tokens, width]`.
    pub(super) text: Option<Tensor<4>>,
}

#[derive(Clone, Debug)]
pub(super) enum Class {
    /// Rows of the table, `[classes]`.
    Rows(Tensor<1, Int>),
    /// The embedding of classes as timesteps, `[classes, 1, 1, channels]`.
    Sinusoids(Tensor<4>),
}

impl BatchCondition {
    /// Timesteps and conditions, of each one per image or one for all. A network that was trained without conditions may be
    /// told none at all.
    ///
    /// # Panics
    ///
    /// If a condition is not of the kind that the network knows, a class is not a row of its table, or texts have another
    /// width than it takes or different numbers of tokens.
    pub fn new<T: Precision>(
        architecture: &Architecture,
        timesteps: &[usize],
        conditions: &[Condition],
    ) -> Self {
        let config = architecture.config();
        let class = architecture.class_embedding.map(|embedding| {
            let classes = classes_of(conditions);
            assert!(!classes.is_empty(), "a network with classes is told none");
            match embedding {
                ClassEmbedding::AsTimestep(_) => {
                    let classes: Vec<usize> = classes.iter().map(|&class| class as usize).collect();
                    Class::Sinusoids(timestep_embedding::<T>(architecture, &classes))
                }
                ClassEmbedding::Table(_) => {
                    let bound = config.num_class_embeds.unwrap_or(0);
                    assert!(classes.iter().all(|&class| (class as usize) < bound), "classes below {bound}");
                    let rows: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
                    let data = TensorData::new(rows, [classes.len()]);
                    Class::Rows(Tensor::from_data(data, &device_for(T::dtype())))
                }
            }
        });
        let text = config.cross_attention.as_ref().map(|cross| {
            let texts = texts_of(conditions);
            assert!(!texts.is_empty(), "a network with texts is told none");
            let tokens = texts.first().map_or(0, |text| text.tokens());
            let fits = |text: &&TextEmbedding| text.tokens() == tokens && text.width() == cross.text_width;
            assert!(texts.iter().all(fits), "texts of {tokens} tokens of {} values", cross.text_width);
            let values = texts.iter().flat_map(|text| text.states());
            let values: Vec<T> = values.map(|&value| T::of(f64::from(value))).collect();
            let data = TensorData::new(values, [texts.len(), 1, tokens, cross.text_width]);
            Tensor::from_data(data, (&device_for(T::dtype()), T::dtype()))
        });
        let told = class.is_some() || text.is_some();
        assert!(
            told || conditions.iter().all(|condition| *condition == Condition::None),
            "a network without classes and texts is told some"
        );
        Self { sinusoids: timestep_embedding::<T>(architecture, timesteps), class, text }
    }

    /// The row of the table of classes for each image; none for networks without a table.
    pub(super) fn class_rows(&self) -> Option<Vec<usize>> {
        match &self.class {
            Some(Class::Rows(rows)) => Some(rows.to_data().iter::<i32>().map(|row| row as usize).collect()),
            _ => None,
        }
    }
}

#[allow(clippy::panic, reason = "conditions are checked where they are asked for")]
fn classes_of(conditions: &[Condition]) -> Vec<u32> {
    let class = |condition: &Condition| match condition {
        Condition::Class(class) => *class,
        other => panic!("a network with classes is told {other:?}"),
    };
    conditions.iter().map(class).collect()
}

#[allow(clippy::panic, reason = "as above")]
fn texts_of(conditions: &[Condition]) -> Vec<&TextEmbedding> {
    let mut texts = Vec::with_capacity(conditions.len());
    for condition in conditions {
        match condition {
            Condition::Text(text) => texts.push(text),
            other => panic!("a network with texts is told {other:?}"),
        }
    }
    texts
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
