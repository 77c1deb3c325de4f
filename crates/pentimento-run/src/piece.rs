//! Pieces: the parts of a stage that are made, stored, counted and taken over as one.
//!
//! What a piece holds follows from what the run has and the recipe alone, so pieces of a stage can be made in any order, on any
//! machine, and again. [`crate::drive`] makes all of a stage that are missing; [`crate::drive::make_piece`] makes one, in a run
//! folder of its own if wanted, and [`crate::drive::adopt`] takes finished pieces over from such a folder.

use crate::costs::Spent;
use crate::error::{Result, RunError};
use crate::event::Progress;
use crate::workspace::Workspace;
use pentimento_store::{Fingerprint, Run};
use std::fmt;
use std::str::FromStr;

/// An object that is to be stored: its name and its bytes.
pub type Object = (String, Vec<u8>);

/// A piece of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The stage.
    pub stage: String,
    /// Its number in the stage, from 0.
    pub number: usize,
    /// Names of the objects by which the piece is known to be there.
    pub objects: Vec<String>,
    /// What they are made from.
    pub made_from: Fingerprint,
}

impl Piece {
    /// Its name.
    pub fn name(&self) -> PieceName {
        PieceName { stage: self.stage.clone(), number: self.number }
    }

    /// Whether all its objects are in a run, made from the right things.
    pub fn is_in(&self, run: &Run) -> bool {
        self.objects.iter().all(|object| run.is_current(object, self.made_from))
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(formatter)
    }
}

/// The name of a piece, such as `attribute/7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceName {
    /// The stage.
    pub stage: String,
    /// The number.
    pub number: usize,
}

impl fmt::Display for PieceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.stage, self.number)
    }
}

impl FromStr for PieceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.rsplit_once('/').and_then(|(stage, number)| {
            let name = Self { stage: stage.to_owned(), number: number.parse().ok()? };
            // Of several spellings of a number one is a name.
            (!stage.is_empty() && name.to_string() == text).then_some(name)
        });
        parsed.ok_or_else(|| "write it as `STAGE/NUMBER`, such as `attribute/7`".to_owned())
    }
}

/// A stage: which pieces it has, and how one is made.
pub trait Stage: Sync {
    /// Its name, as in `attribute/7`.
    fn name(&self) -> &str;

    /// All its pieces in their order, whether they are there or not.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] if an earlier stage is not finished.
    fn pieces(&self) -> Result<Vec<Piece>>;

    /// What its costs are called, where a piece does not time its parts.
    fn cost_name(&self) -> &str {
        self.name()
    }

    /// Whether a piece need not be made.
    fn is_there(&self, piece: &Piece, run: &Run) -> bool {
        piece.is_in(run)
    }

    /// Objects that are made with a piece beside those by which it is known.
    fn beside(&self, _piece: &Piece) -> Vec<String> {
        Vec::new()
    }

    /// Whether its pieces follow from who is asked about: those of several sets of queries have one name, and costs of their own.
    fn asks_queries(&self) -> bool {
        false
    }

    /// Prepares to make the missing ones of its pieces in `run`, and tells that it begins.
    ///
    /// # Errors
    ///
    /// If they cannot be made.
    fn begin(&self, run: &Run, all: usize, missing: &[Piece]) -> Result<Progress>;

    /// Pieces that are made side by side, each by a thread of its own; 1 if each is to have all threads.
    ///
    /// # Errors
    ///
    /// If that cannot be found out.
    fn side_by_side(&self, _missing: &[Piece]) -> Result<usize> {
        Ok(1)
    }

    /// Makes the objects of a piece.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`] once the workspace is asked to stop.
    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>>;

    /// Is told when the objects of a piece are in `run`: removes what only its making needed.
    ///
    /// # Errors
    ///
    /// As writing to the run.
    fn stored(&self, _piece: &Piece, _run: &Run) -> Result<()> {
        Ok(())
    }

    /// Puts together what pieces in the workspace's own run come to, as far as that can be done yet. Called after every piece.
    ///
    /// # Errors
    ///
    /// As reading and writing the run.
    fn merge(&self) -> Result<()> {
        Ok(())
    }

    /// What all pieces come to, where that is kept as an object of its own and the pieces are not.
    fn result(&self) -> Option<(String, Fingerprint)> {
        None
    }

    /// What the missing pieces came to, for [`crate::Event::Ended`]; none for a stage that is a part of a larger one, which
    /// tells that itself.
    fn summary(&self, missing: &[Piece]) -> Option<String>;
}

/// The pieces of a stage that a run does not have.
///
/// # Errors
///
/// As [`Stage::pieces`].
pub fn missing(stage: &dyn Stage, run: &Run) -> Result<Vec<Piece>> {
    Ok(stage.pieces()?.into_iter().filter(|piece| !stage.is_there(piece, run)).collect())
}

/// What a stage has at hand while it makes a piece.
pub struct Making<'a> {
    /// Where the piece goes, and what it keeps until it is finished.
    pub run: &'a Run,
    /// Its place among the missing pieces.
    pub place: usize,
    /// Pieces of the stage that are there, or were when it began.
    pub there: usize,
    /// Where to tell how far it is.
    pub progress: &'a Progress,
    /// What it costs.
    pub spent: Spent,
}

impl Making<'_> {
    /// Tells that as many pieces are done as come before this one.
    pub fn tell_place(&self, detail: &str) {
        self.progress.set((self.there + self.place) as u64, detail);
    }
}

/// The failure of whoever asks for a piece that a stage does not have.
pub(crate) fn no_such_piece(workspace: &Workspace, name: &PieceName, bound: String) -> RunError {
    RunError::NoSuch {
        what: "piece".into(),
        value: format!("{name} of {}", workspace.run.root().display()),
        bound,
    }
}
