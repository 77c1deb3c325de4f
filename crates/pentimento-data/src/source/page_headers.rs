//! What the pages of a Parquet column claim to hold, checked before anything is reserved for it.
//!
//! The Parquet library takes the size of a decompressed page and the number of a dictionary's values from the page's header.
//! In a damaged file of 3 kB such a header made it fill 2 GiB with zeros, which took ten seconds.
//!
//! A page header is a structure in Thrift's compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>); which field means what is in
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;

use super::place::Place;
use crate::error::DataError;

/// Most bytes of one page header. Statistics in it may hold two values of the column.
const MAX_HEADER_BYTES: u64 = 1 << 24;
/// Most bytes of one page, decompressed. Writers end a page after about 1 MiB; one image of the largest size that is read
/// fits twice.
const MAX_PAGE_BYTES: u64 = 1 << 30;
/// How deep structures lie in one another; those of Parquet lie three deep.
const MAX_DEPTH: usize = 8;

/// Fields of `PageHeader` and of `DictionaryPageHeader`.
mod field {
    pub(super) const DECOMPRESSED_BYTES: i64 = 2;
    pub(super) const COMPRESSED_BYTES: i64 = 3;
    pub(super) const DICTIONARY: i64 = 7;
    pub(super) const DICTIONARY_VALUES: i64 = 1;
}

/// Most bytes of a page that Brotli compressed by more than [`BROTLI_RATIO`]. No ratio bounds it: 16 MiB of one repeated byte
/// take a dozen bytes. Pages that compress like that hold labels or nulls, and end after about 1 MiB.
const MAX_EMPTY_BROTLI_BYTES: u64 = 1 << 26;
const BROTLI_RATIO: u64 = 1 << 10;

/// Most bytes that so many bytes of a compressed page can stand for; none for a codec that is not read.
fn most_decompressed(compression: Compression, compressed_bytes: u64) -> Option<u64> {
    let most = |per_byte: u64| compressed_bytes.saturating_mul(per_byte);
    let bytes = match compression {
        Compression::UNCOMPRESSED => compressed_bytes,
        // 64 bytes are copied by an element of three.
        Compression::SNAPPY => most(22),
        // 128 KiB in a block of one repeated byte, which takes four with its header.
        Compression::ZSTD(_) => most(1 << 15),
        // Deflate makes at most 1032 bytes of one (zlib's technical details).
        Compression::GZIP(_) => most(1032),
        // Every further byte of a length counts for at most 255; one form has a frame around the blocks, another none.
        Compression::LZ4 | Compression::LZ4_RAW => most(255),
        Compression::BROTLI(_) => most(BROTLI_RATIO).max(most(1 << 24).min(MAX_EMPTY_BROTLI_BYTES)),
        Compression::LZO => return None,
    };
    Some(bytes.min(MAX_PAGE_BYTES))
}

/// Checks the headers of all pages of a column chunk. `file` is moved.
///
/// # Errors
/// [`DataError::Entry`] if a page claims more than its bytes can hold, or if its header cannot be read.
pub(super) fn check<File: Read + Seek>(
    file: &mut File,
    chunk: &ColumnChunkMetaData,
    place: &Place,
) -> Result<(), DataError> {
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let (Ok(start), Ok(length)) = (u64::try_from(start), u64::try_from(chunk.compressed_size())) else {
        return Err(place.broken("the column's place", "negative", "within the file"));
    };
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(start)).map_err(|source| place.io("read", source))?;
    let mut left = length;
    while left > 0 {
        let mut header = Header { reader: (&mut reader).take(left.min(MAX_HEADER_BYTES)), read: 0 };
        let fields = header.structure(0).map_err(|source| place.io("read", source))?;
        left -= header.read;
        let number = |key| fields.get(&key).and_then(Field::integer);
        let size = |key| number(key).and_then(|bytes| u64::try_from(bytes).ok());
        let broken = |what, value: Option<i64>, bound: String| {
            place.broken(what, value.map_or("missing".to_owned(), |value| value.to_string()), bound)
        };
        let compressed = size(field::COMPRESSED_BYTES).filter(|&bytes| bytes <= left).ok_or_else(|| {
            broken(
                "the size of a page",
                number(field::COMPRESSED_BYTES),
                format!("at most {left} bytes, as is left"),
            )
        })?;
        let most = most_decompressed(chunk.compression(), compressed).ok_or_else(|| {
            let bound = "none, Snappy, gzip, Brotli, Zstandard or LZ4; `compression=\"zstd\"` of pyarrow writes such a file";
            place.broken("the compression", chunk.compression(), bound)
        })?;
        let decompressed =
            size(field::DECOMPRESSED_BYTES).filter(|&bytes| bytes <= most).ok_or_else(|| {
                broken(
                    "the decompressed size of a page",
                    number(field::DECOMPRESSED_BYTES),
                    format!("at most {most} bytes"),
                )
            })?;
        if let Some(Field::Structure(dictionary)) = fields.get(&field::DICTIONARY) {
            let values = dictionary.get(&field::DICTIONARY_VALUES).and_then(Field::integer);
            // Texts begin with four bytes of length, and the integers that are read have four bytes or eight.
            let most = decompressed / 4;
            if values.and_then(|values| u64::try_from(values).ok()).is_none_or(|values| values > most) {
                return Err(broken(
                    "the number of values in a dictionary",
                    values,
                    format!("between 0 and {most}"),
                ));
            }
        }
        left -= compressed;
        let compressed = i64::try_from(compressed).unwrap_or(i64::MAX);
        reader.seek_relative(compressed).map_err(|source| place.io("read", source))?;
    }
    Ok(())
}

/// The value of a field, as far as it is looked at.
enum Field {
    Integer(i64),
    Structure(BTreeMap<i64, Field>),
    Other,
}

impl Field {
    fn integer(&self) -> Option<i64> {
        if let Self::Integer(value) = self { Some(*value) } else { None }
    }
}

/// Reads one header, and counts its bytes.
struct Header<Bytes> {
    reader: io::Take<Bytes>,
    read: u64,
}

impl<Bytes: Read> Header<Bytes> {
    fn structure(&mut self, depth: usize) -> io::Result<BTreeMap<i64, Field>> {
        if depth > MAX_DEPTH {
            return Err(damaged("structures that lie too deep"));
        }
        let mut fields = BTreeMap::new();
        let mut key = 0_i64;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(fields);
            }
            // The upper half is the distance to the field before, or zero if the number itself follows.
            key = match i64::from(byte >> 4) {
                0 => self.integer()?,
                distance => key.saturating_add(distance),
            };
            // A boolean field is its kind.
            let value =
                if matches!(byte & 0xf, 1 | 2) { Field::Other } else { self.value(byte & 0xf, depth)? };
            // The library takes the last of several; nobody writes several.
            if fields.insert(key, value).is_some() {
                return Err(damaged("a field twice"));
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> io::Result<Field> {
        match kind {
            // A boolean in a list, or a number of 8 bits.
            1..=3 => self.skip(1)?,
            4..=6 => return self.integer().map(Field::Integer),
            7 => self.skip(8)?,
            8 => {
                let length = self.unsigned()?;
                self.skip(length)?;
            }
            9 | 10 => {
                let byte = self.byte()?;
                let count = if byte >> 4 == 0xf { self.unsigned()? } else { u64::from(byte >> 4) };
                // Every element takes a byte at least, so that a wrong count ends with the header.
                for _ in 0..count {
                    self.nested(byte & 0xf, depth)?;
                }
            }
            11 => {
                let count = self.unsigned()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.nested(kinds >> 4, depth)?;
                    self.nested(kinds & 0xf, depth)?;
                }
            }
            12 => return self.structure(depth + 1).map(Field::Structure),
            13 => self.skip(16)?,
            _ => return Err(damaged("a field of an unknown kind")),
        }
        Ok(Field::Other)
    }

    fn nested(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(damaged("lists that lie too deep"));
        }
        self.value(kind, depth + 1).map(drop)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }

    /// A number in groups of seven bits, the lowest first.
    fn unsigned(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a number of more than 64 bits"))
    }

    /// A number whose lowest bit is its sign.
    fn integer(&mut self) -> io::Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.reader).take(bytes), &mut io::sink())?;
        self.read += skipped;
        if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a page header with {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<(BTreeMap<i64, Field>, u64)> {
        let mut header = Header { reader: bytes.take(MAX_HEADER_BYTES), read: 0 };
        header.structure(0).map(|fields| (fields, header.read))
    }

    fn integer(fields: &BTreeMap<i64, Field>, key: i64) -> Option<i64> {
        fields.get(&key).and_then(Field::integer)
    }

    /// A field of each kind that Thrift has, written by hand after the protocol's description, and an integer behind it that
    /// is only found if all before it was passed over to the byte.
    #[test]
    fn every_kind_of_field_is_passed_over_to_the_byte() {
        let kinds: [(&str, &[u8]); 12] = [
            ("true", &[0x11]),
            ("false", &[0x12]),
            ("a byte", &[0x13, 0xff]),
            ("a double", &[0x17, 1, 2, 3, 4, 5, 6, 7, 8]),
            ("a text of three bytes", &[0x18, 3, b'a', b'b', b'c']),
            // The upper half of the byte is the number of elements, the lower their kind.
            ("a list of two integers, one of two bytes", &[0x19, 0x25, 0x80, 0x01, 0x04]),
            (
                "a list of 15 booleans, their number behind",
                &[0x19, 0xf1, 15, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
            ),
            ("a set of structures", &[0x1a, 0x2c, 0x15, 0x02, 0x00, 0x00]),
            // A map says how many pairs it has, then both kinds in one byte.
            ("a map from texts to integers", &[0x1b, 2, 0x85, 1, b'a', 0x02, 1, b'b', 0x04]),
            ("an empty map, which has no kinds", &[0x1b, 0]),
            ("a list of lists", &[0x19, 0x19, 0x25, 0x02, 0x04]),
            ("16 bytes of an identity", &[0x1d, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        ];
        for (kind, bytes) in kinds {
            // Field 2, an integer of value -7; then the end, and what is not of the header.
            let all = [bytes, &[0x15, 13, 0x00, 0xaa]].concat();
            let (fields, length) = read(&all).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(integer(&fields, 2), Some(-7), "{kind}");
            assert_eq!(length, all.len() as u64 - 1, "{kind}");
            assert_eq!(fields.len(), 2, "{kind}");
        }
    }

    #[test]
    fn fields_are_numbered_by_distances_or_by_themselves() {
        // Field 3, then field 10 by a distance of 7, then field 40 by its own number, each with its number as value.
        let (fields, _) = read(&[0x35, 6, 0x75, 20, 0x05, 80, 80, 0x00]).unwrap();
        assert_eq!([3, 10, 40].map(|key| integer(&fields, key)), [Some(3), Some(10), Some(40)]);
        // A structure within has numbers of its own.
        let (fields, _) = read(&[0x7c, 0x15, 8, 0x00, 0x15, 2, 0x00]).unwrap();
        let Some(Field::Structure(inner)) = fields.get(&7) else { panic!("no structure") };
        assert_eq!((integer(inner, 1), integer(&fields, 8)), (Some(4), Some(1)));
    }

    #[test]
    fn what_lies_too_deep_or_never_ends_is_refused() {
        let refused = |bytes: &[u8], words: &str| match read(bytes) {
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
            Ok(_) => panic!("{bytes:?} was read"),
        };
        // Structures in structures: as many as may be are read, one more is not.
        let nested = |depth: usize| [vec![0x1c; depth], vec![0x00; depth + 1]].concat();
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        refused(&nested(MAX_DEPTH + 1), "too deep");
        // Lists of one list each, and maps of maps.
        refused(&[vec![0x19], vec![0x19; 100]].concat(), "too deep");
        refused(&[vec![0x1b], [1, 0xbb].repeat(100)].concat(), "too deep");
        refused(&[0x1e], "unknown kind");
        refused(&[0x15, 2, 0x05, 2, 2, 0x00], "a field twice");
        refused(&[&[0x15][..], &[0xff; 11]].concat(), "more than 64 bits");
        // Ends within a number, a text, a list of a billion elements, and before the end of the structure.
        for bytes in
            [&[0x15, 0x80][..], &[0x18, 9, b'a'], &[0x19, 0xf1, 0x80, 0x94, 0xeb, 0xdc, 0x03], &[0x15, 2]]
        {
            let error = read(bytes).map(drop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{bytes:?}");
        }
    }
}
