//! Finishing the replacement of listed objects, right after it was decided or after a kill.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::file::{delete, length_of, sync_folder};
use crate::manifest::{Entry, Manifest};
use crate::name::ObjectName;
use crate::read::has_bytes_of;

/// Finishes all pending replacements of the run at `root`, all of them or none.
///
/// On an error the manifest keeps them pending, on the disk and in memory, and calling this again goes on.
pub(crate) fn finish_replacements(root: &Path, manifest: &mut Manifest) -> Result<(), StoreError> {
    if manifest.pending.is_empty() {
        return Ok(());
    }
    let mut next = manifest.clone();
    let pending = std::mem::take(&mut next.pending);

    // A replacement is recorded after its temporary files are complete, so they are all there or already renamed. The
    // one exception: recording it was reported as failed, though it reached the disk, and the files were given up.
    let mut complete = true;
    for (name, replacement) in &pending {
        let file = name.file_in(root);
        let is_waiting = length_of(&replacement.temporary.beside(&file))? == Some(replacement.entry.bytes);
        complete &= is_waiting || has_bytes_of(&file, &replacement.entry)?;
    }

    for (name, replacement) in pending {
        let file = name.file_in(root);
        let temporary = replacement.temporary.beside(&file);
        if complete {
            if length_of(&temporary)?.is_some() {
                fs::rename(&temporary, &file).map_err(|error| StoreError::io("replace", &file, error))?;
            }
            next.objects.insert(name, replacement.entry);
        } else {
            delete(&temporary)?;
            keep_if_intact(&mut next, root, &name)?;
        }
    }
    sync_folders_of(root, manifest.pending.keys())?;
    next.save(root)?;
    *manifest = next;
    Ok(())
}

/// Unlists an object whose file is no longer what its entry says.
fn keep_if_intact(manifest: &mut Manifest, root: &Path, name: &ObjectName) -> Result<(), StoreError> {
    let is_intact = |entry: &Entry| has_bytes_of(&name.file_in(root), entry);
    if let Some(entry) = manifest.objects.get(name)
        && !is_intact(entry)?
    {
        manifest.objects.remove(name);
    }
    Ok(())
}

/// Syncs every folder on the way from `root` to the objects, each once: any of them may be new.
pub(crate) fn sync_folders_of<'a>(
    root: &Path,
    names: impl IntoIterator<Item = &'a ObjectName>,
) -> Result<(), StoreError> {
    let mut folders = BTreeSet::from([PathBuf::new()]);
    for name in names {
        folders.extend(name.folders().map(PathBuf::from));
    }
    folders.iter().rev().try_for_each(|folder| sync_folder(&root.join(folder)))
}
