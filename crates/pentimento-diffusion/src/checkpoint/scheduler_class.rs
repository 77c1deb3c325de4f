//! The scheduler classes of diffusers: what each says of the noise that its network was trained with.
//!
//! Most of them differ in how they sample and share one noise schedule, the betas of Ho et al. (2020). Others stand for another
//! process, in which a network sees another kind of noise or another kind of time.

use crate::sampler::SamplerKind;

/// What diffusers calls a sampler: its pipeline and its scheduler.
pub(super) const CLASSES: [(SamplerKind, &str, &str); 2] = [
    (SamplerKind::Ddpm, "DDPMPipeline", "DDPMScheduler"),
    (SamplerKind::Ddim, "DDIMPipeline", "DDIMScheduler"),
];

/// The same samplers for pipelines that compute several steps at once.
const PARALLEL: [(SamplerKind, &str); 2] =
    [(SamplerKind::Ddpm, "DDPMParallelScheduler"), (SamplerKind::Ddim, "DDIMParallelScheduler")];

/// Betas of a class whose file does not say them: first, last, and the schedule between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DefaultBetas {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) schedule: &'static str,
}

const OF_HO: DefaultBetas = DefaultBetas { start: 1e-4, end: 0.02, schedule: "linear" };
const OF_STABLE_DIFFUSION: DefaultBetas =
    DefaultBetas { start: 0.00085, end: 0.012, schedule: "scaled_linear" };
const LINEAR_OF_STABLE_DIFFUSION: DefaultBetas = DefaultBetas { schedule: "linear", ..OF_STABLE_DIFFUSION };
const COSINE: DefaultBetas = DefaultBetas { schedule: "squaredcos_cap_v2", ..OF_HO };

/// Schedulers with a noise schedule by betas that sample in a way of their own; defaults as of diffusers 0.42.
const OTHER_SAMPLERS: [(&str, DefaultBetas); 20] = [
    ("DDIMInverseScheduler", OF_HO),
    ("PNDMScheduler", OF_HO),
    ("LMSDiscreteScheduler", OF_HO),
    ("EulerDiscreteScheduler", OF_HO),
    ("EulerAncestralDiscreteScheduler", OF_HO),
    ("DPMSolverSinglestepScheduler", OF_HO),
    ("DPMSolverMultistepScheduler", OF_HO),
    ("DPMSolverMultistepInverseScheduler", OF_HO),
    ("DEISMultistepScheduler", OF_HO),
    ("UniPCMultistepScheduler", OF_HO),
    ("SASolverScheduler", OF_HO),
    ("RePaintScheduler", OF_HO),
    ("UnCLIPScheduler", COSINE),
    ("HeunDiscreteScheduler", LINEAR_OF_STABLE_DIFFUSION),
    ("KDPM2DiscreteScheduler", LINEAR_OF_STABLE_DIFFUSION),
    ("KDPM2AncestralDiscreteScheduler", LINEAR_OF_STABLE_DIFFUSION),
    ("DPMSolverSDEScheduler", LINEAR_OF_STABLE_DIFFUSION),
    ("LCMScheduler", OF_STABLE_DIFFUSION),
    ("TCDScheduler", OF_STABLE_DIFFUSION),
    // What DPMSolverMultistepScheduler was called at first.
    ("DPMSolverDiscreteScheduler", OF_HO),
];

/// Why flow matching is refused, wherever a file says so.
pub(super) const FLOW_MATCHING: &str = "flow matching: its network predicts a velocity from noise to image along a straight \
                                        line, which is another process than the noise schedules by betas that are supported";

/// Why networks of noise levels are refused.
pub(super) const NOISE_LEVELS: &str = "a process by noise levels (EDM, Karras et al. 2022; variance exploding, Song et al. 2021): \
                                       its network is told a noise level sigma and not a timestep, and noise is added to an \
                                       image that is not scaled down; supported are noise schedules by betas";

const CONTINUOUS_TIME: &str = "a process in continuous time: its network is told a time between 0 and 1 and not one of T \
                               timesteps; supported are noise schedules by betas";

const TOKENS: &str = "a process on tokens and not on pixels";

/// What a scheduler of diffusers is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SchedulerClass {
    /// Samples are made as it makes them.
    Sampler(SamplerKind),
    /// Its noise schedule is taken, and samples are made by DDIM.
    OtherSampler(DefaultBetas),
    /// Its network was trained for another process: which, and why that is none of ours.
    OtherProcess(&'static str),
}

impl SchedulerClass {
    /// The one that diffusers calls by this name; none if the name is not known.
    pub(super) fn named(name: &str) -> Option<Self> {
        // Those of JAX have the same keys.
        let name = name.strip_prefix("Flax").unwrap_or(name);
        let of_diffusers = CLASSES.into_iter().map(|(sampler, _, name)| (sampler, name));
        let sampler = of_diffusers.chain(PARALLEL).find(|(_, known)| *known == name);
        let other = || OTHER_SAMPLERS.into_iter().find(|(known, _)| *known == name);
        match (sampler, other()) {
            (Some((sampler, _)), _) => Some(Self::Sampler(sampler)),
            (None, Some((_, betas))) => Some(Self::OtherSampler(betas)),
            (None, None) => process_of(name).map(Self::OtherProcess),
        }
    }

    /// The betas of a file that does not say them.
    pub(super) fn default_betas(self) -> DefaultBetas {
        match self {
            Self::OtherSampler(betas) => betas,
            Self::Sampler(_) | Self::OtherProcess(_) => OF_HO,
        }
    }
}

fn process_of(name: &str) -> Option<&'static str> {
    let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if begins(&["FlowM", "Helios", "LTXEulerAncestralRF", "Piflow", "RectifiedFlow"]) {
        Some(FLOW_MATCHING)
    } else if begins(&["EDM", "KarrasVe", "ScoreSdeVe", "CosineDPMSolver", "CMStochasticIterative"]) {
        Some(NOISE_LEVELS)
    } else if begins(&["ScoreSdeVp", "IPNDM", "DDPMWuerstchen", "SCM"]) {
        Some(CONTINUOUS_TIME)
    } else if begins(&["VQDiffusion", "Amused", "DiscreteDDIM", "BlockRefinement", "EntropyBound"]) {
        Some(TOKENS)
    } else {
        None
    }
}
