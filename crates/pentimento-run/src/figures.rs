//! The figures of a run: what the classifier sees, and how good each approximation is.

use super::analyse::SampleAnalysis;
use super::classify::{Accuracy, TrainedClassifier, see};
use super::data::CodedData;
use crate::error::Result;
use crate::networks::Visible;
use crate::recipe::GroupBy;
use crate::words::counted;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::{Approximation, Candidate, first_by};
use pentimento_evaluation::class_ablation::{AblatedSample, ClassAblation, Removal, class_ablation};
use pentimento_evaluation::fidelity::{
    Agreement, Comparison, MethodFidelity, SampleImages, agreement, comparisons, fidelity_of_images,
};
use pentimento_evaluation::statistics::IntervalSettings;
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
    pub fidelity: Vec<MethodFidelity<Approximation>>,
    /// Comparisons between methods.
    pub comparisons: Vec<Comparison<Approximation>>,
    /// How often the stages of the search agree.
    pub agreement: Vec<Agreement>,
}

/// Each of our methods and the paper's against both baselines, and the control variate against the paper's.
const COMPARED: [(Approximation, Approximation); 5] = [
    (Approximation::PaperJacobian, Approximation::IndividualMembers),
    (Approximation::PaperJacobian, Approximation::LastStep),
    (Approximation::OneMemberJacobian, Approximation::PaperJacobian),
    (Approximation::ControlVariate, Approximation::PaperJacobian),
    (Approximation::ControlVariate, Approximation::IndividualMembers),
];

/// That of all intervals.
const CONFIDENCE: f64 = 0.95;

/// How intervals are made; the seed is the run's.
fn intervals(workspace: &Workspace) -> IntervalSettings {
    IntervalSettings { confidence: CONFIDENCE, resamples: 2000, seed: workspace.recipe.seed }
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
        comparisons: comparisons(&fidelity, &COMPARED)?,
        fidelity,
        agreement: agreements(samples)?,
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

/// Asks the classifier about every sample and counterfactual, as people see them; nothing without a classifier.
///
/// # Errors
///
/// If the classifier is for other images; as decoding latents; [`RunError::Stopped`](crate::error::RunError::Stopped).
pub fn see_all(
    workspace: &Workspace,
    trained: Option<&TrainedClassifier>,
    samples: &[SampleAnalysis],
    visible: &Visible,
) -> Result<Vec<SeenSample>> {
    let Some(trained) = trained else { return Ok(Vec::new()) };
    // Latents are decoded for it, which takes its time.
    let progress = visible
        .is_decoded()
        .then(|| workspace.reporter().begin("what samples show", samples.len() as u64, 0));
    let seen = samples
        .iter()
        .zip(0..)
        .map(|(sample, place)| {
            workspace.options.stop.check()?;
            if let Some(progress) = &progress {
                progress.set(place, "samples");
            }
            let made = std::iter::once(&sample.image).chain(&sample.exact);
            let images: Vec<Vec<f32>> = made.map(|made| visible.picture(made)).collect::<Result<_>>()?;
            let mut seen = see(trained, &images)?.into_iter();
            let base = seen.next().unwrap_or_default();
            Ok(SeenSample { base, without: seen.collect() })
        })
        .collect::<Result<Vec<_>>>()?;
    if let Some(progress) = &progress {
        progress.finish(&counted(seen.len(), "sample"));
    }
    Ok(seen)
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
                    distance: f64::from(workspace.recipe.space().distance(&sample.image, image)),
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
) -> Result<Vec<MethodFidelity<Approximation>>> {
    let measured = samples.iter().filter(|sample| sample.fidelity_inputs.is_some());
    let (mut all, space) = (Vec::new(), workspace.recipe.space());
    for method in Approximation::ALL {
        let images = |sample: &SampleAnalysis| -> Result<Option<SampleImages>> {
            let approximate: Option<Vec<Vec<f32>>> = (0..sample.groups.len())
                .map(|place| sample.approximate(method, &data.codes, place, space))
                .collect::<Result<_, _>>()?;
            Ok(approximate.map(|approximate| SampleImages {
                image: space.finished(&sample.image),
                exact: sample.exact.iter().map(|image| space.finished(image)).collect(),
                approximate,
            }))
        };
        // Of a method that is not there for all of them, nothing is said.
        let images: Option<Vec<SampleImages>> = measured.clone().map(images).collect::<Result<_>>()?;
        if let Some(images) = images.filter(|images| !images.is_empty()) {
            all.push(MethodFidelity {
                method,
                fidelity: fidelity_of_images(&images, &intervals(workspace))?,
            });
        }
    }
    Ok(all)
}

/// How often the first of one stage is the first of the next, for samples that were searched.
fn agreements(samples: &[SampleAnalysis]) -> Result<Vec<Agreement>> {
    let searched: Vec<&[Candidate]> = samples
        .iter()
        .map(|sample| sample.candidates.as_slice())
        .filter(|candidates| candidates.first().is_some_and(|first| first.control_variate.is_some()))
        .collect();
    if searched.is_empty() {
        return Ok(Vec::new());
    }
    let firsts = |stages: [fn(&Candidate) -> Option<f32>; 2]| -> Vec<[Option<u32>; 2]> {
        searched.iter().map(|candidates| stages.map(|stage| first_by(candidates, stage))).collect()
    };
    let mut rows = vec![agreement(
        "the linear stage and the control variate name the same group first",
        &firsts([|one| one.linear, |one| one.control_variate]),
        CONFIDENCE,
    )?];
    let made =
        |candidates: &[Candidate]| candidates.iter().filter(|candidate| candidate.exact.is_some()).count();
    // Among fewer than two there is nothing to agree about.
    if searched.iter().all(|candidates| made(candidates) >= 2) {
        rows.push(agreement(
            "of the groups made exactly, the control variate's first is the first",
            &firsts([|one| one.exact, |one| one.exact.and(one.control_variate)]),
            CONFIDENCE,
        )?);
    }
    Ok(rows)
}
