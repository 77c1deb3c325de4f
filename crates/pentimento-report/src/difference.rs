//! Difference maps: where a counterfactual is darker or brighter than the picture it came from.

use crate::{Picture, ReportView};

/// Levels on either side of "no change". 15 on each side is finer than an eye tells apart in a small square
/// and keeps the palette, which every map carries, under 130 bytes.
pub(crate) const LEVELS: u8 = 15;

/// Darker than before. With [`BRIGHTER`] a pair that stays apart under all common kinds of colour blindness.
pub(crate) const DARKER: [u8; 3] = [0x21, 0x71, 0xb5];
/// Brighter than before.
pub(crate) const BRIGHTER: [u8; 3] = [0xd9, 0x54, 0x1a];

/// The change of grey value (0 to 255) that gets the full colour. One value for the whole page, so that maps
/// can be compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    full: u8,
}

impl Scale {
    /// The smallest of an eighth, a quarter, a half or the whole of the range from black to white that covers
    /// 99 % of all changed pixels of the counterfactuals on the page; the rest is drawn in the full colour.
    pub(crate) fn for_page(view: &ReportView) -> Self {
        let mut histogram = [0_u64; 256];
        let mut count = |before: &Picture, after: &Picture| {
            for change in changes(before, after) {
                histogram[usize::from(change.unsigned_abs().min(255) as u8)] += 1;
            }
        };
        for sample in view.samples.iter().filter(|sample| sample.show_detail) {
            let pictures = sample.counterfactuals.iter().filter_map(|one| one.exact.as_ref());
            pictures.for_each(|picture| count(&sample.image, picture));
        }
        if let Some(removal) = &view.removal {
            let pictures = removal.removals.iter().filter_map(|one| one.picture.as_ref());
            pictures.for_each(|picture| count(&removal.image, picture));
        }
        let changed: u64 = histogram[1..].iter().sum();
        let covers = |full: &u8| {
            let beyond: u64 = histogram[usize::from(*full) + 1..].iter().sum();
            beyond * 100 <= changed
        };
        Self { full: [32, 64, 128].into_iter().find(covers).unwrap_or(255) }
    }

    /// The full colour as a share of the range from black to white, in words.
    pub(crate) fn in_words(self) -> &'static str {
        match self.full {
            32 => "an eighth of the way from black to white, or more",
            64 => "a quarter of the way from black to white, or more",
            128 => "half of the way from black to white, or more",
            _ => "all the way from black to white",
        }
    }

    /// Palette index of a change: [`LEVELS`] is no change, 0 darkest, `2 * LEVELS` brightest.
    fn index(self, change: i16) -> u8 {
        let full = i32::from(self.full);
        let clipped = i32::from(change).clamp(-full, full);
        // Rounded to the nearest level, halves away from zero.
        let doubled = clipped * 2 * i32::from(LEVELS) + full * clipped.signum();
        (i32::from(LEVELS) + doubled / (2 * full)) as u8
    }

    /// The map of `after - before` as palette indices, `[height, width]`. Colour pictures are compared by the
    /// mean of their channels.
    pub(crate) fn map(self, before: &Picture, after: &Picture) -> Vec<u8> {
        changes(before, after).map(|change| self.index(change)).collect()
    }
}

/// Colour and opacity of a palette index. No change is transparent, so that a map lies on the page in the
/// light as in the dark. The opacity rises a little faster at first, or small changes would not be seen in
/// the dark.
pub(crate) fn palette_entry(index: u8) -> ([u8; 3], u8) {
    let share = f64::from(index.abs_diff(LEVELS).min(LEVELS)) / f64::from(LEVELS);
    let opacity = (share + share.sqrt()) / 2.0;
    (if index < LEVELS { DARKER } else { BRIGHTER }, (opacity * 255.0).round() as u8)
}

fn changes<'a>(before: &'a Picture, after: &'a Picture) -> impl Iterator<Item = i16> + 'a {
    let channels = before.channels.max(1) as usize;
    before.pixels.chunks_exact(channels).zip(after.pixels.chunks_exact(channels)).map(
        move |(before, after)| {
            let sum: i32 =
                after.iter().zip(before).map(|(&after, &before)| i32::from(after) - i32::from(before)).sum();
            (sum / channels as i32) as i16
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(pixels: &[u8]) -> Picture {
        Picture { height: 1, width: pixels.len() as u32, channels: 1, pixels: pixels.to_vec() }
    }

    #[test]
    fn darker_goes_down_and_brighter_up_by_equal_steps() {
        let scale = Scale { full: 255 };
        let map = scale.map(&grey(&[0, 255, 100, 0, 128, 128]), &grey(&[255, 0, 100, 17, 126, 130]));
        assert_eq!(map, [30, 0, 15, 16, 15, 15]);
        for change in 0..=255 {
            assert_eq!(
                scale.index(change) - LEVELS,
                LEVELS - scale.index(-change),
                "not symmetric at {change}"
            );
        }
    }

    #[test]
    fn changes_beyond_the_scale_take_the_end_colour() {
        assert_eq!(Scale { full: 32 }.map(&grey(&[0, 200]), &grey(&[200, 0])), [30, 0]);
    }

    #[test]
    fn no_change_is_transparent_and_the_ends_are_opaque() {
        assert_eq!(palette_entry(LEVELS).1, 0);
        assert_eq!(palette_entry(0), (DARKER, 255));
        assert_eq!(palette_entry(2 * LEVELS), (BRIGHTER, 255));
    }

    #[test]
    fn colour_is_compared_by_the_mean_of_its_channels() {
        let colour = |pixels: [u8; 3]| Picture { height: 1, width: 1, channels: 3, pixels: pixels.to_vec() };
        let scale = Scale { full: 255 };
        assert_eq!(scale.map(&colour([0, 90, 0]), &colour([90, 0, 0])), [15]);
        assert_eq!(scale.map(&colour([0, 0, 0]), &colour([255, 255, 255])), [30]);
    }
}
