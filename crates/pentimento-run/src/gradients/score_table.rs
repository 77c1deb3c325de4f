//! Scores of a method, and what is known of them.

use super::digests::{images_digest, made_with_digest, queries_digest};
use super::projection_quality::ProjectionQuality;
use super::queries::{Queries, Query};
use super::rounds::EndedBy;
use super::score_columns::{self, LOW, NAME, QUERY, RANK, SCORE, STANDARD_ERROR, TRAINING_IMAGE};
use super::subject::Subject;
use crate::error::Result;
use crate::npy::npy;
use crate::recipe::InfluenceRecipe;
use crate::workspace::Workspace;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pentimento_attribution::gradient::{
    CandidateQuality, DampingPoint, DampingView, DrawPlan, Spread, Strips, TimestepShares,
};
use pentimento_attribution::methods::{Method, Statement};
use pentimento_attribution::scores::top;
use pentimento_diffusion::condition::Condition;
use pentimento_store::Fingerprint;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// The set of the run's samples.
pub const SAMPLES: &str = "samples";

/// Scores of all training images for some queries by one method.
pub struct ScoreTable {
    /// The method.
    pub method: Method,
    /// Who was asked about.
    pub set: String,
    /// The class that was given for all of them.
    pub asked_class: Option<String>,
    /// The prompt that was given for all of them.
    pub asked_prompt: Option<String>,
    /// Names of the queries, as tables have them.
    pub queries: Vec<String>,
    /// What people call them.
    pub titles: Vec<String>,
    /// The class that the network was told of each query, by name; none if it is not told.
    pub query_classes: Option<Vec<String>>,
    /// The text that networks are told of each query, if they are told texts.
    pub query_prompts: Option<Vec<String>>,
    /// What tells that the queries are the same images: a digest of them and their classes.
    pub queries_digest: String,
    /// Positions of the training images in their source.
    pub images: Vec<usize>,
    /// What their source calls them.
    pub names: Vec<String>,
    /// What is said of each beside its position: its name, its class.
    pub labels: Vec<String>,
    /// What tells that they are the same images: [`images_digest`].
    pub images_digest: String,
    /// `[queries][images]`; larger = training on the image helped more to make the query.
    pub scores: Vec<Vec<f64>>,
    /// How sure they are.
    pub spread: Spread,
    /// What else is known of them.
    pub details: Details,
}

/// What is known of scores beside how sure they are, which follows from the method's family.
pub enum Details {
    /// Of scores by gradients.
    Gradients(GradientDetails),
    /// Of influence functions.
    Influence(InfluenceDetails),
    /// Nothing: of likeness.
    Likeness,
}

/// How many gradients were taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientsTaken {
    /// Networks whose scores were averaged.
    pub networks: usize,
    /// Draws of each image.
    pub draws: usize,
    /// As many draws as the schedule has timesteps, the most that there are.
    pub most_draws: usize,
    /// Why there are no more.
    pub ended_by: EndedBy,
    /// Which share of what tells training images apart is to be no noise of them.
    pub wanted: f64,
    /// Timesteps of a group of draws, and groups.
    pub grid: (usize, usize),
    /// Length of a feature.
    pub dimension: usize,
}

impl GradientsTaken {
    /// Those of a subject at some draws of each image, which something ended, and with features of a length.
    pub fn new(subject: &Subject<'_>, draws: &DrawPlan, ended_by: EndedBy, dimension: usize) -> Self {
        Self {
            networks: subject.networks.weights.len(),
            draws: draws.count(),
            most_draws: subject.workspace.recipe.schedule.num_train_timesteps * draws.per_timestep(),
            ended_by,
            wanted: subject.workspace.recipe.gradients.reliability,
            grid: (draws.timesteps, draws.groups),
            dimension,
        }
    }
}

/// What is known of scores by gradients.
pub struct GradientDetails {
    /// How many were taken.
    pub taken: GradientsTaken,
    /// The score of each training image for itself; none if only candidates were scored.
    pub self_influence: Vec<f64>,
    /// Scores by timestep.
    pub strips: Strips,
    /// The damping of each network, for methods that have one.
    pub dampings: Vec<DampingView>,
    /// How well the projection keeps the order of scores, if that was measured.
    pub projection: Option<ProjectionQuality>,
    /// What was followed of their training, by methods that do so.
    pub followed: Option<FollowedTraining>,
    /// If only candidates were scored: what they keep. Scores of other images are NaN.
    pub candidates: Option<CandidateQuality>,
}

/// What is known of influence functions.
pub struct InfluenceDetails {
    /// How many gradients were taken of each training image.
    pub taken: GradientsTaken,
    /// The score of each training image for itself; NaN where that was not measured.
    pub self_influence: Vec<f64>,
    /// How the curvature was measured and damped.
    pub note: Option<InfluenceNote>,
}

/// How the influence of images was measured, for tables and the page.
#[derive(Clone, Debug, Serialize)]
pub struct InfluenceNote {
    /// Images on which the curvature was measured; of several networks, those of the first.
    pub curvature_images: usize,
    /// Draws of each of them.
    pub curvature_draws: usize,
    /// Draws of each query; none of a trajectory, whose steps are no draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_draws: Option<usize>,
    /// The share of the draws in each tenth of the schedule, in percent; of several networks, of the first.
    pub timestep_shares: TimestepShares,
    /// Where the damping comes from, in words.
    pub damping_rule: String,
    /// The smallest, middle and largest damping over the blocks of the network; of several networks, of the first.
    pub dampings: [f64; 3],
    /// The mean squared error of the network over the draws.
    pub mean_loss: f64,
    /// What the recipe says.
    pub settings: InfluenceRecipe,
    /// The mean of what conjugate gradients left of the queries, as a share of each, if they were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual: Option<f64>,
    /// What their last step added to the solution along a query, as a share of what all steps did, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_step: Option<f64>,
}

/// What was followed of a training.
pub struct FollowedTraining {
    /// Steps behind each checkpoint whose scores were added up, rising.
    pub checkpoints: Vec<usize>,
    /// Events of training that were taken, over all networks and checkpoints; none if training images had draws as queries
    /// have them.
    pub events: Option<usize>,
}

impl ScoreTable {
    /// A table of scores `[queries][images]` of which nothing else is known.
    ///
    /// # Errors
    ///
    /// As [`images_digest`].
    pub fn plain(
        subject: &Subject<'_>,
        queries: &Queries,
        method: Method,
        scores: Vec<Vec<f64>>,
    ) -> Result<Self> {
        let training = subject.training;
        let class =
            |query: &Query| query.told.clone().filter(|_| matches!(query.condition, Condition::Class(_)));
        let prompt =
            |query: &Query| query.told.clone().filter(|_| matches!(query.condition, Condition::Text(_)));
        Ok(Self {
            method,
            asked_class: queries.set.class().map(str::to_owned),
            asked_prompt: queries.set.prompt().map(str::to_owned),
            query_prompts: queries.images.iter().map(prompt).collect(),
            query_classes: queries.images.iter().map(class).collect(),
            queries_digest: queries_digest(&queries.images),
            names: training.images.names().to_vec(),
            labels: (0..training.images.len()).map(|image| training.label_of(image)).collect(),
            set: queries.set.to_string(),
            queries: queries.images.iter().map(|query| query.name.clone()).collect(),
            titles: queries.images.iter().map(|query| query.title.clone()).collect(),
            images: subject.training.images.source_indices().to_vec(),
            images_digest: images_digest(
                subject.workspace,
                &subject.training.images,
                subject.knows_classes(),
            )?,
            scores,
            spread: Spread::default(),
            details: Details::Likeness,
        })
    }

    /// How many gradients were taken; none for likeness.
    pub fn taken(&self) -> Option<&GradientsTaken> {
        match &self.details {
            Details::Gradients(details) => Some(&details.taken),
            Details::Influence(details) => Some(&details.taken),
            Details::Likeness => None,
        }
    }

    /// What is known of scores by gradients.
    pub fn gradients(&self) -> Option<&GradientDetails> {
        match &self.details {
            Details::Gradients(details) => Some(details),
            Details::Influence(_) | Details::Likeness => None,
        }
    }

    /// How the curvature was measured and damped, for influence functions.
    pub fn influence(&self) -> Option<&InfluenceNote> {
        match &self.details {
            Details::Influence(details) => details.note.as_ref(),
            Details::Gradients(_) | Details::Likeness => None,
        }
    }

    /// If only candidates were scored: what they keep. Scores of other images are NaN.
    pub fn candidates(&self) -> Option<&CandidateQuality> {
        self.gradients()?.candidates.as_ref()
    }

    /// The damping of each network, for methods by gradients that have one.
    pub fn dampings(&self) -> &[DampingView] {
        self.gradients().map_or(&[], |details| &details.dampings)
    }

    /// The score of each training image for itself, where there is one.
    fn self_influence(&self) -> &[f64] {
        match &self.details {
            Details::Gradients(details) => &details.self_influence,
            Details::Influence(details) => &details.self_influence,
            Details::Likeness => &[],
        }
    }

    /// The reach of the 95 % interval of a score to both sides; none if only one group of draws was taken.
    pub fn reach(&self, query: usize, image: usize) -> Option<f64> {
        self.spread.of_image(query, image).map(|error| self.spread.factor() * error)
    }

    /// Writes the scores as `.npy` (`[queries, training images]`, f32), `.parquet` (a row for each pair) and what they are
    /// as `.json`, all in `scores/SET/`. Returns the name of the second.
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub fn write(&self, workspace: &Workspace, set: &str) -> Result<String> {
        let name = |ending: &str| format!("scores/{set}/{}.{ending}", self.method.name);
        let flat: Vec<f32> = self.scores.iter().flatten().map(|&score| score as f32).collect();
        let array = npy(&[self.scores.len() as u64, self.images.len() as u64], &flat)?;
        let made_with = made_with_digest(workspace, set == SAMPLES)?;
        let description = serde_json::to_vec(&self.description(workspace, &made_with))?;
        let key = Fingerprint::of("scores").bytes(&array).bytes(&description).finish();
        let objects =
            [(name("npy"), array), (name("parquet"), self.to_parquet()?), (name("json"), description)];
        workspace.run.put_many(objects, key)?;
        Ok(name("parquet"))
    }

    fn description(&self, workspace: &Workspace, made_with: &str) -> serde_json::Value {
        let damping = |view: &DampingView| {
            let point = |point: &DampingPoint| {
                json!({
                    "damping": point.damping,
                    "degrees_of_freedom": point.degrees_of_freedom,
                    "rank_agreement_with_taken": point.agreement_with_taken,
                    "rank_agreement_with_the_one_before": point.agreement_with_before,
                })
            };
            json!({
                "taken": view.taken,
                "mean_eigenvalue_of_the_double_centred_kernel": view.by_centred_eigenvalue,
                "hundred_times_the_median_eigenvalue": view.by_median_eigenvalue,
                "degrees_of_freedom": view.degrees_of_freedom,
                "curve": view.curve.iter().map(point).collect::<Vec<_>>(),
            })
        };
        let (taken, followed) =
            (self.taken(), self.gradients().and_then(|details| details.followed.as_ref()));
        let Statement { behaviour, intervention, training_process } = self.method.statement();
        let mut description = json!({
            "method": self.method.name,
            "title": self.method.title,
            "value": self.method.meaning,
            "behaviour": behaviour,
            "intervention": intervention,
            "training_process": training_process,
            "asked_about": self.set,
            "asked_class": self.asked_class,
            "axes": ["query", "training_image"],
            "query": self.queries,
            "query_class": self.query_classes,
            "queries_digest": self.queries_digest,
            "training_image": self.images,
            "training_image_name": self.names,
            "training_image_label": self.labels,
            "training_images_digest": self.images_digest,
            "made_with_digest": made_with,
            "self_influence": self.self_influence(),
            "draws": taken.map_or(0, |taken| taken.draws),
            "draws_ended_by": taken.map(|taken| taken.ended_by),
            "networks": taken.map_or(0, |taken| taken.networks),
            "checkpoints": followed.map(|followed| &followed.checkpoints),
            "replayed_events": followed.and_then(|followed| followed.events),
            "candidates": self.candidates(),
            "feature_length": taken.map_or(0, |taken| taken.dimension),
            "gradients": self.settings(workspace),
            "dampings": self.dampings().iter().map(damping).collect::<Vec<_>>(),
            "influence": self.influence(),
            "projection": self.gradients().and_then(|details| details.projection),
            "reliability": self.spread.reliability(&self.scores),
        });
        // Of networks that are told texts.
        if let Some(prompts) = &self.query_prompts {
            description["asked_prompt"] = json!(self.asked_prompt);
            description["query_prompt"] = json!(prompts);
        }
        description
    }

    /// What the recipe says of gradients, as far as it applies.
    fn settings(&self, workspace: &Workspace) -> Option<serde_json::Value> {
        let settings = workspace.recipe.gradients;
        match self.details {
            Details::Gradients(_) => Some(json!(settings)),
            // Whole gradients.
            Details::Influence(_) => Some(json!({
                "timesteps": self.taken().map(|taken| taken.grid.0),
                "groups": self.taken().map(|taken| taken.grid.1),
                "reliability": settings.reliability,
                "most_draws": settings.most_draws,
                "antithetic": settings.antithetic,
                "noise": workspace.recipe.influence.noise(),
            })),
            Details::Likeness => None,
        }
    }

    /// A row for each pair of query and training image.
    fn to_parquet(&self) -> Result<Vec<u8>> {
        // What was not scored has neither rank nor score.
        let schema = Arc::new(parse_message_type(&score_columns::schema(self.candidates().is_some()))?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
        // A row group for each query, so that one is read without the others.
        for (query, scores) in self.scores.iter().enumerate() {
            let mut ranks = vec![0i64; scores.len()];
            for (rank, image) in top(scores, scores.len()).into_iter().enumerate() {
                ranks[image] = rank as i64 + 1;
            }
            let scored: Vec<usize> = (0..scores.len()).filter(|&image| !scores[image].is_nan()).collect();
            let ranks: Vec<i64> = scored.iter().map(|&image| ranks[image]).collect();
            let values: Vec<f64> = scored.iter().map(|&image| scores[image]).collect();
            let errors: Vec<f64> =
                scored.iter().filter_map(|&image| self.spread.of_image(query, image)).collect();
            let factor = self.spread.factor();
            let bound = |sign: f64| -> Vec<f64> {
                let of = |(score, error): (&f64, &f64)| score + sign * factor * error;
                values.iter().zip(&errors).map(of).collect()
            };
            let queries = vec![ByteArray::from(self.queries[query].as_str()); scores.len()];
            let names: Vec<ByteArray> = self.names.iter().map(|name| name.as_str().into()).collect();
            let images: Vec<i64> = self.images.iter().map(|&image| image as i64).collect();
            let is_scored: Vec<i16> = scores.iter().map(|score| i16::from(!score.is_nan())).collect();
            let levels: Vec<i16> =
                is_scored.iter().map(|&level| level * i16::from(!errors.is_empty())).collect();
            let of_scored = self.candidates().map(|_| is_scored.as_slice());
            let mut group = writer.next_row_group()?;
            let mut number = 0;
            while let Some(mut column) = group.next_column()? {
                match number {
                    QUERY => column.typed::<ByteArrayType>().write_batch(&queries, None, None)?,
                    NAME => column.typed::<ByteArrayType>().write_batch(&names, None, None)?,
                    TRAINING_IMAGE => column.typed::<Int64Type>().write_batch(&images, None, None)?,
                    RANK => column.typed::<Int64Type>().write_batch(&ranks, of_scored, None)?,
                    SCORE => column.typed::<DoubleType>().write_batch(&values, of_scored, None)?,
                    STANDARD_ERROR => {
                        column.typed::<DoubleType>().write_batch(&errors, Some(&levels), None)?
                    }
                    LOW => column.typed::<DoubleType>().write_batch(&bound(-1.0), Some(&levels), None)?,
                    _ => column.typed::<DoubleType>().write_batch(&bound(1.0), Some(&levels), None)?,
                };
                column.close()?;
                number += 1;
            }
            group.close()?;
        }
        writer.close()?;
        Ok(bytes)
    }
}
