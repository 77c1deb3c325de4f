//! What a file is by its first bytes, where it is not what its name says.

/// The first bytes that [`what_it_is`] needs.
pub(crate) const FIRST_BYTES: usize = 64;

/// What often lies in the place of weights and configurations; none if it may be either. A pickle and a zip archive are
/// told by [`is_pickle`], as some names promise one.
pub(crate) fn what_it_is(start: &[u8]) -> Option<&'static str> {
    let text = start.trim_ascii_start();
    if start.is_empty() {
        Some("the file is empty")
    } else if text.starts_with(b"version https://git-lfs") {
        Some("a pointer of Git LFS and not the file itself: `git lfs pull` brings it")
    } else if text.starts_with(b"<") {
        Some("a web page and not the file itself: the address it was fetched from answered with a page")
    } else {
        None
    }
}

/// Whether this is how a pickle begins: by itself, or in the zip archive that `torch.save` writes.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") || matches!(start, [0x80, 2..=5, ..])
}

/// The record with which every zip archive ends, and the longest comment that may follow it.
const END_OF_ZIP: &[u8] = b"PK\x05\x06";
pub(crate) const LONGEST_END_OF_ZIP: u64 = 22 + 65_535;

/// Whether the bytes at its end are those of a whole zip archive.
pub(crate) fn is_end_of_zip(end: &[u8]) -> bool {
    end.windows(END_OF_ZIP.len()).any(|window| window == END_OF_ZIP)
}
