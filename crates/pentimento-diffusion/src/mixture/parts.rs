//! How the calls of networks are cut into parts, and what networks are told in them.

use crate::condition::Condition;
use crate::unet::{Architecture, BatchCondition, Precision};
use pentimento_kernels::extension::{DeviceKind, chosen_device_kind};
use std::ops::Range;

/// Some images of a call that pass through the network together, on one thread.
pub(super) struct Part {
    pub(super) call: usize,
    pub(super) images: Range<usize>,
}

/// What networks are told in the parts of some calls at one timestep.
pub(super) struct Told<'a, C> {
    architecture: &'a Architecture,
    timestep: usize,
    /// By call and image.
    condition: C,
    /// If all images are made under one condition.
    of_all: Option<BatchCondition>,
}

impl<'a, 'c, C: Fn(usize, usize) -> &'c Condition> Told<'a, C> {
    pub(super) fn new<T: Precision>(
        architecture: &'a Architecture,
        timestep: usize,
        parts: &[Part],
        condition: C,
    ) -> Self {
        let of_part = |part: &Part| {
            let call = part.call;
            part.images.clone().map(move |image| (call, image))
        };
        let mut all = parts.iter().flat_map(of_part).map(|(call, image)| condition(call, image));
        let first = all.next().filter(|first| all.all(|other| other == *first));
        let of_all = first
            .map(|first| BatchCondition::new::<T>(architecture, &[timestep], std::slice::from_ref(first)));
        Self { architecture, timestep, condition, of_all }
    }

    pub(super) fn of<T: Precision>(&self, part: &Part) -> BatchCondition {
        self.of_all.clone().unwrap_or_else(|| {
            let of_image = |image| (self.condition)(part.call, image).clone();
            let conditions: Vec<Condition> = part.images.clone().map(of_image).collect();
            BatchCondition::new::<T>(self.architecture, &[self.timestep], &conditions)
        })
    }
}

/// Most images of a part: more leave the second-level cache between two layers, fewer make each layer prepare its weight
/// too often. (64 images of 28x28 through 1.2 million parameters on 2 cores, in parts of 8: 1.57 s, 12: 1.56 s, 16:
/// 1.51 s, 32: 1.59 s for seven members and three steps; 2026-11-22.)
const IMAGES_OF_A_PART: usize = 16;

/// Cuts calls of so many images each so that every thread has as much to do and its share of `together` images, at least
/// one, is on its way at once.
///
/// Threads then meet at the end of the network and not after every layer, which took 2.50 s where parts of 32 took 1.86 s
/// (the work above, before buffers were matched by size). Other devices share out each layer by themselves, so a call stays whole there.
pub(super) fn parts_of_calls(images: impl Iterator<Item = usize> + Clone, together: usize) -> Vec<Part> {
    let threads = rayon::current_num_threads();
    let share = images.clone().sum::<usize>().min(together).div_ceil(threads);
    let most = match chosen_device_kind() {
        DeviceKind::Cpu => share.clamp(1, IMAGES_OF_A_PART),
        _ => together.max(1),
    };
    let mut parts = Vec::new();
    for (call, images) in images.enumerate() {
        let even = images.div_ceil(images.div_ceil(most).max(1)).max(1);
        let cut = |first| Part { call, images: first..(first + even).min(images) };
        parts.extend((0..images).step_by(even).map(cut));
    }
    parts
}
