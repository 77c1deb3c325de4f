//! What a run can fail with. Every failure has a [`FailureKind`], from which exit codes follow. Messages say what is wrong;
//! how a person mends it with the commands of a program is for the program to add.

mod bank;
mod kind;
mod made_by;
mod part;
mod words;

pub use bank::BankError;
pub use kind::FailureKind;
pub use made_by::MadeBy;
pub use part::PartError;

use crate::words::{counted, first_of};
use parquet::errors::ParquetError;
use pentimento_attribution::curvature::CurvatureError;
use pentimento_attribution::ensemble::{CodeFileError, EnsembleError};
use pentimento_attribution::gradient::{FeatureError, KernelError, RowError};
use pentimento_attribution::likeness::LikenessError;
use pentimento_data::{DataError, FetchError};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::arrays::ArrayError;
use pentimento_diffusion::device::DeviceError;
use pentimento_encoders::EncoderError;
use pentimento_evaluation::class_ablation::ClassAblationError;
use pentimento_evaluation::classifier::ClassifierError;
use pentimento_evaluation::fidelity::FidelityError;
use pentimento_evaluation::statistics::StatisticsError;
use pentimento_report::ReportError;
use pentimento_store::StoreError;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use words::{list_of_states, scores_instead, what_is_other};

/// The result of whatever works on a run.
pub type Result<T, E = RunError> = std::result::Result<T, E>;

/// Why a run cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A recipe that cannot be read.
    #[error("{file}: {message}")]
    Recipe {
        /// The file, or the recipe's name.
        file: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A value, of a recipe's key or of another file, that breaks a bound.
    #[error("{file}: `{field}` is {value}: {bound}")]
    RecipeValue {
        /// The file, or the recipe's name.
        file: String,
        /// The key, with its sections: `training.steps`.
        field: String,
        /// What it holds.
        value: String,
        /// What would be accepted.
        bound: String,
    },
    /// A classifier, which trains on the training images of a public set, where there are other images.
    #[error("{file}: `classifier` is given: only with `data.set`, as it trains on the set's `train` split")]
    ClassifierWithoutSet {
        /// The file, or the recipe's name.
        file: String,
        /// What to take out of the recipe for other images: the classifier, and what else may be meant for a public set.
        keys: Vec<&'static str>,
    },
    /// Images have colour, and the network takes one channel.
    #[error("{whose}: {lost}; the network takes images with one channel")]
    ColourLost {
        /// Whose images: `recipe`, or a path.
        whose: String,
        /// Which of them.
        lost: String,
    },
    /// A setting that replaces no value of a recipe.
    #[error("setting `{setting}`: {problem}")]
    Setting {
        /// The setting as it was given.
        setting: String,
        /// What is wrong with it, and how it is written.
        problem: String,
    },
    /// The stop flag was set; what was finished is kept.
    #[error("stopped; what is finished is kept, and the same command goes on from there")]
    Stopped,
    /// A question about something that the run does not have.
    #[error("{what} {value} does not exist: {bound}")]
    NoSuch {
        /// What was asked for.
        what: String,
        /// The value given.
        value: String,
        /// What exists.
        bound: String,
    },
    /// A run folder without a recipe.
    #[error("{} has no recipe: it is a folder of pieces, or a run that was stopped before its recipe was written", run.display())]
    NoRecipe {
        /// The folder.
        run: PathBuf,
    },
    /// The recipe of a run is being replaced, and that is not finished.
    #[error("{}: its recipe is being replaced by another process, or was when that process was killed", run.display())]
    RecipeBeingReplaced {
        /// The folder.
        run: PathBuf,
    },
    /// Something was to be written into a run that is no object of it.
    #[error("{} lies in the run {}, which removes what is none of its objects", path.display(), run.display())]
    InsideARun {
        /// The place.
        path: PathBuf,
        /// The run.
        run: PathBuf,
    },
    /// Queries of which a network that was trained with classes has to be told the class, and none is known.
    #[error(
        "{}: the images are without classes, and the network was trained with classes: put them into folders called as those \
         of the training images, {}", path.display(), first_of(classes)
    )]
    QueriesWithoutClass {
        /// The images.
        path: PathBuf,
        /// The classes of the training images.
        classes: Vec<String>,
    },
    /// Queries of which a network that was trained with texts has to be told one, and none is known.
    #[error("{}: the images are without captions, and the network was trained with texts", path.display())]
    QueriesWithoutPrompt {
        /// The images.
        path: PathBuf,
    },
    /// A folder that is no run.
    #[error("{} {}", run.display(), if run.exists() { "is no run" } else { "does not exist" })]
    NoRun {
        /// The folder.
        run: PathBuf,
    },
    /// Work that another recipe made in a run would be made again.
    #[error(
        "{} holds {} of {}",
        run.display(), what.join(", "), what_is_other(changes.as_deref())
    )]
    WouldReplace {
        /// The run.
        run: PathBuf,
        /// What it holds: `3 trained members`.
        what: Vec<String>,
        /// What the recipe says now and did not say before; none if it is the same, and the images are others.
        changes: Option<Vec<String>>,
    },
    /// An earlier stage has not been run, or for another recipe.
    #[error("{what} is not there yet")]
    Missing {
        /// What is missing.
        what: String,
        /// The run.
        run: PathBuf,
        /// What makes it.
        made_by: MadeBy,
    },
    /// A set of queries without scores, or without those of a method.
    #[error("the table of scores{} is not there yet", scores_instead(methods, other_sets))]
    NoScores {
        /// The run.
        run: PathBuf,
        /// What makes them.
        made_by: MadeBy,
        /// Methods that scored this set.
        methods: Vec<String>,
        /// Other sets, as they were asked about, and the methods that scored them.
        other_sets: Vec<(String, Vec<String>)>,
    },
    /// Scores by several methods, of which none was named and none is the usual one.
    #[error("there are scores by several methods, and none was named: {}", methods.join(", "))]
    SeveralMethods {
        /// The methods.
        methods: Vec<String>,
    },
    /// A member that a run does not have, or several of which none was named.
    #[error("{}", match (member, members) {
        (_, 0) => "the run has no trained member yet".into(),
        (Some(member), 1) => format!("member {member} does not exist: the run has one, member 0"),
        (Some(member), members) => format!("member {member} does not exist: the run has {members}, 0 to {}", members - 1),
        (None, members) => format!("the run has {members} members, 0 to {}, and none was named", members - 1),
    })]
    NoMember {
        /// The member that was named.
        member: Option<u32>,
        /// How many the run has, from 0.
        members: usize,
        /// The run.
        run: PathBuf,
    },
    /// What is written anew holds something already.
    #[error(
        "{} exists already{}: nothing is written over it",
        path.display(),
        if path.is_dir() { " and is not empty" } else { "" }
    )]
    Occupied {
        /// The file or folder.
        path: PathBuf,
    },
    /// A question that only an ensemble trained with codes can answer.
    #[error("{run}: its network was imported, so there are no codes that say which image which member saw")]
    NoCodes {
        /// The run.
        run: String,
    },
    /// A file that is not the array it should be.
    #[error("{} {problem}", file.display())]
    NumpyFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Images that a recipe names by their path are not there.
    #[error("recipe: `{field}` is {}, where nothing exists", path.display())]
    ImagesGone {
        /// The key: `data.path`.
        field: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// Attribution needs training images, and the recipe names none.
    #[error("recipe: `data` is without a source: attribution needs the training images")]
    NoTrainingImages,
    /// A likeness by a classifier, without one.
    #[error("the run {} has no classifier", run.display())]
    NoClassifier {
        /// The run.
        run: PathBuf,
    },
    /// A method was asked for something that it does not do.
    #[error("`{method}` {problem}")]
    OtherUse {
        /// The method.
        method: String,
        /// What it does not do, and what it does.
        problem: String,
    },
    /// A table was to be written in a form that is none of its forms.
    #[error("{}: tables are written as .csv, .parquet or .npy, which the name has to say", file.display())]
    KindOfTable {
        /// The file that was named.
        file: PathBuf,
    },
    /// The folder with the files of a public set is none.
    #[error(
        "{} {}: it should be a folder with the files of the set",
        folder.display(),
        if folder.exists() { "is no folder" } else { "does not exist" }
    )]
    NoFolderOfSet {
        /// The path that was named.
        folder: PathBuf,
    },
    /// Training images that nothing tells apart.
    #[error(
        "{}: there is nothing to compare, so no sample can be said to rest on one image more than on another",
        match images {
            1 => "there is only one training image".into(),
            images => format!("all {images} training images are the same"),
        }
    )]
    NothingToCompare {
        /// How many there are.
        images: usize,
    },
    /// Codes by which members would train on nothing.
    #[error(
        "the codes of {groups} groups leave {} of {of} without images to train on ({} {})",
        counted(members.len(), "member"),
        if members.len() == 1 { "member" } else { "members" },
        first_of(&members.iter().map(u32::to_string).collect::<Vec<_>>())
    )]
    MembersWithoutImages {
        /// Their numbers.
        members: Vec<u32>,
        /// How many members there are.
        of: u32,
        /// How many groups of images there are.
        groups: usize,
    },
    /// A sample that is no image.
    #[error(
        "sample {sample} is infinite or not a number: the network's weights are damaged, or it was trained with another noise \
         schedule"
    )]
    NotFinite {
        /// Its id.
        sample: u32,
    },
    /// A device that this build or machine cannot use.
    #[error("device: {problem}")]
    Device {
        /// What is missing.
        problem: DeviceError,
    },
    /// The pool of threads cannot be made.
    #[error("cannot set the number of threads: {problem}")]
    Threads {
        /// Why.
        problem: String,
    },
    /// Members in training whose steps so far another version of the program computed.
    #[error(
        "{} begun by another version of the numerics than this program's, {own}: {}; finish the training with the program \
         that began it, or delete the files to train these members from the start",
        if states.len() == 1 { "an unfinished training was" } else { "unfinished trainings were" },
        list_of_states(states)
    )]
    UnfinishedByOtherNumerics {
        /// The files of the trainings, each with its version: 0 if it did not record one.
        states: Vec<(PathBuf, u32)>,
        /// This program's version.
        own: u32,
    },
    /// Every member saw one of the groups that are to be removed.
    #[error(
        "removing {removed} groups leaves none of the {members} members; leave {} in (group {}) and a member remains",
        keep.len(),
        keep.join(", ")
    )]
    NoMemberRemains {
        /// How many different groups were to be removed.
        removed: usize,
        /// The number of members.
        members: u32,
        /// Names of the fewest groups that have to stay in.
        keep: Vec<String>,
    },
    /// Something in the run contradicts something else in it.
    #[error("{object}: {problem}")]
    Inconsistent {
        /// The object.
        object: String,
        /// What is wrong.
        problem: String,
    },
    /// An object that cannot be read as what its name says.
    #[error("{object} is damaged")]
    Damaged {
        /// The object.
        object: String,
        /// What its reader says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The system refuses a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A value that cannot be written in the form of its object.
    #[error("cannot write {what}")]
    Encoding {
        /// What was to be written.
        what: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Banks, and what they are asked for.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// Parts of an imported pipeline.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The run folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Networks, schedules, samplers and checkpoints.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// Autoencoders, text encoders and tokenizers.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Image sets.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A public set that cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Named arrays.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// Codes and ensembles.
    #[error(transparent)]
    Ensemble(#[from] EnsembleError),
    /// Files of codes.
    #[error(transparent)]
    CodeFile(#[from] CodeFileError),
    /// Gradients of images.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// Kernels of features.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Files of features.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The curvature.
    #[error(transparent)]
    Curvature(#[from] CurvatureError),
    /// Likeness without gradients.
    #[error(transparent)]
    Likeness(#[from] LikenessError),
    /// The classifier.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The class experiment.
    #[error(transparent)]
    ClassAblation(#[from] ClassAblationError),
    /// Fidelity of approximations.
    #[error(transparent)]
    Fidelity(#[from] FidelityError),
    /// Statistics.
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
    /// The page.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A value without a form in JSON, or JSON of another form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A table in Parquet.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
}

impl RunError {
    /// A failed operation on a file, for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// An object that cannot be read, for `map_err`.
    pub fn damaged<E: Into<Box<dyn Error + Send + Sync>>>(object: &str) -> impl FnOnce(E) -> Self {
        let object = object.to_owned();
        move |source| Self::Damaged { object, source: source.into() }
    }

    /// A value that cannot be written, for `map_err`.
    pub fn encoding<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Encoding { what, source: source.into() }
    }
}
