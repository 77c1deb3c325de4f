//! `pentimento attribute --method`: a distance for every training image.

use super::print;
use crate::error::message;
use crate::progress::say;
use anyhow::Result;
use pentimento_attribution::ensemble::{CodeDistance, QuadraticForm, jacobian_form, second_order_form};
use pentimento_attribution::methods::Method;
use pentimento_run::analyse::{SampleAnalysis, read_analysis};
use pentimento_run::data::CodedData;
use pentimento_run::npy::npy;
use pentimento_run::{MadeBy, RunError};
use pentimento_run::{Networks, Workspace};

/// Writes `scores/METHOD.npy`, `[samples, training images]`, with its axes in a JSON file, and prints the top groups.
pub(super) fn scores(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    method: Method,
    distance: CodeDistance,
    top: usize,
) -> Result<()> {
    let (samples, fingerprint) = read_analysis(workspace, data, networks)?;
    let name = method.name;
    let (mut forms, mut first_missing) = (Vec::new(), None);
    for sample in &samples {
        match form(workspace, data, sample, distance) {
            Ok(form) => forms.push((sample, form)),
            Err(error) if matches!(error.downcast_ref(), Some(RunError::Missing { .. })) => {
                first_missing.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match first_missing {
        Some(error) if forms.is_empty() => return Err(error),
        Some(error) => {
            say(&format!("note: only {} of {} samples: {}", forms.len(), samples.len(), message(&error)))
        }
        None => {}
    }
    let mut values = Vec::new();
    for (sample, form) in &forms {
        let distances = form.distances(&data.codes)?;
        values.extend(data.groups.group_of().iter().map(|&group| distances[group as usize] as f32));
        let list: Vec<String> = form
            .most_influential(&data.codes, top)?
            .iter()
            .map(|influence| {
                format!("{} ({:.4})", data.groups.names()[influence.group as usize], influence.distance)
            })
            .collect();
        print(&format!("sample {}: {}", sample.sample, list.join(", ")))?;
    }
    let axes = serde_json::json!({
        "method": name,
        "value": method.meaning,
        "unit": "Euclidean, black -1 and white 1; larger = the sample rests on the image more",
        "axes": ["sample", "training_image"],
        "sample": forms.iter().map(|(sample, _)| sample.sample).collect::<Vec<_>>(),
        "training_image": data.images.source_indices(),
    });
    let array = npy(&[forms.len() as u64, data.images.len() as u64], &values)?;
    let file = format!("scores/{name}.npy");
    workspace.run.put_many(
        [(file.clone(), array), (format!("scores/{name}.json"), serde_json::to_vec(&axes)?)],
        fingerprint,
    )?;
    print(&format!("{}", workspace.run.root().join(file).display()))?;
    Ok(())
}

/// The form of a sample's distances by a method, from what the attribution stored for it.
///
/// # Errors
///
/// [`ProgramError::NotYet`] if it did not store what the method needs.
pub(super) fn form(
    workspace: &Workspace,
    data: &CodedData,
    sample: &SampleAnalysis,
    method: CodeDistance,
) -> Result<QuadraticForm> {
    let recipe = &workspace.recipe;
    let missing = |what: &str| {
        let mut settings = Vec::new();
        if sample.sample as usize >= recipe.attribution.fidelity_samples {
            settings.push(format!("attribution.fidelity_samples={}", recipe.samples.count));
        }
        if method == CodeDistance::Jacobian && !recipe.attribution.full_jacobian {
            settings.push("attribution.full_jacobian=true".to_owned());
        }
        workspace.missing(format!("the {what} of sample {}", sample.sample), MadeBy::Settings(settings))
    };
    match method {
        CodeDistance::SecondOrder => {
            let derivatives = sample.derivatives.as_ref().ok_or_else(|| missing("one-member Jacobian"))?;
            Ok(second_order_form(&data.codes, &sample.image, derivatives)?)
        }
        CodeDistance::Jacobian => {
            let inputs = sample.fidelity_inputs.as_ref();
            let jacobian = inputs.and_then(|inputs| inputs.full_jacobian.as_ref());
            let jacobian = jacobian.ok_or_else(|| missing("full Jacobian"))?;
            Ok(jacobian_form(&data.codes, &sample.image, jacobian)?)
        }
    }
}
