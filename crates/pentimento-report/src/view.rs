//! What the page shows, as plain data. The caller fills these in; nothing here computes a score.

use serde::{Deserialize, Serialize};

use crate::Picture;
use crate::removal_view::{PooledRemovalView, RemovalView};

/// Everything on the page. Empty parts are left out of the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportView {
    /// Heading of the page.
    pub title: String,
    /// One to three sentences for a reader who knows nothing of the run.
    pub what_this_is: String,
    /// The program, recipe, machine and date.
    pub made_with: MadeWith,
    /// The main results, most important first.
    pub headline_figures: Vec<HeadlineFigure>,
    /// What every interval on the page is, e.g. "95 % bootstrap interval over samples".
    pub interval_meaning: String,
    /// How the distance between two pictures is measured, e.g. "the Euclidean distance between all pixels,
    /// black 0 and white 1".
    pub distance_meaning: String,
    /// Number of members in the whole ensemble.
    pub members: Option<u32>,
    /// The approximations that the page names, each explained in a sentence.
    pub methods: Vec<MethodView>,
    /// The generated pictures, in the order of the overview. Ids are unique.
    pub samples: Vec<SampleView>,
    /// A picture made again by networks that were trained again without some training images.
    pub removal: Option<RemovalView>,
    /// Many pictures at once, without the training images that were named for some of them.
    pub pooled_removal: Option<PooledRemovalView>,
    /// What the classifier sees in all samples, with each group removed in turn.
    pub group_table: Option<GroupTableView>,
    /// How well each approximation tells the exact counterfactual.
    pub fidelity: Vec<FidelityRow>,
    /// What the damping of methods does to their scores.
    pub damping_curves: Vec<DampingCurve>,
    /// Mann-Whitney tests between approximations.
    pub method_comparisons: Vec<MethodComparison>,
    /// How often two stages of a search agree.
    pub stage_agreement: Vec<AgreementRow>,
    /// Training loss of each member.
    pub loss_curves: Vec<LossCurve>,
    /// What each stage of the run cost.
    pub stage_costs: Vec<StageCost>,
    /// What was found about exact duplicates among the training images.
    pub duplicates_note: Option<String>,
    /// The resolved recipe (TOML), shown as it is.
    pub recipe: String,
    /// The command lines that made the run and this page, in order.
    pub commands: Vec<String>,
}

impl ReportView {
    /// Whether it shows scores of training images.
    pub(crate) fn shows_scores(&self) -> bool {
        let lists = self.samples.iter().flat_map(|sample| &sample.training_image_lists);
        let removed = self.removal.iter().flat_map(|removal| &removal.removals).map(|one| &one.removed);
        lists
            .chain(removed)
            .flat_map(|list| &list.images)
            .any(|image| matches!(image.basis, Basis::Scored { .. }))
    }

    /// Whether it shows what networks that were trained again make.
    pub(crate) fn shows_removal(&self) -> bool {
        self.removal.is_some() || self.pooled_removal.is_some()
    }

    /// Whether it shows what an ensemble does without some of its members. A page without scores is about that, even if
    /// nothing was measured.
    pub(crate) fn shows_ensemble(&self) -> bool {
        self.members.is_some() || !self.shows_scores() && !self.shows_removal()
    }
}

/// Where the page comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeWith {
    /// Program and version, e.g. "pentimento 0.1.0".
    pub version: String,
    /// Name of the recipe.
    pub recipe_name: String,
    /// Processor or device, and number of cores.
    pub machine: String,
    /// Date, as it is to be shown.
    pub date: String,
}

/// A measured number and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The point estimate.
    pub value: f64,
    /// Its interval; [`ReportView::interval_meaning`] says which kind.
    pub interval: Option<Interval>,
}

/// An interval in the unit of its estimate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One main result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadlineFigure {
    /// What was measured, in plain words.
    pub label: String,
    /// The result.
    pub estimate: Estimate,
    /// How to write it.
    pub unit: Unit,
    /// Conditions that belong to the number: how many samples, which of them.
    pub note: String,
    /// Values to hold it against: chance, a goal, a published figure.
    pub references: Vec<Reference>,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share between 0 and 1, written in percent and drawn on a scale.
    Share,
    /// A plain number with this many decimals.
    Number {
        /// Digits after the decimal point.
        decimals: u8,
    },
}

/// A value to hold a figure against, in the unit of the figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// What it is, e.g. "chance".
    pub label: String,
    /// Its value.
    pub value: f64,
}

/// The name of an approximation and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodView {
    /// The name used elsewhere in the view.
    pub name: String,
    /// One or two plain sentences.
    pub explanation: String,
}

/// What a result is about. Empty lines are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What was measured of the picture that was asked about.
    pub behaviour: String,
    /// What was taken away, or what a score stands for being taken away.
    pub intervention: String,
    /// What was trained without it and how, or which training a score stands for.
    pub training_process: String,
}

impl Statement {
    /// The lines with what they are.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let lines = [
            ("behaviour", &self.behaviour),
            ("intervention", &self.intervention),
            ("training process", &self.training_process),
        ];
        lines.into_iter().map(|(term, line)| (term, line.as_str())).filter(|(_, line)| !line.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines().next().is_none()
    }
}

/// One generated picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleView {
    /// Number of the sample in its run.
    pub id: u64,
    /// What it is called, if that is not "Sample" and its number.
    pub name: Option<String>,
    /// The picture that all members make together.
    pub image: Picture,
    /// What the classifier sees in it.
    pub seen_as: Option<SeenAs>,
    /// The picture made again without each group or image, in the same order for every sample.
    pub counterfactuals: Vec<CounterfactualView>,
    /// Lists of training images, e.g. those it rests on most.
    pub training_image_lists: Vec<TrainingImageList>,
    /// Whether the page has a detail view of this sample. Without one it appears in the overview only, and
    /// of its counterfactuals only the distances count.
    pub show_detail: bool,
}

/// The label that a classifier gives, and how sure it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenAs {
    /// The most probable label.
    pub label: String,
    /// Its probability, 0 to 1.
    pub probability: f64,
}

/// What was taken out of the training images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// A name that completes "without ...", e.g. "class 8", "contributor 12", "image 40211".
    pub label: String,
    /// If it is a class that the classifier knows: the classifier's label for it.
    pub class: Option<String>,
}

/// A sample made again without some training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterfactualView {
    /// What was taken out.
    pub removed: Removed,
    /// The picture made by the members that are left, with the same noise. Same size as the sample.
    pub exact: Option<Picture>,
    /// How far the exact counterfactual is from the sample.
    pub distance_exact: Option<f64>,
    /// What the classifier sees in the exact counterfactual.
    pub seen_as: Option<SeenAs>,
    /// Members that never saw what was taken out.
    pub members_left: Option<u32>,
    /// The same by cheaper methods.
    pub approximations: Vec<ApproximationView>,
}

/// A counterfactual by a cheaper method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApproximationView {
    /// Name of the method, as in [`ReportView::methods`].
    pub method: String,
    /// The picture it gives, if it gives one. Same size as the sample.
    pub picture: Option<Picture>,
    /// How far this picture is from the sample.
    pub distance: Option<f64>,
    /// Pearson correlation over pixels between the approximate and the exact difference from the sample.
    pub pearson_with_exact: Option<f64>,
}

/// A list of training images that belong to a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingImageList {
    /// Heading, e.g. "Training images it rests on most".
    pub title: String,
    /// One or two plain sentences: how they were chosen.
    pub explanation: String,
    /// What their scores or distances are about.
    pub statement: Statement,
    /// The images, first rank first.
    pub images: Vec<TopImageView>,
    /// Scores of groups of all training images, largest first; empty if there are none.
    pub groups: Vec<GroupScore>,
}

/// One training image in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopImageView {
    /// Position in the training set.
    pub index: u64,
    /// Its label, contributor or path; empty if nothing is known of it.
    pub label: String,
    /// The training image; any size.
    pub picture: Option<Picture>,
    /// How far the sample moves when this image is taken out; with [`Basis::Scored`] its score.
    pub distance: f64,
    /// How the distance was found.
    pub basis: Basis,
    /// Rank in the list, from 1.
    pub rank: u32,
    /// The next or previous distance is so close that the order of the two is not certain.
    pub near_tie: bool,
}

/// How a distance was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The sample was made again without the image.
    Exact,
    /// By the approximation of this name, as in [`ReportView::methods`].
    Approximate {
        /// Name of the method.
        method: String,
    },
    /// Not a distance but the score of the method of this name, as in [`ReportView::methods`]: larger = the image helped
    /// more, or is more alike.
    Scored {
        /// Name of the method.
        method: String,
        /// How far the interval of the score reaches to both sides; [`ReportView::interval_meaning`] says which kind.
        reach: Option<f64>,
        /// The score by timestep, rising: its part at each noise level. Empty if it was not told apart.
        by_timestep: Vec<TimestepScore>,
        /// Other training images that are nearly the same as this one, whose scores are in its own.
        near_duplicates: u32,
    },
}

/// A score at one noise level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimestepScore {
    /// Timestep: 0 is the image without noise.
    pub timestep: u64,
    /// Score with the draws of the sample there only.
    pub score: f64,
}

/// The scores of a group of training images together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupScore {
    /// Name of the group.
    pub label: String,
    /// Training images in it.
    pub images: u64,
    /// Sum of their scores.
    pub score: f64,
    /// How far the interval of the sum reaches to both sides.
    pub reach: Option<f64>,
}

/// What the damping of a method does to its scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DampingCurve {
    /// Name of the method, as in [`ReportView::methods`].
    pub method: String,
    /// The damping that was taken.
    pub taken: f64,
    /// How it was chosen, as a sentence.
    pub chosen: String,
    /// The damping by other rules, with their names.
    pub rules: Vec<(String, f64)>,
    /// Other dampings, rising.
    pub points: Vec<DampingCurvePoint>,
    /// A warning, if the order of the images changes abruptly near the damping that was taken.
    pub warning: Option<String>,
}

/// One damping.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DampingCurvePoint {
    /// The damping.
    pub damping: f64,
    /// Directions of the features that it leaves.
    pub degrees_of_freedom: f64,
    /// Rank correlation of its scores with those of the damping that was taken, -1 to 1.
    pub agreement: Option<f64>,
}

/// How many samples the classifier sees as each class, with each group removed in turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTableView {
    /// The classes that the classifier knows.
    pub classes: Vec<String>,
    /// First the row with nothing removed, then one per group.
    pub rows: Vec<GroupTableRow>,
}

/// One row of the [`GroupTableView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTableRow {
    /// What was removed; nothing in the first row.
    pub removed: Option<Removed>,
    /// Samples seen as each class, `[classes]`.
    pub counts: Vec<u64>,
}

/// How well one approximation tells the exact counterfactual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FidelityRow {
    /// Name of the method, as in [`ReportView::methods`].
    pub method: String,
    /// Pearson correlation over pixels between approximate and exact difference, mean over samples.
    pub pearson: Option<Estimate>,
    /// Spearman correlation over the counterfactuals of a sample between approximate and exact distance.
    pub spearman: Option<Estimate>,
    /// Share of samples where the largest distance belongs to the same counterfactual.
    pub top1: Option<Estimate>,
    /// What it costs, e.g. "1 forward pass per step".
    pub cost: String,
}

/// A two-sided Mann-Whitney test between the results of two methods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodComparison {
    /// The measure compared, e.g. "Pearson over pixels".
    pub measure: String,
    /// First method.
    pub first: String,
    /// Second method.
    pub second: String,
    /// Values of the first method.
    pub first_count: u64,
    /// Values of the second method.
    pub second_count: u64,
    /// Probability that a value of the first is larger than one of the second (U / (n m), ties half).
    pub probability_first_larger: f64,
    /// log10 of the p-value; p itself underflows for large samples.
    pub log10_p: f64,
}

/// How often two ways of asking give the same answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgreementRow {
    /// What is compared, e.g. "linear and control variate name the same first image".
    pub question: String,
    /// Share that agrees, 0 to 1.
    pub share: Estimate,
}

/// Training loss of one member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossCurve {
    /// Name of the member.
    pub name: String,
    /// Points with rising step.
    pub points: Vec<LossPoint>,
}

/// One recorded loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Optimiser step.
    pub step: u64,
    /// Loss at this step.
    pub loss: f64,
}

/// What one stage of the run cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    /// Name of the stage.
    pub stage: String,
    /// Wall time.
    pub seconds: f64,
    /// What was done in it.
    pub note: String,
}
