//! Making pieces: in order, timed, counted, stopped and stored at one place for all stages.

use crate::costs::{self, CostOfPiece, Costs, Spent};
use crate::error::{Result, RunError};
use crate::event::{Event, Progress};
use crate::piece::{Making, Object, Piece, PieceName, Stage, no_such_piece};
use crate::workspace::Workspace;
use pentimento_diffusion::side_by_side::side_by_side;
use pentimento_store::{Run, StoreError};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Makes every piece of a stage that is missing.
///
/// # Errors
///
/// [`RunError::Stopped`] once the workspace is asked to stop: finished pieces are kept, and so is what an unfinished one keeps.
pub fn drive(workspace: &Workspace, stage: &dyn Stage) -> Result<()> {
    let pieces = stage.pieces()?;
    let all = pieces.len();
    drive_some(workspace, stage, pieces, all, None)
}

/// Makes those of some pieces that are missing, and puts them into the workspace's run or into another one.
pub(crate) fn drive_some(
    workspace: &Workspace,
    stage: &dyn Stage,
    pieces: Vec<Piece>,
    all: usize,
    into: Option<&Run>,
) -> Result<()> {
    let run = into.unwrap_or(&workspace.run);
    if into.is_none() {
        // First: a sum that is damaged is gone after it, and its pieces are missing.
        stage.merge()?;
    }
    let (there, missing): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|piece| stage.is_there(piece, run));
    for piece in &there {
        // A kill may have come before it.
        stage.stored(piece, run)?;
        if into.is_some() {
            note_piece(run, stage, piece)?;
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let progress = stage.begin(run, all, &missing)?;
    let lanes = stage.side_by_side(&missing)?;
    let there = all - missing.len();
    let driver = Driver { workspace, stage, lanes, there, progress: &progress, into, costs: Mutex::new(()) };
    let make = |place: usize| driver.make_and_store(&missing[place], place);
    if lanes == 1 {
        (0..missing.len()).try_for_each(make)?;
    } else {
        let results: Vec<Result<()>> = side_by_side(missing.len(), |place| {
            // After a stop none begins. One that fails does not keep the others from being finished.
            Ok::<_, Infallible>(workspace.options.stop.check().and_then(|()| make(place)))
        })
        .unwrap_or_else(|never| match never {});
        // A real failure says more than that the others stopped.
        let (stopped, failed): (Vec<_>, Vec<_>) =
            results.into_iter().filter_map(Result::err).partition(|error| matches!(error, RunError::Stopped));
        if let Some(error) = failed.into_iter().chain(stopped).next() {
            return Err(error);
        }
    }
    if let Some(summary) = stage.summary(&missing) {
        progress.finish(&summary);
    }
    Ok(())
}

/// What all pieces of a stage have in common while they are made.
struct Driver<'a> {
    workspace: &'a Workspace,
    stage: &'a dyn Stage,
    lanes: usize,
    there: usize,
    progress: &'a Progress,
    into: Option<&'a Run>,
    /// Held by whoever writes costs: several pieces may be finished at once.
    costs: Mutex<()>,
}

impl Driver<'_> {
    fn make_and_store(&self, piece: &Piece, place: usize) -> Result<()> {
        let Self { workspace, stage, progress, into, .. } = *self;
        let run = into.unwrap_or(&workspace.run);
        workspace.options.stop.check()?;
        if into.is_some() {
            // By its costs a folder says what it made, also if a kill comes before they are known.
            self.record(run, piece, CostOfPiece::new(), false)?;
        }
        let started = Instant::now();
        let mut making = Making { run, place, there: self.there, progress, spent: Spent::default() };
        let made = stage.make(piece, &mut making);
        let mut cost = making.spent.into_cost();
        if cost.is_empty() {
            // Of threads that share the machine each costs its share.
            let seconds = started.elapsed().as_secs_f64() / self.lanes as f64;
            cost.insert(stage.cost_name().to_owned(), (seconds, usize::from(made.is_ok())));
        }
        match made {
            Ok(objects) => {
                store(run, piece, objects)?;
                stage.stored(piece, run)?;
                if into.is_none() {
                    stage.merge()?;
                }
                workspace.reporter().tell(Event::PieceMade(piece));
                self.record(run, piece, cost, true)
            }
            Err(RunError::Stopped) => {
                self.record(run, piece, cost, false)?;
                Err(RunError::Stopped)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes down what a piece cost, with what it had cost before it was stopped.
    fn record(&self, run: &Run, piece: &Piece, mut cost: CostOfPiece, finished: bool) -> Result<()> {
        let _held = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut costs = Costs::read(run);
        let name = costs::name(self.stage, piece);
        let unfinished = costs::unfinished(&name);
        for (what, (seconds, units)) in costs.pieces.remove(&unfinished).unwrap_or_default() {
            let sum = cost.entry(what).or_default();
            sum.0 += seconds;
            sum.1 += units;
        }
        costs.pieces.insert(if finished { name } else { unfinished }, cost);
        costs.write(run)
    }
}

fn store(run: &Run, piece: &Piece, objects: Vec<Object>) -> Result<(), StoreError> {
    match objects.as_slice() {
        [(name, bytes)] => run.put(name, piece.made_from, bytes),
        _ => run.put_many(objects, piece.made_from),
    }
}

/// Notes that a folder has a piece which a kill kept from being noted as finished: by its costs a folder says what it made.
fn note_piece(run: &Run, stage: &dyn Stage, piece: &Piece) -> Result<()> {
    let (mut costs, name) = (Costs::read(run), costs::name(stage, piece));
    if costs.pieces.contains_key(&name) {
        return Ok(());
    }
    let cost = costs.pieces.remove(&costs::unfinished(&name)).unwrap_or_default();
    costs.pieces.insert(name, cost);
    costs.write(run)
}

/// Makes one piece and puts it into the workspace's run, or into another one. False if it was there.
///
/// # Errors
///
/// [`RunError::NoSuch`] if the stage has no such piece; as making it.
pub fn make_piece(
    workspace: &Workspace,
    stage: &dyn Stage,
    name: &PieceName,
    into: Option<&Run>,
) -> Result<bool> {
    let mut pieces = stage.pieces()?;
    let all = pieces.len();
    if name.number >= all {
        let bound = match all {
            0 => format!("`{}` has none", name.stage),
            all => format!("pieces of `{}` are 0 to {}", name.stage, all - 1),
        };
        return Err(no_such_piece(workspace, name, bound));
    }
    let piece = pieces.swap_remove(name.number);
    let was_there = stage.is_there(&piece, into.unwrap_or(&workspace.run));
    drive_some(workspace, stage, vec![piece], all, into)?;
    Ok(!was_there)
}

/// What became of a piece that was to be taken over.
#[derive(Debug)]
pub enum Adoption {
    /// It is now in the run.
    Adopted,
    /// The run had it already.
    WasThere,
    /// The other run does not have it.
    NotThere,
    /// The other run has objects of its names that were made from something else.
    Foreign,
    /// The other run began it and has not finished it.
    Unfinished,
    /// An object of it is damaged there.
    Damaged(StoreError),
    /// This run does not have what its stage works on: that is to be made or taken over first.
    TooEarly(RunError),
}

/// Takes those pieces of a stage over that another run folder has; `known` are those that it says it made.
///
/// # Errors
///
/// As reading and writing the run.
pub fn adopt(
    workspace: &Workspace,
    stage: &dyn Stage,
    other: &Run,
    known: impl Fn(&Piece) -> bool,
) -> Result<Vec<(Piece, Adoption)>> {
    let mut found = Vec::new();
    if let Some((result, made_from)) = stage.result()
        && !workspace.run.is_current(&result, made_from)
        && other.is_current(&result, made_from)
    {
        workspace.run.adopt(other, [&result], made_from)?;
        stage.merge()?;
        return Ok(stage.pieces()?.into_iter().map(|piece| (piece, Adoption::Adopted)).collect());
    }
    for piece in stage.pieces()? {
        let adoption = adopt_piece(workspace, stage, &piece, other, known(&piece))?;
        found.push((piece, adoption));
    }
    Ok(found)
}

fn adopt_piece(
    workspace: &Workspace,
    stage: &dyn Stage,
    piece: &Piece,
    other: &Run,
    is_known: bool,
) -> Result<Adoption> {
    let run = &workspace.run;
    let is_in_other =
        !piece.objects.is_empty() && piece.objects.iter().all(|object| other.entry(object).is_some());
    // Also one whose objects went into a sum there.
    if (is_in_other || is_known) && stage.is_there(piece, run) && is_whole(piece, run)? {
        return Ok(Adoption::WasThere);
    }
    if !is_in_other {
        return Ok(Adoption::NotThere);
    }
    let is_there = |name: &String| other.entry(name).is_some_and(|entry| entry.made_from == piece.made_from);
    let beside = stage.beside(piece).into_iter().filter(is_there);
    let objects: Vec<String> = piece.objects.iter().cloned().chain(beside).collect();
    match run.adopt(other, &objects, piece.made_from) {
        Ok(_) => {
            stage.stored(piece, run)?;
            stage.merge()?;
            Costs::adopt(run, other, &costs::name(stage, piece))?;
            Ok(Adoption::Adopted)
        }
        Err(StoreError::MadeFromOther { .. }) => Ok(Adoption::Foreign),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Missing { .. })) => {
            Ok(Adoption::Damaged(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether no object of a piece is damaged in a run; those that it does not have, since they went into a sum, are not.
fn is_whole(piece: &Piece, run: &Run) -> Result<bool> {
    for object in &piece.objects {
        match run.get(object) {
            Ok(_) | Err(StoreError::NotListed { .. }) => {}
            Err(StoreError::Corrupt { .. } | StoreError::Missing { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}
