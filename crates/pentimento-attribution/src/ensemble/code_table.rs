//! The code table: a code book as a NumPy file, `[groups]` little-endian u64.

use npyz::WriterBuilder as _;

use super::codes::{Code, CodeBook};
use super::error::EnsembleError;

/// Magic, version 1.0 and the 16-bit length of the header text.
const PREFIX: &[u8] = b"\x93NUMPY\x01\x00";
const TEXT_START: usize = PREFIX.len() + 2;
const CODE_BYTES: usize = size_of::<u64>();

impl CodeBook {
    /// The bytes of a `.npy` file with the codes, `[groups]` little-endian u64, bit k for member k.
    ///
    /// In Python, `np.load(path) >> k & 1` tells which groups member k trains on.
    ///
    /// # Errors
    ///
    /// Only if the encoder fails, which it has no reason to when it writes to memory.
    pub fn to_npy(&self) -> Result<Vec<u8>, EnsembleError> {
        let mut bytes = Vec::new();
        let write = |bytes: &mut Vec<u8>| {
            let mut writer = npyz::WriteOptions::<u64>::new()
                .dtype(npyz::DType::Plain("<u8".parse().map_err(std::io::Error::other)?))
                .shape(&[u64::from(self.groups())])
                .writer(bytes)
                .begin_nd()?;
            writer.extend(self.codes().iter().map(|code| code.bits()))?;
            writer.finish()
        };
        write(&mut bytes).map_err(|error| EnsembleError::CodeTable(error.to_string()))?;
        Ok(bytes)
    }

    /// Reads what [`to_npy`](Self::to_npy) or `np.save` of a one-dimensional `<u8` array wrote, for an ensemble of
    /// `members` members.
    ///
    /// # Errors
    ///
    /// If the bytes are anything else or of another length than the header says, or the codes are not a code book:
    /// unique, of equal weight, without bits above the members.
    pub fn from_npy(bytes: &[u8], members: u32) -> Result<Self, EnsembleError> {
        check_layout(bytes)?;
        let broken = |error: std::io::Error| EnsembleError::CodeTable(error.to_string());
        let bits: Vec<u64> = npyz::NpyFile::new(bytes).and_then(npyz::NpyFile::into_vec).map_err(broken)?;
        Self::from_codes(members, bits.into_iter().map(Code::from_bits).collect())
    }
}

/// Accepts exactly the one header that such a table of this many bytes can have.
///
/// Only after that the parser sees it, which recurses as deep as a header is nested and multiplies the lengths of the
/// axes without a check.
fn check_layout(bytes: &[u8]) -> Result<(), EnsembleError> {
    let refuse = |message: String| Err(EnsembleError::CodeTable(message));
    if !bytes.starts_with(PREFIX) {
        return refuse("not a NumPy file of version 1.0".to_owned());
    }
    let text_length = match bytes.get(PREFIX.len()..TEXT_START) {
        Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
        _ => return refuse("ends within the header".to_owned()),
    };
    let Some(text) = bytes.get(TEXT_START..TEXT_START + text_length) else {
        return refuse(format!("ends within the header, which should have {text_length} bytes"));
    };
    let data_bytes = bytes.len() - TEXT_START - text_length;
    let found: String = String::from_utf8_lossy(text).split_ascii_whitespace().collect();
    let expected = format!("{{'descr':'<u8','fortran_order':False,'shape':({},),}}", data_bytes / CODE_BYTES);
    if found != expected || !data_bytes.is_multiple_of(CODE_BYTES) {
        const SHOWN: usize = 120;
        let found: String = found.escape_debug().take(SHOWN).collect();
        return refuse(format!(
            "{data_bytes} bytes of codes of {CODE_BYTES} bytes need the header {expected}, but it is {found}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `np.save` of `np.array([0b0011, 0b0101, 0b1001], dtype="<u8")`, NumPy 2.4.6.
    const SAVED_BY_NUMPY: &[u8] = include_bytes!("../../tests/codes_from_numpy.npy");

    fn book() -> CodeBook {
        CodeBook::from_codes(4, [0b0011, 0b0101, 0b1001].map(Code::from_bits).to_vec()).unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        CodeBook::from_npy(bytes, 4).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_numpy_wrote() {
        assert_eq!(CodeBook::from_npy(SAVED_BY_NUMPY, 4), Ok(book()));
    }

    #[test]
    fn writes_what_numpy_would() {
        let bytes = book().to_npy().unwrap();
        let text = |bytes: &[u8]| {
            let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            let text: String =
                std::str::from_utf8(&bytes[10..10 + length]).unwrap().split_ascii_whitespace().collect();
            (bytes[..8].to_vec(), text, bytes[10 + length..].to_vec())
        };
        // The blanks of the header may differ, all else is equal.
        assert_eq!(text(&bytes), text(SAVED_BY_NUMPY));
    }

    #[test]
    fn wrong_tables_are_refused() {
        let good = SAVED_BY_NUMPY;
        for length in 0..good.len() {
            assert!(refusal(&good[..length]).starts_with("code table: "), "{length} bytes");
        }
        assert!(refusal(&[good, &[0]].concat()).contains("25 bytes of codes"));
        assert!(refusal(&[good, &[0; 8]].concat()).contains("'shape':(4,)"));
        let with_text = |text: &str| {
            let length = (text.len() as u16).to_le_bytes();
            [PREFIX, &length, text.as_bytes(), &[0; 24]].concat()
        };
        for text in [
            "{'descr': '>u8', 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '<u8', 'fortran_order': False, 'shape': (3, 1), }",
            "{'descr': '<u8', 'fortran_order': False, 'shape': (9223372036854775808, 4), }",
            &"(".repeat(60_000),
            "",
        ] {
            assert!(refusal(&with_text(text)).contains("need the header"), "{text}");
        }
    }

    #[test]
    fn the_codes_of_a_table_are_checked() {
        assert!(matches!(
            CodeBook::from_npy(SAVED_BY_NUMPY, 3),
            Err(EnsembleError::BitsAboveMembers { group: 2, bits: 9, members: 3 })
        ));
        let mut twice = SAVED_BY_NUMPY.to_vec();
        let start = twice.len() - 8;
        twice[start] = 0b0011;
        assert_eq!(CodeBook::from_npy(&twice, 4), Err(EnsembleError::DuplicateCode { first: 0, second: 2 }));
        twice[start] = 0b0001;
        assert!(matches!(CodeBook::from_npy(&twice, 4), Err(EnsembleError::UnequalWeights { group: 2, .. })));
    }

    proptest! {
        #[test]
        fn a_table_comes_back(members in 2_u32..=64, groups in 1_u32..100, seed: u64) {
            let Ok(book) = CodeBook::draw(members, members / 2, groups, seed) else { return Ok(()) };
            prop_assert_eq!(CodeBook::from_npy(&book.to_npy().unwrap(), members), Ok(book));
        }

        #[test]
        fn no_bytes_make_it_panic(position in 0_usize..152, byte: u8) {
            let mut bytes = SAVED_BY_NUMPY.to_vec();
            bytes[position] = byte;
            let _ = CodeBook::from_npy(&bytes, 4);
        }
    }
}
