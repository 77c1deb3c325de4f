//! One sample, made again without some of the training images.

use crate::analyse::Ensemble;
use crate::bank::{BankTraining, bank_data};
use crate::data::coded_data;
use crate::error::{Result, RunError};
use crate::networks::{Networks, Visible};
use crate::pictures::png;
use crate::recipe::{GroupBy, Origin};
use crate::words::{counted, first_of};
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::approximation::{clamped, linear_masked};
use pentimento_attribution::ensemble::{
    EnsembleError, Request, TangentMembers, control_variates, jacobians, linear_coefficients,
};
use pentimento_data::{Groups, PreparedSet, composed};
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
    /// Height, width and channels of both pictures.
    pub image_shape: [usize; 3],
    /// The sample by all members as people see it, before the final clamp.
    pub image: Vec<f32>,
    /// The sample without the removed groups as people see it, before the final clamp.
    pub without: Vec<f32>,
    /// Euclidean distance of the two after the final clamp, black -1 and white 1; where networks work on latents that of the latents.
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
/// The networks that a bank trained on subsets that were drawn are members too, each seed one by itself.
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
    let Remaining { ensemble, visible, weights, removed, removed_names, uncovered, groups } =
        match workspace.recipe.origin {
            Origin::Bank(_) => of_bank(workspace, groups, images)?,
            _ => of_ensemble(workspace, groups, images)?,
        };
    let Ensemble { mixture, sampler, seed, .. } = &ensemble;
    let (go_on, space) = (|_: usize| workspace.options.stop.check(), workspace.recipe.space());
    let base = ensemble.base_run(workspace, &[sample])?;
    let without: Vec<f32> = match method {
        AblationMethod::Exact => {
            mixture.sample(sampler, *seed, &[ensemble.trajectory(sample, weights.clone())], go_on)?
        }
        AblationMethod::ControlVariate => {
            let request = Request { sample: 0, weights: weights.clone() };
            control_variates(mixture, sampler, &base, &[request], go_on)?
        }
        AblationMethod::Jacobian => {
            let all = jacobians(mixture, sampler, &base, TangentMembers::All, go_on)?;
            let direction = linear_coefficients(&weights);
            let image = |jacobian| linear_masked(base.image(0), jacobian, &direction, space);
            all.first().map(image).unwrap_or_default()
        }
    };
    let distance = space.distance(base.image(0), &without);
    let [height, width, channels] = visible.shape;
    let (image, without) = (visible.picture(base.image(0))?, visible.picture(&without)?);
    let name = |what: &str| format!("ablations/sample-{sample:06}-{what}.png");
    let mut key = Fingerprint::of("ablation").fingerprint(ensemble.fingerprint).json(&(sample, &removed))?;
    let prompts = workspace.recipe.samples.prompts_of(&[sample]);
    // Most networks are told no texts.
    if !prompts.is_empty() {
        key = key.json(&prompts)?;
    }
    let key = key.finish();
    let named = key.to_string();
    let file = name(&format!("without-{}-{}", &named[..12.min(named.len())], method.name()));
    workspace.run.put_many(
        [
            (name("all"), png(&clamped(&image), height, width, channels)?),
            (file.clone(), png(&clamped(&without), height, width, channels)?),
        ],
        key,
    )?;
    Ok(Ablation {
        sample,
        method,
        image_shape: [height, width, channels],
        distance,
        image,
        without,
        removed: removed_names,
        groups,
        members_left: (0..)
            .zip(&weights)
            .filter(|(_, weight)| **weight != 0.0)
            .map(|(member, _)| member)
            .collect(),
        members: weights.len(),
        uncovered,
        file,
    })
}

/// Who is left without some groups.
struct Remaining {
    /// All members.
    ensemble: Ensemble,
    /// What people see of what they make.
    visible: Visible,
    /// A weight for each of them, zero for those that saw something of what is removed.
    weights: Vec<f64>,
    /// The numbers of the groups that are removed, rising.
    removed: Vec<u32>,
    /// What they are called.
    removed_names: Vec<String>,
    /// Names of the other groups that nobody who is left saw.
    uncovered: Vec<String>,
    /// How many groups there are.
    groups: usize,
}

/// The members of an encoded ensemble.
fn of_ensemble(workspace: &Workspace, groups: &[String], images: &[String]) -> Result<Remaining> {
    let data = coded_data(workspace)?;
    let kind = workspace.recipe.trained(workspace.run.root())?.codes.groups;
    let removed = removed_groups((&data.groups, kind), &data.images, groups, images)?;
    // The code book knows groups by their positions, people by their names.
    let weights = data.codes.weights_without(&removed).map_err(|error| match error {
        EnsembleError::NoMemberRemains { removed, members, keep } => {
            RunError::NoMemberRemains { removed, members, keep: names(&data.groups, &keep) }
        }
        other => other.into(),
    })?;
    let networks = Networks::trained(workspace, &data)?;
    Ok(Remaining {
        ensemble: Ensemble::open(workspace, &networks)?,
        visible: Visible::of(workspace, &networks),
        weights,
        removed_names: names(&data.groups, &removed),
        uncovered: names(&data.groups, &data.codes.coverage_after(&removed)?),
        groups: data.groups.len(),
        removed,
    })
}

/// The networks of a bank on subsets that were drawn.
fn of_bank(workspace: &Workspace, groups: &[String], images: &[String]) -> Result<Remaining> {
    let data = bank_data(workspace)?;
    let training = BankTraining::new(workspace, &data)?;
    let subsets = &data.bank.subsets;
    let removed = removed_groups((&data.groups, subsets.groups), &data.images, groups, images)?;
    // The subset of all images comes before those that are drawn, those that lack what was named behind them.
    let is_drawn = |&number: &usize| (1..=subsets.subsets as usize).contains(&data.network(number).0);
    let drawn: Vec<usize> = (0..data.networks()).filter(is_drawn).collect();
    // Whether each of them saw each group.
    let saw: Vec<Vec<bool>> = drawn
        .iter()
        .map(|&number| {
            let kept = &data.subsets[data.network(number).0].kept;
            let mut saw = vec![false; data.groups.len()];
            for (&group, &kept) in data.groups.group_of().iter().zip(kept) {
                saw[group as usize] |= kept;
            }
            saw
        })
        .collect();
    let of_removed = |saw: &Vec<bool>| -> Vec<u32> {
        removed.iter().copied().filter(|&group| saw[group as usize]).collect()
    };
    let remain: Vec<bool> = saw.iter().map(|saw| of_removed(saw).is_empty()).collect();
    let count = remain.iter().filter(|remains| **remains).count();
    if count == 0 {
        let keep = saw.iter().map(of_removed).min_by_key(Vec::len).unwrap_or_default();
        return Err(RunError::NoMemberRemains {
            removed: removed.len(),
            members: drawn.len() as u32,
            keep: names(&data.groups, &keep),
        });
    }
    let is_uncovered = |&group: &u32| {
        let seen_by_remaining = saw.iter().zip(&remain).any(|(saw, remains)| *remains && saw[group as usize]);
        !removed.contains(&group) && !seen_by_remaining
    };
    let uncovered: Vec<u32> = (0..data.groups.len() as u32).filter(is_uncovered).collect();
    let weights = drawn.iter().map(|&number| training.weights(number)).collect::<Result<_>>()?;
    let size = [data.images.height(), data.images.width()];
    let networks = Networks::of_bank(workspace, training.architecture().clone(), weights, size)?;
    Ok(Remaining {
        ensemble: Ensemble::open(workspace, &networks)?,
        visible: Visible::of(workspace, &networks),
        weights: remain.iter().map(|remains| if *remains { 1.0 / count as f64 } else { 0.0 }).collect(),
        removed_names: names(&data.groups, &removed),
        uncovered: names(&data.groups, &uncovered),
        groups: data.groups.len(),
        removed,
    })
}

fn names(all: &Groups, groups: &[u32]) -> Vec<String> {
    let names = all.names();
    groups.iter().filter_map(|&group| names.get(group as usize).cloned()).collect()
}

/// The groups with these names and of these images, each once, rising.
fn removed_groups(
    (groups, kind): (&Groups, GroupBy),
    set: &PreparedSet,
    names: &[String],
    images: &[String],
) -> Result<Vec<u32>> {
    let mut removed = Vec::new();
    for name in names {
        let place = groups.names().iter().position(|group| *group == composed(name)).ok_or_else(|| {
            let bound = format!("groups are {} ({})", first_of(groups.names()), kind.in_words());
            RunError::NoSuch { what: GROUP.into(), value: format!("`{name}`"), bound }
        })?;
        removed.push(place as u32);
    }
    for image in &images.iter().flat_map(|list| set.names_in(list)).collect::<Vec<_>>() {
        let place = set.find(image).ok_or_else(|| {
            let bound = format!(
                "the run trains on {} of the source set; `data.json` lists their names and positions",
                counted(set.len(), "image")
            );
            RunError::NoSuch { what: "training image".into(), value: image.clone(), bound }
        })?;
        removed.push(groups.group_of()[place]);
    }
    removed.sort_unstable();
    removed.dedup();
    Ok(removed)
}
