//! What training itself showed the network: the events of each image, instead of draws of its own (TracIn, Pruthi et al.
//! 2020; for diffusion models Xie et al. 2024).

use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::training::{TrainingEvent, TrainingEvents};
use std::ops::Range;

/// The events of each image within some steps of training, in the order of steps, at most `most` of an image. Of an image
/// with more, every so manyth is taken, so that they are spread over the steps. An image that was not seen has none.
pub fn events_of_images(
    events: &mut TrainingEvents,
    steps: Range<usize>,
    most: usize,
) -> Vec<Vec<TrainingEvent>> {
    // Counted first, so that no more is held than is taken.
    let mut counts = vec![0usize; events.images()];
    for step in steps.clone() {
        for event in events.of_step(step) {
            counts[event.image as usize] += 1;
        }
    }
    let mut taken: Vec<Vec<TrainingEvent>> =
        counts.iter().map(|&count| Vec::with_capacity(count.min(most))).collect();
    let mut places = vec![0usize; events.images()];
    for step in steps {
        for event in events.of_step(step) {
            let image = event.image as usize;
            if is_taken(places[image], counts[image], most) {
                taken[image].push(event);
            }
            places[image] += 1;
        }
    }
    taken
}

/// Whether event `place` of `count` is among the `most` at places `j * count / most`, rounded down.
fn is_taken(place: usize, count: usize, most: usize) -> bool {
    // One of these places lies in [place, place + 1) if a multiple of count does in [place * most, (place + 1) * most).
    count <= most
        || (place as u128 * most as u128).next_multiple_of(count as u128) < (place as u128 + 1) * most as u128
}

/// What the network was shown at an event: the image `[height, width, channels]`, mirrored if it was, with its timestep and
/// noise. What it was told of it says [`TrainingEvents::condition`].
///
/// # Panics
///
/// If the image does not have this shape.
pub fn replayed(
    events: &TrainingEvents,
    event: &TrainingEvent,
    image: &[f32],
    shape: [usize; 3],
) -> (Vec<f32>, Draw) {
    let mut shown = image.to_vec();
    let draw = events.show(event, &mut shown, shape);
    (shown, draw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_diffusion::training::TrainingConfig;

    #[test]
    fn events_are_taken_evenly() {
        for (count, most) in [(10, 3), (7, 7), (5, 8), (100, 1), (9, 4), (1, 1)] {
            let taken: Vec<usize> = (0..count).filter(|&place| is_taken(place, count, most)).collect();
            let expected: Vec<usize> = if count <= most {
                (0..count).collect()
            } else {
                (0..most).map(|j| j * count / most).collect()
            };
            assert_eq!(taken, expected, "{most} of {count}");
        }
    }

    #[test]
    fn all_events_of_the_steps_are_found_once() {
        let config = TrainingConfig { batch: 5, replacement: true, ..TrainingConfig::default() };
        let mut events = TrainingEvents::new(&config, 1000, 12, 3, 2);
        let mut all: Vec<TrainingEvent> = (4..20).flat_map(|step| events.of_step(step)).collect();
        let of_images = events_of_images(&mut events, 4..20, usize::MAX);
        for (image, own) in of_images.iter().enumerate() {
            assert!(own.is_sorted() && own.iter().all(|event| event.image as usize == image));
        }
        let mut found = of_images.concat();
        found.sort_unstable();
        all.sort_unstable();
        assert_eq!(found, all);
        let few = events_of_images(&mut events, 4..20, 2);
        for (few, own) in few.iter().zip(&of_images) {
            assert_eq!(few.len(), own.len().min(2));
            assert!(few.iter().all(|event| own.contains(event)));
        }
    }
}
