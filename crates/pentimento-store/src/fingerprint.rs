use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, StoreError};

/// The identity of everything that decided an object's bytes: settings, inputs, the version of the method.
///
/// Two objects with the same fingerprint have the same bytes, so an object whose fingerprint is unchanged need not be
/// made again. It is built part by part, see [`Fingerprint::of`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// Begins a fingerprint. The label says what is made and in which version of the method; raise the version when the
    /// same inputs come to give other bytes.
    pub fn of(label: &str) -> FingerprintBuilder {
        FingerprintBuilder { hasher: blake3::Hasher::new() }.part(Part::Label, label.as_bytes())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// A fingerprint in the making. Different parts, or the same parts in another order, give another fingerprint.
#[derive(Clone, Debug)]
#[must_use]
pub struct FingerprintBuilder {
    hasher: blake3::Hasher,
}

/// The kind of a part enters the digest, with the part's length, so that no two lists of parts read the same.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Part {
    Label = 0,
    Text = 1,
    Bytes = 2,
    Json = 3,
    Fingerprint = 4,
}

impl FingerprintBuilder {
    /// Adds a text.
    pub fn text(self, text: &str) -> Self {
        self.part(Part::Text, text.as_bytes())
    }

    /// Adds bytes, such as the digest of an input.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.part(Part::Bytes, bytes)
    }

    /// Adds another fingerprint, such as that of an object this one is made from.
    pub fn fingerprint(self, other: Fingerprint) -> Self {
        self.part(Part::Fingerprint, other.0.as_bytes())
    }

    /// Adds a value in its JSON form with sorted keys, so that the order of fields does not matter, but their names do.
    ///
    /// JSON has no infinities and no NaN: they are the same as an absent value.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoJsonForm`] if the value has none, for example for a map whose keys are not texts.
    pub fn json(self, value: &impl Serialize) -> Result<Self, StoreError> {
        let no_json_form = |source| StoreError::NoJsonForm { source };
        let mut value = serde_json::to_value(value).map_err(no_json_form)?;
        value.sort_all_objects();
        let text = serde_json::to_vec(&value).map_err(no_json_form)?;
        Ok(self.part(Part::Json, &text))
    }

    /// The fingerprint of all parts.
    #[must_use]
    pub fn finish(self) -> Fingerprint {
        Fingerprint(self.hasher.finalize().into())
    }

    fn part(mut self, part: Part, bytes: &[u8]) -> Self {
        self.hasher.update(&[part as u8]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encoding is written out by hand: a change of it makes every run on disk out of date.
    #[test]
    fn parts_are_hashed_with_their_kind_and_length() {
        let built = Fingerprint::of("ab").text("c").bytes(&[1, 2, 3]).json(&(true, "x")).unwrap().finish();
        let encoded = b"\x00\x02\0\0\0\0\0\0\0ab\x01\x01\0\0\0\0\0\0\0c\x02\x03\0\0\0\0\0\0\0\x01\x02\x03\x03\x0a\0\0\0\0\0\0\0[true,\"x\"]";
        assert_eq!(built, Fingerprint(Digest::of(encoded)));
    }

    #[test]
    fn the_cut_between_parts_and_their_kind_matter() {
        let fingerprints = [
            Fingerprint::of("l").text("ab").text("c").finish(),
            Fingerprint::of("l").text("a").text("bc").finish(),
            Fingerprint::of("l").text("abc").finish(),
            Fingerprint::of("l").bytes(b"abc").finish(),
            Fingerprint::of("l").text("c").text("ab").finish(),
            Fingerprint::of("labc").finish(),
            Fingerprint::of("l").text("abc").text("").finish(),
            Fingerprint::of("l").fingerprint(Fingerprint::of("abc").finish()).finish(),
        ];
        for (index, first) in fingerprints.iter().enumerate() {
            for second in &fingerprints[index + 1..] {
                assert_ne!(first, second);
            }
        }
    }

    #[test]
    fn json_does_not_depend_on_the_order_of_fields() {
        #[derive(Serialize)]
        struct OneWay {
            epochs: u32,
            rate: f32,
        }
        #[derive(Serialize)]
        struct OtherWay {
            rate: f32,
            epochs: u32,
        }
        let one = Fingerprint::of("l").json(&OneWay { epochs: 3, rate: 0.1 }).unwrap().finish();
        let other = Fingerprint::of("l").json(&OtherWay { rate: 0.1, epochs: 3 }).unwrap().finish();
        let different = Fingerprint::of("l").json(&OtherWay { rate: 0.1, epochs: 4 }).unwrap().finish();
        assert_eq!(one, other);
        assert_ne!(one, different);
    }

    #[test]
    fn a_value_without_json_form_is_an_error() {
        let map = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(Fingerprint::of("l").json(&map), Err(StoreError::NoJsonForm { .. })));
    }
}
