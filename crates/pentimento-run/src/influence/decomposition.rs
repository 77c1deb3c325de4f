//! The decomposition of the factors of a curvature.

use super::curvature_sums::{Summing, Sums};
use crate::error::{Result, RunError};
use crate::event::{Event, Progress};
use crate::piece::{Making, Object, Piece, Stage};
use pentimento_attribution::curvature::{LOSSES_IN_FILES, bases, write_bases};
use pentimento_diffusion::arrays::ArrayWriter;
use pentimento_store::Run;

/// The stage that decomposes the factors: one piece.
pub struct Decomposing<'a> {
    factors: Summing<'a>,
}

impl<'a> Decomposing<'a> {
    /// Decomposes these factors.
    pub(super) fn new(factors: Summing<'a>) -> Self {
        Self { factors }
    }
}

impl Stage for Decomposing<'_> {
    fn name(&self) -> &str {
        &self.factors.measurement.names[2]
    }

    fn cost_name(&self) -> &str {
        "decomposition"
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let measurement = self.factors.measurement;
        Ok(vec![Piece {
            stage: self.name().into(),
            number: 0,
            objects: vec![measurement.bases_name()],
            made_from: measurement.identity,
        }])
    }

    fn begin(&self, _run: &Run, _all: usize, _missing: &[Piece]) -> Result<Progress> {
        let reporter = self.factors.measurement.workspace().reporter();
        reporter.tell(Event::Decomposing);
        Ok(reporter.begin(&self.factors.measurement.work_on("decomposition"), 1, 0))
    }

    fn make(&self, _piece: &Piece, _making: &mut Making<'_>) -> Result<Vec<Object>> {
        let measurement = self.factors.measurement;
        let Some(sums) = self.factors.total()? else {
            return Err(measurement.missing("factors of the curvature"));
        };
        let Sums::Factors(sums) = sums else {
            let (object, problem) = (self.factors.total_name(), "it holds sums of another kind".into());
            return Err(RunError::Inconsistent { object, problem });
        };
        let (loss, losses) = (sums.mean_loss(), sums.losses().to_values());
        let mut arrays = ArrayWriter::default();
        write_bases(&bases(sums)?, &mut arrays);
        arrays.put_f64("mean_loss", &[1], &[loss]);
        arrays.put_f64(LOSSES_IN_FILES, &[losses.len()], &losses);
        let name = measurement.bases_name();
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn merge(&self) -> Result<()> {
        let measurement = self.factors.measurement;
        if measurement.workspace().run.is_current(&measurement.bases_name(), measurement.identity) {
            self.factors.remove_sums()?;
        }
        Ok(())
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        None
    }
}
