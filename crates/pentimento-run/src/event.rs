//! What a run tells while it works. Whoever opens a run hands it a [`Reporter`]; a program draws bars of it, a test counts.

use crate::forecast::{Forecast, MoreDraws};
use crate::piece::Piece;
use crate::words::{
    adapter_in_words, counted, first_of, human_duration, mebibytes, quoted, untrained_in_words,
};
use pentimento_data::{FetchEvent, OpenEvent};
use pentimento_diffusion::checkpoint::{AdapterForm, CheckpointInside};
use pentimento_diffusion::sampler::{SamplerKind, SamplingConfig};
use pentimento_diffusion::unet::AdapterModule;
use pentimento_diffusion::untrained::Untrained;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Something that happened. Its text is a plain sentence without colours.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A public set is being fetched.
    Fetch(FetchEvent<'a>),
    /// A public set is fetched for this time only, as there is no cache.
    FetchedForNow {
        /// Why there is none.
        reason: &'a str,
    },
    /// An image set is being opened.
    Open(OpenEvent<'a>),
    /// A line of the run's recipe is new: what depends on it is made again.
    RecipeSays(&'a str),
    /// A line of the run's recipe is gone.
    RecipeNoLongerSays(&'a str),
    /// How long a method will take, before it begins.
    Forecast(&'a Forecast),
    /// The scores of a method are not reliable enough yet, so it takes more draws.
    MoreDraws {
        /// The method.
        method: &'a str,
        /// Draws of each image so far.
        draws: usize,
        /// Which share of what tells training images apart is no noise of them.
        reliability: f64,
        /// Which share is wanted.
        wanted: f64,
        /// Draws with the next round.
        more: usize,
    },
    /// The networks of a bank are being trained.
    TrainingBank {
        /// Those that are missing.
        networks: usize,
        /// All of them.
        of: usize,
        /// Parameters of each.
        parameters: usize,
    },
    /// Methods were judged by a bank.
    Judged {
        /// What was measured of the queries.
        target: &'a str,
        /// How many methods.
        methods: usize,
    },
    /// Objects were removed, since they followed from another recipe than the run's.
    RemovedBeyondRecipe {
        /// Their names.
        objects: &'a [String],
    },
    /// A key of a checkpoint's configuration is passed over.
    UnknownKey {
        /// The file.
        file: &'a Path,
        /// The key.
        key: &'a str,
    },
    /// A folder holds training checkpoints beside the network that is opened.
    CheckpointsInside {
        /// The folder.
        folder: &'a Path,
        /// What is in it.
        checkpoints: &'a [CheckpointInside],
    },
    /// The configuration of a network does not lie beside its weights.
    ConfigFromElsewhere {
        /// The file.
        config: &'a Path,
    },
    /// The names of all tensors of a checkpoint begin with something that is none of diffusers'.
    PrefixTakenOff {
        /// What was taken off, such as `module.`.
        prefix: &'a str,
    },
    /// A checkpoint's scheduler samples in a way that is not supported; its noise schedule is.
    SampledByDdim {
        /// The scheduler's class.
        class: &'a str,
    },
    /// A scheduler has dynamic thresholding, and samples are clipped instead.
    ClippedInstead {
        /// Its largest value.
        sample_max_value: f64,
    },
    /// An autoencoder does not say how its latents are scaled.
    ScalingAssumed {
        /// Its configuration.
        config: &'a Path,
        /// What is taken.
        factor: f64,
    },
    /// A network looks as if it was never trained.
    Untrained {
        /// By which sign.
        sign: Untrained,
    },
    /// A checkpoint is being made a run.
    Importing {
        /// Numbers in its network.
        parameters: usize,
        /// Channels of its images, or of its latents.
        channels: usize,
        /// Height, width and channels of the pictures, if it works on latents.
        pictures: Option<[usize; 3]>,
        /// How the run makes samples.
        sampling: SamplingConfig,
    },
    /// A checkpoint was opened with an adapter.
    Adapter {
        /// How its file names tensors.
        form: AdapterForm,
        /// Its parts.
        modules: &'a [AdapterModule],
        /// Numbers in all of them.
        parameters: usize,
        /// How many layers of the text encoder have a part.
        of_text: usize,
    },
    /// The steps of DDIM are not those that diffusers takes at the same timesteps.
    UnevenSteps,
    /// The recipe's schedule is not that of the checkpoint's scheduler.
    AnotherSchedule,
    /// Finished members that another version of the numerics trained, which are kept.
    TrainedByOthers {
        /// The version of the numerics; 0 if it was not recorded.
        version: u32,
        /// This program's version.
        own: u32,
        /// Their folders in the run.
        members: &'a [String],
        /// The run.
        run: &'a Path,
    },
    /// Members are going to be trained.
    Training {
        /// How many.
        members: usize,
        /// Of how many.
        of: u32,
        /// Parameters of each.
        parameters: usize,
    },
    /// Both ways of using the cores were tried.
    TrainingTried {
        /// Milliseconds of a step with one member at a time.
        one_at_a_time_ms: f64,
        /// Members that were trained side by side.
        lanes: usize,
        /// Milliseconds of a step of each of these.
        side_by_side_ms: f64,
        /// Whether members are trained side by side.
        apart: bool,
    },
    /// An object that can be made again is damaged or half there, and is made again.
    MadeAgain(&'a str),
    /// The factors of a curvature are being decomposed.
    Decomposing,
    /// Not all queries fit into memory at once.
    QueriesInTurns {
        /// All of them.
        queries: usize,
        /// What their gradients would take.
        bytes: usize,
        /// How many are asked at a time.
        at_once: usize,
    },
    /// A method gives all training images the same score.
    FlatScores {
        /// The method.
        method: &'a str,
        /// What people call the query.
        query: &'a str,
    },
    /// Texts are longer than their encoder takes, so their ends are cut off.
    TextsCut {
        /// How many.
        texts: usize,
        /// Tokens that it takes, with those of start and end.
        tokens: usize,
        /// One of them.
        first: &'a str,
    },
    /// The page leaves out a likeness that would take minutes.
    PatchesLeftOut,
    /// A piece was made and stored.
    PieceMade(&'a Piece),
    /// Figures and page are being made.
    Reporting,
    /// A stage begins; what was done of it before is not made again.
    Began {
        /// The stage.
        stage: &'a str,
        /// Its units.
        total: u64,
        /// Those that were there already.
        done: u64,
    },
    /// A stage is so far.
    Progressed {
        /// The stage.
        stage: &'a str,
        /// Units that are done.
        done: u64,
        /// More about it.
        detail: &'a str,
    },
    /// A stage is finished.
    Ended {
        /// The stage.
        stage: &'a str,
        /// What it made.
        detail: &'a str,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(event) => event.fmt(formatter),
            Self::FetchedForNow { reason } => {
                write!(formatter, "the set is fetched for this time only, as there is no cache: {reason}")
            }
            Self::Open(event) => event.fmt(formatter),
            Self::RecipeSays(line) => {
                write!(formatter, "the run's recipe now says `{line}`: what depends on it is made again")
            }
            Self::TextsCut { texts, tokens, first } => write!(
                formatter,
                "note: the text encoder takes {tokens} tokens; {}, such as {}, {} longer, and what is behind does not count",
                counted(*texts, "text"),
                quoted(first),
                if *texts == 1 { "is" } else { "are" },
            ),
            Self::RecipeNoLongerSays(line) => write!(formatter, "the run's recipe no longer says `{line}`"),
            Self::Forecast(Forecast { method, work, seconds, memory, more }) => {
                let duration = |seconds: f64| {
                    human_duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
                };
                match work.is_empty() {
                    false => write!(formatter, "{method}: {work}: about {}", duration(*seconds)),
                    true => write!(formatter, "{method}: the first draws are there"),
                }?;
                if let Some(MoreDraws { draws, seconds }) = more {
                    let seconds = duration(*seconds);
                    write!(formatter, "; up to {draws} draws if scores need them: about {seconds} in all")?;
                }
                match memory {
                    Some(bytes) => write!(formatter, ", at most {} of memory", mebibytes(*bytes)),
                    None => Ok(()),
                }
            }
            Self::MoreDraws { method, draws, reliability, wanted, more } => write!(
                formatter,
                "{method}: with {draws} draws at least {:.0} % of what tells training images apart is no noise, {} % is wanted: \
                 going on to {more}",
                100.0 * reliability,
                // As it was given: 99.9 is not 100.
                (1e5 * wanted).round() / 1e3
            ),
            Self::TrainingBank { networks, of, parameters } => {
                write!(formatter, "training {networks} of {of} networks of {parameters} parameters")
            }
            Self::Judged { target, methods } => {
                write!(formatter, "judged {methods} methods by the {target} of the queries")
            }
            Self::RemovedBeyondRecipe { objects } => write!(
                formatter,
                "removed what followed from the recipe before: {}",
                first_of(objects)
            ),
            Self::UnknownKey { file, key } => {
                write!(formatter, "warning: {}: `{key}` is not known and is passed over", file.display())
            }
            Self::CheckpointsInside { folder, checkpoints } => {
                let names: Vec<String> = checkpoints.iter().map(CheckpointInside::to_string).collect();
                write!(formatter, "note: {} also holds {}", folder.display(), names.join(", "))
            }
            Self::ConfigFromElsewhere { config } => {
                write!(formatter, "note: the network is configured by {}", config.display())
            }
            Self::PrefixTakenOff { prefix } => write!(
                formatter,
                "note: the names of all tensors begin with `{prefix}`, which was taken off"
            ),
            Self::SampledByDdim { class } => write!(
                formatter,
                "note: of {class} the noise schedule is taken; samples are made by DDIM, so they differ from those of {class}"
            ),
            Self::ClippedInstead { sample_max_value } => write!(
                formatter,
                "note: the scheduler has dynamic thresholding up to {sample_max_value} (`sample_max_value`), which is not done \
                 here: samples are clipped to [-1, 1], so they differ from those of diffusers"
            ),
            Self::ScalingAssumed { config, factor } => write!(
                formatter,
                "note: {}: `scaling_factor` is absent, and {factor} is taken, as such autoencoders are older than the key; diffusers \
                 of today would take 0.18215",
                config.display()
            ),
            Self::Untrained { sign } => write!(formatter, "note: {}", untrained_in_words(*sign)),
            Self::Importing { parameters, channels, pictures, sampling } => {
                let what = if pictures.is_some() { "latents" } else { "images" };
                write!(formatter, "{parameters} parameters, {what} with ")?;
                match channels {
                    1 => formatter.write_str("one channel"),
                    several => write!(formatter, "{several} channels"),
                }?;
                if let Some([height, width, _]) = pictures {
                    write!(formatter, " of pictures of {height}x{width}")?;
                }
                let sampler = match sampling.sampler {
                    SamplerKind::Ddpm => "DDPM",
                    SamplerKind::Ddim => "DDIM",
                };
                write!(formatter, "; samples by {sampler} in {} steps", sampling.steps)
            }
            Self::Adapter { form, modules, parameters, of_text } => {
                formatter.write_str(&adapter_in_words(*form, modules, *parameters, *of_text))
            }
            Self::UnevenSteps => formatter.write_str(
                "warning: with `linspace`, diffusers' DDIM steps as if the timesteps that it visits were evenly spaced; here \
                 each step goes to the next one visited, so samples differ from those of diffusers",
            ),
            Self::AnotherSchedule => formatter.write_str(
                "note: `schedule` is not that of the checkpoint's scheduler, with which its network was trained",
            ),
            Self::TrainedByOthers { version, own, members, run } => {
                formatter.write_str("note: trained by ")?;
                match version {
                    0 => formatter.write_str("a program that did not record its numerics version"),
                    version => write!(formatter, "numerics version {version}"),
                }?;
                write!(
                    formatter,
                    ", kept as they are: {}. This program computes with version {own}; to train a member again, delete its \
                     folder in {}",
                    members.join(", "),
                    run.display()
                )
            }
            Self::Training { members, of, parameters } => {
                write!(formatter, "training {members} of {of} members, {parameters} parameters each")
            }
            Self::TrainingTried { one_at_a_time_ms, lanes, side_by_side_ms, apart } => write!(
                formatter,
                "one member at a time: {one_at_a_time_ms:.0} ms per step; {lanes} side by side: {side_by_side_ms:.0} ms per \
                 step and member; taking the {}",
                if *apart { "second" } else { "first" }
            ),
            Self::MadeAgain(object) => {
                write!(formatter, "warning: {object} is damaged or half there: it is made again")
            }
            Self::Decomposing => formatter.write_str("decomposing the factors"),
            Self::QueriesInTurns { queries, bytes, at_once } => write!(
                formatter,
                "the gradients of {queries} queries take {:.1} GiB: they are asked {at_once} at a time",
                *bytes as f64 / (1u64 << 30) as f64
            ),
            Self::FlatScores { method, query } => write!(
                formatter,
                "warning: `{method}` gives all training images one score for {query}: their order says nothing. Is a gradient \
                 zero, or the damping or the step out of all proportion?"
            ),
            Self::PatchesLeftOut => {
                formatter.write_str("note: the page has no nearest patches, which would take minutes")
            }
            Self::PieceMade(piece) => write!(formatter, "{piece} is made"),
            Self::Reporting => formatter.write_str("report: measuring and writing"),
            Self::Began { stage, total, done } => write!(formatter, "{stage}: {done} of {total} are there"),
            Self::Progressed { stage, done, detail } => write!(formatter, "{stage}: {done}, {detail}"),
            Self::Ended { stage, detail } => write!(formatter, "{stage}: {detail}"),
        }
    }
}

/// What is told of events; threads share it.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(&Event<'_>) + Send + Sync>);

impl Reporter {
    /// Hands every event to `tell`, which several threads may call at once.
    pub fn new(tell: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Something happened.
    pub fn tell(&self, event: Event<'_>) {
        (self.0)(&event);
    }

    /// A stage with `total` units begins, of which `done` were done before.
    pub fn begin(&self, stage: &str, total: u64, done: u64) -> Progress {
        self.tell(Event::Began { stage, total, done });
        Progress { reporter: self.clone(), stage: stage.to_owned() }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Reporter")
    }
}

/// A stage in progress; threads share it.
#[derive(Clone, Debug)]
pub struct Progress {
    reporter: Reporter,
    stage: String,
}

impl Progress {
    /// `done` units are done; `detail` says more.
    pub fn set(&self, done: u64, detail: &str) {
        self.reporter.tell(Event::Progressed { stage: &self.stage, done, detail });
    }

    /// All units are done; `detail` says what they came to.
    pub fn finish(&self, detail: &str) {
        self.reporter.tell(Event::Ended { stage: &self.stage, detail });
    }
}
