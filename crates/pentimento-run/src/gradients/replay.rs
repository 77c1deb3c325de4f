//! Training images as a network met them in its training: with the timesteps and noises, and under the conditions, that it had then.

use super::featuring::{ImageDraws, Item};
use super::row_key::row_key;
use super::subject::{PartOfTraining, Subject};
use crate::error::Result;
use pentimento_attribution::gradient::{RowKey, events_of_images, replayed};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::training::{TrainingEvent, TrainingEvents};
use pentimento_store::Digest;

/// What every training image met in a part of a member's training.
pub struct Replay {
    events: TrainingEvents,
    /// Of each training image, empty for those that were not seen.
    of_images: Vec<Vec<TrainingEvent>>,
    shape: [usize; 3],
    draws_at_once: usize,
}

impl Replay {
    /// Follows the part of training; of an image with more events than it would have draws otherwise, so many are taken,
    /// evenly spread.
    ///
    /// # Errors
    ///
    /// If codes and groups contradict each other.
    pub fn new(subject: &Subject<'_>, part: &PartOfTraining<'_>) -> Result<Self> {
        let recipe = &subject.workspace.recipe;
        let own = part.data.member_images(part.member)?;
        let timesteps = recipe.schedule.num_train_timesteps;
        let training = &part.data.trained.training;
        let mut events = TrainingEvents::new(training, timesteps, own.len(), recipe.seed, part.member);
        if let Some(conditions) = subject.training.training_conditions(&own, training) {
            events = events.under(conditions);
        }
        let mut of_images = vec![Vec::new(); subject.training.images.len()];
        let most = subject.draws().count();
        for (&image, events) in own.iter().zip(events_of_images(&mut events, part.steps.clone(), most)) {
            of_images[image as usize] = events;
        }
        Ok(Self { events, of_images, shape: subject.shape(), draws_at_once: subject.draws().timesteps })
    }

    /// Events that are taken of all images together.
    pub fn count(&self) -> usize {
        self.of_images.iter().map(Vec::len).sum()
    }

    /// The digest by which the row of a training image is found: of the image and of its events, whose noise follows from
    /// them and the member, with what the network was told at each. None for one that was not seen.
    pub fn key(&self, index: usize, image: &[f32]) -> Option<RowKey> {
        let events = &self.of_images[index];
        if events.is_empty() {
            return None;
        }
        let mut bytes = row_key(image, &[]).to_vec();
        for event in events {
            let &TrainingEvent { step, place, timestep, mirrored, .. } = event;
            bytes.extend([step, place, timestep, u32::from(mirrored)].into_iter().flat_map(u32::to_le_bytes));
            bytes.extend(self.events.condition(event).key());
        }
        Some(*Digest::of(&bytes).as_bytes())
    }

    /// What the network is shown of a training image: its events, in one part. With `unit_length` each by itself.
    pub fn item(&self, index: usize, image: &[f32], unit_length: bool, name: String) -> Item {
        let most = if unit_length { 1 } else { self.draws_at_once };
        let mut part: Vec<ImageDraws> = Vec::new();
        // Images that were mirrored are other images than those that were not, and so are those under another condition.
        let mut kinds: Vec<((bool, &Condition), Vec<&TrainingEvent>)> = Vec::new();
        for event in &self.of_images[index] {
            let kind = (event.mirrored, self.events.condition(event));
            match kinds.iter_mut().find(|(other, _)| *other == kind) {
                Some((_, events)) => events.push(event),
                None => kinds.push((kind, vec![event])),
            }
        }
        // As they are before mirrored ones, each by the events that come first.
        kinds.sort_by_key(|((mirrored, _), _)| *mirrored);
        for ((_, condition), events) in kinds {
            for events in events.chunks(most) {
                let shown = events.iter().map(|event| replayed(&self.events, event, image, self.shape));
                let (mut images, draws): (Vec<_>, Vec<_>) = shown.unzip();
                let image = images.pop().unwrap_or_default();
                part.push(ImageDraws { image, condition: condition.clone(), draws });
            }
        }
        Item { parts: vec![part], name }
    }
}
