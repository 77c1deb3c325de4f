//! When two names are the same. Unicode writes `é` as one character or as an `e` with an accent; both look alike. macOS and
//! the archives made there have the second, keyboards and other systems the first. Names are kept in the first form
//! (normalisation form C), so that whoever calls an image, a class or a group by its name means it in either.

use unicode_normalization::UnicodeNormalization as _;

/// A name in the form in which names are kept and compared.
pub fn composed(name: &str) -> String {
    if name.is_ascii() { name.to_owned() } else { name.nfc().collect() }
}

#[cfg(test)]
mod tests {
    use super::composed;

    #[test]
    fn both_forms_of_a_name_are_one() {
        assert_eq!(composed("cafe\u{301}/U\u{308}bung.png"), "caf\u{e9}/\u{dc}bung.png");
        assert_eq!(composed("caf\u{e9}"), "caf\u{e9}");
        assert_eq!(composed("\u{1112}\u{1161}\u{11ab}"), "\u{d55c}");
        // What only looks alike stays another name.
        assert_eq!(composed("\u{fb01}"), "\u{fb01}");
    }
}
