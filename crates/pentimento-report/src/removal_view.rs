//! What the page shows of pictures that were made again without some training images, as plain data.

use serde::{Deserialize, Serialize};

use crate::{Picture, Statement, TrainingImageList};

/// A picture, and what becomes of it without some training images: networks were trained again without them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemovalView {
    /// The number of the picture in its set.
    pub id: u64,
    /// What it is called.
    pub name: String,
    /// The picture by the network that saw all training images, or that was given.
    pub image: Picture,
    /// What was found, in a sentence.
    pub headline: String,
    /// What the result does not say, in one or two sentences.
    pub caution: String,
    /// What the result is about.
    pub statement: Statement,
    /// First what a method named, then what it is held against.
    pub removals: Vec<RemovedView>,
}

/// What taking some training images away did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemovedView {
    /// A name that completes "without ...", e.g. "50 random ones".
    pub label: String,
    /// The picture made again; none of a picture that was given. Same size as the picture.
    pub picture: Option<Picture>,
    /// How far it is from the picture.
    pub distance: Option<f64>,
    /// How much larger the loss of the picture is.
    pub loss_change: f64,
    /// What was taken away.
    pub removed: TrainingImageList,
}

/// What becomes of many pictures without the training images that were named for some of them, the targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PooledRemovalView {
    /// What was found, in a sentence.
    pub headline: String,
    /// What the result does not say, in one or two sentences.
    pub caution: String,
    /// What the result is about.
    pub statement: Statement,
    /// What was measured of the pictures, one after another.
    pub measured: Vec<PooledMeasurementView>,
}

/// One thing that was measured of many pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PooledMeasurementView {
    /// What, e.g. "change of the image".
    pub title: String,
    /// By what was taken away.
    pub removals: Vec<PooledRowView>,
    /// What comparing them came to, a sentence each.
    pub comparisons: Vec<String>,
}

/// What taking some training images away did to many pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PooledRowView {
    /// By what they were chosen.
    pub label: String,
    /// The change of each picture that they were chosen for.
    pub targets: Vec<f64>,
    /// The change of each other picture.
    pub controls: Vec<f64>,
    /// The chance that a target changes more than a control, 0 to 1.
    pub area_under_curve: f64,
    /// The logarithm to base 10 of the p-value of that.
    pub log10_p: f64,
}
