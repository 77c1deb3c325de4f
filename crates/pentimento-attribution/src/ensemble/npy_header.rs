//! The header of a NumPy file with one axis of unsigned integers.

use std::ops::Range;

/// Magic, two bytes of version, and the length of the text, in 2 bytes for version 1 and in 4 for versions 2 and 3.
const MAGIC: &[u8] = b"\x93NUMPY";
/// A text is at most so long; NumPy's have 118 bytes.
const MAX_TEXT: usize = 1 << 12;

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    U8,
    U16,
    U32,
    U64,
}

impl Element {
    const ALL: [Self; 4] = [Self::U8, Self::U16, Self::U32, Self::U64];

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }

    /// As NumPy writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::U16 => "<u2",
            Self::U32 => "<u4",
            Self::U64 => "<u8",
        }
    }
}

/// What a header says, once it is known to fit the file.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) element: Element,
    /// Where the elements are in the file; the rest of it, and a whole number of them.
    pub(super) data: Range<usize>,
}

/// Reads the header of a file, whole in `bytes`.
///
/// # Errors
///
/// The field that is wrong, its value, and what it must be.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, String> {
    if cfg!(target_endian = "big") {
        return Err("code files are little-endian, and this processor is not".into());
    }
    let (text, start) = text_of(bytes)?;
    let Fields { descr, fortran_order, shape } = Fields::of(text)?;
    let element = Element::ALL.into_iter().find(|element| descr == element.name()).ok_or_else(|| {
        format!(
            "`descr` is {}: codes are unsigned little-endian integers, |u1, <u2, <u4 or <u8",
            shown(&descr)
        )
    })?;
    if fortran_order != "False" {
        return Err(format!("`fortran_order` is {}: must be False", shown(&fortran_order)));
    }
    let length: u64 = shape
        .strip_prefix('(')
        .and_then(|shape| shape.strip_suffix(",)"))
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("`shape` is {}: must be (N,), one axis of N codes", shown(&shape)))?;
    let held = bytes.len() - start;
    let needed = length.checked_mul(element.bytes() as u64);
    if needed != Some(held as u64) {
        let needed = needed.map_or_else(|| "more than 2^64".into(), |needed| needed.to_string());
        return Err(format!(
            "`shape` is ({length},): that many codes of {} bytes are {needed} bytes, but {held} follow the header",
            element.bytes()
        ));
    }
    Ok(Header { element, data: start..bytes.len() })
}

/// The text of the header, and where it ends.
fn text_of(bytes: &[u8]) -> Result<(&str, usize), String> {
    if !bytes.starts_with(MAGIC) {
        let found = bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or_default();
        return Err(format!(
            "length is {} bytes, beginning with \"{}\": a NumPy file begins with \"{}\"",
            bytes.len(),
            found.escape_ascii(),
            MAGIC.escape_ascii()
        ));
    }
    let short = || format!("length is {} bytes: ends within the header", bytes.len());
    let version = bytes.get(MAGIC.len()..MAGIC.len() + 2).ok_or_else(short)?;
    let (length, start) = match version {
        [1, 0] => {
            let length = bytes.get(8..10).and_then(|length| length.try_into().ok()).ok_or_else(short)?;
            (u16::from_le_bytes(length) as usize, 10)
        }
        [2 | 3, 0] => {
            let length = bytes.get(8..12).and_then(|length| length.try_into().ok()).ok_or_else(short)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        _ => return Err(format!("version is {version:?}: must be [1, 0], [2, 0] or [3, 0]")),
    };
    if length > MAX_TEXT {
        return Err(format!(
            "the header's text has {length} bytes: that of a code file has at most {MAX_TEXT}"
        ));
    }
    let text = bytes.get(start..start + length).ok_or_else(short)?;
    let text = std::str::from_utf8(text).map_err(|_| "the header's text is not UTF-8".to_string())?;
    Ok((text, start + length))
}

/// The three entries of the text, a Python dictionary, without blanks and quotes.
#[derive(Default)]
struct Fields {
    descr: String,
    fortran_order: String,
    shape: String,
}

impl Fields {
    fn of(text: &str) -> Result<Self, String> {
        let compact: String = text.split_ascii_whitespace().collect();
        let wrong = || format!("the header's text is {}: must be a dictionary", shown(&compact));
        let mut rest = compact.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
        let mut fields = Self::default();
        while !rest.is_empty() {
            let (key, after) = rest.split_once(':').ok_or_else(wrong)?;
            // A comma within parentheses belongs to the value.
            let mut depth = 0_i32;
            let end = after.bytes().position(|byte| {
                depth += i32::from(byte == b'(') - i32::from(byte == b')');
                byte == b',' && depth == 0
            });
            let (value, after) = match end {
                Some(end) => (&after[..end], &after[end + 1..]),
                None => (after, ""),
            };
            let quotes = ['\'', '"'];
            let field = match key.trim_matches(quotes) {
                "descr" => &mut fields.descr,
                "fortran_order" => &mut fields.fortran_order,
                "shape" => &mut fields.shape,
                other => return Err(format!("the header has a field {}, which no array has", shown(other))),
            };
            if !field.is_empty() {
                return Err(format!("the header has the field {} twice", shown(key)));
            }
            *field = value.trim_matches(quotes).to_string();
            rest = after;
        }
        for (name, value) in
            [("descr", &fields.descr), ("fortran_order", &fields.fortran_order), ("shape", &fields.shape)]
        {
            if value.is_empty() {
                return Err(format!("the header has no `{name}`"));
            }
        }
        Ok(fields)
    }
}

/// A foreign text as it can be printed: without control characters, and not long.
fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown = String::new();
    for character in text.chars().take(SHOWN) {
        match character.is_control() {
            true => shown.extend(character.escape_debug()),
            false => shown.push(character),
        }
    }
    if text.len() > SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `np.save` of `np.array([0b0011, 0b0101, 0b1001], dtype="<u8")`, NumPy 2.4.6.
    const SAVED_BY_NUMPY: &[u8] = include_bytes!("../../tests/codes_from_numpy.npy");

    fn file(text: &str, data: usize) -> Vec<u8> {
        [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes(), &vec![0; data]].concat()
    }

    fn text(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}   \n")
    }

    #[test]
    fn what_numpy_wrote_is_read() {
        assert_eq!(parse(SAVED_BY_NUMPY), Ok(Header { element: Element::U64, data: 128..152 }));
    }

    #[test]
    fn every_element_version_and_order_of_the_fields_is_read() {
        for (descr, element) in
            [("|u1", Element::U8), ("<u2", Element::U16), ("<u4", Element::U32), ("<u8", Element::U64)]
        {
            let text = text(&format!("'{descr}'"), "False", "(3,)");
            let bytes = file(&text, 3 * element.bytes());
            assert_eq!(parse(&bytes), Ok(Header { element, data: 10 + text.len()..bytes.len() }));
            for version in [2, 3] {
                let length = (text.len() as u32).to_le_bytes();
                let data = vec![0; 3 * element.bytes()];
                let bytes = [MAGIC, &[version, 0], &length, text.as_bytes(), &data].concat();
                assert_eq!(parse(&bytes).unwrap().data, 12 + text.len()..bytes.len());
            }
        }
        let turned = "{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<u4\"}";
        assert_eq!(parse(&file(turned, 8)).unwrap().element, Element::U32);
        assert!(parse(&file(&text("'<u8'", "False", "(0,)"), 0)).unwrap().data.is_empty());
    }

    #[test]
    fn every_cut_is_refused() {
        for length in 0..SAVED_BY_NUMPY.len() {
            assert!(parse(&SAVED_BY_NUMPY[..length]).is_err(), "{length} bytes");
        }
        let longer = [SAVED_BY_NUMPY, &[0]].concat();
        assert!(parse(&longer).unwrap_err().contains("25 follow the header"));
    }

    #[test]
    fn hostile_headers_are_refused_and_named() {
        let cases = [
            (text("'<f8'", "False", "(3,)"), "`descr` is <f8"),
            (text("'>u4'", "False", "(3,)"), "`descr` is >u4"),
            (text("'<i8'", "False", "(3,)"), "`descr` is <i8"),
            (text("[('a', '<u8')]", "False", "(3,)"), "`descr` is [('a"),
            (text("'<u8'", "True", "(3,)"), "`fortran_order` is True"),
            (text("'<u8'", "0", "(3,)"), "`fortran_order` is 0"),
            (text("'<u8'", "False", "(3, 1)"), "`shape` is (3,1)"),
            (text("'<u8'", "False", "()"), "`shape` is ()"),
            (text("'<u8'", "False", "(,)"), "`shape` is (,)"),
            (text("'<u8'", "False", "(+3,)"), "`shape` is (+3,)"),
            (text("'<u8'", "False", "(-3,)"), "`shape` is (-3,)"),
            (text("'<u8'", "False", "(2,)"), "16 bytes, but 24 follow"),
            (text("'<u8'", "False", "(18446744073709551615,)"), "more than 2^64 bytes"),
            (text("'<u8'", "False", "(2305843009213693955,)"), "more than 2^64 bytes"),
            (text("'<u8'", "False", "(99999999999999999999999,)"), "`shape` is (9999"),
            ("{'descr': '<u8', 'shape': (3,), }".into(), "no `fortran_order`"),
            ("{'descr': '<u8', 'descr': '<u4', }".into(), "twice"),
            ("{'descr': '<u8', 'more': 1}".into(), "field more"),
            ("{'descr'}".into(), "must be a dictionary"),
            ("3".into(), "must be a dictionary"),
            (String::new(), "must be a dictionary"),
            ("(".repeat(3000), "must be a dictionary"),
            (format!("{{{}", ")".repeat(3000)), "must be a dictionary"),
            ("x".repeat(5000), "at most 4096"),
            ("{'\u{1b}[31m': 3}".into(), "\\u{1b}"),
        ];
        for (text, words) in cases {
            let refused = parse(&file(&text, 24)).unwrap_err();
            assert!(refused.contains(words), "{text:?}: {refused}");
            assert!(refused.len() < 400, "{refused}");
        }
        assert!(parse(b"PK\x03\x04 an archive").unwrap_err().contains("begins with"));
        assert!(parse(b"\x93NUMPY\x09\x00").unwrap_err().contains("version is [9, 0]"));
        assert!(parse(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").unwrap_err().contains("4294967295 bytes"));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), place in 0_usize..140, byte: u8) {
            let _ = parse(&bytes);
            let _ = parse(&[MAGIC, &[1, 0], &bytes].concat());
            let mut damaged = SAVED_BY_NUMPY.to_vec();
            damaged[place] = byte;
            if let Ok(header) = parse(&damaged) {
                prop_assert_eq!(header.data.end, damaged.len());
                prop_assert!(header.data.len().is_multiple_of(header.element.bytes()));
            }
        }
    }
}
