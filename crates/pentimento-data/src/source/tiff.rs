//! What the first directory of a TIFF file says of its picture (TIFF 6.0, section 2): which kind of TIFF it is, in words, and
//! whether there are more pages. The pixels are decoded elsewhere.

/// Values of a tag that are looked at; a picture has at most so many samples that matter here.
const MAX_VALUES: usize = 8;

/// The first directory of a file.
struct Directory<'a> {
    bytes: &'a [u8],
    little_endian: bool,
    /// Whether offsets and counts have 8 bytes (BigTIFF) and not 4.
    big: bool,
    /// Where the first entry is.
    entries_at: usize,
    entries: usize,
}

impl<'a> Directory<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut directory =
            Self { bytes, little_endian: bytes.starts_with(b"II"), big: false, entries_at: 0, entries: 0 };
        let version = directory.number(2, 2)?;
        directory.big = version == 43;
        let (offset_at, count_bytes) = match version {
            42 => (4, 2),
            43 => (8, 8),
            _ => return None,
        };
        let start = directory.index(offset_at)?;
        directory.entries = usize::try_from(directory.number(start, count_bytes)?).ok()?;
        directory.entries_at = start.checked_add(count_bytes)?;
        Some(directory)
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let field = self.bytes.get(at..at.checked_add(length)?)?;
        let digit = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little_endian { field.iter().rev().fold(0, digit) } else { field.iter().fold(0, digit) })
    }

    /// Bytes of an offset, and of the number of values of an entry.
    fn word(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    fn index(&self, at: usize) -> Option<usize> {
        usize::try_from(self.number(at, self.word())?).ok()
    }

    fn entry(&self, position: usize) -> Option<usize> {
        let entry_bytes = 4 + 2 * self.word();
        self.entries_at.checked_add(position.checked_mul(entry_bytes)?)
    }

    /// The first values of a tag; none if it is not there.
    fn values(&self, tag: u64) -> Option<Vec<u64>> {
        let found = (0..self.entries)
            .map_while(|position| self.entry(position).filter(|&at| self.number(at, 2).is_some()))
            .find(|&at| self.number(at, 2) == Some(tag))?;
        let length = match self.number(found + 2, 2)? {
            1 => 1,
            3 => 2,
            4 => 4,
            _ => return None,
        };
        let count = self.index(found + 4)?.min(MAX_VALUES);
        let here = found + 4 + self.word();
        // Values that do not fit into the entry lie elsewhere.
        let start = if count * length <= self.word() { here } else { self.index(here)? };
        (0..count).map(|position| self.number(start.checked_add(position * length)?, length)).collect()
    }

    fn has_next(&self) -> bool {
        let next = self.entry(self.entries).and_then(|at| self.index(at));
        next.is_some_and(|next| next != 0)
    }
}

/// Whether a file has more than one page: its first directory says where the next one is.
pub(super) fn has_more_pages(bytes: &[u8]) -> bool {
    Directory::of(bytes).is_some_and(|directory| directory.has_next())
}

/// Which kind of TIFF a file is, in words: its colours, its samples, and how they are compressed.
pub(super) fn kind_of(bytes: &[u8]) -> String {
    let Some(directory) = Directory::of(bytes) else { return "unknown".into() };
    let first = |tag| directory.values(tag).and_then(|values| values.first().copied());
    let colours = match first(262) {
        Some(0 | 1) => "grey".into(),
        Some(2) => "RGB".into(),
        Some(3) => "palette colours".into(),
        Some(4) => "a mask".into(),
        Some(5) => "CMYK".into(),
        Some(6) => "YCbCr".into(),
        Some(8..=10) => "L*a*b* colours".into(),
        Some(32803 | 34892) => "raw data of a sensor".into(),
        Some(32844 | 32845) => "LogLuv colours".into(),
        Some(other) => format!("colours of kind {other}"),
        None => "colours that it does not name".into(),
    };
    let sample = match first(339) {
        Some(2) => "signed samples",
        Some(3) => "floating-point samples",
        Some(5 | 6) => "complex samples",
        _ => "samples",
    };
    let mut bits = directory.values(258).unwrap_or_else(|| vec![1]);
    let of_all: Vec<String> = bits.iter().map(u64::to_string).collect();
    bits.dedup();
    let bits = match bits.as_slice() {
        [1] => "1 bit".into(),
        [one] => format!("{one} bits"),
        _ => format!("{} bits", of_all.join("/")),
    };
    let planes = if first(284) == Some(2) { " in planes" } else { "" };
    let compression = match first(259) {
        None | Some(1) => String::new(),
        Some(2..=4) => ", compressed as a fax".into(),
        Some(5) => ", compressed by LZW".into(),
        Some(6) => ", compressed as old JPEG".into(),
        Some(7) => ", compressed as JPEG".into(),
        Some(8 | 32946) => ", compressed by deflate".into(),
        Some(32773) => ", compressed by PackBits".into(),
        Some(34712) => ", compressed as JPEG 2000".into(),
        Some(34887) => ", compressed by LERC".into(),
        Some(34925) => ", compressed by LZMA".into(),
        Some(50000) => ", compressed by zstd".into(),
        Some(50001) => ", compressed as WebP".into(),
        Some(50002) => ", compressed as JPEG XL".into(),
        Some(other) => format!(", compressed by method {other}"),
    };
    format!("{colours}, {sample} of {bits}{planes}{compression}")
}
