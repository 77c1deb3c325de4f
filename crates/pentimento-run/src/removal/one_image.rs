//! One query without the images that a method names for it, beside controls of the same size.

use super::measured::Measured;
use super::removals::{Removal, enough, tables};
use super::retraining::Retraining;
use super::table::write_one_image;
use crate::error::{BankError, MadeBy, Result, RunError};
use crate::gradients::{Queries, Query, QuerySet, Subject};
use crate::score_tables::kept_sets;
use crate::words::{counted, first_of};
use crate::workspace::Workspace;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use pentimento_attribution::scores::top;
use pentimento_data::composed;
use serde::Serialize;
use std::path::Path;

/// What is asked of one query.
#[derive(Clone, Copy, Debug)]
pub struct AskedImage<'a> {
    /// Its name in its set: `3` for sample 3.
    pub query: &'a str,
    /// The method whose images are removed.
    pub method: Method,
    /// How many of them.
    pub count: usize,
    /// The file of a classifier, for images whose features are alike; the run's own if it has one.
    pub classifier: Option<&'a Path>,
    /// Draws at which its loss is measured on each network.
    pub draws: usize,
}

/// An image that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemovedImage {
    /// Its position in the source.
    pub image: usize,
    /// What its source calls it.
    pub name: String,
}

/// What removing some images did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemovedBy {
    /// The method that names them.
    pub method: &'static str,
    /// Whether it is there to be compared with only.
    pub is_control: bool,
    /// How far the image made again is from the query: the Euclidean distance after the final clamp. None of what is no sample.
    pub image_change: Option<f64>,
    /// How much larger the loss of the query is without them.
    pub loss_change: f64,
    /// The same of the loss with the weights of the bound on the likelihood.
    pub weighted_loss_change: f64,
    /// The folder in the run of the network that was trained without them.
    pub network: String,
    /// They.
    pub removed: Vec<RemovedImage>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifiedRemoval {
    /// What was measured of the query.
    pub behaviour: String,
    /// What was taken away.
    pub intervention: String,
    /// What was trained again, and how.
    pub training_process: String,
    /// What it comes to, in a sentence.
    pub headline: String,
    /// Who was asked about.
    pub queries: String,
    /// The query's name among them.
    pub query: String,
    /// What people call it.
    pub title: String,
    /// How many images were removed each time.
    pub count: usize,
    /// Of how many.
    pub images: usize,
    /// The seed of the bank that all networks have.
    pub seed: u32,
    /// Draws of each loss.
    pub draws: usize,
    /// The loss of the query by the network that saw all images.
    pub loss: f64,
    /// The method, then the controls.
    pub rows: Vec<RemovedBy>,
}

impl VerifiedRemoval {
    /// What it does not say.
    pub const CAUTION: &str = "Each line is one training of a network: one draw of what might have happened, and no more than that.";
}

/// What was found, with what a page shows of it.
pub struct OneImage {
    /// What was found.
    pub found: VerifiedRemoval,
    /// The query.
    pub query: Query,
    /// Its place in its set.
    pub place: usize,
    /// What was removed, in the order of the rows.
    pub removals: Vec<Removal>,
    /// The query made again, in their order, not clamped; empty if it is no sample.
    pub without: Vec<Vec<f32>>,
}

/// The one method whose scores for some queries a run keeps.
///
/// # Errors
///
/// [`RunError::NoScores`] if there is none, [`RunError::SeveralMethods`] if there are more.
pub fn the_only_method(workspace: &Workspace, set: &QuerySet) -> Result<Method> {
    let mut sets = kept_sets(&workspace.run);
    let place = sets.iter().position(|kept| kept.name == set.name());
    let methods = place.map(|place| sets.remove(place).methods).unwrap_or_default();
    match methods.as_slice() {
        [only] => Method::named(only).ok_or_else(|| RunError::NoSuch {
            what: "method".into(),
            value: format!("`{only}`"),
            bound: format!("methods are {}", Method::names_of_tables().join(", ")),
        }),
        [] => Err(RunError::NoScores {
            run: workspace.run.root().to_path_buf(),
            made_by: MadeBy::Scores {
                method: None,
                query: (*set != QuerySet::Samples).then(|| set.to_string()),
            },
            methods,
            other_sets: sets.into_iter().map(|set| (set.asked, set.methods)).collect(),
        }),
        _ => Err(RunError::SeveralMethods { methods }),
    }
}

/// Trains networks again without the images that a method puts first for a query, without as many at random, and without as
/// many that are most like it; makes the query again by each, if it is a sample, and measures its loss. What was found is kept
/// in the run.
///
/// # Errors
///
/// [`RunError::NoSuch`] for a query that is not among `queries`, [`BankError::TooManyRemoved`] if no image would be left,
/// [`RunError::Stopped`] once it is asked to stop: what is finished is kept; as scoring, training, sampling and measuring.
pub fn verify_removal(
    subject: &Subject<'_>,
    retraining: &Retraining<'_>,
    queries: &Queries,
    asked: AskedImage<'_>,
) -> Result<OneImage> {
    let AskedImage { method, count, classifier, draws, .. } = asked;
    let images = subject.training.images.len();
    if count > retraining.most() {
        return Err(BankError::TooManyRemoved { removed: count, images }.into());
    }
    let place = place_of(queries, asked.query)?;
    let query = queries.images[place].clone();
    let mut removals = Vec::new();
    for (table, is_control) in tables(subject, queries, &[method], classifier)? {
        let images = enough(subject, top(&table.scores[place], count), count)?;
        removals.push(Removal { table, is_control, images });
    }
    let removed: Vec<Vec<usize>> = removals.iter().map(|removal| removal.images.clone()).collect();
    let networks = retraining.without(&removed)?;
    let sample = (queries.set == QuerySet::Samples).then(|| vec![place as u32]);
    let measured = Measured::new(subject, &networks, std::slice::from_ref(&query), sample, draws)?;
    let row = |(number, removal): (usize, &Removal)| {
        let [loss_change, weighted_loss_change] = measured.loss_change(number, 0);
        RemovedBy {
            method: removal.table.method.name,
            is_control: removal.is_control,
            image_change: measured.image_change.get(number).and_then(|of| of.first().copied()),
            loss_change,
            weighted_loss_change,
            network: folder_of(&networks.weights[number + 1].object),
            removed: removed_images(subject, &removal.images),
        }
    };
    let rows: Vec<RemovedBy> = removals.iter().enumerate().map(row).collect();
    let found = VerifiedRemoval {
        behaviour: behaviour(!measured.images.is_empty(), measured.draws),
        intervention: intervention(count, images, &rows.iter().map(|row| row.method).collect::<Vec<_>>()),
        training_process: training_process(retraining.seed),
        headline: headline(count, &rows),
        queries: queries.set.to_string(),
        query: query.name.clone(),
        title: query.title.clone(),
        count,
        images,
        seed: retraining.seed,
        draws: measured.draws,
        loss: measured.outcomes[0].loss[0],
        rows,
    };
    write_one_image(subject.workspace, queries, &found)?;
    let without = measured.images.into_iter().flatten().collect();
    Ok(OneImage { found, query, place, removals, without })
}

fn place_of(queries: &Queries, name: &str) -> Result<usize> {
    let composed = composed(name);
    let names: Vec<String> = queries.images.iter().map(|query| query.name.clone()).collect();
    names.iter().position(|other| *other == name || *other == composed).ok_or_else(|| RunError::NoSuch {
        what: "query".into(),
        value: format!("`{name}`"),
        bound: format!("those of `{}` are {}", queries.set, first_of(&names)),
    })
}

/// The folder of a network, by the name of its weights.
fn folder_of(weights: &str) -> String {
    weights.split("/unet/").next().unwrap_or(weights).to_owned()
}

fn removed_images(subject: &Subject<'_>, places: &[usize]) -> Vec<RemovedImage> {
    let images = &subject.training.images;
    let image = |&place: &usize| RemovedImage {
        image: images.source_indices()[place],
        name: images.names()[place].clone(),
    };
    places.iter().map(image).collect()
}

/// What is measured of a query.
pub(super) fn behaviour(are_samples: bool, draws: usize) -> String {
    let loss = format!("the loss of a query, mean over {draws} shared draws");
    match are_samples {
        true => {
            format!("{loss}; and its image, made again from the same noise (Euclidean distance, clamped)")
        }
        false => loss,
    }
}

/// What is taken away.
pub(super) fn intervention(count: usize, images: usize, methods: &[&str]) -> String {
    format!("training without {count} of {} images, chosen by {}", images, methods.join(", "))
}

/// What is trained again.
pub(super) fn training_process(seed: u32) -> String {
    format!("from first weights, by the bank's recipe, seed {seed}: one training for each removal")
}

/// What removing images did to a query, in a sentence.
fn headline(count: usize, rows: &[RemovedBy]) -> String {
    let images = counted(count, "image");
    let (what, value): (&str, fn(&RemovedBy) -> String) =
        match rows.iter().all(|row| row.image_change.is_some()) {
            true => ("the picture changes by", |row| format!("{:.2}", row.image_change.unwrap_or_default())),
            false => ("the loss of the picture changes by", |row| format!("{:+.2e}", row.loss_change)),
        };
    let Some(first) = rows.first() else { return String::new() };
    let of_control = |row: &RemovedBy| {
        let which = match Method::named(row.method).map(|method| method.family) {
            Some(Family::Likeness(Likeness::Random)) => "random ones",
            Some(Family::Likeness(Likeness::PixelCosine)) => "with the most similar pixels",
            _ => "with the most similar features",
        };
        format!(", without {count} {which} by {}", value(row))
    };
    let controls: String = rows.iter().skip(1).map(of_control).collect();
    format!("Without its {images} by {} {what} {}{controls}.", first.method, value(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_says_what_changes_and_beside_what() {
        let row = |method, image_change, loss_change| RemovedBy {
            method,
            is_control: method != "das",
            image_change,
            loss_change,
            weighted_loss_change: 0.0,
            network: String::new(),
            removed: Vec::new(),
        };
        let of_sample = [row("das", Some(5.25), 0.5), row("random", Some(3.125), 0.25)];
        assert_eq!(
            headline(50, &of_sample),
            "Without its 50 images by das the picture changes by 5.25, without 50 random ones by 3.12."
        );
        let held_out = [row("das", None, 0.5), row("pixel-cosine", None, -0.25)];
        assert_eq!(
            headline(1, &held_out),
            "Without its 1 image by das the loss of the picture changes by +5.00e-1, without 1 with the most similar pixels by \
             -2.50e-1."
        );
    }
}
