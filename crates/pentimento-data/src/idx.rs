//! The IDX format of MNIST: a big-endian header, then unsigned bytes; plain, or compressed by gzip.
//!
//! ```text
//! images: 0x00000803, number of images, height, width, then number * height * width bytes
//! labels: 0x00000801, number of labels,                then number bytes
//! ```
//!
//! Every size in a header is checked against the length of the file, or against how far it decompresses, before
//! memory for it is taken.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::DataError;
use crate::image::{ImageSet, MAX_SIDE, broken_size};
use crate::source::MAX_DECOMPRESSED_BYTES;

/// The first bytes of a gzip stream (RFC 1952, section 2.3.1).
pub(crate) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// 4 GiB are five times the largest set of the family (EMNIST by class, 814,255 images of 28 x 28).
const IMAGES: Kind = Kind {
    magic: 0x0000_0803,
    title: "images",
    dimensions: &["number of images", "height", "width"],
    max_decompressed_bytes: MAX_DECOMPRESSED_BYTES,
};
const LABELS: Kind = Kind {
    magic: 0x0000_0801,
    title: "labels",
    dimensions: &["number of labels"],
    max_decompressed_bytes: 256 << 20,
};

/// What a file of this format holds.
struct Kind {
    magic: u32,
    title: &'static str,
    /// Names of the header fields after the magic number.
    dimensions: &'static [&'static str],
    /// Most bytes that a compressed file may announce. A plain file needs no such bound, its length is already there.
    max_decompressed_bytes: u64,
}

impl Kind {
    fn header_len(&self) -> usize {
        4 * (1 + self.dimensions.len())
    }
}

/// Opens a set that consists of an IDX file of images and one of labels. Whether a file is compressed is told by its
/// first bytes, not by its name. The images have one channel.
///
/// # Errors
/// If a file cannot be read, its header breaks the format or disagrees with the file's length, or the two files
/// hold different numbers of images and labels.
pub fn read_idx(images: &Path, labels: &Path) -> Result<ImageSet, DataError> {
    let (label_dimensions, label_bytes) = read_file(labels, &LABELS)?;
    let (image_dimensions, pixels) = read_file(images, &IMAGES)?;
    if label_dimensions[0] != image_dimensions[0] {
        return Err(DataError::File {
            path: labels.into(),
            field: "number of labels",
            value: label_dimensions[0].to_string(),
            bound: format!("{}, the number of images in {}", image_dimensions[0], images.display()),
        });
    }
    let labels = label_bytes.into_iter().map(u32::from).collect();
    ImageSet::new(image_dimensions[1], image_dimensions[2], 1, pixels, labels)
}

pub(crate) fn read_idx_labels(path: &Path) -> Result<Vec<u32>, DataError> {
    Ok(read_file(path, &LABELS)?.1.into_iter().map(u32::from).collect())
}

/// What the header of an IDX file of images says.
pub(crate) struct IdxImages {
    pub(crate) count: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) header_bytes: u64,
    pub(crate) compressed: bool,
}

/// Reads the header of a file of images. Of a compressed file, the length is only known once it is read.
pub(crate) fn read_idx_images_header(path: &Path) -> Result<IdxImages, DataError> {
    let Opened { dimensions, header_bytes, compressed, .. } = open_file(path, &IMAGES)?;
    let [count, height, width] = <[usize; 3]>::try_from(dimensions).unwrap_or_default();
    Ok(IdxImages { count, height, width, header_bytes, compressed })
}

/// A file whose header has been read and checked.
struct Opened {
    dimensions: Vec<usize>,
    header_bytes: u64,
    compressed: bool,
    /// Bytes of data that the header announces.
    announced: u64,
    /// The length that the file must have, in words.
    expected_len: String,
    /// What follows the header.
    reader: Box<dyn Read>,
}

/// The dimensions that the header announces, as many as the kind has, and the bytes after the header.
fn read_file(path: &Path, kind: &Kind) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let Opened { dimensions, header_bytes, compressed, announced, expected_len, reader } =
        open_file(path, kind)?;
    let (action, length_field) = names(compressed);
    let io_error = |source| DataError::Io { action, path: path.into(), source };
    let broken = |field, value, bound| DataError::File { path: path.into(), field, value, bound };

    // Grows with what arrives, so a header alone never takes memory; one byte more shows data after the end.
    let mut data = Vec::new();
    reader.take(announced + 1).read_to_end(&mut data).map_err(|source| match source.kind() {
        // The decoder met the end of the file inside a stream, or inside what follows the last one.
        io::ErrorKind::UnexpectedEof => {
            broken("the compressed data", "cut short".into(), format!("whole gzip streams of {expected_len}"))
        }
        _ => io_error(source),
    })?;
    if data.len() as u64 != announced {
        let more = if data.len() as u64 > announced { "more than " } else { "" };
        let length = header_bytes + announced.min(data.len() as u64);
        return Err(broken(length_field, format!("{more}{length} bytes"), expected_len));
    }
    Ok((dimensions, data))
}

/// What is done with a file, and what its length is called.
fn names(compressed: bool) -> (&'static str, &'static str) {
    if compressed { ("decompress", "length after decompression") } else { ("read", "length") }
}

fn open_file(path: &Path, kind: &Kind) -> Result<Opened, DataError> {
    let io_error = |action| move |source| DataError::Io { action, path: path.into(), source };
    let broken = |field, value, bound| DataError::File { path: path.into(), field, value, bound };

    // Asked before opening, because opening a named pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(io_error("open"))?;
    if !metadata.is_file() {
        return Err(broken("the path", "a folder or a device".into(), "a regular file".into()));
    }
    let mut file = File::open(path).map_err(io_error("open"))?;
    let mut first_bytes = Vec::new();
    file.by_ref().take(2).read_to_end(&mut first_bytes).map_err(io_error("read"))?;
    file.rewind().map_err(io_error("read"))?;
    let compressed = first_bytes == GZIP_MAGIC;
    let plain = BufReader::new(file);
    let (action, length_field) = names(compressed);
    let mut reader: Box<dyn Read> =
        if compressed { Box::new(MultiGzDecoder::new(plain)) } else { Box::new(plain) };

    let header_len = kind.header_len();
    let mut header = Vec::new();
    reader.by_ref().take(header_len as u64).read_to_end(&mut header).map_err(io_error(action))?;
    if header.len() < header_len {
        let bound = format!("at least {header_len} bytes, the header of IDX {}", kind.title);
        return Err(broken(length_field, format!("{} bytes", header.len()), bound));
    }
    let mut fields = header
        .chunks_exact(4)
        .map(|bytes| bytes.iter().fold(0_u32, |value, &byte| value << 8 | u32::from(byte)));
    let magic = fields.next().unwrap_or_default();
    if magic != kind.magic {
        let bound = format!("{:#010x}, IDX {} of unsigned bytes", kind.magic, kind.title);
        return Err(broken("magic number", format!("{magic:#010x}"), bound));
    }

    let mut dimensions = Vec::new();
    let mut announced = 1_u64;
    for (index, (&name, value)) in kind.dimensions.iter().zip(fields).enumerate() {
        let is_side = index > 0;
        let largest = if is_side { MAX_SIDE as u64 } else { u64::from(u32::MAX) };
        if !(1..=largest).contains(&u64::from(value)) {
            return Err(broken(name, value.to_string(), format!("between 1 and {largest}")));
        }
        dimensions.push(value as usize);
        if let [_, height, width] = *dimensions.as_slice()
            && let Some((field, value, bound)) = broken_size([height, width])
        {
            return Err(broken(field, value, bound));
        }
        // At most 2^32 images of 2^28 bytes: no overflow in 64 bits.
        announced *= u64::from(value);
    }
    let expected_len = format!(
        "{} bytes, {header_len} of header and {} of data",
        header_len as u64 + announced,
        kind.dimensions
            .iter()
            .zip(&dimensions)
            .map(|(name, value)| format!("{value} ({name})"))
            .collect::<Vec<_>>()
            .join(" x ")
    );
    if !compressed && metadata.len() != header_len as u64 + announced {
        return Err(broken(length_field, format!("{} bytes", metadata.len()), expected_len));
    }
    if compressed && announced > kind.max_decompressed_bytes {
        let bound = format!("at most {} bytes; decompress the file to use it", kind.max_decompressed_bytes);
        return Err(broken("announced size", format!("{announced} bytes"), bound));
    }

    Ok(Opened { dimensions, header_bytes: header_len as u64, compressed, announced, expected_len, reader })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn idx(magic: u32, dimensions: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = magic.to_be_bytes().to_vec();
        bytes.extend(dimensions.iter().flat_map(|dimension| dimension.to_be_bytes()));
        bytes.extend_from_slice(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Two images of 2 x 3 pixels.
    fn images() -> Vec<u8> {
        idx(0x803, &[2, 2, 3], &(10..22).collect::<Vec<_>>())
    }

    fn labels() -> Vec<u8> {
        idx(0x801, &[2], &[7, 9])
    }

    fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn read(images: &[u8], labels: &[u8]) -> Result<ImageSet, DataError> {
        let folder = tempfile::tempdir().unwrap();
        read_idx(&write(&folder, "images", images), &write(&folder, "labels", labels))
    }

    /// The error's text, and its cause's, without the folder.
    fn message(images: &[u8], labels: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let error =
            read_idx(&write(&folder, "images", images), &write(&folder, "labels", labels)).unwrap_err();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}").replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn plain_and_compressed_files_give_the_same_set() {
        let set = read(&images(), &labels()).unwrap();
        assert_eq!((set.len(), set.height(), set.width(), set.channels()), (2, 2, 3, 1));
        assert_eq!(set.image(1), [16, 17, 18, 19, 20, 21]);
        assert_eq!(set.labels(), [7, 9]);
        assert_eq!(read(&gzip(&images()), &gzip(&labels())).unwrap(), set);
        assert_eq!(read(&images(), &gzip(&labels())).unwrap(), set);
        // A gzip file may consist of several members.
        let (start, end) = (gzip(&images()[..9]), gzip(&images()[9..]));
        assert_eq!(read(&[start, end].concat(), &labels()).unwrap(), set);
    }

    #[test]
    fn a_wrong_magic_number() {
        assert_eq!(
            message(&labels(), &labels()),
            "images: length is 10 bytes, but must be at least 16 bytes, the header of IDX images"
        );
        assert_eq!(
            message(&idx(0x801, &[20], &[0; 20]), &labels()),
            "images: magic number is 0x00000801, but must be 0x00000803, IDX images of unsigned bytes"
        );
        assert_eq!(
            message(&images(), &images()),
            "labels: magic number is 0x00000803, but must be 0x00000801, IDX labels of unsigned bytes"
        );
    }

    #[test]
    fn a_short_header() {
        assert_eq!(
            message(&[], &labels()),
            "images: length is 0 bytes, but must be at least 16 bytes, the header of IDX images"
        );
        assert_eq!(
            message(&gzip(&images()[..15]), &labels()),
            "images: length after decompression is 15 bytes, but must be at least 16 bytes, the header of IDX images"
        );
        assert_eq!(
            message(&images(), &[0, 0, 8, 1, 0, 0, 0]),
            "labels: length is 7 bytes, but must be at least 8 bytes, the header of IDX labels"
        );
    }

    #[test]
    fn truncated_data() {
        let expected = "28 bytes, 16 of header and 2 (number of images) x 2 (height) x 3 (width) of data";
        assert_eq!(
            message(&images()[..27], &labels()),
            format!("images: length is 27 bytes, but must be {expected}")
        );
        assert_eq!(
            message(&gzip(&images()[..27]), &labels()),
            format!("images: length after decompression is 27 bytes, but must be {expected}")
        );
        let compressed = gzip(&images());
        assert_eq!(
            message(&compressed[..compressed.len() - 3], &labels()),
            format!("images: the compressed data is cut short, but must be whole gzip streams of {expected}")
        );
        assert_eq!(
            message(&images(), &labels()[..9]),
            "labels: length is 9 bytes, but must be 10 bytes, 8 of header and 2 (number of labels) of data"
        );
    }

    #[test]
    fn trailing_bytes() {
        let expected = "28 bytes, 16 of header and 2 (number of images) x 2 (height) x 3 (width) of data";
        let longer = [images(), vec![0]].concat();
        assert_eq!(
            message(&longer, &labels()),
            format!("images: length is 29 bytes, but must be {expected}")
        );
        assert_eq!(
            message(&gzip(&longer), &labels()),
            format!("images: length after decompression is more than 28 bytes, but must be {expected}")
        );
        assert_eq!(
            message(&[gzip(&images()), b"more and more".to_vec()].concat(), &labels()),
            "cannot decompress images: invalid gzip header"
        );
    }

    #[test]
    fn damaged_compression() {
        let mut compressed = gzip(&images());
        let checksum = compressed.len() - 8;
        compressed[checksum] ^= 1;
        assert_eq!(
            message(&compressed, &labels()),
            "cannot decompress images: corrupt gzip stream does not have a matching checksum"
        );
    }

    #[test]
    fn dimensions_of_zero_or_beyond_the_bound() {
        for (dimensions, text) in [
            ([0, 2, 3], "images: number of images is 0, but must be between 1 and 4294967295"),
            ([2, 0, 3], "images: height is 0, but must be between 1 and 16777216"),
            (
                [2, 1 << 14, (1 << 14) + 1],
                "images: the number of pixels is 16384 x 16385, but must be at most 268435456",
            ),
            ([u32::MAX; 3], "images: height is 4294967295, but must be between 1 and 16777216"),
        ] {
            assert_eq!(message(&idx(0x803, &dimensions, &[]), &labels()), text);
            assert_eq!(message(&gzip(&idx(0x803, &dimensions, &[])), &labels()), text);
        }
    }

    #[test]
    fn a_header_that_announces_more_than_memory_holds() {
        let huge = idx(0x803, &[u32::MAX, 8192, 8192], &[]);
        assert_eq!(
            message(&huge, &labels()),
            "images: length is 16 bytes, but must be 288230376084602896 bytes, 16 of header and 4294967295 (number of \
             images) x 8192 (height) x 8192 (width) of data"
        );
        assert_eq!(
            message(&gzip(&huge), &labels()),
            "images: announced size is 288230376084602880 bytes, but must be at most 4294967296 bytes; decompress the \
             file to use it"
        );
    }

    /// Decompressed, the file goes on for megabytes behind a header that announces one byte, and is damaged at its
    /// end. Whoever reads on meets the damage first.
    #[test]
    fn a_file_that_decompresses_without_end_is_left_after_one_byte_too_many() {
        let mut bytes = idx(0x803, &[1, 1, 1], &[]);
        bytes.resize(64 << 20, 0);
        let mut bomb = gzip(&bytes);
        bomb.truncate(bomb.len() - 8);
        assert!(bomb.len() < 1 << 17);
        assert_eq!(
            message(&bomb, &labels()),
            "images: length after decompression is more than 17 bytes, but must be 17 bytes, 16 of header and 1 \
             (number of images) x 1 (height) x 1 (width) of data"
        );
    }

    #[test]
    fn counts_that_differ() {
        let folder = tempfile::tempdir().unwrap();
        let images = write(&folder, "images", &images());
        let labels = write(&folder, "labels", &idx(0x801, &[3], &[1, 2, 3]));
        assert_eq!(
            read_idx(&images, &labels).unwrap_err().to_string(),
            format!(
                "{}: number of labels is 3, but must be 2, the number of images in {}",
                labels.display(),
                images.display()
            )
        );
    }

    #[test]
    fn paths_that_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let labels = write(&folder, "labels", &labels());
        assert_eq!(
            read_idx(folder.path(), &labels).unwrap_err().to_string(),
            format!(
                "{}: the path is a folder or a device, but must be a regular file",
                folder.path().display()
            )
        );
        let missing = folder.path().join("missing");
        assert_eq!(
            read_idx(&missing, &labels).unwrap_err().to_string(),
            format!("cannot open {}", missing.display())
        );
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            (count, height, width, pixels, labels) in (1_usize..5, 1_usize..6, 1_usize..6).prop_flat_map(
                |(count, height, width)| (
                    Just(count),
                    Just(height),
                    Just(width),
                    prop::collection::vec(any::<u8>(), count * height * width),
                    prop::collection::vec(any::<u8>(), count),
                )
            ),
            compress: bool,
        ) {
            let dimensions = [count, height, width].map(|dimension| dimension as u32);
            let mut images = idx(0x803, &dimensions, &pixels);
            if compress {
                images = gzip(&images);
            }
            let set = read(&images, &idx(0x801, &dimensions[..1], &labels)).unwrap();
            prop_assert_eq!((set.len(), set.height(), set.width()), (count, height, width));
            prop_assert_eq!(set.pixels(), pixels);
            prop_assert_eq!(set.labels(), labels.into_iter().map(u32::from).collect::<Vec<_>>());
        }

        #[test]
        fn any_damage_to_the_header_gives_a_consistent_set_or_an_error(
            position in 0_usize..16, value: u8, cut in 0_usize..30, compress: bool
        ) {
            let mut bytes = images();
            bytes[position] = value;
            bytes.truncate(cut);
            if compress {
                bytes = gzip(&bytes);
            }
            if let Ok(set) = read(&bytes, &labels()) {
                prop_assert_eq!(set.pixels().len(), set.len() * set.height() * set.width());
                prop_assert_eq!(set.len(), 2);
            }
        }
    }
}
