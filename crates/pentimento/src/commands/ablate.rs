//! `pentimento ablate`: one sample, made again without some of the training images.

use super::print;
use crate::arguments::AblationMethod;
use anyhow::Result;
use pentimento_attribution::ensemble::approximation::{clamped, clamped_distance, linear_masked};
use pentimento_attribution::ensemble::{
    BaseRun, EnsembleError, Request, TangentMembers, control_variates, jacobians, linear_coefficients,
};
use pentimento_diffusion::mixture::Trajectory;
use pentimento_run::RunError;
use pentimento_run::analyse::Ensemble;
use pentimento_run::data::{CodedData, coded_data};
use pentimento_run::pictures::png;
use pentimento_run::words::counted;
use pentimento_run::{Networks, Workspace};
use pentimento_store::Fingerprint;

/// Makes the sample with and without, writes both as PNG into the run, and prints the distance.
pub(super) fn ablate(
    workspace: &Workspace,
    sample: u32,
    groups: &[String],
    images: &[usize],
    method: AblationMethod,
) -> Result<()> {
    let count = workspace.recipe.samples.count;
    if sample as usize >= count {
        let bound = format!("samples are 0 to {}", count - 1);
        return Err(RunError::NoSuch { what: "sample".into(), value: sample.to_string(), bound }.into());
    }
    let data = coded_data(workspace)?;
    let removed = removed_groups(&data, groups, images)?;
    let weights = data.codes.weights_without(&removed).map_err(|error| with_names(error, &data))?;
    let uncovered = data.codes.coverage_after(&removed)?;
    let ensemble = Ensemble::open(workspace, &Networks::trained(workspace, &data)?)?;
    let Ensemble { mixture, sampler, seed, .. } = &ensemble;
    let go_on = |_: usize| workspace.options.stop.check();
    let base: BaseRun<f32> = BaseRun::new(mixture, sampler, *seed, &[sample], go_on)?;
    let without: Vec<f32> = match method {
        AblationMethod::Exact => {
            mixture.sample(sampler, *seed, &[Trajectory { sample, weights: weights.clone() }], go_on)?
        }
        AblationMethod::ControlVariate => {
            let request = Request { sample: 0, weights: weights.clone() };
            control_variates(mixture, sampler, &base, &[request], go_on)?
        }
        AblationMethod::Jacobian => {
            let all = jacobians(mixture, sampler, &base, TangentMembers::All, go_on)?;
            let direction = linear_coefficients(&weights);
            all.first().map(|jacobian| linear_masked(base.image(0), jacobian, &direction)).unwrap_or_default()
        }
    };
    let [height, width, channels] = mixture.image_shape();
    let name = |what: &str| format!("ablations/sample-{sample:06}-{what}.png");
    let key =
        Fingerprint::of("ablation").fingerprint(ensemble.fingerprint).json(&(sample, &removed))?.finish();
    let label = match method {
        AblationMethod::Exact => "exact",
        AblationMethod::ControlVariate => "control-variate",
        AblationMethod::Jacobian => "jacobian",
    };
    let named = key.to_string();
    let file = name(&format!("without-{}-{label}", &named[..12.min(named.len())]));
    workspace.run.put_many(
        [
            (name("all"), png(&clamped(base.image(0)), height, width, channels)?),
            (file.clone(), png(&clamped(&without), height, width, channels)?),
        ],
        key,
    )?;
    let remaining = weights.iter().filter(|&&weight| weight != 0.0).count();
    print(&format!(
        "sample {sample} without {} of {} groups, {remaining} of {} members left ({label}{})",
        removed.len(),
        data.groups.len(),
        weights.len(),
        if method == AblationMethod::Exact { "" } else { ", approximate" }
    ))?;
    print(&format!("distance: {:.4}", clamped_distance(base.image(0), &without)))?;
    if !uncovered.is_empty() {
        print(&format!("note: {} other groups are seen by no member that is left either", uncovered.len()))?;
    }
    print(&format!("{}", workspace.run.root().join(file).display()))?;
    Ok(())
}

/// The code book knows groups by their positions, users by their names.
fn with_names(error: EnsembleError, data: &CodedData) -> anyhow::Error {
    match error {
        EnsembleError::NoMemberRemains { removed, members, keep } => {
            let names = data.groups.names();
            let keep = keep.iter().filter_map(|&group| names.get(group as usize).cloned()).collect();
            RunError::NoMemberRemains { removed, members, keep }.into()
        }
        other => other.into(),
    }
}

fn removed_groups(data: &CodedData, names: &[String], images: &[usize]) -> Result<Vec<u32>> {
    let mut removed = Vec::new();
    for name in names {
        let place = data.groups.names().iter().position(|group| group == name).ok_or_else(|| {
            let known: Vec<&str> = data.groups.names().iter().take(12).map(String::as_str).collect();
            let more = if data.groups.len() > known.len() { ", …" } else { "" };
            let bound = format!("groups are {}{more}", known.join(", "));
            RunError::NoSuch { what: "group".into(), value: format!("`{name}`"), bound }
        })?;
        removed.push(place as u32);
    }
    for &image in images {
        let place =
            data.images.source_indices().iter().position(|&index| index == image).ok_or_else(|| {
                let bound = format!(
                    "the run trains on {} of the source set; `data.json` lists their positions",
                    counted(data.images.len(), "image")
                );
                RunError::NoSuch { what: "training image".into(), value: image.to_string(), bound }
            })?;
        removed.push(data.groups.group_of()[place]);
    }
    removed.sort_unstable();
    removed.dedup();
    Ok(removed)
}
