//! The figures of an ensemble on its page.

use super::counterfactuals::Counterfactuals;
use crate::data::CodedData;
use crate::figures::{Figures, group_classes};
use pentimento_attribution::ensemble::Approximation;
use pentimento_evaluation::fidelity::{Agreement, Comparison, MethodFidelity};
use pentimento_evaluation::statistics;
use pentimento_report::{
    AgreementRow, Estimate, FidelityRow, GroupTableRow, GroupTableView, HeadlineFigure, Interval,
    MethodComparison, MethodView, Reference, Unit,
};

/// What the intervals of the figures are.
pub(super) const INTERVALS: &str = "95 % intervals over samples of this one trained ensemble (another training seed is not in \
                                    them): Wilson's for shares of samples, else a bootstrap over samples";

fn estimate(estimate: &statistics::Estimate) -> Estimate {
    Estimate { value: estimate.value, interval: Some(Interval { low: estimate.low, high: estimate.high }) }
}

/// The main results.
pub(super) fn headlines(figures: &Figures, data: &CodedData) -> Vec<HeadlineFigure> {
    let mut all = Vec::new();
    let reference = |label: &str, value: f64| Reference { label: label.into(), value };
    if let Some(classes) = &figures.class_ablation {
        let chance = 1.0 / data.groups.len() as f64;
        if let Some(agreement) = &classes.agreement_of_groups {
            all.push(HeadlineFigure {
                label: "The class whose removal moves the picture most is the class a classifier sees in it"
                    .into(),
                estimate: estimate(&agreement.share),
                unit: Unit::Share,
                note: format!(
                    "{} of {} samples seen as one of the classes trained on; of all samples {:.1} %",
                    agreement.agreeing,
                    agreement.samples,
                    100.0 * classes.agreement.share.value
                ),
                references: vec![
                    reference("chance", chance),
                    reference("Dai and Gifford, all samples", 0.61),
                ],
            });
        }
        if let Some(own) = &classes.own_flips {
            all.push(HeadlineFigure {
                label: "Without its own class, the picture is seen as another class".into(),
                estimate: estimate(own),
                unit: Unit::Share,
                note: format!("{} samples", classes.samples_of_groups),
                references: vec![reference("Dai and Gifford", 0.93)],
            });
        }
        all.push(HeadlineFigure {
            label: "Without another class, it is".into(),
            estimate: estimate(&classes.other_flips),
            unit: Unit::Share,
            note: "every sample without each class that is not its own".into(),
            references: vec![reference("Dai and Gifford", 0.43)],
        });
    }
    for method in
        [Approximation::ControlVariate, Approximation::OneMemberJacobian, Approximation::PaperJacobian]
    {
        let entry = figures.fidelity.iter().find(|entry| entry.method == method);
        if let Some((entry, pearson)) =
            entry.and_then(|entry| Some((entry, entry.fidelity.pearson.as_ref()?)))
        {
            all.push(HeadlineFigure {
                label: format!("How well the {} tells the exact difference, value by value", method.name()),
                estimate: estimate(pearson),
                unit: Unit::Number { decimals: 3 },
                note: format!("Pearson correlation, {} samples", entry.fidelity.per_sample.len()),
                references: vec![],
            });
        }
    }
    all
}

/// The approximations that were held against exact counterfactuals.
pub(super) fn approximations(figures: &Figures) -> Vec<MethodView> {
    let measured = |method: &Approximation| figures.fidelity.iter().any(|entry| entry.method == *method);
    let view = |method: Approximation| MethodView {
        name: method.name().into(),
        explanation: method.explanation().into(),
    };
    Approximation::ALL.into_iter().filter(measured).map(view).collect()
}

/// How well each of them tells the exact one.
pub(super) fn fidelity(figures: &Figures) -> Vec<FidelityRow> {
    let row = |entry: &MethodFidelity<Approximation>| FidelityRow {
        method: entry.method.name().into(),
        pearson: entry.fidelity.pearson.as_ref().map(estimate),
        spearman: entry.fidelity.spearman.as_ref().map(estimate),
        top1: Some(estimate(&entry.fidelity.top_1_agreement)),
        cost: entry.method.cost().into(),
    };
    figures.fidelity.iter().map(row).collect()
}

/// Tests of one approximation against another.
pub(super) fn comparisons(figures: &Figures) -> Vec<MethodComparison> {
    let row = |comparison: &Comparison<Approximation>| MethodComparison {
        measure: comparison.measure.clone(),
        first: comparison.first.name().into(),
        second: comparison.second.name().into(),
        first_count: comparison.counts[0] as u64,
        second_count: comparison.counts[1] as u64,
        probability_first_larger: comparison.first_larger,
        log10_p: comparison.ln_p / std::f64::consts::LN_10,
    };
    figures.comparisons.iter().map(row).collect()
}

/// How often the stages of the search agree.
pub(super) fn agreement(figures: &Figures) -> Vec<AgreementRow> {
    let row = |row: &Agreement| AgreementRow { question: row.question.clone(), share: estimate(&row.share) };
    figures.agreement.iter().map(row).collect()
}

/// What the classifier sees without each class.
pub(super) fn group_table(page: &Counterfactuals<'_>) -> Option<GroupTableView> {
    let classes = page.figures.class_ablation.as_ref()?;
    let groups = group_classes(page.data);
    let rows = classes
        .table
        .iter()
        .map(|row| GroupTableRow {
            removed: row.removed.and_then(|class| {
                let group = groups.iter().position(|&group| group == class)?;
                Some(page.removed(group as u32))
            }),
            counts: row.counts.clone(),
        })
        .collect();
    Some(GroupTableView { classes: page.data.class_names.clone(), rows })
}
