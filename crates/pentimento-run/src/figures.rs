//! The figures of a run: what the classifier sees, and how good each approximation is.

use super::analyse::{SampleAnalysis, clamped_distance};
use super::classify::{Accuracy, TrainedClassifier, see};
use super::data::CodedData;
use crate::error::Result;
use crate::recipe::GroupBy;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::approximation::{
    clamped, individual_members, linear, linear_masked, second_order, second_order_terms,
};
use pentimento_attribution::ensemble::linear_coefficients;
use pentimento_evaluation::class_ablation::{AblatedSample, ClassAblation, Removal, class_ablation};
use pentimento_evaluation::fidelity::{DifferencePair, Fidelity, compare, fidelity};
use pentimento_evaluation::statistics::{Estimate, IntervalSettings, wilson_interval};
use serde::{Deserialize, Serialize};

/// Everything measured on a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Number of samples.
    pub samples: usize,
    /// How good the classifier is on real images.
    pub classifier: Option<Accuracy>,
    /// The class experiment, for runs whose groups are classes and whose counterfactuals are complete.
    pub class_ablation: Option<ClassAblation>,
    /// How well each approximation tells the exact counterfactual.
    pub fidelity: Vec<MethodFidelity>,
    /// Comparisons between methods.
    pub comparisons: Vec<Comparison>,
    /// How often the stages of the search agree.
    pub agreement: Vec<Agreement>,
}

/// One method's fidelity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodFidelity {
    /// The method.
    pub method: Approximation,
    /// Its figures.
    pub fidelity: Fidelity,
}

/// A Mann-Whitney test between two methods' per-sample figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was compared.
    pub measure: String,
    /// First method.
    pub first: Approximation,
    /// Second method.
    pub second: Approximation,
    /// Number of values of each.
    pub counts: [usize; 2],
    /// Probability that the first is larger.
    pub first_larger: f64,
    /// Natural logarithm of the p-value.
    pub ln_p: f64,
}

/// How often two stages agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// What is asked.
    pub question: String,
    /// Share of samples, with Wilson's interval.
    pub share: Estimate,
}

/// The approximations of a counterfactual, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approximation {
    /// Along the full ensemble's trajectory, corrected by one surviving member.
    ControlVariate,
    /// One member's tangents with the diagonal second-order term, clamped after.
    SecondOrder,
    /// One member's tangents, clamped after.
    OneMemberJacobian,
    /// All members' tangents, clamped after.
    Jacobian,
    /// All members' tangents, masked by the clamp: as the paper has it.
    PaperJacobian,
    /// Baseline 2 of the paper.
    IndividualMembers,
    /// Baseline 1 of the paper.
    LastStep,
}

impl Approximation {
    /// Every method, the best first.
    pub const ALL: [Self; 7] = [
        Self::ControlVariate,
        Self::SecondOrder,
        Self::OneMemberJacobian,
        Self::Jacobian,
        Self::PaperJacobian,
        Self::IndividualMembers,
        Self::LastStep,
    ];

    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlVariate => "control variate",
            Self::SecondOrder => "one-member Jacobian, second order",
            Self::OneMemberJacobian => "one-member Jacobian",
            Self::Jacobian => "Jacobian, clamped after",
            Self::PaperJacobian => "Jacobian (as in the paper)",
            Self::IndividualMembers => "individual members (paper's baseline)",
            Self::LastStep => "last step (paper's baseline)",
        }
    }

    /// What it does, in a sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::ControlVariate => {
                "Follows the picture's own way with what all members said along it, and lets one member that never saw \
                 the removed images correct each step."
            }
            Self::SecondOrder => {
                "Extrapolates from how the picture changes with the weight of each member, and adds how it bends when a \
                 single member leaves. That tells two codes apart that the extrapolation cannot; the picture itself may \
                 come out less like the exact one."
            }
            Self::OneMemberJacobian => {
                "Extrapolates from how the picture changes with the weight of each member; one member per step carries \
                 the derivative."
            }
            Self::Jacobian => {
                "Extrapolates from how the picture changes with the weight of each member; all members carry the \
                 derivative."
            }
            Self::PaperJacobian => {
                "The same extrapolation as Dai and Gifford have it: pixels that are black or white stay as they are."
            }
            Self::IndividualMembers => "Mixes the pictures that each member makes alone.",
            Self::LastStep => "Leaves the members out in the very last step only.",
        }
    }

    /// What it costs, per sampler step, with n members.
    pub fn cost(self) -> &'static str {
        match self {
            Self::ControlVariate => "n forward passes per sample, then 1 per counterfactual",
            Self::SecondOrder => "2 n forward passes and 1 pass with n tangents per sample, then none",
            Self::OneMemberJacobian => "n forward passes and 1 pass with n tangents per sample, then none",
            Self::Jacobian | Self::PaperJacobian => "n passes with n tangents per sample, then none",
            Self::IndividualMembers => "n forward passes per sample, then none",
            Self::LastStep => "the sample itself, then 1 step per counterfactual",
        }
    }

    /// The approximate counterfactual of one group as it is compared with the exact one; none if it was not computed.
    /// The paper's two linear methods change the finished image and are not clamped again.
    pub fn image(self, data: &CodedData, sample: &SampleAnalysis, place: usize) -> Result<Option<Vec<f32>>> {
        let (Some(along), Some(measured)) = (&sample.along, &sample.measured) else { return Ok(None) };
        let weights = data.codes.weights_without(&[sample.groups[place]])?;
        let direction = linear_coefficients(&weights);
        let image = &sample.image;
        Ok(match self {
            Self::ControlVariate => Some(clamped(&measured.control_variate[place])),
            Self::SecondOrder => {
                let terms = second_order_terms(image, &along.one_member_jacobian, &along.without_member);
                Some(clamped(&second_order(image, &along.one_member_jacobian, &terms, &direction)))
            }
            Self::OneMemberJacobian => Some(clamped(&linear(image, &along.one_member_jacobian, &direction))),
            Self::Jacobian => {
                measured.full_jacobian.as_ref().map(|all| clamped(&linear(image, all, &direction)))
            }
            Self::PaperJacobian => {
                measured.full_jacobian.as_ref().map(|all| linear_masked(image, all, &direction))
            }
            // The paper mixes finished images.
            Self::IndividualMembers => {
                let alone: Vec<Vec<f32>> = measured.alone.iter().map(|image| clamped(image)).collect();
                Some(individual_members(&clamped(image), &alone, &direction))
            }
            Self::LastStep => Some(clamped(&measured.last_step[place])),
        })
    }
}

/// How intervals are made; the seed is the run's.
fn intervals(workspace: &Workspace) -> IntervalSettings {
    IntervalSettings { confidence: 0.95, resamples: 2000, seed: workspace.recipe.seed }
}

/// Measures everything.
///
/// # Errors
///
/// If the classifier or a statistic fails.
pub fn measure(
    workspace: &Workspace,
    data: &CodedData,
    samples: &[SampleAnalysis],
    trained: Option<&TrainedClassifier>,
    seen: &[SeenSample],
) -> Result<Figures> {
    let fidelity = fidelities(workspace, data, samples)?;
    Ok(Figures {
        samples: samples.len(),
        classifier: trained.map(|trained| trained.accuracy),
        class_ablation: class_figures(workspace, data, samples, seen)?,
        comparisons: comparisons(&fidelity)?,
        fidelity,
        agreement: agreement(samples)?,
    })
}

/// What the classifier sees in a sample and in each of its exact counterfactuals.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenSample {
    /// Class and probability in the sample.
    pub base: (u32, f64),
    /// Class and probability without each asked group.
    pub without: Vec<(u32, f64)>,
}

/// Asks the classifier about every sample and counterfactual; nothing without a classifier.
///
/// # Errors
///
/// If the classifier is for other images.
pub fn see_all(trained: Option<&TrainedClassifier>, samples: &[SampleAnalysis]) -> Result<Vec<SeenSample>> {
    let Some(trained) = trained else { return Ok(Vec::new()) };
    samples
        .iter()
        .map(|sample| {
            let mut images = vec![sample.image.clone()];
            images.extend(sample.exact.iter().cloned());
            let mut seen = see(trained, &images)?.into_iter();
            let base = seen.next().unwrap_or_default();
            Ok(SeenSample { base, without: seen.collect() })
        })
        .collect()
}

fn class_figures(
    workspace: &Workspace,
    data: &CodedData,
    samples: &[SampleAnalysis],
    seen: &[SeenSample],
) -> Result<Option<ClassAblation>> {
    let complete = samples.iter().all(|sample| sample.groups.len() == data.groups.len());
    if data.trained.codes.groups != GroupBy::Class || !complete || seen.is_empty() {
        return Ok(None);
    }
    let groups = group_classes(data);
    let ablated: Vec<AblatedSample> = samples
        .iter()
        .zip(seen)
        .map(|(sample, seen)| AblatedSample {
            class: seen.base.0,
            probability: seen.base.1,
            removals: sample
                .exact
                .iter()
                .zip(&seen.without)
                .map(|(image, &(class, _))| Removal {
                    distance: f64::from(clamped_distance(&sample.image, image)),
                    class,
                })
                .collect(),
        })
        .collect();
    Ok(Some(class_ablation(&groups, data.class_names.len() as u32, &ablated, &intervals(workspace))?))
}

/// The label of each group, when groups are classes.
pub fn group_classes(data: &CodedData) -> Vec<u32> {
    (0..data.groups.len() as u32)
        .map(|group| data.groups.members(group).first().map_or(0, |&image| data.images.labels()[image]))
        .collect()
}

fn fidelities(
    workspace: &Workspace,
    data: &CodedData,
    samples: &[SampleAnalysis],
) -> Result<Vec<MethodFidelity>> {
    let measured: Vec<&SampleAnalysis> = samples.iter().filter(|sample| sample.measured.is_some()).collect();
    let mut all = Vec::new();
    if measured.is_empty() {
        return Ok(all);
    }
    let difference =
        |image: &[f32], base: &[f32]| -> Vec<f32> { image.iter().zip(base).map(|(a, b)| a - b).collect() };
    let bases: Vec<Vec<f32>> = measured.iter().map(|sample| clamped(&sample.image)).collect();
    let exact: Vec<Vec<Vec<f32>>> = measured
        .iter()
        .zip(&bases)
        .map(|(sample, base)| sample.exact.iter().map(|image| difference(&clamped(image), base)).collect())
        .collect();
    for method in Approximation::ALL {
        let mut approximate: Vec<Vec<Vec<f32>>> = Vec::new();
        for (sample, base) in measured.iter().zip(&bases) {
            let images: Option<Vec<Vec<f32>>> = (0..sample.groups.len())
                .map(|place| method.image(data, sample, place))
                .collect::<Result<_>>()?;
            let Some(images) = images else { break };
            approximate.push(images.iter().map(|image| difference(image, base)).collect());
        }
        if approximate.len() < measured.len() {
            continue;
        }
        let pairs: Vec<Vec<DifferencePair<'_>>> = exact
            .iter()
            .zip(&approximate)
            .map(|(exact, approximate)| {
                exact
                    .iter()
                    .zip(approximate)
                    .map(|(exact, approximate)| DifferencePair { exact, approximate })
                    .collect()
            })
            .collect();
        all.push(MethodFidelity { method, fidelity: fidelity(&pairs, &intervals(workspace))? });
    }
    Ok(all)
}

/// Each of our methods and the paper's against both baselines, and the control variate against the paper's.
fn comparisons(fidelity: &[MethodFidelity]) -> Result<Vec<Comparison>> {
    let find = |method: Approximation| fidelity.iter().find(|entry| entry.method == method);
    let mut all = Vec::new();
    for (first, second) in [
        (Approximation::PaperJacobian, Approximation::IndividualMembers),
        (Approximation::PaperJacobian, Approximation::LastStep),
        (Approximation::OneMemberJacobian, Approximation::PaperJacobian),
        (Approximation::ControlVariate, Approximation::PaperJacobian),
        (Approximation::ControlVariate, Approximation::IndividualMembers),
    ] {
        let (Some(a), Some(b)) = (find(first), find(second)) else { continue };
        let tests = compare(&a.fidelity, &b.fidelity)?;
        let defined = |entry: &MethodFidelity, spearman: bool| {
            let samples = entry.fidelity.per_sample.iter();
            samples.filter(|sample| if spearman { sample.spearman } else { sample.pearson }.is_some()).count()
        };
        for (measure, test, spearman) in [
            ("Pearson over pixels", tests.pearson, false),
            ("Spearman over counterfactuals", tests.spearman, true),
        ] {
            if let Some(test) = test {
                all.push(Comparison {
                    measure: measure.into(),
                    first,
                    second,
                    counts: [defined(a, spearman), defined(b, spearman)],
                    first_larger: test.area_under_curve,
                    ln_p: test.ln_p_value,
                });
            }
        }
    }
    Ok(all)
}

/// How often the first of one stage is the first of the next, for samples that were searched.
fn agreement(samples: &[SampleAnalysis]) -> Result<Vec<Agreement>> {
    let searched: Vec<&SampleAnalysis> = samples
        .iter()
        .filter(|sample| {
            sample.candidates.first().is_some_and(|candidate| candidate.control_variate.is_some())
        })
        .collect();
    if searched.is_empty() {
        return Ok(Vec::new());
    }
    let first_by = |sample: &SampleAnalysis, value: &dyn Fn(&super::analyse::Candidate) -> Option<f32>| {
        let known = sample.candidates.iter().filter(|candidate| value(candidate).is_some());
        let best = known.max_by(|a, b| {
            value(a).unwrap_or(0.0).total_cmp(&value(b).unwrap_or(0.0)).then(b.group.cmp(&a.group))
        });
        best.map(|candidate| candidate.group)
    };
    let share = |agrees: &dyn Fn(&SampleAnalysis) -> bool| -> Result<Estimate> {
        let count = searched.iter().filter(|sample| agrees(sample)).count();
        Ok(wilson_interval(count as u64, searched.len() as u64, 0.95)?)
    };
    let mut rows = vec![Agreement {
        question: "the linear stage and the control variate name the same group first".into(),
        share: share(&|sample| {
            first_by(sample, &|candidate| candidate.linear)
                == first_by(sample, &|candidate| candidate.control_variate)
        })?,
    }];
    let made = |sample: &SampleAnalysis| {
        sample.candidates.iter().filter(|candidate| candidate.exact.is_some()).count()
    };
    // Among fewer than two there is nothing to agree about.
    if searched.iter().all(|sample| made(sample) >= 2) {
        rows.push(Agreement {
            question: "of the groups made exactly, the control variate's first is the first".into(),
            share: share(&|sample| {
                first_by(sample, &|candidate| candidate.exact)
                    == first_by(sample, &|candidate| candidate.exact.and(candidate.control_variate))
            })?,
        });
    }
    Ok(rows)
}
