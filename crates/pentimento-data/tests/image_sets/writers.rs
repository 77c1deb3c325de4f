//! Files of every format, written by the libraries that write such files, or byte by byte.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;

use image::ImageEncoder as _;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pentimento_data::Image;

/// Pixels that follow from a seed and look like nothing.
pub fn noise(height: usize, width: usize, channels: usize, seed: u64) -> Image {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let pixels = (0..height * width * channels)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    Image::new(height, width, channels, pixels).unwrap()
}

fn colour(image: &Image) -> image::ExtendedColorType {
    match image.channels() {
        1 => image::ExtendedColorType::L8,
        2 => image::ExtendedColorType::La8,
        3 => image::ExtendedColorType::Rgb8,
        _ => image::ExtendedColorType::Rgba8,
    }
}

pub fn png(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(image.pixels(), image.width() as u32, image.height() as u32, colour(image))
        .unwrap();
    bytes
}

pub fn jpeg(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90)
        .write_image(image.pixels(), image.width() as u32, image.height() as u32, colour(image))
        .unwrap();
    bytes
}

pub fn webp(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::webp::WebPEncoder::new_lossless(&mut bytes)
        .write_image(image.pixels(), image.width() as u32, image.height() as u32, colour(image))
        .unwrap();
    bytes
}

/// A chunk of a PNG file with its checksum.
fn png_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], name, data, &crc.sum().to_be_bytes()].concat()
}

/// A PNG file that consists of a header and a little data.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        png_chunk(b"IHDR", &header),
        png_chunk(b"IDAT", &[0; 10]),
        png_chunk(b"IEND", &[]),
    ]
    .concat()
}

/// Adds an eXIf chunk with one tag, the orientation, after the header of a PNG file.
pub fn with_exif_orientation(png: &[u8], orientation: u8) -> Vec<u8> {
    // Little-endian TIFF: its header, a directory of one entry (tag 0x0112, kind 3: 16 bits, count 1, the value), no next.
    let exif =
        [&b"II*\0\x08\0\0\0"[..], &[1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0], &[0; 4]]
            .concat();
    // The signature has 8 bytes, the header chunk 25.
    [&png[..33], &png_chunk(b"eXIf", &exif), &png[33..]].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn idx(magic: u32, dimensions: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(dimensions.iter().flat_map(|dimension| dimension.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

/// An array in NumPy's format, version 1: a header of 128 bytes, then the data.
pub fn npy(kind: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let sides: Vec<_> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let header =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}{comma}), }}", sides.join(", "));
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:<117}\n").into_bytes());
    assert_eq!(bytes.len(), 128);
    bytes.extend_from_slice(data);
    bytes
}

/// Changes text, or bytes, inside bytes where they are first.
pub trait MapText {
    fn map_bytes(&self, from: &[u8], to: &[u8]) -> Vec<u8>;

    fn map_text(&self, from: &str, to: &str) -> Vec<u8> {
        self.map_bytes(from.as_bytes(), to.as_bytes())
    }
}

impl MapText for Vec<u8> {
    fn map_bytes(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let start = self.windows(from.len()).position(|window| window == from).unwrap();
        [&self[..start], to, &self[start + from.len()..]].concat()
    }
}

/// A zip archive, byte by byte (APPNOTE 4.3): local headers with data, then the directory, then its end.
pub fn zip_of(members: &[(&str, Vec<u8>)], compressed: bool) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let stored = if compressed {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.clone()
        };
        let method: u16 = if compressed { 8 } else { 0 };
        let common = [
            &20_u16.to_le_bytes()[..],
            &[0; 2],
            &method.to_le_bytes(),
            &[0, 0, 0x21, 0],
            &crc.sum().to_le_bytes(),
            &(stored.len() as u32).to_le_bytes(),
            &(content.len() as u32).to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
            &[0; 2],
        ]
        .concat();
        let offset = archive.len() as u32;
        directory.extend(
            [b"PK\x01\x02\x14\0", common.as_slice(), &[0; 10], &offset.to_le_bytes(), name.as_bytes()]
                .concat(),
        );
        archive.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes(), &stored].concat());
    }
    let start = archive.len() as u32;
    archive.extend_from_slice(&directory);
    let count = (members.len() as u16).to_le_bytes();
    archive.extend(
        [
            &b"PK\x05\x06\0\0\0\0"[..],
            &count,
            &count,
            &(directory.len() as u32).to_le_bytes(),
            &start.to_le_bytes(),
            &[0; 2],
        ]
        .concat(),
    );
    archive
}

/// An archive of files; each path is written as it is, without the checks of the library.
pub fn tar_of(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let header = tar_header(path, tar::EntryType::Regular, content.len());
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn tar_with_link(path: &str, target: &str) -> Vec<u8> {
    let mut header = tar_header(path, tar::EntryType::Symlink, 0);
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, Cursor::new([])).unwrap();
    builder.into_inner().unwrap()
}

fn tar_header(path: &str, kind: tar::EntryType, bytes: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// A row: the encoded image, the label.
pub type Row = (Option<Vec<u8>>, Option<i64>);

/// A file as `datasets` writes it, with a row group for each slice and the JSON of its features.
pub fn write_parquet(path: &Path, row_groups: &[&[Row]], features: Option<&str>) {
    write_parquet_compressed(path, row_groups, features, parquet::basic::Compression::SNAPPY);
}

/// The same with any codec.
pub fn write_parquet_compressed(
    path: &Path,
    row_groups: &[&[Row]],
    features: Option<&str>,
    codec: parquet::basic::Compression,
) {
    let schema = "message schema { optional group img { optional binary bytes; optional binary path (UTF8); } optional int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let pairs = features.map(|text| vec![KeyValue::new("huggingface".into(), text.to_owned())]);
    let properties = WriterProperties::builder().set_key_value_metadata(pairs).set_compression(codec).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in row_groups {
        let mut row_group = writer.next_row_group().unwrap();
        let images: Vec<ByteArray> =
            rows.iter().filter_map(|(image, _)| image.clone().map(Into::into)).collect();
        let levels: Vec<i16> = rows.iter().map(|(image, _)| if image.is_some() { 2 } else { 1 }).collect();
        let mut column = row_group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = row_group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; rows.len()]), None).unwrap();
        column.close().unwrap();
        let labels: Vec<i64> = rows.iter().filter_map(|(_, label)| *label).collect();
        let levels: Vec<i16> = rows.iter().map(|(_, label)| i16::from(label.is_some())).collect();
        let mut column = row_group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        row_group.close().unwrap();
    }
    writer.close().unwrap();
}

/// A file of images that are named by paths.
pub fn write_parquet_paths(path: &Path, images: &[&str]) {
    let schema =
        "message schema { optional group img { optional binary bytes; optional binary path (UTF8); } }";
    let paths: Vec<ByteArray> = images.iter().map(|&image| image.into()).collect();
    let count = images.len();
    write_parquet_schema(path, schema, &[(vec![], vec![1; count]), (paths, vec![2; count])]);
}

/// A file of one row group with these values and levels, or of none.
pub fn write_parquet_schema(path: &Path, schema: &str, columns: &[(Vec<ByteArray>, Vec<i16>)]) {
    let columns: Vec<Levels> =
        columns.iter().map(|(values, levels)| (values.clone(), levels.clone(), None)).collect();
    write_parquet_lists(path, schema, &columns);
}

/// Values, levels of definition, and those of repetition where values are in lists.
pub type Levels = (Vec<ByteArray>, Vec<i16>, Option<Vec<i16>>);

/// The same with lists.
pub fn write_parquet_lists(path: &Path, schema: &str, columns: &[Levels]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    if !columns.is_empty() {
        let mut row_group = writer.next_row_group().unwrap();
        for (values, levels, starts) in columns {
            let mut column = row_group.next_column().unwrap().unwrap();
            // Of a column that is required, there are none.
            let levels = (!levels.is_empty()).then_some(levels.as_slice());
            column.typed::<ByteArrayType>().write_batch(values, levels, starts.as_deref()).unwrap();
            column.close().unwrap();
        }
        row_group.close().unwrap();
    }
    writer.close().unwrap();
}

/// A little-endian TIFF file of one strip of 2 x 2 pixels with these tags beside those of its size and place, in ascending
/// order: each with 16-bit values (TIFF 6.0, section 2).
pub fn tiff(tags: &[(u16, &[u16])], strip: &[u8]) -> Vec<u8> {
    let mut all: Vec<(u16, Vec<u16>)> = tags.iter().map(|&(tag, values)| (tag, values.to_vec())).collect();
    // Width, height, where the strip is, its rows, its bytes.
    let strip_bytes = strip.len() as u16;
    all.extend([(256, vec![2]), (257, vec![2]), (273, vec![8]), (278, vec![2]), (279, vec![strip_bytes])]);
    all.sort();
    // The header, the strip, what does not fit into entries, the directory.
    let mut outside = strip.to_vec();
    outside.resize(outside.len().next_multiple_of(2), 0);
    let mut directory = (all.len() as u16).to_le_bytes().to_vec();
    for (tag, values) in all {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        directory.extend([tag.to_le_bytes(), 3_u16.to_le_bytes()].concat());
        directory.extend((values.len() as u32).to_le_bytes());
        if bytes.len() <= 4 {
            directory.extend([bytes.as_slice(), &[0; 4][bytes.len()..]].concat());
        } else {
            directory.extend((8 + outside.len() as u32).to_le_bytes());
            outside.extend(bytes);
        }
    }
    let start = (8 + outside.len() as u32).to_le_bytes();
    [b"II\x2a\0", start.as_slice(), &outside, &directory, &[0; 4]].concat()
}

/// A one-channel image in a format of the `image` crate, of 8 or 16 bits.
pub fn encoded(format: image::ImageFormat, image: image::DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}
