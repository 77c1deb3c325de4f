use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::file::{sync_folder, temporary_file_in};
use crate::name::{MANIFEST_FILE, ObjectName, TemporaryName};
use crate::{Digest, Fingerprint, StoreError};

/// The format that this version reads and writes.
const FORMAT: u64 = 1;

/// What the manifest says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The digest of the file.
    pub blake3: Digest,
    /// The identity of everything that decided the bytes.
    pub made_from: Fingerprint,
}

/// All that is known of a run: what `manifest.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u64,
    pub(crate) objects: BTreeMap<ObjectName, Entry>,
    /// Replacements that are decided but not finished. Such an object counts as absent until they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pending: BTreeMap<ObjectName, Replacement>,
}

/// New bytes of a listed object that are complete in a temporary file beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    pub(crate) temporary: TemporaryName,
    pub(crate) entry: Entry,
}

/// The one field that every format has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Manifest {
    pub(crate) fn empty() -> Self {
        Self { format: FORMAT, objects: BTreeMap::new(), pending: BTreeMap::new() }
    }

    /// The entry of an object, unless its replacement is unfinished.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        if self.pending.contains_key(name) { None } else { self.objects.get(name) }
    }

    /// All objects whose replacement is not unfinished, sorted by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&ObjectName, &Entry)> {
        self.objects.iter().filter(|(name, _)| !self.pending.contains_key(*name))
    }

    /// Reads the manifest of the run at `root`; `None` if there is none.
    pub(crate) fn load(root: &Path) -> Result<Option<Self>, StoreError> {
        let file = root.join(MANIFEST_FILE);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &file, error)),
        };
        let malformed = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            let message = error.to_string();
            let place = format!(" at line {line} column {column}");
            let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
            StoreError::Manifest { file: file.clone(), line, column, message }
        };
        // The format first: a later one may have fields that this version would call unknown.
        let FormatOnly { format } = serde_json::from_slice(&text).map_err(malformed)?;
        if format != FORMAT {
            return Err(StoreError::Format { file, found: format, supported: FORMAT });
        }
        serde_json::from_slice(&text).map(Some).map_err(malformed)
    }

    /// Replaces the manifest of the run at `root` by this one.
    pub(crate) fn save(&self, root: &Path) -> Result<(), StoreError> {
        let file = root.join(MANIFEST_FILE);
        let failed = |error| StoreError::io("write", &file, error);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut temporary = temporary_file_in(root)?;
        temporary.write_all(&text).map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        temporary.persist(&file).map_err(|error| failed(error.error))?;
        sync_folder(root)
    }
}
