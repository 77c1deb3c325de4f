//! The list of objects: the version of the numerics, and each object's digest and fingerprint.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The run of an object, and its name in it.
pub type Key = (String, String);

/// What the list says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Of its bytes.
    pub digest: String,
    /// Its fingerprint, or `-`.
    pub made_from: String,
}

/// Objects of all runs.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The version of the numerics that made them.
    pub version: u32,
    /// The widest instructions of the processor that made them.
    pub processor: String,
    pub objects: BTreeMap<Key, Listed>,
}

/// Marks objects whose last digits differ between processors.
const BY_VALUE: char = '~';

impl List {
    pub fn read(text: &str) -> Self {
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| line.strip_prefix("numerics version ")).unwrap();
        let (version, processor) = head.split_once(", made with ").unwrap();
        let objects = lines.filter(|line| !line.starts_with('#')).map(|line| {
            let [run, name, digest, made_from] =
                line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
            let digest = digest.trim_start_matches(BY_VALUE).to_owned();
            ((run, name), Listed { digest, made_from })
        });
        Self { version: version.parse().unwrap(), processor: processor.into(), objects: objects.collect() }
    }

    /// The list as text; objects of which `differs` is true are marked.
    pub fn to_text(&self, differs: impl Fn(&str) -> bool) -> String {
        let Self { version, processor, objects } = self;
        let mut text = format!(
            "numerics version {version}, made with {processor}\n\
             # Written by crates/pentimento/tests/numerics_net: run, object, digest of its bytes, fingerprint.\n\
             # {BY_VALUE} made through faer: last digits differ on processors without AVX2 and FMA, scores are compared by \
             value.\n"
        );
        for ((run, name), Listed { digest, made_from }) in objects {
            let mark = if differs(name) { BY_VALUE.to_string() } else { String::new() };
            writeln!(text, "{run} {name} {mark}{digest} {made_from}").unwrap();
        }
        text
    }

    /// Only some of the objects.
    pub fn only(&self, keep: impl Fn(&Key) -> bool) -> Self {
        let mut some = self.clone();
        some.objects.retain(|key, _| keep(key));
        some
    }
}
