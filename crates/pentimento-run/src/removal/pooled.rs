//! Many samples at once: the images that a method puts first for some of them are removed together, and the change of these
//! samples is held against that of others, and against what other removals of the same size do.

use super::measured::Measured;
use super::one_image::{behaviour, intervention, training_process};
use super::removals::{enough, in_turns, tables};
use super::retraining::Retraining;
use super::table::write_pooled;
use crate::error::{BankError, Result};
use crate::gradients::{Queries, Query, ScoreTable, Subject};
use crate::workspace::Workspace;
use pentimento_attribution::methods::Method;
use pentimento_attribution::scores::top;
use pentimento_evaluation::statistics::{MannWhitney, StatisticsError, mann_whitney, wilcoxon};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// One image of so many is removed if it is not said how many: a tenth of them changes a network visibly and leaves it a network
/// of the same pictures (Mlodozeniec et al. 2025 remove 2 and 10 %).
const SHARE_REMOVED: usize = 10;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PooledSettings {
    /// The first samples, whose images are removed.
    pub targets: usize,
    /// The samples after them, for which nothing is removed.
    pub controls: usize,
    /// As many images are removed as the first so many of all targets are, by the method of which they are fewest; a tenth of
    /// all images if not given.
    pub top: Option<usize>,
    /// Draws at which losses are measured on each network.
    pub draws: usize,
}

impl PooledSettings {
    /// Refuses a run that makes too few samples, before anything is computed.
    ///
    /// # Errors
    ///
    /// [`BankError::TooFewSamples`].
    pub fn check_samples(&self, workspace: &Workspace) -> Result<()> {
        let (made, Self { targets, controls, .. }) = (workspace.recipe.samples.count, *self);
        if made >= targets + controls {
            return Ok(());
        }
        Err(BankError::TooFewSamples { run: workspace.run.root().to_path_buf(), made, targets, controls }
            .into())
    }
}

/// What a removal changed in one respect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// The change of each target.
    pub targets: Vec<f64>,
    /// The change of each control.
    pub controls: Vec<f64>,
    /// The mean over targets.
    pub mean_of_targets: f64,
    /// The mean over controls.
    pub mean_of_controls: f64,
    /// Whether targets change more than controls; its `area_under_curve` is the chance that a target changes more than a control.
    pub test: MannWhitney,
    /// Of a method: whether targets change more than without other images, removal by removal.
    pub against: Vec<Paired>,
}

impl Effect {
    /// The comparisons of a method with others, each as a sentence.
    pub fn comparisons(&self, method: &str) -> Vec<String> {
        let sentence = |paired: &Paired| {
            let p_value = match paired.p_value {
                small if small < 1e-3 => format!("{small:.1e}"),
                value => format!("{value:.3}"),
            };
            format!(
                "{method} against {}: {:+.3e} on targets, larger for {:.0} % of them, p = {p_value}",
                paired.method,
                paired.mean_difference,
                100.0 * paired.share_larger,
            )
        };
        self.against.iter().map(sentence).collect()
    }
}

/// The change of targets without a method's images less that without others, target by target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// By what the other images were chosen.
    pub method: &'static str,
    /// The mean difference.
    pub mean_difference: f64,
    /// The share of targets that change more without the method's.
    pub share_larger: f64,
    /// The two-sided p-value of Wilcoxon's signed-rank test.
    pub p_value: f64,
}

/// What removing the images of one method did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemovedForMany {
    /// The method.
    pub method: &'static str,
    /// Whether it is there to be compared with only.
    pub is_control: bool,
    /// How many ranks of the targets' lists the images are from.
    pub depth: usize,
    /// Positions of the images in their source, rising.
    pub removed: Vec<usize>,
    /// How much larger losses are.
    pub loss: Effect,
    /// How much larger losses with the weights of the bound on the likelihood are.
    pub weighted_loss: Effect,
    /// How far images made again are from the samples: the Euclidean distance after the final clamp.
    pub image: Effect,
}

/// Where an effect of a removal is.
pub type EffectOf = fn(&RemovedForMany) -> &Effect;

impl RemovedForMany {
    /// What is measured, in words, and where it is.
    pub const MEASURED: [(&str, EffectOf); 3] = [
        ("change of the image", |row| &row.image),
        ("change of the loss", |row| &row.loss),
        ("change of the weighted loss", |row| &row.weighted_loss),
    ];
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PooledRemoval {
    /// What was measured of the samples.
    pub behaviour: String,
    /// What was taken away.
    pub intervention: String,
    /// What was trained again, and how.
    pub training_process: String,
    /// What it comes to, in a sentence.
    pub headline: String,
    /// How many images were removed each time.
    pub count: usize,
    /// Of how many.
    pub images: usize,
    /// The seed of the bank that all networks have.
    pub seed: u32,
    /// Draws of each loss.
    pub draws: usize,
    /// Names of the samples whose images were removed.
    pub targets: Vec<String>,
    /// Names of the others.
    pub controls: Vec<String>,
    /// The methods, then the controls.
    pub rows: Vec<RemovedForMany>,
}

/// Removes the first images of many samples by each of some methods at once, and as many at random and by likeness, and keeps
/// what that changed in the run.
///
/// # Errors
///
/// [`BankError::TooFewSamples`] if the run has fewer than targets and controls, [`BankError::TooManyRemoved`] if no image would be
/// left, [`RunError::Stopped`] once it is asked to stop: what is finished is kept; as scoring, training, sampling and measuring.
pub fn removal_of_many(
    subject: &Subject<'_>,
    retraining: &Retraining<'_>,
    samples: &Queries,
    methods: &[Method],
    classifier: Option<&Path>,
    settings: PooledSettings,
) -> Result<PooledRemoval> {
    let PooledSettings { targets, controls, top, draws } = settings;
    let images = &subject.training.images;
    settings.check_samples(subject.workspace)?;
    let tables = tables(subject, samples, methods, classifier)?;
    let rankings: Vec<Vec<Vec<usize>>> = tables.iter().map(|(table, _)| rankings(table, targets)).collect();
    let count = match top {
        None => (images.len() / SHARE_REMOVED).max(1),
        Some(top) => smallest_list(&rankings[..methods.len()], top),
    };
    if count > retraining.most() {
        return Err(BankError::TooManyRemoved { removed: count, images: images.len() }.into());
    }
    let mut removed = Vec::new();
    for rankings in &rankings {
        removed.push(enough(subject, in_turns(rankings, count).0, count)?);
    }
    let networks = retraining.without(&removed)?;
    let asked = &samples.images[..targets + controls];
    let ids = (0..asked.len() as u32).collect();
    let measured = Measured::new(subject, &networks, asked, Some(ids), draws)?;
    let by: Vec<(&'static str, bool)> =
        tables.iter().map(|(table, is_control)| (table.method.name, *is_control)).collect();
    let effects = |change: &dyn Fn(usize, usize) -> f64| {
        let of = |number| (0..asked.len()).map(|query| change(number, query)).collect();
        effects(&by, &(0..by.len()).map(of).collect::<Vec<_>>(), targets)
    };
    let mut loss = effects(&|number, query| measured.loss_change(number, query)[0])?.into_iter();
    let mut weighted_loss = effects(&|number, query| measured.loss_change(number, query)[1])?.into_iter();
    let mut image = effects(&|number, query| measured.image_change[number][query])?.into_iter();
    let mut rows = Vec::new();
    for (number, &(method, is_control)) in by.iter().enumerate() {
        let (Some(loss), Some(weighted_loss), Some(image)) =
            (loss.next(), weighted_loss.next(), image.next())
        else {
            break;
        };
        let mut removed: Vec<usize> =
            removed[number].iter().map(|&place| images.source_indices()[place]).collect();
        removed.sort_unstable();
        let depth = in_turns(&rankings[number], count).1;
        rows.push(RemovedForMany { method, is_control, depth, removed, loss, weighted_loss, image });
    }
    let names = |of: &[Query]| of.iter().map(|query| query.name.clone()).collect();
    let chosen: Vec<&str> = by.iter().map(|(method, _)| *method).collect();
    let found = PooledRemoval {
        behaviour: behaviour(true, measured.draws),
        intervention: format!(
            "{}, for {targets} samples together",
            intervention(count, images.len(), &chosen)
        ),
        training_process: training_process(retraining.seed),
        headline: headline(count, targets, controls, &rows),
        count,
        images: images.len(),
        seed: retraining.seed,
        draws: measured.draws,
        targets: names(&asked[..targets]),
        controls: names(&asked[targets..]),
        rows,
    };
    write_pooled(subject.workspace, &found)?;
    Ok(found)
}

impl PooledRemoval {
    /// What it does not say.
    pub const CAUTION: &str =
        "Each removal is one training: p-values are over samples, and say nothing of other trainings.";
}

/// What the first method's removal did beside the others, in a sentence.
fn headline(count: usize, targets: usize, controls: usize, rows: &[RemovedForMany]) -> String {
    let Some((first, others)) = rows.split_first() else { return String::new() };
    let of_other = |row: &RemovedForMany| {
        format!(", {:.2} without as many by {}", row.image.test.area_under_curve, row.method)
    };
    format!(
        "Without the {count} images that {} puts first for {targets} samples, these change by {:.2} and {controls} others by {:.2}: \
         area under the curve {:.2}{}.",
        first.method,
        first.image.mean_of_targets,
        first.image.mean_of_controls,
        first.image.test.area_under_curve,
        others.iter().map(of_other).collect::<String>()
    )
}

/// All images that a table scores for each target, the first ones first.
fn rankings(table: &ScoreTable, targets: usize) -> Vec<Vec<usize>> {
    table.scores.iter().take(targets).map(|scores| top(scores, scores.len())).collect()
}

/// How many different images the first so many of all targets are, by the method of which they are fewest.
fn smallest_list(rankings: &[Vec<Vec<usize>>], top: usize) -> usize {
    let size = |rankings: &Vec<Vec<usize>>| {
        let first = rankings.iter().flat_map(|ranking| ranking.iter().take(top));
        first.collect::<BTreeSet<_>>().len()
    };
    rankings.iter().map(size).min().unwrap_or(0)
}

/// What each removal changed, from the changes of all queries, of which the first are targets.
fn effects(
    by: &[(&'static str, bool)],
    changes: &[Vec<f64>],
    targets: usize,
) -> Result<Vec<Effect>, StatisticsError> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let mut effects = Vec::new();
    for (change, (_, is_control)) in changes.iter().zip(by) {
        let (of_targets, of_controls) = change.split_at(targets);
        let mut against = Vec::new();
        for (other, (method, _)) in
            changes.iter().zip(by).filter(|(_, (_, is_other))| *is_other && !is_control)
        {
            let others = &other[..targets];
            let differences: Vec<f64> =
                of_targets.iter().zip(others).map(|(own, other)| own - other).collect();
            let larger = differences.iter().filter(|&&difference| difference > 0.0).count();
            against.push(Paired {
                method,
                mean_difference: mean(&differences),
                share_larger: larger as f64 / targets as f64,
                p_value: wilcoxon(of_targets, others)?.p_value,
            });
        }
        effects.push(Effect {
            targets: of_targets.to_vec(),
            controls: of_controls.to_vec(),
            mean_of_targets: mean(of_targets),
            mean_of_controls: mean(of_controls),
            test: mann_whitney(of_targets, of_controls)?,
            against,
        });
    }
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_from_controls_and_a_method_from_others() {
        // The method moves all three targets further than any control does, and further than the random removal by 3, 2 and 1.
        let changes = [vec![5.0, 4.0, 3.0, 1.0, 2.0], vec![2.0, 2.0, 2.0, 2.0, 2.0]];
        let found = effects(&[("das", false), ("random", true)], &changes, 3).unwrap();
        assert_eq!(found[0].test.area_under_curve, 1.0);
        assert_eq!((found[0].mean_of_targets, found[0].mean_of_controls), (4.0, 1.5));
        assert_eq!(found[1].test.area_under_curve, 0.5);
        assert!(found[1].against.is_empty());
        let [paired] = found[0].against.as_slice() else { panic!("{:?}", found[0].against) };
        // Of the 2^3 signs of three differences one has all positive; two-sided, 2 in 8.
        assert_eq!((paired.mean_difference, paired.share_larger, paired.p_value), (2.0, 1.0, 0.25));
        assert_eq!(paired.method, "random");
    }

    #[test]
    fn the_smallest_list_counts_an_image_once() {
        let lists = [vec![vec![1, 2, 3], vec![1, 3, 2]], vec![vec![0, 1, 2], vec![0, 1, 3]]];
        assert_eq!(smallest_list(&lists, 1), 1);
        assert_eq!(smallest_list(&lists, 2), 2);
        assert_eq!(smallest_list(&lists, 3), 3);
        assert_eq!(smallest_list(&lists[1..], 3), 4);
    }
}
