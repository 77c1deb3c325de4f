//! What can be wrong with a bank of networks, and with what is asked of one.

use crate::words::counted;
use std::path::PathBuf;

/// Why a bank, or a run beside one, cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// A network of a bank that was made before its recipe or its images became what they are.
    #[error(
        "{}: the {what} there was trained by another recipe, or on other images, than the bank has now",
        bank.display()
    )]
    OfOtherRecipe {
        /// The bank.
        bank: PathBuf,
        /// The network.
        what: String,
    },
    /// Networks of a bank that its recipe does not have any more would be removed.
    #[error(
        "{} holds {} that the recipe does not have, and that would be removed{}",
        bank.display(), counted(*networks, "trained network"),
        changes.as_ref().map_or(String::new(), |says| format!(" (the recipe now says {})", says.join(", ")))
    )]
    WouldRemove {
        /// The bank.
        bank: PathBuf,
        /// How many.
        networks: usize,
        /// What the recipe says now and did not say before; none if it is the same.
        changes: Option<Vec<String>>,
    },
    /// A question to an ensemble or an imported network that a bank cannot answer.
    #[error(
        "{run}: it is a bank of networks on known subsets, and has no stages of samples and no members with codes"
    )]
    IsBank {
        /// The run.
        run: String,
    },
    /// Something that only a bank has.
    #[error("{run}: it is no bank: its recipe has no section `bank`")]
    NotBank {
        /// The run or its recipe.
        run: String,
    },
    /// A bank that was trained on other images than a run's.
    #[error("{}: it was trained on other images than the run: {problem}", bank.display())]
    OtherImages {
        /// The folder of the bank.
        bank: PathBuf,
        /// What is missing where.
        problem: String,
    },
    /// A bank whose networks are of another kind than a run's network, so that the same picture at the same draw is another question.
    #[error("{}: its networks cannot be asked what the run's network is asked: {problem}", bank.display())]
    OtherQuestions {
        /// The folder of the bank.
        bank: PathBuf,
        /// What differs.
        problem: String,
    },
    /// An encoded ensemble, where a network of all images is to be trained again without some.
    #[error(
        "{}: it is an encoded ensemble, of which no network saw all images, so none can be trained again without some",
        ensemble.display()
    )]
    NothingToTrainAgain {
        /// The run of the ensemble.
        ensemble: PathBuf,
    },
    /// A run whose network is none of those that a bank trained on all images.
    #[error(
        "{}: its network is none of those that the bank {} trained on all images: {problem}",
        run.display(), bank.display()
    )]
    NotOfBank {
        /// The run.
        run: PathBuf,
        /// The bank.
        bank: PathBuf,
        /// Which network it is.
        problem: String,
    },
    /// A removal that leaves no image.
    #[error("removing {removed} of {} leaves none to train on", counted(*images, "training image"))]
    TooManyRemoved {
        /// How many were to be removed.
        removed: usize,
        /// How many there are.
        images: usize,
    },
    /// A run with fewer samples than are asked about.
    #[error(
        "{}: it makes {}, and {targets} targets and {controls} controls are asked for",
        run.display(), counted(*made, "sample")
    )]
    TooFewSamples {
        /// The run.
        run: PathBuf,
        /// How many samples its recipe makes.
        made: usize,
        /// Samples whose images are to be removed.
        targets: usize,
        /// Samples beside them.
        controls: usize,
    },
}
