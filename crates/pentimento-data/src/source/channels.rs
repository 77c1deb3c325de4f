//! A set whose images are brought to another number of channels.

use super::caption_faults::FaultyCaption;
use super::damage::DamagedImage;
use super::decode::{Channels, to_channels};
use super::{ImageSource, listed};
use crate::error::DataError;
use crate::image::Image;
use crate::preprocessing::{Preprocessing, survey};

/// The images of a set with other channels: grey as three equal channels, or colour as its luma.
struct Converted {
    source: Box<dyn ImageSource>,
    channels: Channels,
}

/// A set with so many channels, whatever is lost.
pub fn converted(source: Box<dyn ImageSource>, channels: Channels) -> Box<dyn ImageSource> {
    if source.channels() == channels.count() { source } else { Box::new(Converted { source, channels }) }
}

/// A set with so many channels, if no selected image loses anything by that: a grey picture is a picture in colour whose
/// channels are equal. A set stays as it is if it cannot have so many channels at all.
///
/// # Errors
/// [`DataError::ColourLost`] with the images that have colour where one channel is wanted; as [`survey`].
pub fn converted_without_loss(
    source: Box<dyn ImageSource>,
    channels: usize,
    preprocessing: &Preprocessing,
) -> Result<Box<dyn ImageSource>, DataError> {
    let Some(wanted) = Channels::of_count(channels).filter(|_| source.channels() != channels) else {
        return Ok(source);
    };
    if wanted == Channels::Grey {
        let selected = survey(source.as_ref(), preprocessing)?.source_indices;
        let mut coloured = Vec::new();
        for &index in &selected {
            if source.has_colour(index)? {
                coloured.push(source.key(index));
            }
        }
        if !coloured.is_empty() {
            let (images, of) = (coloured.len(), selected.len());
            return Err(DataError::ColourLost { images, of, names: listed(&coloured) });
        }
    }
    Ok(converted(source, wanted))
}

impl ImageSource for Converted {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn channels(&self) -> usize {
        self.channels.count()
    }

    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        self.source.size(index)
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        // What was transparent is laid on its background already.
        to_channels(self.source.image(index)?, self.channels, [0; 3])
    }

    fn labels(&self) -> Option<&[u32]> {
        self.source.labels()
    }

    fn class_names(&self) -> &[String] {
        self.source.class_names()
    }

    fn captions(&self, index: usize) -> &[String] {
        self.source.captions(index)
    }

    fn caption_fault(&self, index: usize) -> Option<FaultyCaption> {
        self.source.caption_fault(index)
    }

    fn key(&self, index: usize) -> String {
        self.source.key(index)
    }

    fn groups(&self) -> Option<&[String]> {
        self.source.groups()
    }

    fn damage(&self, index: usize) -> Option<DamagedImage> {
        self.source.damage(index)
    }

    fn leaves_out(&self, index: usize) -> bool {
        self.source.leaves_out(index)
    }
}
