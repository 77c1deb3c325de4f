//! The command line.

use crate::plan::size::{parse_bytes, parse_duration};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};
use pentimento_attribution::ensemble::CodeDistance;
use pentimento_attribution::methods::{Family, Method};
use pentimento_run::RunError;
use pentimento_run::gradients::QuerySet;
use pentimento_run::piece::PieceName;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// As many as the largest machines of today have. On 2 cores 512 threads start in 0.6 s, 1024 in 6 s, and 3000 in 12 s.
const MOST_THREADS: i64 = 1024;

/// Finds the training images that a generated image rests on, and proves it by making the image again without them.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Threads to compute with, at most 1024; all cores if not given. Changes no result.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    pub threads: Option<u16>,
    /// Images that pass through a network at once. Changes no result.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: Option<u16>,
    /// What networks compute on. Results have the same bytes on every CPU; on other devices they differ in the last digits.
    #[arg(long, global = true, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
    /// A folder with the files of the public set, instead of fetching them.
    #[arg(long, global = true, value_name = "DIR")]
    pub data_from: Option<PathBuf>,
    /// Make again what another recipe made in the run; without it, such a recipe is refused.
    #[arg(long, global = true)]
    pub replace: bool,
    /// Read every file of an image set to see if it is what it was; otherwise length, time stamps and inode tell.
    #[arg(long = "verify", global = true)]
    pub verify_files: bool,
    /// Seconds between checkpoints of a member in training. Changes no result.
    #[arg(long, global = true, hide = true, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub checkpoint_seconds: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// What networks compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// NVIDIA; needs a build with the feature `cuda`.
    Cuda,
    /// Apple; needs a build with the feature `metal`.
    Metal,
    /// AMD; needs a build with the feature `rocm`.
    Rocm,
    /// Vulkan; needs a build with the feature `vulkan`.
    Vulkan,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train, sample, attribute and report on MNIST digits, in some minutes.
    Quickstart(RunFolder),
    /// Everything that a recipe asks for, from the data to the report.
    Run(RecipeArguments),
    /// Open a diffusers checkpoint as a run: a pipeline, a flat folder or a training checkpoint.
    Import {
        /// The checkpoint.
        #[command(flatten)]
        checkpoint: CheckpointArguments,
        /// Folder of the run; `runs/NAME OF THE CHECKPOINT'S FOLDER` if not given.
        #[arg(long, value_name = "DIR")]
        run: Option<PathBuf>,
        /// Another value for a key of the run's recipe, such as `sampling.steps=50` or `data.set=mnist`.
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
        overrides: Vec<String>,
        /// Go on without damaged images, as `--set data.skip_damaged=true` does.
        #[arg(long)]
        skip_damaged: bool,
    },
    /// Write a network of a run as a pipeline that diffusers opens; an adapter as a folder of peft, or a file of diffusers.
    Export {
        /// The run.
        run: PathBuf,
        /// The folder to write, which does not exist yet or is empty; of an adapter also a file whose name ends with `.safetensors`.
        folder: PathBuf,
        /// Which member, if the run has several.
        #[arg(long, value_name = "INDEX")]
        member: Option<u32>,
    },
    /// Check a diffusers checkpoint, and images if given, and say in plain words what is wrong.
    Doctor {
        /// The checkpoint.
        #[command(flatten)]
        checkpoint: CheckpointArguments,
        /// A public set or the path of an image set, to see whether the network knows its images.
        #[arg(long, value_name = "SET|PATH")]
        data: Option<String>,
        /// Go on without damaged images.
        #[arg(long)]
        skip_damaged: bool,
    },
    /// Image sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// Print what a recipe's codes come to: members, images of each, bounds, cost.
    Codes(RecipeArguments),
    /// Forecast time, memory and disk of every stage of a recipe on this machine, before anything runs; of a run, time and memory
    /// of scores by any method.
    Plan {
        /// Recipe and run.
        #[command(flatten)]
        recipe: RecipeArguments,
        /// The most that the run may hold, such as `2GiB` or `500MB`; picks the largest `--batch` that stays within it.
        #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
        limit_memory: Option<u64>,
        /// Forecast scores by this method instead, of a run whose networks are there; several, separated by commas. Of an
        /// imported network the usual one is taken if none is named, as by `attribute`.
        #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "limit_memory")]
        method: Vec<AttributeMethod>,
        /// Who is asked about.
        #[command(flatten)]
        query: QueryArguments,
    },
    /// Train the members of a recipe; goes on where it was stopped.
    Train {
        /// Recipe and run.
        #[command(flatten)]
        recipe: RecipeArguments,
        /// Train only this member.
        #[arg(long, value_name = "INDEX")]
        member: Option<u32>,
    },
    /// Train a bank: networks on known subsets of the images, by which attributions are judged; goes on where it was stopped.
    Bank(RecipeArguments),
    /// Judge scores by a bank: do they predict what really happens to networks that are trained on other images?
    #[command(args_conflicts_with_subcommands = true)]
    Evaluate(EvaluateArguments),
    /// Train networks again without the images that a method puts first for a picture, and without others, and see what becomes
    /// of it; goes on where it was stopped.
    VerifyRemoval(VerifyRemovalArguments),
    /// Make the samples of a run.
    Sample(ExistingRun),
    /// Make the counterfactuals of a run's samples, exactly and by approximation, and search all training images; of an
    /// imported network, score all training images by its gradients.
    Attribute {
        /// The run.
        #[command(flatten)]
        run: ExistingRun,
        /// Write and print the distance or score of every training image by this method; several, separated by commas. If none
        /// is named, samples of an ensemble are attributed by its codes, and all else is asked by `influence-cg`, or by `d-trak` if more
        /// than about two million parameters are trained.
        #[arg(long, value_enum, value_delimiter = ',')]
        method: Vec<AttributeMethod>,
        /// A classifier of this project (`classifier.safetensors`), for `classifier-cosine`; the run's own if not given.
        #[arg(long, value_name = "FILE")]
        classifier: Option<PathBuf>,
        /// Who is asked about.
        #[command(flatten)]
        query: QueryArguments,
        /// Print so many of each sample's most influential groups or images.
        #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        top: u32,
        /// How long more draws may be taken.
        #[command(flatten)]
        time: TimeArguments,
    },
    /// Look at scores that `attribute` wrote, or write them as a table.
    Scores {
        /// The run.
        #[command(flatten)]
        run: ExistingRun,
        /// The method; if there are scores of several, `influence-cg` or else `d-trak` if none is named.
        #[arg(long, value_name = "METHOD")]
        method: Option<String>,
        /// Who is asked about.
        #[command(flatten)]
        query: QueryArguments,
        /// Only this query: the number of a sample, the name or position of an image. All if not given.
        #[arg(long = "of", value_name = "NAME")]
        of: Option<String>,
        /// Print so many training images of each query, those that helped most.
        #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        top: u32,
        /// Print those that helped least instead.
        #[arg(long)]
        bottom: bool,
        /// Write all scores into this new file instead of printing: `.csv`, `.parquet` or `.npy`.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["of", "bottom"])]
        export: Option<PathBuf>,
    },
    /// Search the codes of a run, or of a file of any size, for those that samples of the run rest on most.
    Search {
        /// The run.
        #[command(flatten)]
        run: ExistingRun,
        /// Id of a sample; give several to search for all of them in one pass.
        #[arg(long = "sample", value_name = "ID", required = true)]
        samples: Vec<u32>,
        /// A NumPy file of codes (one axis of |u1, <u2, <u4 or <u8) with the run's n and h; the run's own if not given.
        #[arg(long, value_name = "FILE")]
        codes: Option<PathBuf>,
        /// Print so many codes for each sample.
        #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        top: u32,
        /// By which approximation.
        #[arg(long, value_enum, default_value_t = ScoreMethod(CodeDistance::SecondOrder))]
        method: ScoreMethod,
    },
    /// Make one sample again without some of the training images.
    Ablate {
        /// The run.
        #[command(flatten)]
        run: ExistingRun,
        /// Id of the sample.
        #[arg(long)]
        sample: u32,
        /// Names of groups to leave out, separated by commas.
        #[arg(long, value_delimiter = ',', required_unless_present = "images")]
        groups: Vec<String>,
        /// Names of training images, or their positions in the source set, to leave out (with all that share their code),
        /// separated by commas.
        #[arg(long)]
        images: Vec<String>,
        /// How.
        #[arg(long, value_enum, default_value_t = AblationMethod::Exact)]
        method: AblationMethod,
    },
    /// Write the report of a run.
    Report {
        /// The run.
        #[command(flatten)]
        run: ExistingRun,
        /// Methods whose scores are shown beside each other, separated by commas. If none is named, the page of an ensemble's
        /// samples shows its counterfactuals alone, and any other the scores by the usual method, as `attribute`.
        #[arg(long, value_enum, value_delimiter = ',')]
        compare: Vec<AttributeMethod>,
        /// A classifier of this project, for `classifier-cosine`.
        #[arg(long, value_name = "FILE")]
        classifier: Option<PathBuf>,
        /// Who is asked about.
        #[command(flatten)]
        query: QueryArguments,
        /// How long more draws may be taken.
        #[command(flatten)]
        time: TimeArguments,
    },
    /// List the pieces that a run is made of, each with whether it is there.
    Pieces {
        /// A run, or a recipe whose run is begun.
        #[command(flatten)]
        recipe: RecipeArguments,
        /// List those of these methods too, separated by commas.
        #[arg(long, value_name = "METHOD", value_delimiter = ',', value_parser = table_method())]
        method: Vec<String>,
        /// Who is asked about.
        #[command(flatten)]
        query: QueryArguments,
    },
    /// Make one piece of a run, such as `attribute/7`.
    Make {
        /// The run.
        #[command(flatten)]
        run: ExistingRun,
        /// The piece, as `pieces` lists it.
        #[arg(value_name = "STAGE/NUMBER")]
        piece: PieceName,
        /// Put it into a run folder of its own, from which `adopt` takes it; the run itself is then only read.
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
        /// Who is asked about.
        #[command(flatten)]
        query: QueryArguments,
    },
    /// Take finished pieces over from the folders that `make --into` wrote.
    Adopt {
        /// The run.
        #[command(flatten)]
        run: ExistingRun,
        /// The folders.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// Who is asked about.
        #[command(flatten)]
        query: QueryArguments,
    },
    /// Measure this machine, in about a minute: kernels, training, sampling, Jacobian and search, and how much of the
    /// processor's and the memory's speed each reaches.
    Bench,
    /// Check every object of a run against its length and digest.
    Verify(ExistingRun),
}

/// Who is asked about.
#[derive(Args, Clone, Debug)]
pub struct QueryArguments {
    /// Who is asked about: `samples`, training images by their positions or names (`3,17`; `cat/002.png`), a folder or file of
    /// images, or `held-out:24`, so many images of the other split of the training images' set.
    #[arg(long, value_name = "QUERY", default_value = "samples")]
    query: QuerySet,
    /// The class of all images of a folder or file, for a network that was trained with classes; that of each in its set if
    /// not given.
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// The prompt of all images of a folder or file, for a network that was trained with texts; the caption of each in its set if
    /// not given.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
}

impl QueryArguments {
    /// The images.
    ///
    /// # Errors
    ///
    /// As [`QuerySet::told`].
    pub fn set(self) -> Result<QuerySet, RunError> {
        self.query.told(self.class, self.prompt)
    }
}

/// Which run, by folder.
#[derive(Debug, Args)]
pub struct RunFolder {
    /// Folder of the run; `runs/NAME` if not given.
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
}

/// A recipe and where its run is.
#[derive(Debug, Args)]
pub struct RecipeArguments {
    /// A recipe file.
    pub recipe: PathBuf,
    /// Folder of the run; `runs/NAME` if not given.
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Another value for a key of the recipe, such as `training.steps=100`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub overrides: Vec<String>,
    /// Take a key or a section out of the recipe, such as `classifier`.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Go on without damaged images, as `--set data.skip_damaged=true` does.
    #[arg(long)]
    pub skip_damaged: bool,
}

/// A diffusers checkpoint and what is to be taken from it.
#[derive(Debug, Args)]
pub struct CheckpointArguments {
    /// The checkpoint's folder.
    pub folder: PathBuf,
    /// Of a training checkpoint: the weights as trained, or their moving average.
    #[arg(long, value_enum)]
    pub network: Option<NetworkChoice>,
    /// Weights of a named variant, such as `fp16`.
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// The `config.json` of the network, if it lies in another place.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A `scheduler_config.json` in another place.
    #[arg(long, value_name = "FILE")]
    pub scheduler: Option<PathBuf>,
    /// A LoRA adapter of the network: then the adapter is what is attributed, and the network beneath it stands still.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub lora: Option<PathBuf>,
}

/// The networks of a training checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkChoice {
    /// The weights as trained.
    #[value(name = "unet")]
    Unet,
    /// Their moving average.
    #[value(name = "unet_ema")]
    UnetEma,
}

/// A run that exists.
#[derive(Debug, Args)]
pub struct ExistingRun {
    /// Folder of the run.
    pub run: PathBuf,
}

/// Commands about image sets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Fetch a public set into the cache and verify it.
    Fetch {
        /// `mnist`, `fashion-mnist` or `cifar10`.
        set: pentimento_data::PublicSet,
        /// A folder that has the files already.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Say what is in an image set: layout, sizes, classes, duplicates, images that look alike, damaged images.
    Inspect {
        /// A folder or a file: IDX, CIFAR-10, one or many PNG, JPEG, WebP, BMP, GIF or TIFF images, Parquet, WebDataset tar, npy
        /// or npz.
        path: PathBuf,
        /// Open the test half of a set that has halves.
        #[arg(long)]
        test: bool,
        /// Write a picture of the first images of every class.
        #[arg(long, value_name = "FILE.png")]
        contact_sheet: Option<PathBuf>,
        /// Print one JSON object instead.
        #[arg(long)]
        json: bool,
        /// Say which images a run would go on without.
        #[arg(long)]
        skip_damaged: bool,
    },
}

/// What is judged, and by what.
#[derive(Debug, Args)]
pub struct EvaluateArguments {
    /// What else than scores of a run by subsets.
    #[command(subcommand)]
    pub instead: Option<EvaluateCommand>,
    /// The run whose methods are judged.
    #[arg(value_name = "RUN", requires = "bank")]
    pub run: Option<PathBuf>,
    /// The bank, or the run of an encoded ensemble, trained on the same images.
    #[arg(long, value_name = "BANK")]
    pub bank: Option<PathBuf>,
    /// Only the networks of this seed of the bank: to see whether scores hold for a training with another seed.
    #[arg(long, value_name = "SEED", requires = "bank")]
    pub bank_seed: Option<usize>,
    /// The methods, separated by commas; if none is named, the usual ones.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub method: Vec<AttributeMethod>,
    /// A classifier of this project, for `classifier-cosine`; the run's own if not given.
    #[arg(long, value_name = "FILE")]
    pub classifier: Option<PathBuf>,
    /// Queries by which they are judged, as for `attribute`; may be given several times. Samples and as many held-out images if
    /// none is named.
    #[arg(long, value_name = "QUERY")]
    pub query: Vec<QuerySet>,
    /// Judge methods with a damping at multiples of it too, and say what the best of them would have given.
    #[arg(long, requires = "bank")]
    pub dampings: bool,
    /// Draws at which the loss of each query is measured on each network of the bank.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub draws: u32,
    /// How long more draws may be taken.
    #[command(flatten)]
    pub time: TimeArguments,
}

/// How long scores may be made more reliable.
#[derive(Args, Debug)]
pub struct TimeArguments {
    /// Take more draws for so long at the most, such as `90s`, `30m` or `2h`, all methods together; the first draws of each are
    /// always taken. What was begun is kept, and the same command goes on with it.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub time_allowed: Option<Duration>,
}

/// What else can be judged, or by what else.
#[derive(Debug, Subcommand)]
pub enum EvaluateCommand {
    /// Train networks again without the images that methods put first for many samples: do these samples change more than others,
    /// and more than without as many other images? Goes on where it was stopped.
    Removal(RemovalArguments),
    /// The linear datamodelling score of anybody's scores, from NumPy files.
    Lds {
        /// Scores `[queries, images]`, larger for images whose presence lowers the loss.
        #[arg(long, value_name = "FILE")]
        scores: PathBuf,
        /// Masks `[subsets, images]` of 0 and 1: whether the network of a subset was trained on an image.
        #[arg(long, value_name = "FILE")]
        masks: PathBuf,
        /// Losses of the queries on these networks, `[subsets, queries]` or `[seeds, subsets, queries]`.
        #[arg(long, value_name = "FILE")]
        outcomes: PathBuf,
    },
    /// Whether methods find training images of which it is known that a query rests on them, such as planted copies.
    Retrieval {
        /// The run whose methods are judged.
        #[arg(value_name = "RUN")]
        run: PathBuf,
        /// A CSV file with the header `query,training_image` and a line for each query, by the name that `attribute` prints, and each of
        /// its sources, by name or position.
        #[arg(long, value_name = "FILE")]
        sources: PathBuf,
        /// The queries, as for `attribute`.
        #[arg(long, value_name = "QUERY", default_value_t = QuerySet::Samples)]
        query: QuerySet,
        /// The methods, separated by commas; if none is named, the usual ones.
        #[arg(long, value_enum, value_delimiter = ',')]
        method: Vec<AttributeMethod>,
        /// A classifier of this project, for `classifier-cosine`; the run's own if not given.
        #[arg(long, value_name = "FILE")]
        classifier: Option<PathBuf>,
    },
}

/// A run whose network a bank trained on all images, so that it can be trained again without some of them.
#[derive(Debug, Args)]
pub struct RetrainedRun {
    /// The run of a network that the bank trained on all images, imported from its folder `networks/0000-0`.
    pub run: PathBuf,
    /// The bank.
    #[arg(long, value_name = "BANK")]
    pub bank: PathBuf,
    /// A classifier of this project: then the images whose features are most alike are removed too, to compare. The run's own if
    /// it has one.
    #[arg(long, value_name = "FILE")]
    pub classifier: Option<PathBuf>,
    /// Draws at which losses are measured on each network.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub draws: u32,
}

/// Which images are removed for one picture.
#[derive(Debug, Args)]
pub struct VerifyRemovalArguments {
    /// The run and its bank.
    #[command(flatten)]
    pub retrained: RetrainedRun,
    /// The method whose images are removed; the one whose scores the run has if it is the only one.
    #[arg(long, value_enum)]
    pub method: Option<AttributeMethod>,
    /// The picture: the number of a sample; with `--from` the name or position of an image.
    #[arg(long, value_name = "ID")]
    pub query: String,
    /// Whom the picture is among, as `--query` of `attribute` says it, such as `held-out:24`. Only samples can be made again.
    #[arg(long, value_name = "QUERY", default_value = "samples")]
    pub from: QuerySet,
    /// The class of all images of a folder or file, for a network that was trained with classes.
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// How many images are removed.
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
}

/// Which images are removed for many samples.
#[derive(Debug, Args)]
pub struct RemovalArguments {
    /// The run and its bank.
    #[command(flatten)]
    pub retrained: RetrainedRun,
    /// The methods whose images are removed, separated by commas; if none is named, the usual
    /// one, as by `attribute`.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub method: Vec<AttributeMethod>,
    /// How many samples, the first ones, have their images removed.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queries: u32,
    /// How many samples after them are looked at without.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub controls: u32,
    /// Remove as many images as the first K of each of these samples are together; a tenth of all images if not given.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
}

/// Accepts the methods whose scores are kept as tables.
fn table_method() -> PossibleValuesParser {
    PossibleValuesParser::new(Method::names_of_tables())
}

/// Methods that measure every code of an ensemble, by their names in the table of all methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreMethod(pub CodeDistance);

/// Methods of `pentimento attribute`: all of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeMethod(pub Method);

fn possible_value(method: Method) -> PossibleValue {
    PossibleValue::new(method.name).help(method.title)
}

impl clap::ValueEnum for ScoreMethod {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(CodeDistance::Jacobian), Self(CodeDistance::SecondOrder)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Method::ALL.into_iter().find(|method| method.family == Family::Codes(self.0)).map(possible_value)
    }
}

impl clap::ValueEnum for AttributeMethod {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<AttributeMethod>> =
            LazyLock::new(|| Method::ALL.map(AttributeMethod).to_vec());
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(possible_value(self.0))
    }
}

/// Ways to make a sample again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AblationMethod {
    /// By the members that saw none of what is removed.
    Exact,
    /// Along the full ensemble's trajectory, corrected by one surviving member.
    ControlVariate,
    /// The paper's Jacobian: to first order in the members' weights.
    Jacobian,
}

/// Accepts what has the form of an override; what it sets is checked with the recipe.
fn setting(text: &str) -> Result<String, String> {
    if text.contains('=') { Ok(text.to_owned()) } else { Err("write it as `section.key=value`".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a shell line without expansions: quotes keep a word together, and a comment ends the line.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
        for letter in line.chars() {
            match letter {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                '#' if word.is_none() => break,
                letter if letter.is_whitespace() && !quoted => words.extend(word.take()),
                letter => word.get_or_insert_default().push(letter),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_of_the_documents_is_one_of_this_program() {
        let mut commands = 0;
        for text in [
            include_str!("../../../README.md"),
            include_str!("../../../CONTRIBUTING.md"),
            include_str!("../../pentimento-run/ARCHITECTURE.md"),
            include_str!("../../../docs/benchmarks/opening.md"),
        ] {
            let text = text.replace("\\\n", " ");
            // Blocks of code are every second part.
            let code = text.split("```").skip(1).step_by(2).flat_map(str::lines).map(str::trim);
            for line in code.filter(|line| line.starts_with("pentimento ")) {
                let parsed = Arguments::try_parse_from(words(line));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                commands += 1;
            }
        }
        assert!(commands > 25, "{commands}");
    }
}
