//! The size to which an image is resized so that it covers another.

use crate::error::DataError;
use crate::image::MAX_SIDE_PIXELS;
use crate::preprocessing::settings::{Cover, check_side, setting};

/// The smallest size of these proportions that covers the wanted one.
pub(super) fn covering_size([height, width]: [usize; 2], cover: Cover) -> Result<[usize; 2], DataError> {
    check_side("cover.height", cover.height)?;
    check_side("cover.width", cover.width)?;
    // Sides are at most 2^13, so products fit.
    let covering = if cover.height * width >= cover.width * height {
        [cover.height, cover.height * width / height]
    } else {
        [cover.width * height / width, cover.width]
    };
    let longest = covering[0].max(covering[1]);
    if longest > MAX_SIDE_PIXELS {
        let bound =
            format!("so that the longer side becomes at most {MAX_SIDE_PIXELS} pixels, not {longest}");
        return Err(setting("cover", format!("{} x {}", cover.height, cover.width), bound));
    }
    Ok(covering)
}
