//! What the stages of a run cost.

use super::workspace::Workspace;
use crate::error::Result;
use pentimento_store::Fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// What the stages of a run cost, over all times that they ran in this folder. Seconds differ from run to run, so this
/// object and the page that shows it do too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Seconds and number of units (samples, counterfactuals) by stage.
    pub stages: BTreeMap<String, (f64, usize)>,
}

impl Costs {
    /// Reads the costs so far.
    pub fn read(workspace: &Workspace) -> Self {
        let bytes = workspace.run.get("costs.json").ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Adds what stages cost, as (stage, seconds, units).
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub fn record(workspace: &Workspace, new: &[(&str, f64, usize)]) -> Result<()> {
        let mut costs = Self::read(workspace);
        for &(stage, seconds, units) in new {
            let entry = costs.stages.entry(stage.into()).or_default();
            entry.0 += seconds;
            entry.1 += units;
        }
        let key = Fingerprint::of("costs").finish();
        workspace.run.put("costs.json", key, &serde_json::to_vec_pretty(&costs)?)?;
        Ok(())
    }
}

/// What is being spent on an object, recorded once the object is there.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    entries: Vec<(&'static str, f64, usize)>,
}

impl Spent {
    /// Does some work and notes its seconds under a stage, with the number of units that it made.
    ///
    /// # Errors
    ///
    /// Those of the work.
    pub fn time<R>(
        &mut self,
        stage: &'static str,
        units: usize,
        work: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let started = Instant::now();
        let result = work()?;
        self.entries.push((stage, started.elapsed().as_secs_f64(), units));
        Ok(result)
    }

    /// Adds it to the costs of a run.
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub fn record(&self, workspace: &Workspace) -> Result<()> {
        Costs::record(workspace, &self.entries)
    }
}
