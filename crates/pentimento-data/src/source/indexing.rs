//! What only decoding tells about the images of a set: size, identity, damage, and what their pixels have.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::damage::DamageKind;
use super::decode::{Channels, Colours, Raw, has_colour, is_grey, is_transparent, to_channels};
use super::event::{Meter, Tell, Work};
use super::structure::{Listing, Reader};
use crate::error::DataError;
use crate::image::{Image, ImageId};

/// Images, and bytes of them, that are read ahead while those before are decoded.
const WINDOW_IMAGES: usize = 512;
const WINDOW_BYTES: usize = 64 << 20;
/// With more damaged images than this something else is wrong, and a list of them helps nobody.
const MAX_DAMAGED: usize = 10_000;

/// What the index says about one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    /// Height, width, identity and traits.
    Whole(u32, u32, ImageId, Traits),
    /// Why it cannot be decoded.
    Damaged(DamageKind, String),
}

/// What the pixels of an image have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub(super) struct Traits {
    /// The channels differ in some pixel.
    pub(super) has_colour: bool,
    /// Something shone through, until it was laid on the background.
    pub(super) was_transparent: bool,
    /// Its file holds more pictures.
    pub(super) is_first_of_several: bool,
}

impl From<u8> for Traits {
    fn from(bits: u8) -> Self {
        let [has_colour, was_transparent, is_first_of_several] = [1, 2, 4].map(|bit| bits & bit != 0);
        Self { has_colour, was_transparent, is_first_of_several }
    }
}

impl From<Traits> for u8 {
    fn from(traits: Traits) -> Self {
        let Traits { has_colour, was_transparent, is_first_of_several } = traits;
        Self::from(has_colour) | Self::from(was_transparent) << 1 | Self::from(is_first_of_several) << 2
    }
}

/// An image as it was decoded first: its entry, and whether it is grey.
struct Seen {
    entry: Entry,
    grey: bool,
}

/// Decodes every image. While some are decoded, the next ones are read, in order: some layouts reach only the next image
/// quickly.
pub(super) fn build(
    reader: &dyn Reader,
    listing: &Listing,
    colours: Colours,
    tell: &mut Tell<'_>,
) -> Result<(Channels, Vec<Entry>), DataError> {
    let all: Vec<usize> = (0..listing.count).collect();
    let mut damaged = 0;
    let mut entries = Vec::new();
    let mut colourful = false;
    let mut grey = Vec::new();
    // Each image as its own colours have it, so that one pass is enough unless a set mixes grey and colour.
    let first_choice = |image: &Image| match colours.channels {
        Some(channels) => channels,
        None if is_grey(image, colours.background) => Channels::Grey,
        None => Channels::Rgb,
    };
    decode_all(reader, &all, colours.background, &first_choice, tell, &mut |index, seen| {
        if let Entry::Damaged(_, reason) = &seen.entry {
            damaged += 1;
            if damaged > MAX_DAMAGED {
                return Err(reader.place(index).broken(
                    "the number of damaged images",
                    format!("more than {MAX_DAMAGED}, this one because: {reason}"),
                    format!("at most {MAX_DAMAGED}"),
                ));
            }
        } else if seen.grey {
            grey.push(index);
        } else {
            colourful = true;
        }
        entries.push(seen.entry);
        Ok(())
    })?;
    let channels = colours.channels.unwrap_or(if colourful { Channels::Rgb } else { Channels::Grey });
    if colours.channels.is_none() && colourful && !grey.is_empty() {
        // The grey ones become RGB like the others.
        decode_all(reader, &grey, colours.background, &|_| Channels::Rgb, tell, &mut |index, seen| {
            entries[index] = seen.entry;
            Ok(())
        })?;
    }
    Ok((channels, entries))
}

fn decode_all(
    reader: &dyn Reader,
    indices: &[usize],
    background: [u8; 3],
    channels: &(dyn Fn(&Image) -> Channels + Sync),
    tell: &mut Tell<'_>,
    output: &mut dyn FnMut(usize, Seen) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let read_window = |start: usize| {
        let mut window = Vec::new();
        let mut bytes = 0;
        for &index in indices.get(start..).unwrap_or_default() {
            if window.len() >= WINDOW_IMAGES || bytes >= WINDOW_BYTES {
                break;
            }
            let raw = reader.raw(index);
            bytes += raw.as_ref().map_or(0, Raw::len);
            window.push((index, raw));
        }
        window
    };
    let mut meter = Meter::new(Work::Indexing, indices.len());
    let mut window = read_window(0);
    let mut start = 0;
    while !window.is_empty() {
        let done = start;
        start += window.len();
        let (seen, next) = rayon::join(
            || {
                window
                    .into_par_iter()
                    .map(|(index, raw)| (index, see(raw, reader, index, background, channels)))
                    .collect::<Vec<_>>()
            },
            || read_window(start),
        );
        meter.set(done + seen.len(), tell);
        for (index, seen) in seen {
            output(index, seen?)?;
        }
        window = next;
    }
    Ok(())
}

/// Decodes one image. What is wrong with the image itself is an entry; what is wrong with the system is an error.
fn see(
    raw: Result<Raw, DataError>,
    reader: &dyn Reader,
    index: usize,
    background: [u8; 3],
    channels: &(dyn Fn(&Image) -> Channels + Sync),
) -> Result<Seen, DataError> {
    let decoded = raw.and_then(|raw| raw.decode(&reader.place(index))).and_then(|decoded| {
        let (image, is_first_of_several) = (decoded.image, decoded.is_first_of_several);
        let (grey, was_transparent) = (is_grey(&image, background), is_transparent(&image));
        let channels = channels(&image);
        // What making it grey would lose.
        let lost = if channels == Channels::Grey && image.channels() >= 3 {
            Some(has_colour(&to_channels(image.clone(), Channels::Rgb, background)?))
        } else {
            None
        };
        let image = to_channels(image, channels, background)?;
        let has_colour = lost.unwrap_or_else(|| has_colour(&image));
        Ok((grey, image, Traits { has_colour, was_transparent, is_first_of_several }))
    });
    match decoded {
        Ok((grey, image, traits)) => {
            // Sides are at most MAX_IMAGE_PIXELS.
            let entry = Entry::Whole(image.height() as u32, image.width() as u32, image.id(), traits);
            Ok(Seen { entry, grey })
        }
        Err(error) => match DamageKind::of(&error) {
            Some(kind) => Ok(Seen { entry: Entry::Damaged(kind, with_cause(&error)), grey: false }),
            None => Err(error),
        },
    }
}

/// An error and what caused it.
pub(super) fn with_cause(error: &DataError) -> String {
    match std::error::Error::source(error) {
        // Some decoders end their messages with a line break.
        Some(cause) => format!("{error}: {}", cause.to_string().trim_end().replace('\n', " ")),
        None => error.to_string(),
    }
}
