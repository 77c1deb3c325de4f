//! What the segments of a JPEG file say (ITU-T T.81): whether it is whole, and of which kind it is. The pixels are decoded
//! elsewhere.

use super::place::Place;
use crate::error::DataError;

/// Something in a file that begins with a marker.
enum Part {
    /// A marker with its segment, and where that begins.
    Segment(u8, usize),
    /// The end of the image.
    End,
    /// Compressed data, or a marker without a segment.
    Other,
}

/// What lies at a position, and where the next part is; none if the file ends before.
fn part_at(bytes: &[u8], position: usize) -> Option<(Part, usize)> {
    let (&byte, &marker) = bytes.get(position).zip(bytes.get(position + 1))?;
    Some(match (byte, marker) {
        (0xff, 0xd9) => (Part::End, position),
        // A fill byte before a marker.
        (0xff, 0xff) => (Part::Other, position + 1),
        // Without a length of their own.
        (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => (Part::Other, position + 2),
        (0xff, marker) => {
            let (&high, &low) = bytes.get(position + 2).zip(bytes.get(position + 3))?;
            let length = usize::from(high) << 8 | usize::from(low);
            (Part::Segment(marker, position + 4), position + 2 + length)
        }
        // Compressed data.
        _ => (Part::Other, position + 1),
    })
}

/// The decoder fills what a truncated JPEG lacks with grey. A whole one ends its last scan with the marker EOI; inside a
/// scan, a byte 0xff is followed by 0x00 or a restart marker (B.1.1.2).
pub(super) fn check_end(bytes: &[u8], place: &Place) -> Result<(), DataError> {
    let cut = || place.broken("the JPEG data", "cut short: there is no end-of-image marker", "whole");
    let mut position = 2;
    loop {
        match part_at(bytes, position).ok_or_else(cut)? {
            (Part::End, _) => return Ok(()),
            (_, next) => position = next,
        }
    }
}

/// The kind of a file, if it is one that the decoder does not know: its frame header says it (table B.1).
pub(super) fn kind_not_read(bytes: &[u8]) -> Option<String> {
    let mut position = 2;
    loop {
        let (part, next) = part_at(bytes, position)?;
        position = next;
        let (marker, segment) = match part {
            Part::Segment(marker, segment) => (marker, segment),
            Part::End => return None,
            Part::Other => continue,
        };
        return match marker {
            0xc0..=0xc2 => {
                // The precision of its samples comes first.
                let bits = bytes.get(segment).filter(|&&bits| bits != 8)?;
                Some(format!("samples of {bits} bits"))
            }
            0xc3 => Some("without loss".into()),
            0xc5..=0xc7 => Some("hierarchical".into()),
            0xc9..=0xcb | 0xcd..=0xcf => Some("with arithmetic coding".into()),
            // A scan without a frame.
            0xda => None,
            _ => continue,
        };
    }
}
