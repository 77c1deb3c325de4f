//! One sample, made again without some of the training images.

use crate::analyse::Ensemble;
use crate::data::{CodedData, coded_data};
use crate::error::{Result, RunError};
use crate::networks::Networks;
use crate::pictures::png;
use crate::recipe::GroupBy;
use crate::words::{counted, first_of};
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::approximation::{clamped, clamped_distance, linear_masked};
use pentimento_attribution::ensemble::{
    BaseRun, EnsembleError, Request, TangentMembers, control_variates, jacobians, linear_coefficients,
};
use pentimento_data::composed;
use pentimento_diffusion::mixture::Trajectory;
use pentimento_store::Fingerprint;

/// What [`RunError::NoSuch`] calls a group that a run does not have.
pub const GROUP: &str = "group";

/// How a sample is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AblationMethod {
    /// By the members that saw none of what is removed.
    Exact,
    /// Along the full ensemble's trajectory, corrected by one surviving member.
    ControlVariate,
    /// The paper's Jacobian: to first order in the members' weights.
    Jacobian,
}

impl AblationMethod {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::ControlVariate => "control-variate",
            Self::Jacobian => "jacobian",
        }
    }

    /// Whether the image is only about that of the members that are left.
    pub fn is_approximate(self) -> bool {
        self != Self::Exact
    }
}

/// A sample with and without some of the training images.
#[derive(Clone, Debug, PartialEq)]
pub struct Ablation {
    /// Id of the sample.
    pub sample: u32,
    /// How it was made again.
    pub method: AblationMethod,
    /// Height, width and channels of both images.
    pub image_shape: [usize; 3],
    /// The sample by all members, before the final clamp.
    pub image: Vec<f32>,
    /// The sample without the removed groups, before the final clamp.
    pub without: Vec<f32>,
    /// Euclidean distance of the two after the final clamp, black -1 and white 1.
    pub distance: f32,
    /// Names of the groups that were removed.
    pub removed: Vec<String>,
    /// How many groups there are.
    pub groups: usize,
    /// The members that saw none of what was removed.
    pub members_left: Vec<u32>,
    /// How many members there are.
    pub members: usize,
    /// Names of the other groups that no member that is left saw: the image is without these too.
    pub uncovered: Vec<String>,
    /// The object in the run that has the image without the groups, as PNG.
    pub file: String,
}

/// Makes a sample with all members and again without some groups, given by name, and without those of some training images,
/// given by their names or positions in the source. Both images are kept in the run as PNG.
///
/// # Errors
///
/// [`RunError::NoSuch`] for a sample, group or image that the run does not have, [`RunError::NoMemberRemains`] if every
/// member saw something of what is removed, [`RunError::Missing`] if the members are not trained.
pub fn ablate(
    workspace: &Workspace,
    sample: u32,
    groups: &[String],
    images: &[String],
    method: AblationMethod,
) -> Result<Ablation> {
    workspace.check_sample(sample)?;
    let data = coded_data(workspace)?;
    let kind = workspace.recipe.trained(workspace.run.root())?.codes.groups;
    let removed = removed_groups(&data, kind, groups, images)?;
    let weights = data.codes.weights_without(&removed).map_err(|error| with_names(error, &data))?;
    let uncovered = data.codes.coverage_after(&removed)?;
    let ensemble = Ensemble::open(workspace, &Networks::trained(workspace, &data)?)?;
    let Ensemble { mixture, sampler, seed, .. } = &ensemble;
    let go_on = |_: usize| workspace.options.stop.check();
    let base: BaseRun<f32> = BaseRun::new(mixture, sampler, *seed, &[sample], go_on)?;
    let without: Vec<f32> = match method {
        AblationMethod::Exact => mixture.sample(
            sampler,
            *seed,
            &[Trajectory { sample, weights: weights.clone(), condition: None }],
            go_on,
        )?,
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
    let named = key.to_string();
    let file = name(&format!("without-{}-{}", &named[..12.min(named.len())], method.name()));
    workspace.run.put_many(
        [
            (name("all"), png(&clamped(base.image(0)), height, width, channels)?),
            (file.clone(), png(&clamped(&without), height, width, channels)?),
        ],
        key,
    )?;
    Ok(Ablation {
        sample,
        method,
        image_shape: [height, width, channels],
        distance: clamped_distance(base.image(0), &without),
        image: base.image(0).to_vec(),
        without,
        removed: names(&data, &removed),
        groups: data.groups.len(),
        members_left: (0..)
            .zip(&weights)
            .filter(|(_, weight)| **weight != 0.0)
            .map(|(member, _)| member)
            .collect(),
        members: weights.len(),
        uncovered: names(&data, &uncovered),
        file,
    })
}

fn names(data: &CodedData, groups: &[u32]) -> Vec<String> {
    let names = data.groups.names();
    groups.iter().filter_map(|&group| names.get(group as usize).cloned()).collect()
}

/// The code book knows groups by their positions, people by their names.
fn with_names(error: EnsembleError, data: &CodedData) -> RunError {
    match error {
        EnsembleError::NoMemberRemains { removed, members, keep } => {
            RunError::NoMemberRemains { removed, members, keep: names(data, &keep) }
        }
        other => other.into(),
    }
}

/// The groups with these names and of these images, each once, rising.
fn removed_groups(data: &CodedData, kind: GroupBy, names: &[String], images: &[String]) -> Result<Vec<u32>> {
    let mut removed = Vec::new();
    for name in names {
        let place =
            data.groups.names().iter().position(|group| *group == composed(name)).ok_or_else(|| {
                let bound = format!("groups are {} ({})", first_of(data.groups.names()), kind.in_words());
                RunError::NoSuch { what: GROUP.into(), value: format!("`{name}`"), bound }
            })?;
        removed.push(place as u32);
    }
    for image in &images.iter().flat_map(|list| data.images.names_in(list)).collect::<Vec<_>>() {
        let place = data.images.find(image).ok_or_else(|| {
            let bound = format!(
                "the run trains on {} of the source set; `data.json` lists their names and positions",
                counted(data.images.len(), "image")
            );
            RunError::NoSuch { what: "training image".into(), value: image.clone(), bound }
        })?;
        removed.push(data.groups.group_of()[place]);
    }
    removed.sort_unstable();
    removed.dedup();
    Ok(removed)
}
