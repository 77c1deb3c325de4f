//! What a run starts from: its images, opened without a network and without writing, and what its folder already has.

use super::PlanRequest;
use anyhow::{Context, Result};
use pentimento_data::{FetchOptions, ImageSet, PublicSet, Split, default_cache_dir, fetch};
use pentimento_diffusion::unet::Architecture;
use pentimento_run::analyse::{Attribution, Sampling, shard_count, shard_samples};
use pentimento_run::classify::trained_classifier;
use pentimento_run::data::{CodedData, NamedImages, as_recipe_says, open_images};
use pentimento_run::page::is_reported;
use pentimento_run::piece::{Piece, Stage, missing};
use pentimento_run::recipe::{DataRecipe, Recipe};
use pentimento_run::train::{Training, steps_kept};
use pentimento_run::{Networks, RunOptions, Stop, Workspace};
use pentimento_store::Run;
use std::time::Instant;

/// What a plan is made for.
pub struct Situation {
    /// The images, groups and codes; blank stand-ins where the set is not in the cache.
    pub data: CodedData,
    /// Whether these are the real images.
    pub data_is_real: bool,
    /// Seconds that opening and preparing them took.
    pub data_seconds: f64,
    /// The network of every member.
    pub architecture: Architecture,
    /// What is still to be done.
    pub remaining: Remaining,
}

/// What is still to be done in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Optimiser steps of each member that is not finished.
    pub training_steps: Vec<u64>,
    /// Samples of each missing shard of samples.
    pub sample_shards: Vec<Vec<u32>>,
    /// Samples of each missing attribution shard.
    pub attribution_shards: Vec<Vec<u32>>,
    /// Whether the recipe's classifier is missing.
    pub classifier: bool,
    /// Whether the page is missing.
    pub report: bool,
    /// Whether the folder has a run at all.
    pub run_exists: bool,
}

impl Situation {
    /// Opens what is there. Nothing is fetched, and nothing is written but the index of an image set, to the cache.
    ///
    /// # Errors
    ///
    /// As opening images, drawing codes and fitting the network to the images; as reading a run that exists.
    pub fn find(request: &PlanRequest<'_>) -> Result<Self> {
        let started = Instant::now();
        let recipe = request.recipe;
        let split = recipe.data.preprocessing.split;
        let (set, names, data_is_real) = match open_without_fetching(&recipe.data, split, request.options)? {
            Some((set, names)) => (set, names, true),
            None => {
                let public = recipe.data.set.context("a recipe has a set or files")?;
                let (set, names) = as_recipe_says(&recipe.data, public, stand_in(public, split)?)?;
                (set, names, false)
            }
        };
        let data = match recipe.on_base() {
            // The network that members begin with has a say in how they are opened.
            Some(_) if data_is_real => CodedData::open(recipe, request.options)?,
            _ => CodedData::of(recipe, set.as_ref(), names, &request.options.reporter)?,
        };
        let data_seconds = started.elapsed().as_secs_f64();
        let architecture = data.architecture()?;
        let remaining = Remaining::find(request, &data, data_is_real)?;
        Ok(Self { data, data_is_real, data_seconds, architecture, remaining })
    }
}

/// Whether the images of a recipe are on this machine, and would not have to be fetched.
///
/// # Errors
///
/// As opening them.
pub fn is_here(data: &DataRecipe, options: &RunOptions) -> Result<bool> {
    Ok(open_without_fetching(data, data.preprocessing.split, options)?.is_some())
}

/// The images of a recipe if they are on this machine; none if they would have to be fetched.
fn open_without_fetching(
    data: &DataRecipe,
    split: Split,
    options: &RunOptions,
) -> Result<Option<NamedImages>> {
    let Some(set) = data.set else { return Ok(Some(open_images(data, split, options)?)) };
    let found = match cached(set, split)? {
        Some(found) => Some(found),
        // A run would copy these to the cache; they are read where they are.
        None => options.data_from.as_deref().map(|from| set.open(from, split)).transpose()?,
    };
    Ok(found.map(|found| as_recipe_says(data, set, found)).transpose()?)
}

/// A public set that is in the cache.
fn cached(set: PublicSet, split: Split) -> Result<Option<ImageSet>> {
    let Ok(cache_dir) = default_cache_dir() else { return Ok(None) };
    let mut options = FetchOptions::new(cache_dir);
    let folder = options.cache_dir.join(set.name());
    let is_there = |(name, bytes): (&str, u64)| {
        std::fs::metadata(folder.join(name)).is_ok_and(|metadata| metadata.len() == bytes)
    };
    if set.files().iter().all(|file| is_there((file.name, file.bytes))) {
        // Nothing to fetch from is left, so this verifies the files and does no more.
        options.mirrors = Some(Vec::new());
        options.package_clients = false;
        if let Ok(fetched) = fetch(set, &options, &mut |_| {}) {
            return Ok(Some(fetched.open(split)?));
        }
    }
    Ok(None)
}

/// As many images as the set has, nearly blank, each class equally often.
pub(super) fn stand_in(set: PublicSet, split: Split) -> Result<ImageSet> {
    let [height, width, channels] = set.shape();
    let count = set.images(split);
    let length = height * width * channels;
    let mut pixels = vec![0; count * length];
    for (index, image) in pixels.chunks_exact_mut(length).enumerate() {
        // No two are equal, as in the real set.
        image[..4].copy_from_slice(&(index as u32).to_le_bytes());
    }
    let classes = set.class_names().len() as u32;
    let labels = (0..count as u32).map(|index| index % classes).collect();
    Ok(ImageSet::new(height, width, channels, pixels, labels)?)
}

impl Remaining {
    /// Everything that a recipe asks for.
    pub(super) fn everything(recipe: &Recipe, data: &CodedData) -> Self {
        let shards = all_shards(recipe.samples.count);
        Self {
            training_steps: vec![data.trained.training.steps as u64; data.codes.members() as usize],
            sample_shards: shards.clone(),
            attribution_shards: shards,
            classifier: recipe.classifier.is_some(),
            report: true,
            run_exists: false,
        }
    }

    fn find(request: &PlanRequest<'_>, data: &CodedData, data_is_real: bool) -> Result<Self> {
        let (recipe, mut remaining) = (request.recipe, Self::everything(request.recipe, data));
        if !request.folder.join("manifest.json").exists() {
            return Ok(remaining);
        }
        remaining.run_exists = true;
        // What a run has is known by digests of the real images.
        if !data_is_real {
            return Ok(remaining);
        }
        let workspace = Workspace {
            run: Run::open_read_only(request.folder)?,
            recipe: recipe.clone(),
            options: RunOptions { stop: Stop::default(), ..request.options.clone() },
        };
        let steps = data.trained.training.steps as u64;
        let steps_left = |piece: &Piece| -> Result<u64> {
            Ok(steps.saturating_sub(steps_kept(&workspace.run, data, std::slice::from_ref(piece))?))
        };
        let missing_members = missing(&Training::new(&workspace, data), &workspace.run)?;
        remaining.training_steps = missing_members.iter().map(steps_left).collect::<Result<_>>()?;
        let classifier = if recipe.classifier.is_some() { trained_classifier(&workspace)? } else { None };
        remaining.classifier = recipe.classifier.is_some() && classifier.is_none();
        if remaining.training_steps.is_empty() {
            let samples_of = |stage: &dyn Stage| -> Result<Vec<Vec<u32>>> {
                let missing = missing(stage, &workspace.run)?;
                Ok(missing.iter().map(|piece| shard_samples(piece.number, recipe.samples.count)).collect())
            };
            let networks = Networks::trained(&workspace, data)?;
            remaining.sample_shards = samples_of(&Sampling::new(&workspace, &networks))?;
            remaining.attribution_shards = samples_of(&Attribution::new(&workspace, data, &networks))?;
            remaining.report = remaining.classifier
                || !remaining.attribution_shards.is_empty()
                || !is_reported(&workspace, data, &networks, classifier)?;
        }
        Ok(remaining)
    }
}

/// The samples of every shard.
fn all_shards(samples: usize) -> Vec<Vec<u32>> {
    (0..shard_count(samples)).map(|shard| shard_samples(shard, samples)).collect()
}
