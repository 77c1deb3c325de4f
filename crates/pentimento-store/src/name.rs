use std::borrow::Borrow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::StoreError;

/// The file in a run folder that lists its objects.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";

/// The file in a run folder that the writing process holds locked.
pub(crate) const LOCK_FILE: &str = ".lock";

/// How the names of files begin that are not finished.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";

/// The longest name of a file or folder that the usual file systems take.
const MAX_COMPONENT_BYTES: usize = 255;

/// A name that is safe to join to the run folder: relative, with `/` between its components, and never outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub(crate) struct ObjectName(String);

impl ObjectName {
    pub(crate) fn new(name: &str) -> Result<Self, StoreError> {
        match problem_with(name) {
            None => Ok(Self(name.to_owned())),
            Some(problem) => Err(StoreError::BadName { name: name.to_owned(), problem }),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The file of the object in the run folder `root`.
    pub(crate) fn file_in(&self, root: &Path) -> PathBuf {
        let mut path = root.to_path_buf();
        path.extend(self.0.split('/'));
        path
    }

    /// The folders that hold the object, innermost last: `a` and `a/b` for `a/b/c`.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(position, _)| &self.0[..position])
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for ObjectName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

/// The name of a temporary file that a manifest mentions: one component, in the folder of its object.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct TemporaryName(String);

impl TemporaryName {
    pub(crate) fn new(name: &str) -> Option<Self> {
        let valid = name.starts_with(TEMPORARY_PREFIX)
            && !name.contains('/')
            && problem_with_component(name).is_none();
        valid.then(|| Self(name.to_owned()))
    }

    /// The temporary file that holds the new bytes of the object at `file`.
    pub(crate) fn beside(&self, file: &Path) -> PathBuf {
        file.with_file_name(&self.0)
    }
}

impl<'de> Deserialize<'de> for TemporaryName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(&name)
            .ok_or_else(|| serde::de::Error::custom(format_args!("`{name}` cannot name a temporary file")))
    }
}

fn problem_with(name: &str) -> Option<String> {
    if name.starts_with('/') {
        return Some("it is absolute".into());
    }
    // Without regard to case, as some file systems have none.
    if name.eq_ignore_ascii_case(MANIFEST_FILE) || name.eq_ignore_ascii_case(LOCK_FILE) {
        return Some("the run itself uses it".into());
    }
    name.split('/').find_map(|component| {
        if component.to_ascii_lowercase().starts_with(TEMPORARY_PREFIX) {
            return Some(format!("names that begin with `{TEMPORARY_PREFIX}` are for unfinished files"));
        }
        problem_with_component(component)
    })
}

fn problem_with_component(component: &str) -> Option<String> {
    if component.is_empty() {
        return Some("it has an empty component".into());
    }
    if component == "." || component == ".." {
        return Some(format!("it has the component `{component}`"));
    }
    if component.len() > MAX_COMPONENT_BYTES {
        let length = component.len();
        return Some(format!("a component has {length} bytes, at most {MAX_COMPONENT_BYTES} are allowed"));
    }
    // A backslash or a colon would reach another folder or drive on Windows.
    let forbidden = component.chars().find(|c| c.is_control() || matches!(c, '\\' | ':'))?;
    Some(format!("it has the character {forbidden:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in [
            "a",
            "members/003/unet/diffusion_pytorch_model.safetensors",
            "a/manifest.json",
            "Bild 1 (ü).png",
            "a..b",
        ] {
            assert!(ObjectName::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn unsafe_names_are_refused() {
        let long = "x".repeat(256);
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "C:a",
            "a\0b",
            "a\nb",
            "manifest.json",
            "Manifest.JSON",
            ".lock",
            ".tmp-a",
            "a/.tmp-b",
            "a/.TMP-b/c",
            &long,
        ] {
            assert!(matches!(ObjectName::new(name), Err(StoreError::BadName { .. })), "{name:?}");
        }
    }

    #[test]
    fn folders_are_the_proper_ancestors() {
        let name = ObjectName::new("a/b/c").unwrap();
        assert_eq!(name.folders().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(ObjectName::new("a").unwrap().folders().count(), 0);
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_inside_the_run(name in "[a./\\\\:~\u{0}é]{0,12}|.*") {
            if let Ok(accepted) = ObjectName::new(&name) {
                let path = accepted.file_in(Path::new("run"));
                let below = path.strip_prefix("run").unwrap();
                prop_assert!(below.components().count() > 0);
                prop_assert!(below.components().all(|component| matches!(component, Component::Normal(_))));
                prop_assert_eq!(below.to_str().unwrap(), name);
            }
        }
    }
}
