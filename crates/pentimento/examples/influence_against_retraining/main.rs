//! Influence functions against the truth: a small network is trained again without single images and groups, and the change
//! of every query's loss is held against what its curvature predicts.
//!
//! `cargo run --release --example influence_against_retraining -- FOLDER [STEPS]`
//!
//! All networks start from the same weights and see the same noises; the slots of removed images in the batches are filled
//! with others. Networks that are in FOLDER are not trained again. It leaves there every loss (`losses.csv`), every prediction
//! beside the truth (`predictions.csv`) and a picture (`scatter.svg`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it measures")]

mod experiment;
mod scatter;

use anyhow::{Context, Result};
use experiment::{Experiment, Removal};
use pentimento_attribution::curvature::{Curvature, DampingRule, TrainingLength};
use pentimento_evaluation::statistics::{pearson, spearman};
use scatter::{Panel, Point};
use std::fmt::Write as _;
use std::path::PathBuf;

/// One way to predict.
struct Prediction {
    name: &'static str,
    /// `[removals][queries]`.
    changes: Vec<Vec<f64>>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("name a folder for the results")?);
    let steps = arguments.next().map_or(Ok(20_000), |text| text.parse()).context("STEPS is a number")?;
    std::fs::create_dir_all(&folder)?;
    let experiment = Experiment::new(&folder, steps)?;
    let base = experiment.base()?;
    println!(
        "base network: {} parameters, mean loss of the queries {:.5}",
        experiment.parameters(),
        mean(&base.losses)
    );

    let (bases, squares, mean_loss) = experiment.curvature(&base)?;
    let kronecker = Curvature::kronecker(bases.clone());
    let corrected = Curvature::corrected(bases, &squares)?;
    let training = DampingRule::Training(TrainingLength {
        learning_rates: experiment.learning_rates(),
        batch: experiment.batch(),
        weight_decay: 0.0,
        loss: mean_loss,
        outputs: experiment.outputs(),
    });
    let overall = |share: f64| {
        let means = corrected.mean_eigenvalues();
        let counts = corrected.bases().iter().map(|basis| basis.block().count() as f64);
        let total: f64 = counts.clone().sum();
        DampingRule::Number(
            share * means.iter().zip(counts).map(|(mean, count)| mean * count).sum::<f64>() / total,
        )
    };
    let gradients = experiment.gradients(&base)?;
    let mut predictions = Vec::new();
    for (name, curvature, rule) in [
        ("EK-FAC, damping from the training", &corrected, training),
        ("K-FAC, damping from the training", &kronecker, training),
        ("EK-FAC, a hundredth of each block's mean", &corrected, DampingRule::Block),
        ("EK-FAC, 1e-4 of the mean eigenvalue", &corrected, overall(1e-4)),
        ("EK-FAC, 1e-2 of the mean eigenvalue", &corrected, overall(1e-2)),
        ("EK-FAC, the mean eigenvalue", &corrected, overall(1.0)),
        ("EK-FAC, 100 times the mean eigenvalue", &corrected, overall(100.0)),
    ] {
        let dampings = rule.dampings(curvature);
        let mut sorted = dampings.clone();
        sorted.sort_by(f64::total_cmp);
        let [least, middle, most] = [sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]];
        println!("{name}: damping {least:.1e} to {most:.1e}, middle {middle:.1e}");
        predictions
            .push(Prediction { name, changes: experiment.predicted(&gradients, curvature, &dampings)? });
    }
    let truth = experiment.retrained(&base)?;
    let removals = experiment.removals();
    println!();
    println!(
        "{:42} {:>16} {:>8} {:>8} {:>9} {:>9}",
        "prediction", "removed", "slope", "Pearson", "Spearman", "pairs"
    );
    for prediction in &predictions {
        for kind in Removal::KINDS {
            let (predicted, actual) = pairs(removals, kind, &prediction.changes, &truth);
            println!(
                "{:42} {kind:>16} {:8.3} {:8.3} {:9.3} {:9}",
                prediction.name,
                slope(&predicted, &actual),
                pearson(&predicted, &actual)?.unwrap_or(f64::NAN),
                spearman(&predicted, &actual)?.unwrap_or(f64::NAN),
                predicted.len()
            );
        }
    }
    write_tables(&folder, &experiment, &predictions, &truth)?;
    let first = &predictions[0];
    let panel = |kind: &'static str| {
        let (predicted, actual) = pairs(removals, kind, &first.changes, &truth);
        let points = predicted.iter().zip(&actual).map(|(&x, &y)| Point { x, y }).collect();
        let correlation = pearson(&predicted, &actual)?.unwrap_or(f64::NAN);
        let title = format!("{kind}: slope {:.2}, r = {correlation:.2}", slope(&predicted, &actual));
        Ok(Panel { title, points, slope: slope(&predicted, &actual) })
    };
    let panels: Vec<Panel> = Removal::KINDS.into_iter().map(panel).collect::<Result<_>>()?;
    std::fs::write(folder.join("scatter.svg"), scatter::svg(&panels))?;
    println!("\n{}", folder.join("scatter.svg").display());
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Predictions and truths of one kind of removal, for every query.
fn pairs(
    removals: &[Removal],
    kind: &str,
    predicted: &[Vec<f64>],
    truth: &[Vec<f64>],
) -> (Vec<f64>, Vec<f64>) {
    let of_kind = |table: &[Vec<f64>]| -> Vec<f64> {
        let rows = table.iter().zip(removals).filter(|(_, removal)| removal.kind == kind);
        rows.flat_map(|(row, _)| row.iter().copied()).collect()
    };
    (of_kind(predicted), of_kind(truth))
}

/// Slope of the line through the origin that fits the truth best.
fn slope(predicted: &[f64], actual: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(predicted, actual) / dot(predicted, predicted)
}

fn write_tables(
    folder: &std::path::Path,
    experiment: &Experiment,
    predictions: &[Prediction],
    truth: &[Vec<f64>],
) -> Result<()> {
    let mut text = String::from("removal,kind,images,query,truth");
    for prediction in predictions {
        write!(text, ",{}", prediction.name.replace(',', ";"))?;
    }
    text.push('\n');
    for (index, removal) in experiment.removals().iter().enumerate() {
        for (query, truth) in truth[index].iter().enumerate() {
            write!(text, "{},{},{},{query},{truth:e}", removal.name, removal.kind, removal.images.len())?;
            for prediction in predictions {
                write!(text, ",{:e}", prediction.changes[index][query])?;
            }
            text.push('\n');
        }
    }
    std::fs::write(folder.join("predictions.csv"), text)?;
    Ok(())
}
