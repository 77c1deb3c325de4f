//! What unlearning a query does to the loss of each training image (Wang et al. 2024, arXiv 2406.09408, with the step through
//! EK-FAC).

use super::curvature_store::MeasuredCurvature;
use super::query_gradients::{QueryDraws, QueryGradients, image_draws};
use crate::drive::drive;
use crate::error::Result;
use crate::event::Progress;
use crate::gradients::{Query, Subject, noise_id};
use crate::kept::kept_or_made_again;
use crate::piece::{Making, Object, Piece, Stage};
use crate::words::counted;
use once_cell::sync::OnceCell;
use pentimento_attribution::curvature::{InfluenceKind, LossChange, UnlearningLosses, losses, moved};
use pentimento_attribution::gradient::{DrawPlan, NoiseSharing, TimestepShares, side_by_side};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::unet::Parameters;
use pentimento_store::{Fingerprint, Run};

/// One network whose queries are unlearned.
pub struct UnlearningOf<'a> {
    /// The networks and images.
    pub subject: &'a Subject<'a>,
    /// Which network.
    pub network: usize,
    /// Its curvature.
    pub measured: &'a MeasuredCurvature,
    /// The damping of each block.
    pub dampings: &'a [f64],
}

impl UnlearningOf<'_> {
    /// The losses of each training image in each block of draws, as far as they are compared so. Queries that are in the run are not
    /// unlearned again.
    ///
    /// # Errors
    ///
    /// [`Stopped`](crate::error::RunError::Stopped) on Ctrl-C, finished queries are kept; as taking gradients.
    pub fn complete(
        &self,
        gradients: &QueryGradients,
        queries: &[Query],
        change: LossChange,
    ) -> Result<UnlearningLosses> {
        let workspace = self.subject.workspace;
        let stage = self.stage(gradients, queries)?;
        drive(workspace, &stage)?;
        let (images, plan) = (self.subject.training.images.len(), self.subject.draws());
        let (groups, of_block) = (plan.groups, plan.groups_per_block());
        let mean = |block: &[f64]| block.iter().sum::<f64>() / of_block as f64;
        let blocks = |groups: &[f64]| -> Vec<f64> { groups.chunks_exact(of_block).map(mean).collect() };
        let before = match change {
            LossChange::Increase => Vec::new(),
            LossChange::Ratio => stage.before()?.iter().map(|groups| blocks(groups)).collect(),
        };
        let mut increases = Vec::with_capacity(queries.len());
        for piece in stage.pieces()? {
            let name = &stage.name_of(piece.made_from);
            let bytes = kept_or_made_again(workspace, &stage, &piece)?;
            let arrays = ArrayReader::new(&bytes, name)?;
            arrays.expect_shape("loss_increase", &[images, groups])?;
            let increase = arrays.f64("loss_increase")?;
            increases.push(increase.chunks_exact(groups).map(blocks).collect());
        }
        Ok(UnlearningLosses { before, increases })
    }

    /// The stage that unlearns queries.
    ///
    /// # Errors
    ///
    /// As opening the network.
    pub fn stage<'s>(
        &'s self,
        gradients: &'s QueryGradients,
        queries: &'s [Query],
    ) -> Result<Unlearning<'s>> {
        let network = &self.subject.networks.weights[self.network];
        Ok(Unlearning {
            of: self,
            name: format!("unlearning/{}/queries", self.network),
            identity: self.identity()?,
            gradients,
            queries,
            parameters: self.subject.networks.parameters(self.subject.workspace, network)?,
            before: OnceCell::new(),
        })
    }

    /// The mean loss of each training image in each group of draws; zero for those that the network never saw.
    fn losses(&self, parameters: &Parameters, show: impl Fn(usize) + Sync) -> Result<Vec<Vec<f64>>> {
        let subject = self.subject;
        let (plan, schedule) = (self.draws(), &subject.workspace.recipe.schedule);
        side_by_side(subject.training.images.len(), |image| {
            subject.workspace.options.stop.check()?;
            show(image);
            if !subject.networks.saw(self.network, image) {
                return Ok(vec![0.0; plan.groups]);
            }
            let key = subject.image_key(image);
            let values = subject.training.input(image);
            let of_group = |group| {
                let draws = plan.draws(schedule, group, values.len(), noise_id(&key));
                let condition = subject.condition_of(image, group);
                let losses = losses(
                    &subject.networks.architecture,
                    parameters,
                    schedule,
                    &values,
                    subject.networks.size,
                    condition,
                    &draws,
                );
                let total = schedule.num_train_timesteps;
                let weighed = draws
                    .iter()
                    .zip(&losses)
                    .map(|(draw, loss)| plan.shares.weight(draw.timestep, total) * loss);
                weighed.sum::<f64>() / losses.len().max(1) as f64
            };
            Ok((0..plan.groups).map(of_group).collect())
        })
    }

    /// The draws of a training image.
    fn draws(&self) -> DrawPlan {
        let shares = self.measured.shares;
        DrawPlan { shares, ..unlearning_draws(self.subject, shares != TimestepShares::EVEN) }
    }

    /// The draws of a query: as many as for its influence.
    fn query_draws(&self) -> QueryDraws {
        QueryDraws::of_kind(self.subject, InfluenceKind::Unlearning(LossChange::Increase))
    }

    /// What an unlearned query follows from, but for the query.
    fn identity(&self) -> Result<Fingerprint> {
        let Self { subject, measured, dampings, .. } = self;
        let recipe = &subject.workspace.recipe;
        let plan = self.draws();
        let saw = |image: usize| u8::from(subject.networks.saw(self.network, image));
        let images: Vec<u8> = (0..subject.training.images.len())
            .flat_map(|image| subject.image_key(image).into_iter().chain([saw(image)]))
            .collect();
        Ok(Fingerprint::of("unlearning, version 2")
            .fingerprint(measured.identity)
            .json(&recipe.influence.eigenvalues)?
            .json(dampings)?
            .json(&(recipe.influence.query_timestep, recipe.influence.unlearning_step))?
            .json(&(plan.timesteps, plan.groups, plan.antithetic, plan.sharing, recipe.seed))?
            .json(&plan.shares)?
            .json(&(image_draws(subject).timesteps, self.query_draws().groups))?
            .bytes(&images)
            .finish())
    }
}

/// How many draws a training image has, a fixed number: its losses are taken again for each query. If they lie by the loss and have noises of
/// their own, half of the timesteps of a group (one at the least) tell as much as all in equal distances.
pub fn unlearning_draws(subject: &Subject<'_>, by_loss: bool) -> DrawPlan {
    let plan = image_draws(subject);
    match plan.sharing {
        NoiseSharing::PerImage if by_loss => DrawPlan { timesteps: plan.timesteps.div_ceil(2), ..plan },
        // Queries at the same noise are at the same draws.
        _ => plan,
    }
}

/// The stage: a piece is a query that is unlearned.
pub struct Unlearning<'a> {
    of: &'a UnlearningOf<'a>,
    name: String,
    identity: Fingerprint,
    gradients: &'a QueryGradients,
    queries: &'a [Query],
    parameters: Parameters,
    /// The losses of all training images before anything is unlearned.
    before: OnceCell<Vec<Vec<f64>>>,
}

impl Unlearning<'_> {
    fn title(&self) -> String {
        let subject = self.of.subject;
        subject.work_on("unlearning", self.of.network, subject.networks.weights.len())
    }

    fn name_of(&self, made_from: Fingerprint) -> String {
        format!("curvature/unlearned/{}.safetensors", &made_from.to_string()[..16])
    }

    fn before(&self) -> Result<&Vec<Vec<f64>>> {
        self.before.get_or_try_init(|| self.of.losses(&self.parameters, |_| {}))
    }
}

impl Stage for Unlearning<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn cost_name(&self) -> &str {
        "unlearning"
    }

    fn asks_queries(&self) -> bool {
        true
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let piece = |(number, query): (usize, &Query)| {
            let key = query.key();
            let made_from = Fingerprint::of("unlearned").fingerprint(self.identity).bytes(&key).finish();
            let objects = vec![self.name_of(made_from)];
            Piece { stage: self.name.clone(), number, objects, made_from }
        };
        Ok(self.queries.iter().enumerate().map(piece).collect())
    }

    fn begin(&self, _run: &Run, _all: usize, _missing: &[Piece]) -> Result<Progress> {
        Ok(self.of.subject.workspace.reporter().begin(&self.title(), self.queries.len() as u64, 0))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let UnlearningOf { subject, measured, dampings, network } = *self.of;
        let (images, groups) = (subject.training.images.len(), subject.draws().groups);
        let seen = (0..images).filter(|&image| subject.networks.saw(network, image)).count();
        let step = subject.workspace.recipe.influence.unlearning_step / seen.max(1) as f64;
        let (index, query) = (piece.number, &self.queries[piece.number]);
        let before = self.before()?;
        let of_query = 0..self.of.query_draws().groups;
        let gradient = self.gradients.gradient(subject, &self.parameters, query, index, of_query)?;
        let direction = measured.curvature.solve(&gradient, dampings)?;
        let unlearned = moved(&subject.networks.architecture, &self.parameters, &direction, step);
        let done = making.there + making.place;
        let after = self.of.losses(&unlearned, |image| {
            making.progress.set(done as u64, &format!("queries; image {image} of {images}"));
        })?;
        let increase: Vec<f64> = after
            .iter()
            .zip(before)
            .flat_map(|(after, before)| after.iter().zip(before).map(|(after, before)| after - before))
            .collect();
        let mut arrays = ArrayWriter::default();
        arrays.put_f64("loss_increase", &[images, groups], &increase);
        let name = self.name_of(piece.made_from);
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        let images = self.of.subject.training.images.len();
        Some(format!(
            "{}, the loss of {images} training images after each",
            counted(self.queries.len(), "query")
        ))
    }
}
