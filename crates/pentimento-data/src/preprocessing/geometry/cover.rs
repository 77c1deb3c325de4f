//! The size to which an image is resized so that it covers another.

use crate::error::DataError;
use crate::image::broken_size;
use crate::preprocessing::settings::{Cover, check_size, setting};

/// The smallest size of these proportions that covers the wanted one.
pub(super) fn covering_size([height, width]: [usize; 2], cover: Cover) -> Result<[usize; 2], DataError> {
    check_size("cover", [("cover.height", cover.height), ("cover.width", cover.width)])?;
    // Sides are at most 2^24, so products fit.
    let covering = if cover.height * width >= cover.width * height {
        [cover.height, cover.height * width / height]
    } else {
        [cover.width * height / width, cover.width]
    };
    if let Some((what, covering, bound)) = broken_size(covering) {
        let bound = format!("so that {what} of the image that covers it is {bound}, not {covering}");
        return Err(setting("cover", format!("{} x {}", cover.height, cover.width), bound));
    }
    Ok(covering)
}
