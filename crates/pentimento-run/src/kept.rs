//! Objects that need not be made again, unless they are damaged.

use crate::drive::drive;
use crate::error::Result;
use crate::event::{Event, Reporter};
use crate::piece::{Piece, Stage};
use crate::workspace::Workspace;
use pentimento_store::{Fingerprint, Run, StoreError};

/// None for a file that is damaged or gone. Any other trouble, such as too many open files, is no reason to make it again.
pub(crate) fn unless_damaged<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Corrupt { .. } | StoreError::Missing { .. } | StoreError::NotListed { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The bytes of an object that need not be made again. One that is damaged is, and that is said.
///
/// # Errors
///
/// As reading and writing the run.
pub(crate) fn kept(workspace: &Workspace, name: &str, made_from: Fingerprint) -> Result<Option<Vec<u8>>> {
    kept_in(&workspace.run, workspace.reporter(), name, made_from)
}

/// The same in another run than the workspace's.
///
/// # Errors
///
/// As [`kept`].
pub(crate) fn kept_in(
    run: &Run,
    reporter: &Reporter,
    name: &str,
    made_from: Fingerprint,
) -> Result<Option<Vec<u8>>> {
    if !run.is_current(name, made_from) {
        return Ok(None);
    }
    let bytes = unless_damaged(run.get(name))?;
    if bytes.is_none() {
        reporter.tell(Event::MadeAgain(name));
        if !run.is_read_only() {
            run.remove(name)?;
        }
    }
    Ok(bytes)
}

/// The bytes of the one object of a piece that the driver has made. If it was damaged since, it is made again.
///
/// # Errors
///
/// As [`kept`] and making the piece.
pub(crate) fn kept_or_made_again(workspace: &Workspace, stage: &dyn Stage, piece: &Piece) -> Result<Vec<u8>> {
    let name = piece.objects.first().map_or("", String::as_str);
    match kept(workspace, name, piece.made_from)? {
        Some(bytes) => Ok(bytes),
        None => {
            drive(workspace, stage)?;
            Ok(workspace.run.get(name)?)
        }
    }
}
