//! What unlearning a query does to the loss of each training image (Wang et al. 2024, arXiv 2406.09408, with the step through
//! EK-FAC).

use super::curvature_store::{MeasuredCurvature, kept};
use super::query_gradients::{QueryGradients, image_draws};
use crate::progress::Progress;
use crate::stages::gradients::{Query, Subject, noise_id, row_key};
use crate::stages::train::open_member;
use anyhow::Result;
use pentimento_attribution::curvature::{losses, moved};
use pentimento_attribution::gradient::side_by_side;
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::unet::Parameters;
use pentimento_store::Fingerprint;

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
    /// The increase of each training image's loss in each group of draws when a query is unlearned,
    /// `[queries][images][groups]`. Queries that are in the run are not unlearned again.
    ///
    /// # Errors
    ///
    /// [`Stopped`](crate::error::ProgramError::Stopped) on Ctrl-C, finished queries are kept; as taking gradients.
    pub fn complete(&self, gradients: &QueryGradients, queries: &[Query]) -> Result<Vec<Vec<Vec<f64>>>> {
        let Self { subject, measured, dampings, .. } = *self;
        let workspace = subject.workspace;
        let network = &subject.networks[self.network];
        let parameters = open_member(workspace, &subject.architecture, &network.0)?;
        let (images, groups) = (subject.training.images.len(), subject.draws().groups);
        let seen = (0..images).filter(|&image| subject.saw(self.network, image)).count();
        let step = workspace.recipe.influence.unlearning_step / seen.max(1) as f64;
        let identity = self.identity()?;
        let progress = Progress::new("unlearning", queries.len() as u64, 0);
        let mut before = None;
        let mut found = Vec::with_capacity(queries.len());
        for (index, query) in queries.iter().enumerate() {
            let key = row_key(&query.image, query.class);
            let made_from = Fingerprint::of("unlearned").fingerprint(identity).bytes(&key).finish();
            let name = format!("curvature/unlearned/{}.safetensors", &made_from.to_string()[..16]);
            let known = kept(workspace, &name, made_from)?;
            let bytes = match known {
                Some(bytes) => bytes,
                None => {
                    let before = match &before {
                        Some(before) => before,
                        None => before.insert(self.losses(&parameters, |_| {})?),
                    };
                    let mut gradient = vec![0.0f32; subject.architecture.parameter_count()];
                    for group in 0..groups {
                        let part = gradients.gradient(subject, &parameters, query, index, group)?;
                        gradient.iter_mut().zip(part).for_each(|(sum, value)| *sum += value / groups as f32);
                    }
                    let direction = measured.curvature.solve(&gradient, dampings)?;
                    let unlearned = moved(&subject.architecture, &parameters, &direction, step);
                    let after = self.losses(&unlearned, |image| {
                        progress.set(index as u64, &format!("queries; image {image} of {images}"));
                    })?;
                    let increase: Vec<f64> = after
                        .iter()
                        .zip(before)
                        .flat_map(|(after, before)| {
                            after.iter().zip(before).map(|(after, before)| after - before)
                        })
                        .collect();
                    let mut arrays = ArrayWriter::default();
                    arrays.put_f64("loss_increase", &[images, groups], &increase);
                    let bytes = arrays.to_bytes(&name, None)?;
                    workspace.run.put(&name, made_from, &bytes)?;
                    bytes
                }
            };
            let arrays = ArrayReader::new(&bytes, &name)?;
            arrays.expect_shape("loss_increase", &[images, groups])?;
            let increase = arrays.f64("loss_increase")?;
            found.push(increase.chunks_exact(groups).map(<[f64]>::to_vec).collect());
            progress.set(index as u64 + 1, "queries");
        }
        progress
            .finish(&format!("{} queries, the loss of {images} training images after each", queries.len()));
        Ok(found)
    }

    /// The mean loss of each training image in each group of draws; zero for those that the network never saw.
    fn losses(&self, parameters: &Parameters, show: impl Fn(usize) + Sync) -> Result<Vec<Vec<f64>>> {
        let subject = self.subject;
        let (plan, schedule) = (image_draws(subject), &subject.workspace.recipe.schedule);
        side_by_side(subject.training.images.len(), |image| {
            subject.workspace.stop.check()?;
            show(image);
            if !subject.saw(self.network, image) {
                return Ok(vec![0.0; plan.groups]);
            }
            let key = subject.image_key(image);
            let values = subject.training.images.scaled(image);
            let of_group = |group| {
                let draws = plan.draws(schedule, group, values.len(), noise_id(&key));
                let class = subject.class_of(image);
                let losses =
                    losses(&subject.architecture, parameters, schedule, &values, subject.size, class, &draws);
                losses.iter().sum::<f64>() / losses.len().max(1) as f64
            };
            Ok((0..plan.groups).map(of_group).collect())
        })
    }

    /// What an unlearned query follows from, but for the query.
    fn identity(&self) -> Result<Fingerprint> {
        let Self { subject, measured, dampings, .. } = self;
        let recipe = &subject.workspace.recipe;
        let plan = image_draws(subject);
        let saw = |image: usize| u8::from(subject.saw(self.network, image));
        let images: Vec<u8> = (0..subject.training.images.len())
            .flat_map(|image| subject.image_key(image).into_iter().chain([saw(image)]))
            .collect();
        Ok(Fingerprint::of("unlearning")
            .fingerprint(measured.identity)
            .json(&recipe.influence.eigenvalues)?
            .json(dampings)?
            .json(&(recipe.influence.query_timestep, recipe.influence.unlearning_step))?
            .json(&(plan.timesteps, plan.groups, plan.antithetic, plan.sharing, recipe.seed))?
            .bytes(&images)
            .finish())
    }
}
