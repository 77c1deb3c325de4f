//! Classifier-free guidance (Ho and Salimans 2022): what members say in the steps of a sampler.
//!
//! Guidance is linear in the predictions, so a guided mixture is the mixture of guided members: each member's own `e_without`
//! and `e` become `e_without + scale (e - e_without)`. Whatever is derived from the steps of a mixture, such as the derivative of
//! a sample in the members' weights, works with guided members as with any others.

use super::Mixture;
use crate::DiffusionError;
use crate::condition::Condition;
use crate::unet::Precision;

/// How the steps of a mixture are guided.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Guidance {
    scale: f64,
    /// What a network is told beside an image's own condition.
    without: Condition,
}

impl Guidance {
    /// Leads predictions away from those without a condition.
    fn lead<T: Precision>(&self, predicted: &mut [T], without: &[T]) {
        let scale = T::of(self.scale);
        for (value, &without) in predicted.iter_mut().zip(without) {
            *value = without + scale * (*value - without);
        }
    }
}

impl Mixture {
    /// The same mixture, its steps guided by `scale` away from what networks predict under the condition `without`: from
    /// `e_without` and an image's own `e` to `e_without + scale (e - e_without)`, as in diffusers. Single predictions are
    /// never guided, only what is asked as a step ([`predict_guided`](Self::predict_guided) and those that call it).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if the condition is none of the network's.
    pub fn guided(mut self, scale: f64, without: Condition) -> Result<Self, DiffusionError> {
        self.architecture.config().check_condition(&without)?;
        self.guidance = Some(Guidance { scale, without });
        Ok(self)
    }

    /// What several members say of images in a step, each of images of its own; `condition` says, by call and image, under which
    /// condition each is made. Guided, if the mixture is; else their predicted noise.
    pub fn predict_guided<'c, T: Precision>(
        &self,
        calls: &[(usize, impl AsRef<[T]> + Sync)],
        condition: impl Fn(usize, usize) -> &'c Condition + Sync,
        timestep: usize,
    ) -> Vec<Vec<T>> {
        let mut predicted = self.predict_each_under(calls, condition, timestep);
        if let Some(guidance) = &self.guidance {
            let without = self.predict_each_under(calls, |_, _| &guidance.without, timestep);
            for (predicted, without) in predicted.iter_mut().zip(&without) {
                guidance.lead(predicted, without);
            }
        }
        predicted
    }

    /// The same for those of the images `x` that `users[member]` lists, in their order; `condition` says it by the image's place
    /// in `x`.
    pub fn predict_guided_for<'c, T: Precision>(
        &self,
        users: &[Vec<usize>],
        x: &[T],
        condition: impl Fn(usize) -> &'c Condition + Sync,
        timestep: usize,
    ) -> Vec<Vec<T>> {
        let length = self.image_length();
        let images = |users: &Vec<usize>| -> Vec<T> {
            users.iter().flat_map(|&index| &x[index * length..][..length]).copied().collect()
        };
        let calls: Vec<(usize, Vec<T>)> = users.iter().map(images).enumerate().collect();
        self.predict_guided(&calls, |member, image| condition(users[member][image]), timestep)
    }

    /// What several members say of the same images in a step, and its derivatives along `directions` tangents of each image; guided,
    /// if the mixture is. Shapes are those of
    /// [`predict_each_with_tangents_under`](Self::predict_each_with_tangents_under).
    ///
    /// # Panics
    ///
    /// As that.
    pub fn predict_guided_with_tangents<'c, T: Precision>(
        &self,
        members: &[usize],
        images: &[T],
        tangents: &[T],
        directions: usize,
        condition: impl Fn(usize) -> &'c Condition + Sync,
        timestep: usize,
    ) -> Vec<(Vec<T>, Vec<T>)> {
        let mut predicted =
            self.predict_each_with_tangents_under(members, images, tangents, directions, condition, timestep);
        if let Some(guidance) = &self.guidance {
            let without = |_: usize| &guidance.without;
            let without = self
                .predict_each_with_tangents_under(members, images, tangents, directions, without, timestep);
            for ((value, derivative), (without, derivative_without)) in predicted.iter_mut().zip(&without) {
                guidance.lead(value, without);
                guidance.lead(derivative, derivative_without);
            }
        }
        predicted
    }
}
