//! Scores of a method, and what is known of them.

use super::candidates::CandidateQuality;
use super::projection_quality::ProjectionQuality;
use super::queries::Queries;
use super::score_columns::{self, LOW, QUERY, RANK, SCORE, STANDARD_ERROR, TRAINING_IMAGE};
use super::subject::Subject;
use crate::error::Result;
use crate::influence::InfluenceNote;
use crate::npy::npy;
use crate::workspace::Workspace;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pentimento_attribution::gradient::Spread;
use pentimento_attribution::methods::Method;
use pentimento_data::PreparedSet;
use pentimento_store::Fingerprint;
use serde_json::json;
use std::sync::Arc;

/// Rank agreement of neighbouring dampings below which scores are said to fall off a cliff.
const CLIFF: f64 = 0.9;

/// The set of the run's samples.
pub const SAMPLES: &str = "samples";

/// Scores of all training images for some queries by one method.
pub struct ScoreTable {
    /// The method.
    pub method: Method,
    /// Who was asked about.
    pub set: String,
    /// Names of the queries, as tables have them.
    pub queries: Vec<String>,
    /// What people call them.
    pub titles: Vec<String>,
    /// Positions of the training images in their source.
    pub images: Vec<usize>,
    /// What tells that they are the same images: [`images_digest`].
    pub images_digest: String,
    /// `[queries][images]`; larger = training on the image helped more to make the query.
    pub scores: Vec<Vec<f64>>,
    /// How sure they are.
    pub spread: Spread,
    /// The score of each training image for itself.
    pub self_influence: Vec<f64>,
    /// Scores by timestep.
    pub strips: Strips,
    /// The damping of each network, for methods that have one.
    pub dampings: Vec<DampingView>,
    /// How the curvature was measured and damped, for influence functions.
    pub influence: Option<InfluenceNote>,
    /// How well the projection keeps the order of scores, if that was measured.
    pub projection: Option<ProjectionQuality>,
    /// Draws of each image.
    pub draws: usize,
    /// Draws that the schedule has at the most.
    pub most_draws: usize,
    /// Length of a feature.
    pub dimension: usize,
    /// Networks whose scores were averaged.
    pub networks: usize,
    /// What was followed of their training, by methods that do so.
    pub followed: Option<FollowedTraining>,
    /// If only candidates were scored: what they keep. Scores of other images are NaN.
    pub candidates: Option<CandidateQuality>,
}

/// What was followed of a training.
pub struct FollowedTraining {
    /// Steps behind each checkpoint whose scores were added up, rising.
    pub checkpoints: Vec<usize>,
    /// Events of training that were taken, over all networks and checkpoints; none if training images had draws as queries
    /// have them.
    pub events: Option<usize>,
}

/// Scores of the first images by the timestep of the query's draws.
pub struct Strips {
    /// The timesteps, rising.
    pub timesteps: Vec<usize>,
    /// For each query its first images, and their scores at each timestep, whose mean is the score.
    pub of_queries: Vec<Vec<(usize, Vec<f64>)>>,
}

/// What the damping does to the scores.
pub struct DampingView {
    /// The one that was taken.
    pub taken: f64,
    /// The one that is taken if none is named; none if all features are the same.
    pub by_centred_eigenvalue: Option<f64>,
    /// A hundred times the median eigenvalue.
    pub by_median_eigenvalue: f64,
    /// How many directions of the features it leaves.
    pub degrees_of_freedom: f64,
    /// Other dampings, rising.
    pub curve: Vec<DampingPoint>,
}

/// Scores with another damping.
pub struct DampingPoint {
    /// The damping.
    pub damping: f64,
    /// How many directions of the features it leaves.
    pub degrees_of_freedom: f64,
    /// Rank correlation of its scores with those of the damping that was taken.
    pub agreement_with_taken: Option<f64>,
    /// Rank correlation of its scores with those of the point before.
    pub agreement_with_before: Option<f64>,
}

/// Identifies the training images that scores are for: their pixels, in their order, and what was done to them.
///
/// # Errors
///
/// If the preprocessing has no JSON form.
pub fn images_digest(workspace: &Workspace, images: &PreparedSet) -> Result<String> {
    let digest = Fingerprint::of("images of scores")
        .json(&workspace.recipe.data.preprocessing)?
        .json(&images.ids())?
        .json(&images.source_indices())?
        .finish();
    Ok(digest.to_string())
}

/// Identifies what scores are made with beside the images: the networks, what the recipe says of gradients and influence,
/// schedule and seed, and, if samples were asked about, these.
///
/// # Errors
///
/// If the recipe has no JSON form.
pub fn made_with_digest(workspace: &Workspace, about_samples: bool) -> Result<String> {
    let recipe = &workspace.recipe;
    let is_used = |name: &str| {
        name.starts_with("members/")
            && name.ends_with(".safetensors")
            && !name.ends_with("training_state.safetensors")
            || about_samples && name.starts_with("samples/shard-")
    };
    let mut builder = Fingerprint::of("what scores are made with")
        .json(&recipe.gradients)?
        .json(&recipe.influence)?
        .json(&recipe.schedule)?
        .json(&recipe.seed)?;
    for name in workspace.run.names().into_iter().filter(|name| is_used(name)) {
        if let Some(entry) = workspace.run.entry(&name) {
            builder = builder.text(&name).bytes(entry.blake3.as_bytes());
        }
    }
    // Samples are made when they are asked for: those of another recipe are not those that lie there.
    if about_samples {
        builder = builder.json(&recipe.sampling)?.json(&recipe.samples)?;
    }
    Ok(builder.finish().to_string())
}

impl DampingView {
    /// The step of the curve over which scores change most, if they fall off a cliff there: its two dampings and their rank
    /// agreement.
    pub fn cliff(&self) -> Option<(f64, f64, f64)> {
        let steps = self
            .curve
            .windows(2)
            .filter_map(|pair| Some((pair[0].damping, pair[1].damping, pair[1].agreement_with_before?)));
        steps.min_by(|a, b| a.2.total_cmp(&b.2)).filter(|step| step.2 < CLIFF)
    }

    /// Whether the damping that was taken lies within a factor of ten of the cliff.
    pub fn is_near_cliff(&self) -> bool {
        self.cliff().is_some_and(|(from, to, _)| self.taken > from / 10.0 && self.taken < to * 10.0)
    }
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
        Ok(Self {
            method,
            set: queries.set.to_string(),
            queries: queries.images.iter().map(|query| query.name.clone()).collect(),
            titles: queries.images.iter().map(|query| query.title.clone()).collect(),
            images: subject.training.images.source_indices().to_vec(),
            images_digest: images_digest(subject.workspace, &subject.training.images)?,
            scores,
            spread: Spread::default(),
            self_influence: Vec::new(),
            strips: Strips { timesteps: Vec::new(), of_queries: vec![Vec::new(); queries.images.len()] },
            dampings: Vec::new(),
            influence: None,
            projection: None,
            draws: 0,
            most_draws: 0,
            dimension: 0,
            networks: 0,
            followed: None,
            candidates: None,
        })
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
        json!({
            "method": self.method.name,
            "title": self.method.title,
            "value": self.method.meaning,
            "asked_about": self.set,
            "axes": ["query", "training_image"],
            "query": self.queries,
            "training_image": self.images,
            "training_images_digest": self.images_digest,
            "made_with_digest": made_with,
            "self_influence": self.self_influence,
            "draws": self.draws,
            "networks": self.networks,
            "checkpoints": self.followed.as_ref().map(|followed| &followed.checkpoints),
            "replayed_events": self.followed.as_ref().and_then(|followed| followed.events),
            "candidates": self.candidates,
            "feature_length": self.dimension,
            "gradients": (self.networks > 0).then(|| self.settings(workspace)),
            "dampings": self.dampings.iter().map(damping).collect::<Vec<_>>(),
            "influence": self.influence,
            "projection": self.projection,
            "reliability": self.spread.reliability(&self.scores),
        })
    }

    /// What the recipe says of gradients, as far as it applies.
    fn settings(&self, workspace: &Workspace) -> serde_json::Value {
        let settings = workspace.recipe.gradients;
        match self.influence {
            // Whole gradients, with noises of their own.
            Some(_) => json!({
                "timesteps": settings.timesteps,
                "groups": settings.groups,
                "antithetic": settings.antithetic,
                "noise": "per_image",
            }),
            None => json!(settings),
        }
    }

    /// A row for each pair of query and training image.
    fn to_parquet(&self) -> Result<Vec<u8>> {
        // What was not scored has neither rank nor score.
        let schema = Arc::new(parse_message_type(&score_columns::schema(self.candidates.is_some()))?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
        // A row group for each query, so that one is read without the others.
        for (query, scores) in self.scores.iter().enumerate() {
            let mut ranks = vec![0i64; scores.len()];
            for (rank, image) in super::top(scores, scores.len()).into_iter().enumerate() {
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
            let names = vec![ByteArray::from(self.queries[query].as_str()); scores.len()];
            let images: Vec<i64> = self.images.iter().map(|&image| image as i64).collect();
            let is_scored: Vec<i16> = scores.iter().map(|score| i16::from(!score.is_nan())).collect();
            let levels: Vec<i16> =
                is_scored.iter().map(|&level| level * i16::from(!errors.is_empty())).collect();
            let of_scored = self.candidates.map(|_| is_scored.as_slice());
            let mut group = writer.next_row_group()?;
            let mut number = 0;
            while let Some(mut column) = group.next_column()? {
                match number {
                    QUERY => column.typed::<ByteArrayType>().write_batch(&names, None, None)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve whose steps agree as told, from a damping of 1 on.
    fn view(taken: f64, agreements: &[f64]) -> DampingView {
        let point = |(step, agreement): (usize, Option<f64>)| DampingPoint {
            damping: libm::pow(10.0, step as f64),
            degrees_of_freedom: 1.0,
            agreement_with_taken: None,
            agreement_with_before: agreement,
        };
        let steps = std::iter::once(None).chain(agreements.iter().copied().map(Some));
        DampingView {
            taken,
            by_centred_eigenvalue: None,
            by_median_eigenvalue: 1.0,
            degrees_of_freedom: 1.0,
            curve: steps.enumerate().map(point).collect(),
        }
    }

    #[test]
    fn a_cliff_is_the_steepest_step_if_it_is_steep() {
        assert_eq!(view(1.0, &[0.99, 0.95, 0.97]).cliff(), None);
        let steep = view(1.0, &[0.99, 0.5, 0.7, 0.99, 0.99]);
        assert_eq!(steep.cliff(), Some((10.0, 100.0, 0.5)));
        for (taken, near) in [(0.5, false), (2.0, true), (50.0, true), (999.0, true), (1001.0, false)] {
            assert_eq!(view(taken, &[0.99, 0.5, 0.7, 0.99, 0.99]).is_near_cliff(), near, "{taken}");
        }
    }
}
