//! How far a sample moves without each training image, told by the codes of a trained ensemble.

use crate::analyse::{SampleAnalysis, read_analysis};
use crate::data::CodedData;
use crate::error::{MadeBy, Result, RunError};
use crate::networks::Networks;
use crate::npy::npy;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::{
    CodeDistance, QuadraticForm, Space, jacobian_form, second_order_form,
};
use pentimento_attribution::methods::{Family, Method, Statement};
use pentimento_store::Fingerprint;

/// Distances of all training images for the samples of a run.
#[derive(Debug)]
pub struct CodeScores {
    /// The method.
    pub method: Method,
    /// Positions of the training images in their source.
    pub images: Vec<usize>,
    /// The samples for which the attribution kept what the method needs.
    pub samples: Vec<SampleDistances>,
    /// How many samples the run has.
    pub all_samples: usize,
    /// Why the others are left out, said of the first of them: [`RunError::Missing`].
    pub left_out: Option<RunError>,
    /// The object in the run that has the distances, `[samples, training images]`.
    pub file: String,
}

/// What one sample rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleDistances {
    /// Id of the sample.
    pub sample: u32,
    /// For each training image, the Euclidean length of the sample's change without the image's group, black -1 and white 1.
    pub distances: Vec<f32>,
    /// The groups with the largest distances, the largest first.
    pub first: Vec<GroupDistance>,
}

/// How far a sample moves without a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDistance {
    /// The group's name.
    pub group: String,
    /// The distance.
    pub distance: f64,
}

/// Measures every training image for every sample of an attribution that is finished, and keeps the distances in the run as
/// `scores/METHOD.npy`, with their axes in a JSON file. Of each sample it also ranks the first `top` groups.
///
/// # Errors
///
/// [`RunError::Missing`] if the samples are not attributed, or none of them has what the method needs;
/// [`RunError::OtherUse`] for a method that does not measure codes.
pub fn code_scores(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    method: Method,
    top: usize,
) -> Result<CodeScores> {
    let Family::Codes(distance) = method.family else {
        return Err(RunError::OtherUse {
            method: method.name.into(),
            problem: "scores training images and measures no distance of codes".into(),
        });
    };
    let (samples, fingerprint) = read_analysis(workspace, data, networks)?;
    let (mut forms, mut left_out) = (Vec::new(), None);
    for sample in &samples {
        match form(workspace, data, sample, distance) {
            Ok(form) => forms.push((sample.sample, form)),
            Err(error @ RunError::Missing { .. }) => {
                left_out.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    if forms.is_empty()
        && let Some(error) = left_out
    {
        return Err(error);
    }
    let mut measured = Vec::new();
    for (sample, form) in &forms {
        let of_groups = form.distances(&data.codes)?;
        let first = form.most_influential(&data.codes, top)?.into_iter().map(|influence| GroupDistance {
            group: data.groups.names()[influence.group as usize].clone(),
            distance: influence.distance,
        });
        measured.push(SampleDistances {
            sample: *sample,
            distances: data.groups.group_of().iter().map(|&group| of_groups[group as usize] as f32).collect(),
            first: first.collect(),
        });
    }
    let unit = match workspace.recipe.space() {
        Space::Pixels => "Euclidean, black -1 and white 1; larger = the sample rests on the image more",
        Space::Latents => "Euclidean, of latents; larger = the sample rests on the image more",
    };
    let Statement { behaviour, intervention, training_process } = method.statement();
    let axes = serde_json::json!({
        "method": method.name,
        "value": method.meaning,
        "behaviour": behaviour,
        "intervention": intervention,
        "training_process": training_process,
        "unit": unit,
        "axes": ["sample", "training_image"],
        "sample": measured.iter().map(|sample| sample.sample).collect::<Vec<_>>(),
        "training_image": data.images.source_indices(),
    });
    let values: Vec<f32> = measured.iter().flat_map(|sample| &sample.distances).copied().collect();
    let array = npy(&[measured.len() as u64, data.images.len() as u64], &values)?;
    let file = format!("scores/{}.npy", method.name);
    workspace.run.put_many(
        [(file.clone(), array), (format!("scores/{}.json", method.name), serde_json::to_vec(&axes)?)],
        // The label tells tables apart that do not say what they are about.
        Fingerprint::of("distances by codes, version 2").fingerprint(fingerprint).finish(),
    )?;
    Ok(CodeScores {
        method,
        images: data.images.source_indices().to_vec(),
        samples: measured,
        all_samples: samples.len(),
        left_out,
        file,
    })
}

/// The form of a sample's distances, from what the attribution stored for it.
///
/// # Errors
///
/// [`RunError::Missing`] if it did not store what the distance needs.
pub(crate) fn form(
    workspace: &Workspace,
    data: &CodedData,
    sample: &SampleAnalysis,
    distance: CodeDistance,
) -> Result<QuadraticForm> {
    let recipe = &workspace.recipe;
    let missing = |what: &str| {
        let mut settings = Vec::new();
        if sample.sample as usize >= recipe.attribution.fidelity_samples {
            settings.push(format!("attribution.fidelity_samples={}", recipe.samples.count));
        }
        if distance == CodeDistance::Jacobian && !recipe.attribution.full_jacobian {
            settings.push("attribution.full_jacobian=true".to_owned());
        }
        workspace.missing(format!("the {what} of sample {}", sample.sample), MadeBy::Settings(settings))
    };
    match distance {
        CodeDistance::SecondOrder => {
            let derivatives = sample.derivatives.as_ref().ok_or_else(|| missing("one-member Jacobian"))?;
            Ok(second_order_form(&data.codes, &sample.image, derivatives, recipe.space())?)
        }
        CodeDistance::Jacobian => {
            let inputs = sample.fidelity_inputs.as_ref();
            let jacobian = inputs.and_then(|inputs| inputs.full_jacobian.as_ref());
            let jacobian = jacobian.ok_or_else(|| missing("full Jacobian"))?;
            Ok(jacobian_form(&data.codes, &sample.image, jacobian, recipe.space())?)
        }
    }
}
