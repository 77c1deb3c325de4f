//! Image sets for pentimento: reading them, telling images apart, preparing them for training, and fetching the
//! public ones.
//!
//! - [`open`] opens a set of any usual layout (IDX, CIFAR-10, folders, Parquet, WebDataset, NumPy) as an [`ImageSource`],
//!   whose images are read one by one; [`Inspection`] says what is in it, [`contact_sheet`] shows it.
//! - [`read_idx`] reads a set in the IDX format of MNIST into memory; the result is an [`ImageSet`].
//! - [`ImageId`] names an image by a hash of its decoded pixels, so that a name survives reordering, renaming and
//!   recompression; [`exact_duplicates`] finds images that share one,
//!   [`near_duplicates`] pairs that look alike, and [`nearly_the_same`] images whose pixels hardly differ.
//! - [`Preprocessing`] says which images of a set are used and how they are cropped, padded and resized;
//!   [`prepare`] does it and gives a [`PreparedSet`].
//! - A set's captions are [`ImageSource::captions`] and [`PreparedSet::captions`]; [`check_captions`] refuses images without.
//! - [`Groups`] puts images together that are traced as one.
//! - [`fetch`] brings a [`PublicSet`] into a local cache. It is the only function here that uses the network.
//!
//! # Example
//!
//! The first hundred images of each of three digits, averaged from 28 x 28 to 14 x 14 pixels:
//!
//! ```no_run
//! use pentimento_data::{FetchOptions, Preprocessing, PublicSet, Resize, ResizeFilter, default_cache_dir, fetch, prepare};
//!
//! let preprocessing = Preprocessing {
//!     classes: Some(vec![0, 1, 2]),
//!     first_per_class: Some(100),
//!     resize: Some(Resize { height: 14, width: 14, filter: ResizeFilter::Box }),
//!     ..Preprocessing::default()
//! };
//! let fetched = fetch(PublicSet::Mnist, &FetchOptions::new(default_cache_dir()?), &mut |event| println!("{event}"))?;
//! let set = prepare(&fetched.open(preprocessing.split)?, &preprocessing)?;
//! assert_eq!((set.len(), set.height(), set.width(), set.channels()), (300, 14, 14, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod csv_table;
mod duplicates;
mod error;
mod fetch;
mod groups;
mod hexadecimal;
mod idx;
mod image;
mod inspection;
mod names;
mod near_duplicates;
mod preprocessing;
mod public_sets;
mod resize;
mod source;

pub use duplicates::exact_duplicates;
pub use error::{DataError, FetchAttempt, FetchError, FinalSize};
pub use fetch::{FetchEvent, FetchOptions, FetchedSet, default_cache_dir, fetch};
pub use groups::Groups;
pub use idx::read_idx;
pub use image::{Image, ImageId, ImageSet, MAX_IMAGE_PIXELS};
pub use inspection::{Inspection, contact_sheet};
pub use names::composed;
pub use near_duplicates::{NEAR_DUPLICATE_BITS, NearPair, near_duplicates, nearly_the_same, perceptual_hash};
pub use preprocessing::{
    Cover, Crop, Pad, PreparedSet, Preprocessing, Resize, Survey, prepare, prepare_telling, survey,
};
pub use public_sets::{PublicFile, PublicSet, Split};
pub use resize::ResizeFilter;
pub use source::{
    CaptionFaultKind, CaptionFaultSummary, CaptionSummary, Channels, Colours, Conversion, DamageKind,
    DamageSummary, DamagedImage, FaultyCaption, ImageSource, IndexedSource, Layout, Note, OpenEvent,
    OpenOptions, Work, check_captions, converted, converted_without_loss, open, with_class_captions,
};
