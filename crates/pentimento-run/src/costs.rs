//! What the pieces of a run cost.

use crate::error::Result;
use crate::piece::{Piece, PieceName, Stage};
use pentimento_store::{Fingerprint, Run};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Name of the object.
const COSTS: &str = "costs.json";

/// What stands behind the name of a piece that is not finished.
const UNFINISHED: &str = ", unfinished";

/// Seconds and number of units (samples, counterfactuals), by what was made of them.
pub type CostOfPiece = BTreeMap<String, (f64, usize)>;

/// What the pieces of a run cost. Seconds differ from run to run, so this object and the page that shows it do too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// By piece, see [`name`]. A piece that is made again costs what it cost the last time.
    #[serde(default)]
    pub pieces: BTreeMap<String, CostOfPiece>,
}

impl Costs {
    /// Reads the costs so far; none if they cannot be read, as nothing follows from them.
    pub fn read(run: &Run) -> Self {
        let bytes = run.get(COSTS).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// The sum over all pieces.
    pub fn total(&self) -> CostOfPiece {
        let mut total = CostOfPiece::new();
        for (what, (seconds, units)) in self.pieces.values().flatten() {
            let sum = total.entry(what.clone()).or_default();
            sum.0 += seconds;
            sum.1 += units;
        }
        total
    }

    /// Writes them to the run.
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub(crate) fn write(&self, run: &Run) -> Result<()> {
        run.put(COSTS, Fingerprint::of("costs").finish(), &serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Takes over what a piece cost in another run.
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub(crate) fn adopt(run: &Run, other: &Run, name: &str) -> Result<()> {
        let Some(cost) = Self::read(other).pieces.remove(name) else { return Ok(()) };
        let mut costs = Self::read(run);
        costs.pieces.remove(&unfinished(name));
        costs.pieces.insert(name.to_owned(), cost);
        costs.write(run)
    }

    /// The pieces that cost something, each with whether it is finished.
    pub(crate) fn names(&self) -> BTreeMap<PieceName, bool> {
        // See `name` and `unfinished`.
        let piece = |name: &String| {
            let piece = name.split([' ', ',']).next()?.parse().ok()?;
            Some((piece, !name.ends_with(UNFINISHED)))
        };
        self.pieces.keys().filter_map(piece).collect()
    }
}

/// What the costs of a piece are kept by: its name; and if it follows from who is asked about, what it is made from.
pub(crate) fn name(stage: &dyn Stage, piece: &Piece) -> String {
    if stage.asks_queries() {
        return format!("{piece} from {}", &piece.made_from.to_string()[..8]);
    }
    piece.to_string()
}

/// What the costs of a piece are kept by until it is finished.
pub(crate) fn unfinished(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// What is being spent on a piece.
#[derive(Clone, Debug, Default)]
pub struct Spent(CostOfPiece);

impl Spent {
    /// Does some work and notes its seconds, with the number of units that it made.
    ///
    /// # Errors
    ///
    /// Those of the work.
    pub fn time<R>(&mut self, what: &str, units: usize, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let started = Instant::now();
        let result = work()?;
        self.add(what, started.elapsed().as_secs_f64(), units);
        Ok(result)
    }

    /// Notes seconds and units.
    pub fn add(&mut self, what: &str, seconds: f64, units: usize) {
        let sum = self.0.entry(what.to_owned()).or_default();
        sum.0 += seconds;
        sum.1 += units;
    }

    /// All of it.
    pub fn into_cost(self) -> CostOfPiece {
        self.0
    }
}
