//! A set brought to the channels of a network, where nothing is lost by that.

use std::fs;

use pentimento_data::{
    Channels, DataError, Image, ImageSource, Preprocessing, converted, converted_without_loss,
};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, try_open};

fn boxed(folder: &TempDir) -> Box<dyn ImageSource> {
    Box::new(try_open(folder.path()).unwrap())
}

fn in_colour(grey: &Image) -> Image {
    let pixels = grey.pixels().iter().flat_map(|&byte| [byte; 3]).collect();
    Image::new(grey.height(), grey.width(), 3, pixels).unwrap()
}

#[test]
fn grey_is_colour_with_equal_channels_and_the_other_way_round() {
    let grey = noise(4, 4, 1, 0);
    let (of_grey, of_colour) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(of_grey.path().join("a.png"), png(&grey)).unwrap();
    fs::write(of_colour.path().join("a.png"), png(&in_colour(&grey))).unwrap();
    let all = Preprocessing::default();
    let wide = converted_without_loss(boxed(&of_grey), 3, &all).unwrap();
    assert_eq!((wide.channels(), wide.image(0).unwrap()), (3, in_colour(&grey)));
    assert_eq!((wide.key(0), wide.size(0).unwrap()), ("a.png".into(), [4, 4]));
    let narrow = converted_without_loss(boxed(&of_colour), 1, &all).unwrap();
    assert_eq!((narrow.channels(), narrow.image(0).unwrap()), (1, grey));
    // Other numbers of channels no set has.
    assert_eq!(converted_without_loss(boxed(&of_colour), 4, &all).unwrap().channels(), 3);
}

#[test]
fn what_would_be_lost_is_told_of_the_selected_images() {
    let folder = TempDir::new().unwrap();
    let grey = noise(4, 4, 1, 0);
    // One pixel of one channel is enough.
    let mut hardly = in_colour(&grey).pixels().to_vec();
    hardly[20] ^= 1;
    for (name, image) in [
        ("a.png", in_colour(&grey)),
        ("b.png", Image::new(4, 4, 3, hardly).unwrap()),
        ("c.png", noise(4, 4, 3, 1)),
    ] {
        fs::write(folder.path().join(name), png(&image)).unwrap();
    }
    let error = converted_without_loss(boxed(&folder), 1, &Preprocessing::default()).err().unwrap();
    assert!(matches!(error, DataError::ColourLost { images: 2, of: 3, .. }), "{error}");
    assert_names(&error.to_string(), &["2 of 3 images have colour (b.png, c.png)"]);
    // The others are not asked.
    let first = Preprocessing { first: Some(1), ..Preprocessing::default() };
    let narrow = converted_without_loss(boxed(&folder), 1, &first).unwrap();
    assert_eq!(narrow.image(0).unwrap(), grey);
    // Whoever wants it loses the colour: ITU-R BT.601 of the changed pixel differs by less than a level.
    assert_eq!(converted(boxed(&folder), Channels::Grey).image(1).unwrap().pixels()[..6], grey.pixels()[..6]);
}
