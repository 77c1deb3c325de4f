//! NumPy arrays of images: a `.npy` file with `labels.npy` beside it, or an `.npz` archive of both
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! Images are `[images, height, width]`, `[images, height, width, channels]` or `[images, channels, height, width]`. Which of
//! the latter two is told by the axis that has 1 to 4 entries; if both or neither have, the array is refused. Their numbers are
//! bytes, unsigned integers of 16 bits or floating-point (`array_pixels.rs`). Labels are in another array (`array_labels.rs`).

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::array_labels;
use super::array_pixels::{Conversion, Numbers, Pixels};
use super::decode::Raw;
use super::halves::{no_half, of_half, part_named, word_of};
use super::labels::{self, Labelled};
use super::notes::Note;
use super::place::Place;
use super::records::{MAX_DECOMPRESSED_BYTES, Records, Storage, skip};
use super::structure::{Layout, Listing, Reader, Structure};
use crate::error::DataError;
use crate::image::{Image, broken_size};
use crate::public_sets::Split;

/// Headers that NumPy writes have some 100 bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;
/// What images may be, for errors.
const KINDS: &str = "unsigned integers of 8 or 16 bits (|u1, <u2) or floating-point numbers (<f2, <f4, <f8)";
/// Deflate cannot make more than 1032 bytes of one (zlib's technical details).
const MAX_DEFLATE_RATIO: u64 = 1032;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// As NumPy writes it, such as `|u1` or `<i8`.
    pub(super) kind: String,
    pub(super) shape: Vec<usize>,
    /// Length of the header itself.
    pub(super) bytes: u64,
}

/// An array in a file.
pub(super) struct Array {
    /// The file, and the member of an archive.
    pub(super) place: Place,
    pub(super) header: Header,
    storage: Storage,
}

impl Array {
    pub(super) fn count(&self) -> usize {
        self.header.shape.first().copied().unwrap_or_default()
    }

    pub(super) fn entry_bytes(&self) -> Option<u64> {
        let kind = self.header.kind.as_bytes().get(1)?;
        let length: u64 = self.header.kind.get(2..)?.parse().ok()?;
        match (kind, length) {
            (b'u' | b'i', 1 | 2 | 4 | 8) | (b'b', 1) | (b'f', 2 | 4 | 8) => Some(length),
            (b'S', 1..) => Some(length),
            (b'U', 1..) => length.checked_mul(4),
            _ => None,
        }
    }

    /// Bytes of the whole array, header included; none for entries of another kind or a product that overflows.
    fn expected_bytes(&self) -> Option<u64> {
        let mut bytes = self.entry_bytes()?;
        for &side in &self.header.shape {
            bytes = bytes.checked_mul(side as u64)?;
        }
        bytes.checked_add(self.header.bytes)
    }

    /// The numbers of this array if it looks like images: those of a kind that pixels have, with three or four axes.
    fn as_images(&self) -> Option<Numbers> {
        Numbers::of_kind(&self.header.kind).filter(|_| matches!(self.header.shape.len(), 3 | 4))
    }

    /// The first bytes, header included; fewer if there are no more.
    pub(super) fn read(&self, length: u64) -> Result<Vec<u8>, DataError> {
        let io_error = |source| self.place.io("read", source);
        let (file, _) = self.place.open()?;
        let mut bytes = Vec::new();
        let reader = self.storage.open(file).map_err(io_error)?;
        reader.take(length).read_to_end(&mut bytes).map_err(io_error)?;
        Ok(bytes)
    }
}

pub(super) fn read_npy(path: &Path) -> Result<Structure, DataError> {
    let images = open_npy(path)?;
    let mut files = vec![path.to_path_buf()];
    let (mut labels, mut notes) = (None, Vec::new());
    if let Some((labels_path, array)) = array_labels::open_beside(path)? {
        files.push(labels_path);
        let labelled = array_labels::read(&array, None, images.count())?;
        notes.extend(labels::note("names in the array of labels", &labelled));
        labels = Some(labelled);
    }
    structure(Layout::Npy, &images, labels, files, notes)
}

pub(super) fn open_npy(path: &Path) -> Result<Array, DataError> {
    let place = Place::file(path);
    let (file, length) = place.open()?;
    let header = read_header(&mut BufReader::new(file), &place)?;
    let array = Array { place, header, storage: Storage::Plain { offset: 0 } };
    array.check_length(length)?;
    Ok(array)
}

impl Array {
    fn check_length(&self, length: u64) -> Result<(), DataError> {
        match self.expected_bytes() {
            Some(expected) if expected != length => {
                let bound =
                    format!("{expected} bytes, for {:?} of kind {}", self.header.shape, self.header.kind);
                Err(self.place.broken("length", format!("{length} bytes"), bound))
            }
            _ => Ok(()),
        }
    }
}

/// An archive of arrays. If the names of arrays say `train` and `test`, those of the wanted half count.
pub(super) fn read_npz(path: &Path, split: Split) -> Result<Structure, DataError> {
    let place = Place::file(path);
    let mut arrays = members(path)?;
    let names: Vec<String> =
        arrays.iter().map(|array| array.place.entry.clone().unwrap_or_default()).collect();
    let mut notes = Vec::new();
    if names.iter().any(|name| part_named(name).is_some()) {
        let wanted = of_half(path, &names, split)?;
        let others: Vec<String> = names
            .iter()
            .filter(|name| part_named(name).is_some() && !wanted.contains(name))
            .cloned()
            .collect();
        if !others.is_empty() {
            notes.push(Note::Split { taken: word_of(split).into(), others });
        }
        // What says no part, such as the names of classes, belongs to all.
        let is_other = |name: &String| part_named(name).is_some() && !wanted.contains(name);
        arrays.retain(|array| array.place.entry.as_ref().is_none_or(|name| !is_other(name)));
    } else if split == Split::Test {
        return Err(no_half(path, split, &[]));
    }
    // Beside images in bytes, floating-point arrays are something else: features, latents.
    let of_bytes = |array: &Array| array.as_images() == Some(Numbers::Bytes);
    let any_bytes = arrays.iter().any(of_bytes);
    let mut candidates =
        arrays.iter().filter(|array| if any_bytes { of_bytes(array) } else { array.as_images().is_some() });
    let (Some(images), None) = (candidates.next(), candidates.next()) else {
        let list: Vec<String> = arrays.iter().map(Array::described).collect();
        let value = if list.is_empty() { "empty".into() } else { list.join(", ") };
        let advice = match arrays.iter().find(|array| matches!(array.header.shape.len(), 3 | 4)) {
            Some(other) if other.as_images().is_none() => format!("; {}", advice_for(&other.header.kind)),
            _ => String::new(),
        };
        let bound = format!("with exactly one of images, {KINDS} with three or four axes{advice}");
        return Err(place.broken("the list of arrays", value, bound));
    };
    let others: Vec<&Array> = arrays.iter().filter(|array| !std::ptr::eq(*array, images)).collect();
    let chosen = array_labels::choose(&others, images.count(), &place)?;
    notes.extend(chosen.notes);
    let read = [Some(images), chosen.labels, chosen.class_names].into_iter().flatten();
    // What has no known length is refused below.
    for array in read.filter(|array| array.expected_bytes().is_some()) {
        check_sum(array)?;
    }
    let labels = chosen
        .labels
        .map(|labels| array_labels::read(labels, chosen.class_names, images.count()))
        .transpose()?;
    if let (Some(labelled), None) = (&labels, chosen.class_names) {
        notes.extend(labels::note("names in the array of labels", labelled));
    }
    structure(Layout::Npz, images, labels, vec![path.into()], notes)
}

/// Every array of an archive, with its header read.
fn members(path: &Path) -> Result<Vec<Array>, DataError> {
    let place = Place::file(path);
    let (file, file_bytes) = place.open()?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| place.undecodable(error))?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(|error| place.undecodable(error))?;
        let name = member.name().map_err(|error| place.undecodable(error))?.into_owned();
        let Some(name) = name.strip_suffix(".npy") else { continue };
        let place = Place::entry(path, name);
        let (offset, bytes, announced) =
            (member.data_start().unwrap_or(u64::MAX), member.compressed_size(), member.size());
        if member.encrypted() || offset.checked_add(bytes).is_none_or(|end| end > file_bytes) {
            let value = if member.encrypted() { "encrypted" } else { "beyond the end of the file" };
            return Err(place.broken("the member", value, "plain, and inside the file"));
        }
        let storage = match member.compression() {
            zip::CompressionMethod::Stored if bytes == announced => Storage::Plain { offset },
            zip::CompressionMethod::Deflated => Storage::Deflate { offset, bytes },
            other => {
                let value = format!("{other:?}, {bytes} bytes for {announced}");
                return Err(place.broken("the compression", value, "none, or deflate"));
            }
        };
        let most = bytes.saturating_mul(MAX_DEFLATE_RATIO).min(MAX_DECOMPRESSED_BYTES);
        if matches!(storage, Storage::Deflate { .. }) && announced > most {
            let bound = format!("at most {most} bytes, from {bytes} compressed ones");
            return Err(place.broken("announced size", format!("{announced} bytes"), bound));
        }
        drop(member);
        let (file, _) = place.open()?;
        let mut reader = storage.open(file).map_err(|source| place.io("read", source))?;
        let header = read_header(&mut reader, &place)?;
        let array = Array { place, header, storage };
        array.check_length(announced)?;
        arrays.push(array);
    }
    Ok(arrays)
}

/// Reads a member once to compare its checksum: later, images are read one by one.
fn check_sum(array: &Array) -> Result<(), DataError> {
    let place = &array.place;
    let (file, _) = place.open()?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| place.undecodable(error))?;
    let name = format!("{}.npy", place.entry.as_deref().unwrap_or_default());
    let index =
        archive.index_for_name(&name).ok_or_else(|| place.broken("the member", "missing", "there"))?;
    let expected = archive.by_index_raw(index).map_err(|error| place.undecodable(error))?.crc32();
    drop(archive);
    let (file, _) = place.open()?;
    let reader = array.storage.open(file).map_err(|source| place.io("read", source))?;
    let length = array.expected_bytes().unwrap_or_default();
    let mut crc = Crc::new();
    let mut chunk = vec![0; 1 << 16];
    let mut reader = reader.take(length);
    loop {
        let count = reader.read(&mut chunk).map_err(|source| place.io("read", source))?;
        if count == 0 {
            break;
        }
        crc.update(&chunk[..count]);
    }
    if crc.sum() != expected {
        return Err(place.broken(
            "the CRC-32 sum",
            format!("{:#010x}", crc.sum()),
            format!("{expected:#010x}"),
        ));
    }
    Ok(())
}

/// How the pixels of an image lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    ChannelsLast,
    ChannelsFirst,
}

struct PixelArray {
    place: Place,
    records: Records,
    shape: Shape,
    pixels: Pixels,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    height: usize,
    width: usize,
    channels: usize,
    order: Order,
}

impl Shape {
    fn of(shape: &[usize], place: &Place) -> Result<Self, DataError> {
        let few = 1..=4;
        let (height, width, channels, order) = match *shape {
            [_, height, width] => (height, width, 1, Order::ChannelsLast),
            [_, first, middle, last] => match (few.contains(&first), few.contains(&last)) {
                (false, true) => (first, middle, last, Order::ChannelsLast),
                (true, false) => (middle, last, first, Order::ChannelsFirst),
                (both, _) => {
                    let bound = if both {
                        "with 1 to 4 channels on the second or on the last axis, not on both"
                    } else {
                        "with 1 to 4 channels (grey, grey and alpha, RGB, RGBA) on the second or on the last axis; \
                         `x[..., :3]` takes three of more"
                    };
                    return Err(place.broken("the shape", format!("{shape:?}"), bound));
                }
            },
            _ => return Err(place.broken("the shape", format!("{shape:?}"), "three or four axes")),
        };
        if let Some((field, value, bound)) = broken_size([height, width]) {
            return Err(place.broken(field, value, bound));
        }
        Ok(Self { height, width, channels, order })
    }

    /// Numbers of one image. Its pixels are bounded, so this does not overflow.
    fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Where a number of the whole array is, for people.
    fn position(self, number: usize) -> String {
        let Self { height, width, channels, order } = self;
        let (image, within) = (number / self.len(), number % self.len());
        let (row, column, channel) = match order {
            Order::ChannelsLast => (within / channels / width, within / channels % width, within % channels),
            Order::ChannelsFirst => (within / width % height, within % width, within / (height * width)),
        };
        format!("image {image}, row {row}, column {column}, channel {channel}")
    }
}

/// What makes images of an array of another kind.
fn advice_for(kind: &str) -> &'static str {
    match kind.as_bytes().get(1) {
        Some(b'b') => "masks are read as `x.astype('uint8') * 255`",
        Some(b'u' | b'i') => "integers in [0, 255] are read as `x.astype('uint8')`",
        _ => "images are saved as `((x - low) / (high - low) * 255).round().astype('uint8')`",
    }
}

fn structure(
    layout: Layout,
    images: &Array,
    labels: Option<Labelled>,
    files: Vec<PathBuf>,
    notes: Vec<Note>,
) -> Result<Structure, DataError> {
    let place = &images.place;
    let Header { kind, shape, bytes: header_bytes } = &images.header;
    let Some(numbers) = images.as_images() else {
        let value = format!("{shape:?} of kind {kind}");
        let advice = match Numbers::of_kind(kind) {
            Some(_) => String::new(),
            None => format!("; {}", advice_for(kind)),
        };
        let bound = format!("{KINDS} with three or four axes{advice}");
        return Err(place.broken("the array of images", value, bound));
    };
    let shape = Shape::of(shape, place)?;
    let count = images.count();
    let mut listing = Listing::numbered(count);
    if let Some(labels) = labels {
        listing = listing.with_labels(labels);
    }
    let too_large = || place.broken("the number of images", count, "fewer");
    let total = count.checked_mul(shape.len()).ok_or_else(too_large)?;
    let pixels = {
        let io_error = |source| place.io("read", source);
        let (file, _) = place.open()?;
        let mut reader = images.storage.open(file).map_err(io_error)?;
        if numbers != Numbers::Bytes {
            skip(&mut reader, *header_bytes).map_err(io_error)?;
        }
        Pixels::find(numbers, total, &mut reader, place, &|number| shape.position(number))?
    };
    let record_bytes = shape.len() * pixels.number_bytes();
    let records = Records::new(place.path.clone(), images.storage, *header_bytes, record_bytes, count);
    let reader = PixelArray { place: place.clone(), records, shape, pixels };
    Ok(Structure { layout, listing, files, reader: Box::new(reader), notes })
}

impl Reader for PixelArray {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        let bytes = self.pixels.convert(self.records.read(index)?);
        let Shape { height, width, channels, order } = self.shape;
        let plane = height * width;
        let pixels = match order {
            Order::ChannelsLast => bytes,
            Order::ChannelsFirst => {
                (0..plane).flat_map(|pixel| bytes.iter().skip(pixel).step_by(plane).copied()).collect()
            }
        };
        Ok(Raw::Pixels(Image::new(height, width, channels, pixels)?))
    }

    fn conversion(&self) -> Option<Conversion> {
        self.pixels.conversion
    }

    fn place(&self, index: usize) -> Place {
        let entry = match &self.place.entry {
            None => format!("image {index}"),
            Some(member) => format!("{member}, image {index}"),
        };
        Place::entry(&self.place.path, entry)
    }
}

/// Reads the header of an array. The magic number and two bytes of version are followed by the length of a Python
/// literal, `{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 28, 28), }`.
fn read_header(reader: &mut dyn Read, place: &Place) -> Result<Header, DataError> {
    let mut take = |count: usize| {
        let mut bytes = Vec::new();
        reader.take(count as u64).read_to_end(&mut bytes).map_err(|source| place.io("read", source))?;
        if bytes.len() < count {
            return Err(place.broken("the header", "cut short", "whole"));
        }
        Ok(bytes)
    };
    let start = take(8)?;
    if !start.starts_with(b"\x93NUMPY") {
        return Err(place.broken("the first bytes", format!("{:02x?}", &start[..6]), "\"\\x93NUMPY\""));
    }
    let (length_bytes, length) = match start[6] {
        1 => (2, take(2)?.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte))),
        2 | 3 => (4, take(4)?.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte))),
        version => return Err(place.broken("the format version", version, "1, 2 or 3")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(place.broken(
            "the length of the header",
            format!("{length} bytes"),
            format!("at most {MAX_HEADER_BYTES} bytes"),
        ));
    }
    let text =
        String::from_utf8(take(length)?).map_err(|_| place.broken("the header", "not UTF-8", "text"))?;
    let (kind, fortran_order, shape) = parse_header(&text).ok_or_else(|| {
        let shown: String = text.chars().take(200).collect();
        place.broken(
            "the header",
            format!("{shown:?}"),
            "a dictionary of 'descr', 'fortran_order' and 'shape'",
        )
    })?;
    if fortran_order && shape.len() > 1 {
        return Err(place.broken("fortran_order", "True", "False; numpy.ascontiguousarray makes it so"));
    }
    Ok(Header { kind, shape, bytes: (8 + length_bytes + length) as u64 })
}

/// The three values of a header, in any order. A structured kind (a list) is none that is known here.
fn parse_header(text: &str) -> Option<(String, bool, Vec<usize>)> {
    let (mut kind, mut fortran_order, mut shape) = (None, None, None);
    let mut rest = text.trim().strip_prefix('{')?.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        match key {
            "descr" => {
                let (value, after) = quoted(rest)?;
                (kind, rest) = (Some(value.to_owned()), after);
            }
            "fortran_order" => {
                let (value, after) = match rest.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (false, rest.strip_prefix("False")?),
                };
                (fortran_order, rest) = (Some(value), after);
            }
            "shape" => {
                let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
                let sides = inside.split(',').map(str::trim).filter(|side| !side.is_empty());
                shape = Some(sides.map(|side| side.parse().ok()).collect::<Option<Vec<usize>>>()?);
                rest = after;
            }
            _ => return None,
        }
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some((kind?, fortran_order?, shape?))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    text.get(1..)?.split_once(quote)
}
