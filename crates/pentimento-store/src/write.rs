//! Staging new bytes beside their place, and listing them.

use std::fs;
use std::io::{self, Write};
use std::ops::Bound;
use std::path::Path;

use tempfile::TempPath;

use crate::file::{delete, temporary_file_in, write_hashed};
use crate::manifest::{Entry, Manifest, Replacement};
use crate::name::{ObjectName, TemporaryName};
use crate::replacement::{finish_replacements, sync_folders_of};
use crate::{Digest, Fingerprint, StoreError};

/// The complete and synced bytes of an object under a temporary name. Dropping it deletes them.
pub(crate) struct Staged {
    pub(crate) name: ObjectName,
    entry: Entry,
    /// The file is closed, as a process may have a thousand open and there may be more objects.
    temporary: TempPath,
}

impl Staged {
    /// The digest of the bytes that were written.
    pub(crate) fn digest(&self) -> Digest {
        self.entry.blake3
    }
}

/// Writes the bytes of the object `name` to a temporary file beside its place.
pub(crate) fn stage(
    root: &Path,
    name: ObjectName,
    made_from: Fingerprint,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Staged, StoreError> {
    let path = name.file_in(root);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder).map_err(|error| StoreError::io("create the folder", folder, error))?;
    let mut file = temporary_file_in(folder)?;
    let (bytes, blake3) =
        write_hashed(file.as_file_mut(), write).map_err(|error| StoreError::io("write", &path, error))?;
    Ok(Staged { name, entry: Entry { bytes, blake3, made_from }, temporary: file.into_temp_path() })
}

/// Puts staged objects in their places and lists them, all in one replacement of the manifest.
pub(crate) fn commit(root: &Path, manifest: &mut Manifest, staged: Vec<Staged>) -> Result<(), StoreError> {
    for object in &staged {
        // Asked before staging too; another thread may have listed something since.
        refuse_object_as_folder(manifest, &object.name)?;
        let path = object.name.file_in(root);
        if path.is_dir() {
            // No listed object needs it; it goes if it is empty.
            fs::remove_dir(&path).map_err(|error| StoreError::io("replace the folder", &path, error))?;
        }
    }
    // Files of objects that are not listed may be overwritten at once. So may those that get the bytes they have.
    let replaces_bytes = staged.iter().any(|object| {
        manifest.objects.get(&object.name).is_some_and(|listed| listed.blake3 != object.entry.blake3)
    });
    if replaces_bytes { commit_replacing(root, manifest, staged) } else { commit_new(root, manifest, staged) }
}

fn commit_new(root: &Path, manifest: &mut Manifest, staged: Vec<Staged>) -> Result<(), StoreError> {
    let names: Vec<ObjectName> = staged.iter().map(|object| object.name.clone()).collect();
    let mut next = manifest.clone();
    let listed = place(root, &mut next, staged)
        .and_then(|()| sync_folders_of(root, &names))
        .and_then(|()| next.save(root));
    match listed {
        Ok(()) => *manifest = next,
        Err(_) => delete_unlisted(root, &names),
    }
    listed
}

/// Gives staged objects their names.
fn place(root: &Path, manifest: &mut Manifest, staged: Vec<Staged>) -> Result<(), StoreError> {
    for Staged { name, entry, temporary } in staged {
        let path = name.file_in(root);
        temporary.persist(&path).map_err(|error| StoreError::io("create", &path, error.error))?;
        manifest.objects.insert(name, entry);
    }
    Ok(())
}

/// Gives back the space of files that could not be listed, as far as that works: a full disk may be why they are not.
///
/// The manifest on the disk is asked, because it may be the new one although replacing it was reported as failed.
fn delete_unlisted(root: &Path, names: &[ObjectName]) {
    if let Ok(Some(on_disk)) = Manifest::load(root) {
        for name in names.iter().filter(|name| !on_disk.objects.contains_key(*name)) {
            let _ = delete(&name.file_in(root));
        }
    }
}

fn commit_replacing(root: &Path, manifest: &mut Manifest, staged: Vec<Staged>) -> Result<(), StoreError> {
    let mut next = manifest.clone();
    let mut temporaries = Vec::with_capacity(staged.len());
    for Staged { name, entry, temporary: file } in staged {
        let path = name.file_in(root);
        let temporary = file.file_name().and_then(|name| name.to_str()).and_then(TemporaryName::new);
        let temporary = temporary.ok_or_else(|| {
            StoreError::io("replace", &path, io::Error::other("its temporary file has an unexpected name"))
        })?;
        next.pending.insert(name, Replacement { temporary, entry });
        temporaries.push(file);
    }
    // With this the replacement is decided, and the temporary files belong to whoever finishes it. If it fails, the
    // replacement is given up, and dropping the files deletes them.
    next.save(root)?;
    *manifest = next;
    for file in temporaries {
        let path = file.to_path_buf();
        file.keep().map_err(|error| StoreError::io("keep", &path, error.error))?;
    }
    finish_replacements(root, manifest)
}

/// Refuses a name that needs a listed object to be a folder, or a folder of listed objects to be a file.
pub(crate) fn refuse_object_as_folder(manifest: &Manifest, name: &ObjectName) -> Result<(), StoreError> {
    let bad_name = |problem| Err(StoreError::BadName { name: name.to_string(), problem });
    if let Some(folder) = name.folders().find(|folder| manifest.objects.contains_key(*folder)) {
        return bad_name(format!("`{folder}` is an object, not a folder"));
    }
    let prefix = format!("{name}/");
    let mut from_prefix =
        manifest.objects.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
    if let Some((inner, _)) = from_prefix.next()
        && inner.as_str().starts_with(&prefix)
    {
        return bad_name(format!("it is the folder of `{inner}`"));
    }
    Ok(())
}
