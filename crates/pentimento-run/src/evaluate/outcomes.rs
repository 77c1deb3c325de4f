//! What networks make of queries: the loss of each on every network, at the same timesteps and noises.

use crate::drive::drive;
use crate::error::Result;
use crate::event::Progress;
use crate::gradients::Query;
use crate::kept::kept_or_made_again;
use crate::networks::NetworksAlike;
use crate::piece::{Making, Object, Piece, Stage};
use crate::words::counted;
use crate::workspace::{Workspace, fingerprint_of_computed};
use pentimento_attribution::curvature::losses;
use pentimento_attribution::gradient::{DrawPlan, Measurement, NoiseSharing, TimestepShares, side_by_side};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::denoising::Draw;
use pentimento_store::Run;

/// The stage, as in `outcomes/3`.
const STAGE: &str = "outcomes";
/// Groups of draws: grids over the schedule in equal distances.
const GROUPS: usize = 4;

/// What was measured of queries on a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    /// The mean loss of each query over the draws.
    pub loss: Vec<f64>,
    /// The mean loss with the weight of each timestep in the bound on the likelihood.
    pub weighted_loss: Vec<f64>,
}

/// The stage: a piece is a network on which all queries are measured.
pub struct MeasuringOutcomes<'a> {
    workspace: &'a Workspace,
    networks: &'a NetworksAlike<'a>,
    queries: &'a [Query],
    draws: DrawPlan,
}

impl<'a> MeasuringOutcomes<'a> {
    /// Measures queries of a run on networks, at about so many draws of each.
    pub fn new(
        workspace: &'a Workspace,
        networks: &'a NetworksAlike<'a>,
        queries: &'a [Query],
        draws: usize,
    ) -> Self {
        let total = workspace.recipe.schedule.num_train_timesteps;
        let groups = GROUPS.min(total).min(draws.max(1));
        let plan = DrawPlan {
            timesteps: (draws / groups).clamp(1, total / groups),
            groups,
            antithetic: false,
            sharing: NoiseSharing::Shared,
            shares: TimestepShares::EVEN,
            // Other noises than those of scores, which would otherwise be judged on what they were fitted to.
            seed: !workspace.recipe.seed,
        };
        Self { workspace, networks, queries, draws: plan }
    }

    /// Draws of each query.
    pub fn draws(&self) -> usize {
        self.draws.count()
    }

    /// Measures what is missing, and gives all, network by network.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`](crate::RunError::Stopped) once it is asked to stop, finished networks are kept; as opening them.
    pub fn complete(&self) -> Result<Vec<Outcomes>> {
        drive(self.workspace, self)?;
        let outcomes = |piece: &Piece| {
            let bytes = kept_or_made_again(self.workspace, self, piece)?;
            let name = piece.objects.first().map_or("", String::as_str);
            let arrays = ArrayReader::new(&bytes, name)?;
            let of = |array: &str| -> Result<Vec<f64>> {
                arrays.expect_shape(array, &[self.queries.len()])?;
                Ok(arrays.f64(array)?)
            };
            Ok(Outcomes { loss: of("loss")?, weighted_loss: of("weighted_loss")? })
        };
        self.pieces()?.iter().map(outcomes).collect()
    }

    fn draws_of(&self, query: &Query) -> Vec<Draw> {
        let schedule = &self.workspace.recipe.schedule;
        let of_group = |group| self.draws.draws(schedule, group, query.input.len(), 0);
        (0..self.draws.groups).flat_map(of_group).collect()
    }
}

impl Stage for MeasuringOutcomes<'_> {
    fn name(&self) -> &str {
        STAGE
    }

    fn asks_queries(&self) -> bool {
        true
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let plan = self.draws;
        let queries: Vec<Vec<u8>> = self.queries.iter().map(|query| query.key().to_vec()).collect();
        let piece = |number| {
            let made_from = fingerprint_of_computed("outcomes, version 2")
                .fingerprint(self.networks.fingerprint(number)?)
                .json(&(plan.timesteps, plan.groups, plan.seed))?
                .json(&self.workspace.recipe.schedule)?
                .bytes(&queries.concat())
                .finish();
            let digest = made_from.to_string();
            let objects =
                vec![format!("evaluation/outcomes/{}.safetensors", &digest[..16.min(digest.len())])];
            Ok(Piece { stage: STAGE.into(), number, objects, made_from })
        };
        (0..self.networks.weights.len()).map(piece).collect()
    }

    fn begin(&self, _run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let done = all - missing.len();
        Ok(self.workspace.reporter().begin("measuring the bank", all as u64, done as u64))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let NetworksAlike { architecture, size, .. } = *self.networks;
        let parameters = self.networks.parameters(piece.number)?;
        let schedule = &self.workspace.recipe.schedule;
        let weights = Measurement::WeightedLoss.weights(schedule);
        let found = side_by_side(self.queries.len(), |place| -> Result<(f64, f64)> {
            self.workspace.options.stop.check()?;
            let query = &self.queries[place];
            let draws = self.draws_of(query);
            let found =
                losses(architecture, &parameters, schedule, &query.input, size, &query.condition, &draws);
            let share = 1.0 / draws.len().max(1) as f64;
            let weighted = found.iter().zip(&draws).map(|(loss, draw)| weights[draw.timestep] * loss);
            Ok((share * found.iter().sum::<f64>(), share * weighted.sum::<f64>()))
        })?;
        making.progress.set((making.there + making.place + 1) as u64, "networks");
        let (loss, weighted): (Vec<f64>, Vec<f64>) = found.into_iter().unzip();
        let mut arrays = ArrayWriter::default();
        arrays.put_f64("loss", &[loss.len()], &loss);
        arrays.put_f64("weighted_loss", &[weighted.len()], &weighted);
        let name = piece.objects.first().cloned().unwrap_or_default();
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn summary(&self, missing: &[Piece]) -> Option<String> {
        let networks = counted(missing.len(), "network");
        Some(format!(
            "{networks}, {} draws of each of {}",
            self.draws(),
            counted(self.queries.len(), "query")
        ))
    }
}
