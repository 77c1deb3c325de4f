//! The run folder: named objects, one manifest, atomic writes, checksums, a lock.
//!
//! A [`Run`] is a folder of ordinary files, so that other programs open them where they lie, and of `manifest.json`,
//! which lists each object with its length, its blake3 digest, and the [`Fingerprint`] of everything that decided its
//! bytes. This crate does not know what the objects mean.
//!
//! # What holds at every moment
//!
//! - **What the manifest does not list does not exist.** Leftovers of a killed process are never read, and
//!   [`Run::clean`] removes them and nothing else.
//! - **An object is listed only when all its bytes are on the disk**: written under a temporary name in the same folder,
//!   synced, renamed, and then listed by a manifest that is itself replaced in this way.
//! - **A kill loses nothing that was listed.** To replace listed objects, the manifest first records the new ones as
//!   pending, with the temporary files that hold them. From then on the replacement is decided: whoever opens the run
//!   next for writing finishes it. So a group of objects that [`Run::put_many`] replaces is never half old, half new.
//! - **One process writes.** A second one gets [`StoreError::Locked`]. The threads of one process may write at once.
//! - **The manifest's bytes follow from its objects alone**: names are sorted, and there are no times in it.
//!
//! ```
//! use pentimento_store::{Fingerprint, Run};
//!
//! # fn main() -> Result<(), pentimento_store::StoreError> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("digits");
//! let run = Run::create_or_open(&path)?;
//! let made_from = Fingerprint::of("greeting, version 1").text("world").finish();
//! if !run.is_current("greetings/first.txt", made_from) {
//!     run.put("greetings/first.txt", made_from, b"Hello, world")?;
//! }
//! assert_eq!(run.get("greetings/first.txt")?, b"Hello, world");
//! # Ok(())
//! # }
//! ```

mod adopt;
mod digest;
mod error;
mod file;
mod fingerprint;
mod lock;
mod manifest;
mod name;
mod read;
mod replacement;
mod run;
mod verify;
mod write;

pub use digest::Digest;
pub use error::StoreError;
pub use fingerprint::{Fingerprint, FingerprintBuilder};
pub use manifest::Entry;
pub use run::Run;
pub use verify::Problem;
