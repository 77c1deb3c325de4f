use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::file::{delete, length_of, sync_folder};
use crate::lock::Lock;
use crate::manifest::{Entry, Manifest};
use crate::name::{LOCK_FILE, MANIFEST_FILE, ObjectName, TEMPORARY_PREFIX};
use crate::replacement::finish_replacements;
use crate::verify::{Problem, unlisted_files, verify};
use crate::write::{Staged, commit, refuse_object_as_folder, stage};
use crate::{Fingerprint, StoreError, read};

/// How long a reader waits for a writer that is just replacing objects. Between the two manifests the writer renames files and
/// syncs their folders, which takes milliseconds. After a kill every reader waits in vain, so it is no longer than that.
const WAIT_FOR_WRITER: Duration = Duration::from_millis(300);

/// How often a waiting reader reads the manifest again.
const READ_AGAIN_EVERY: Duration = Duration::from_millis(5);

/// An open run folder.
///
/// Object names are relative paths with `/`, such as `members/003/unet/config.json`; names that would leave the folder,
/// that begin a component with `.tmp-`, or that the run itself uses (`manifest.json`, `.lock`) are refused. All methods
/// may be called from several threads at once.
#[derive(Debug)]
pub struct Run {
    root: PathBuf,
    /// Always what is on the disk, or what was there before a failed write.
    manifest: Mutex<Manifest>,
    /// `None` if the run is open for reading only.
    lock: Option<Lock>,
}

impl Run {
    /// Opens the run at `path` for writing, and creates it if there is nothing or an empty folder.
    ///
    /// Replacements that a killed process left unfinished are finished.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] if it is open for writing already, [`StoreError::NotARun`] for a folder with other files
    /// in it, [`StoreError::Manifest`] or [`StoreError::Format`] if its manifest cannot be read, and
    /// [`StoreError::ReadOnly`], [`StoreError::DiskFull`] or [`StoreError::Io`].
    pub fn create_or_open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = path.as_ref().to_path_buf();
        fs::create_dir_all(&root).map_err(|error| StoreError::io("create the folder", &root, error))?;
        refuse_foreign_folder(&root)?;
        let lock = Lock::take(&root)?;
        let mut manifest = match Manifest::load(&root)? {
            Some(manifest) => manifest,
            None => {
                let manifest = Manifest::empty();
                manifest.save(&root)?;
                manifest
            }
        };
        finish_replacements(&root, &mut manifest)?;
        Ok(Self { root, manifest: Mutex::new(manifest), lock: Some(lock) })
    }

    /// Opens the run at `path` for reading. Nothing is written, and no lock is taken.
    ///
    /// The run is seen as it is now: an object that a writer replaces or removes later is then reported as damaged or
    /// missing. If a writer is just replacing objects, this waits for a third of a second until it has done so. Objects whose
    /// replacement is still unfinished then (the writer was killed) count as absent; see
    /// [`is_being_replaced`](Self::is_being_replaced).
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is no manifest, [`StoreError::Manifest`] or [`StoreError::Format`] if it cannot
    /// be read, and [`StoreError::ReadOnly`] or [`StoreError::Io`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = path.as_ref().to_path_buf();
        let load =
            || Manifest::load(&root)?.ok_or_else(|| StoreError::Missing { file: root.join(MANIFEST_FILE) });
        let begun = Instant::now();
        let mut manifest = load()?;
        while !manifest.pending.is_empty() && begun.elapsed() < WAIT_FOR_WRITER {
            sleep(READ_AGAIN_EVERY);
            manifest = load()?;
        }
        Ok(Self { root, manifest: Mutex::new(manifest), lock: None })
    }

    /// The run folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the run was opened for reading only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.lock.is_none()
    }

    /// The names of all objects, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.manifest().entries().map(|(name, _)| name.to_string()).collect()
    }

    /// What the manifest says of an object; `None` if it does not list it.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.manifest().entry(name).cloned()
    }

    /// Whether an object counts as absent only because its replacement is decided and not finished. Whoever opens the run for
    /// writing finishes it.
    #[must_use]
    pub fn is_being_replaced(&self, name: &str) -> bool {
        self.manifest().pending.contains_key(name)
    }

    /// Whether the object need not be made again: it is listed with this fingerprint, and its file is there with the
    /// listed length. The digest is not compared, so this is cheap; reading the object compares it.
    #[must_use]
    pub fn is_current(&self, name: &str, made_from: Fingerprint) -> bool {
        let Ok(name) = ObjectName::new(name) else { return false };
        let Some(entry) = self.entry(name.as_str()) else { return false };
        let length = length_of(&name.file_in(&self.root));
        entry.made_from == made_from && length.is_ok_and(|length| length == Some(entry.bytes))
    }

    /// The bytes of an object, compared with the listed length and digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotListed`], [`StoreError::Missing`], [`StoreError::Corrupt`], or that of a failed read.
    pub fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let (path, entry, file) = self.open(name)?;
        read::read(&file, &path, &entry)
    }

    /// The file of an object, for readers that map it or open it themselves, after its bytes were compared with the
    /// listed length and digest.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn path_of(&self, name: &str) -> Result<PathBuf, StoreError> {
        let (path, entry, file) = self.open(name)?;
        read::check(&file, &path, &entry)?;
        Ok(path)
    }

    /// Writes an object, or replaces it.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadName`], [`StoreError::OpenForReadingOnly`], [`StoreError::Moved`], [`StoreError::ReadOnly`],
    /// [`StoreError::DiskFull`] or [`StoreError::Io`]. After an error the object is what it was before, or absent, or (if only the last sync of a
    /// replacement failed) the new one; it is never half-written.
    pub fn put(&self, name: &str, made_from: Fingerprint, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_with(name, made_from, |writer| writer.write_all(bytes))
    }

    /// Writes an object, or replaces it, by a function that writes its bytes one after another.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); an error of `write` is taken for one of writing the object.
    pub fn put_with(
        &self,
        name: &str,
        made_from: Fingerprint,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        self.refuse_to_write_elsewhere()?;
        let staged = self.stage(ObjectName::new(name)?, made_from, write)?;
        self.commit(vec![staged])
    }

    /// Writes or replaces several objects that belong together: after a kill, either all of them are as given or none.
    ///
    /// It is also faster than one [`put`](Self::put) each, as the manifest is replaced once.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); [`StoreError::BadName`] also for a name that is given twice.
    pub fn put_many<N: AsRef<str>, B: AsRef<[u8]>>(
        &self,
        objects: impl IntoIterator<Item = (N, B)>,
        made_from: Fingerprint,
    ) -> Result<(), StoreError> {
        self.refuse_to_write_elsewhere()?;
        let mut names = BTreeSet::new();
        let mut staged = Vec::new();
        for (name, bytes) in objects {
            let name = ObjectName::new(name.as_ref())?;
            if !names.insert(name.clone()) {
                let problem = "it is given twice".to_owned();
                return Err(StoreError::BadName { name: name.to_string(), problem });
            }
            staged.push(self.stage(name, made_from, |writer| writer.write_all(bytes.as_ref()))?);
        }
        self.commit(staged)
    }

    /// Removes an object; false if there was none.
    ///
    /// # Errors
    ///
    /// [`StoreError::OpenForReadingOnly`], or that of a failed write. If only deleting the file fails, the object is
    /// unlisted all the same.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        self.refuse_to_write_elsewhere()?;
        let mut manifest = self.manifest();
        finish_replacements(&self.root, &mut manifest)?;
        let mut next = manifest.clone();
        let Some((name, _)) = next.objects.remove_entry(name) else { return Ok(false) };
        // Unlisted first: a kill between the two steps then leaves a file that does not exist for the run.
        next.save(&self.root)?;
        *manifest = next;
        delete(&name.file_in(&self.root))?;
        Ok(true)
    }

    /// Reads every object and compares it with the manifest, and looks for files that the manifest does not list.
    ///
    /// Temporary files of objects that are being written at this moment count as not listed.
    ///
    /// # Errors
    ///
    /// That of listing a folder. What is wrong with an object is a [`Problem`] in the answer.
    pub fn verify(&self) -> Result<Vec<Problem>, StoreError> {
        let manifest = self.manifest().clone();
        verify(&self.root, &manifest)
    }

    /// Deletes what a killed process left behind, and gives the files: temporary files, and files that the manifest does
    /// not list whose name (relative, with `/`) `ours` says this run's program would write. Whatever else a person keeps
    /// in the folder stays. Folders that become empty by it go too.
    ///
    /// It takes the run exclusively, so that no object is being written meanwhile. Links are left alone and not followed.
    ///
    /// # Errors
    ///
    /// [`StoreError::OpenForReadingOnly`], or that of listing a folder or deleting a file.
    pub fn clean(&mut self, ours: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, StoreError> {
        self.refuse_to_write_elsewhere()?;
        let manifest = self.manifest();
        let left_behind: Vec<PathBuf> = unlisted_files(&self.root, &manifest)?
            .into_iter()
            .filter(|file| {
                let temporary =
                    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX));
                temporary || relative_name(&self.root, file).is_some_and(|name| ours(&name))
            })
            .collect();
        for file in &left_behind {
            delete(file)?;
            let folders = file.ancestors().skip(1).take_while(|folder| *folder != self.root);
            for folder in folders {
                // The first one that still holds something ends the climb.
                match fs::remove_dir(folder) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
                    Err(error) => return Err(StoreError::io("delete the folder", folder, error)),
                }
            }
        }
        sync_folder(&self.root)?;
        Ok(left_behind)
    }

    /// Writes the bytes of an object to a temporary file, without holding up other threads.
    pub(crate) fn stage(
        &self,
        name: ObjectName,
        made_from: Fingerprint,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Staged, StoreError> {
        refuse_object_as_folder(&self.manifest(), &name)?;
        stage(&self.root, name, made_from, write)
    }

    pub(crate) fn commit(&self, staged: Vec<Staged>) -> Result<(), StoreError> {
        let mut manifest = self.manifest();
        finish_replacements(&self.root, &mut manifest)?;
        commit(&self.root, &mut manifest, staged)
    }

    /// Opens the file of an object under the mutex, so that it is that of the entry even if another thread replaces it.
    pub(crate) fn open(&self, name: &str) -> Result<(PathBuf, Entry, fs::File), StoreError> {
        let manifest = self.manifest();
        let not_listed = || StoreError::NotListed { run: self.root.clone(), name: name.to_owned() };
        let entry = manifest.entry(name).ok_or_else(not_listed)?;
        let path = ObjectName::new(name)?.file_in(&self.root);
        let file = read::open(&path, entry)?;
        Ok((path, entry.clone(), file))
    }

    /// Refuses to write to a run that is open for reading only, or whose folder is another one than the one that was opened:
    /// writing would make it anew, with the objects of this moment and none of those before.
    pub(crate) fn refuse_to_write_elsewhere(&self) -> Result<(), StoreError> {
        let path = || self.root.clone();
        match &self.lock {
            Some(lock) if lock.is_in(&self.root) => Ok(()),
            Some(_) => Err(StoreError::Moved { path: path() }),
            None => Err(StoreError::OpenForReadingOnly { path: path() }),
        }
    }

    /// The manifest is changed only by whole assignments, so it is sound even if a thread panicked while holding it.
    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a folder without manifest that holds more than a process leaves that is killed while it creates a run.
fn refuse_foreign_folder(root: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("list the folder", root, error);
    let mut foreign = None;
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name == MANIFEST_FILE {
            return Ok(());
        }
        if name != LOCK_FILE && !name.starts_with(TEMPORARY_PREFIX) {
            foreign = Some(name);
        }
    }
    match foreign {
        None => Ok(()),
        Some(found) => Err(StoreError::NotARun { path: root.to_path_buf(), found }),
    }
}

/// The name of a file in the run, with `/` between its components; none if it is not UTF-8.
fn relative_name(root: &Path, file: &Path) -> Option<String> {
    let components = file.strip_prefix(root).ok()?.components();
    components
        .map(|component| component.as_os_str().to_str())
        .collect::<Option<Vec<_>>>()
        .map(|parts| parts.join("/"))
}
