//! The page of an imported network: its samples, and the training images that a method and plain likeness put first.

use super::gradients::{Scores, TrainingImages, image_shape, pixel_cosines, samples, top};
use super::report::{machine, today};
use super::workspace::Workspace;
use crate::recipe::GradientRecipe;
use anyhow::Result;
use pentimento_report::{
    Basis, MadeWith, MethodView, Picture, ReportView, SampleView, TopImageView, TrainingImageList, render,
};
use pentimento_store::Fingerprint;
use std::path::PathBuf;

/// Name of the page in a run.
const REPORT: &str = "report.html";

/// Training images shown in each list.
const SHOWN: usize = 10;

/// Name of the likeness that scores are held against.
const LIKENESS: &str = "likeness of pixels";

/// Writes `report.html`, if it is not there, and returns its path.
///
/// # Errors
///
/// If a sample is missing, or the page cannot be drawn or written.
pub fn report(workspace: &Workspace, training: &TrainingImages, scores: &Scores) -> Result<PathBuf> {
    let run = &workspace.run;
    let key = Fingerprint::of("report of an imported network")
        .text(env!("CARGO_PKG_VERSION"))
        .fingerprint(scores.fingerprint)
        .text(&workspace.recipe.to_text()?)
        .finish();
    if !run.is_current(REPORT, key) {
        let html = render(&view(workspace, training, scores)?)?;
        run.put(REPORT, key, html.as_bytes())?;
    }
    Ok(run.root().join(REPORT))
}

fn view(workspace: &Workspace, training: &TrainingImages, scores: &Scores) -> Result<ReportView> {
    let recipe = &workspace.recipe;
    let shape = image_shape(workspace)?;
    let [height, width, channels] = shape.map(|side| side as u32);
    let pictures = samples(workspace, shape.iter().product())?;
    let likeness = pixel_cosines(&pictures, &training.images);
    let picture = |values: &[f32]| {
        // The page shows grey and colour.
        let shown = if channels == 2 { 1 } else { channels };
        let values: Vec<f32> = values
            .chunks(channels as usize)
            .flat_map(|pixel| pixel[..(shown.min(3)) as usize].to_vec())
            .collect();
        Picture::from_model_range(height, width, shown.min(3), &values)
    };
    let list = |values: &[f64], title: String, explanation: String, method: &str| {
        let images = top(values, SHOWN)
            .into_iter()
            .enumerate()
            .map(|(rank, image)| {
                let label = training.images.labels()[image] as usize;
                TopImageView {
                    index: training.images.source_indices()[image] as u64,
                    label: training.class_names.get(label).cloned().unwrap_or_else(|| label.to_string()),
                    picture: Some(picture(&training.images.scaled(image))),
                    distance: values[image],
                    basis: Basis::Scored { method: method.into() },
                    rank: rank as u32 + 1,
                    near_tie: false,
                }
            })
            .collect();
        TrainingImageList { title, explanation, images }
    };
    let method = scores.method;
    let samples = pictures
        .iter()
        .enumerate()
        .map(|(id, values)| SampleView {
            id: id as u64,
            image: picture(values),
            seen_as: None,
            counterfactuals: Vec::new(),
            training_image_lists: vec![
                list(
                    &scores.scores[id],
                    format!("Helped most to make it, by {}", method.name),
                    format!(
                        "Of {} training images, those with the largest scores. Training on an image with a larger score is \
                         held to have helped more; nothing was trained again to prove it.",
                        training.images.len()
                    ),
                    method.name,
                ),
                list(
                    &likeness[id],
                    "Look most like it".into(),
                    "By the cosine of their pixels, without any network: likeness, not influence. A method that only finds \
                     these has found nothing more."
                        .into(),
                    LIKENESS,
                ),
            ],
            show_detail: id < recipe.samples.in_report,
        })
        .collect();
    Ok(ReportView {
        title: format!("What {} generated pictures rest on", pictures.len()),
        what_this_is: if recipe.description.is_empty() {
            "Samples of an imported network, and the training images to which its gradients point.".into()
        } else {
            recipe.description.clone()
        },
        made_with: MadeWith {
            version: format!("pentimento {}", env!("CARGO_PKG_VERSION")),
            recipe_name: recipe.name.clone(),
            machine: machine(),
            date: today(),
        },
        samples,
        methods: vec![
            MethodView { name: method.name.into(), explanation: explanation(scores, recipe.gradients) },
            MethodView {
                name: LIKENESS.into(),
                explanation:
                    "The cosine of the angle between two images as lists of pixels, from -1 to 1. It knows \
                              nothing of the network."
                        .into(),
            },
        ],
        recipe: recipe.to_text()?,
        ..ReportView::default()
    })
}

fn explanation(scores: &Scores, settings: GradientRecipe) -> String {
    let mut text = format!(
        "{}: gradients of the network in all its parameters at {} timesteps, projected to {} numbers.",
        scores.method.title, settings.timesteps, settings.dimension
    );
    if let (Some(damping), Some(freedom)) = (scores.damping, scores.degrees_of_freedom) {
        text.push_str(&format!(
            " The damping is {damping:.3e}{}, which leaves {freedom:.0} directions of the training images' features.",
            if settings.damping.is_some() { ", as the recipe says" } else { ", chosen from the features themselves" }
        ));
    }
    text
}
