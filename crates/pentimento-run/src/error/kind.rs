//! What a failure means to whoever asked, from which exit codes follow.

use super::RunError;
use pentimento_attribution::curvature::CurvatureError;
use pentimento_attribution::ensemble::{CodeFileError, EnsembleError};
use pentimento_attribution::gradient::{FeatureError, KernelError};
use pentimento_data::{DataError, FetchError};
use pentimento_diffusion::DiffusionError;
use pentimento_evaluation::classifier::ClassifierError;
use pentimento_store::StoreError;
use std::error::Error;
use std::io::ErrorKind;

/// What a failure means to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// What was given is wrong; trying again will not help.
    Input,
    /// It cannot be done now: stopped, in use, no space, no answer. Trying again may help.
    NotNow,
    /// It was tried and failed.
    Failed,
}

impl RunError {
    /// What the failure means to whoever asked.
    pub fn kind(&self) -> FailureKind {
        use FailureKind::{Failed, Input, NotNow};
        let of_library: &(dyn Error + 'static) = match self {
            Self::Stopped | Self::RecipeBeingReplaced { .. } => return NotNow,
            Self::Io { source, .. } if source.kind() == ErrorKind::StorageFull => return NotNow,
            Self::Recipe { .. }
            | Self::RecipeValue { .. }
            | Self::ClassifierWithoutSet { .. }
            | Self::ColourLost { .. }
            | Self::Setting { .. }
            | Self::NoSuch { .. }
            | Self::QueriesWithoutClass { .. }
            | Self::QueriesWithoutPrompt { .. }
            | Self::NoRun { .. }
            | Self::NoRecipe { .. }
            | Self::InsideARun { .. }
            | Self::ImagesGone { .. }
            | Self::WouldReplace { .. }
            | Self::Missing { .. }
            | Self::NoScores { .. }
            | Self::SeveralMethods { .. }
            | Self::NoMember { .. }
            | Self::Occupied { .. }
            | Self::NoCodes { .. }
            | Self::NumpyFile { .. }
            | Self::NoTrainingImages
            | Self::NoClassifier { .. }
            | Self::OtherUse { .. }
            | Self::KindOfTable { .. }
            | Self::NoFolderOfSet { .. }
            | Self::NothingToCompare { .. }
            | Self::MembersWithoutImages { .. }
            | Self::Bank(_)
            | Self::Part(_)
            | Self::NotFinite { .. }
            | Self::NoMemberRemains { .. }
            | Self::UnfinishedByOtherNumerics { .. }
            | Self::Device { .. } => return Input,
            Self::Threads { .. }
            | Self::Inconsistent { .. }
            | Self::Damaged { .. }
            | Self::Io { .. }
            | Self::Encoding { .. }
            | Self::Json(_)
            | Self::Parquet(_) => return Failed,
            Self::Store(error) => error,
            Self::Diffusion(error) => error,
            // What they are given, as of networks.
            Self::Encoder(_) => return Input,
            Self::Data(error) => error,
            Self::Fetch(error) => error,
            Self::Array(error) => error,
            Self::Ensemble(error) => error,
            Self::CodeFile(error) => error,
            Self::Feature(error) => error,
            Self::Kernel(error) => error,
            Self::Row(error) => error,
            Self::Curvature(error) => error,
            Self::Likeness(error) => error,
            Self::Classifier(error) => error,
            Self::ClassAblation(error) => error,
            Self::Fidelity(error) => error,
            Self::Statistics(error) => error,
            Self::Report(error) => error,
        };
        FailureKind::of(of_library)
    }
}

impl FailureKind {
    /// What a failure of one of the libraries means; whatever is not known here has failed.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(error) = error.downcast_ref::<RunError>() {
            return error.kind();
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                StoreError::Locked { .. } | StoreError::DiskFull { .. } => Self::NotNow,
                StoreError::NotARun { .. } | StoreError::Format { .. } | StoreError::Manifest { .. } => {
                    Self::Input
                }
                _ => Self::Failed,
            };
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                DiffusionError::Diverged { .. } => Self::Failed,
                _ => Self::Input,
            };
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                // A recipe names a file that is not there, or whose compressed data are damaged.
                DataError::Io { source, .. } => match source.kind() {
                    ErrorKind::NotFound
                    | ErrorKind::IsADirectory
                    | ErrorKind::InvalidData
                    | ErrorKind::InvalidInput => Self::Input,
                    _ => Self::Failed,
                },
                DataError::OutOfMemory { .. } => Self::Failed,
                _ => Self::Input,
            };
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                FetchError::NothingAnswered { .. } => Self::NotNow,
                _ => Self::Failed,
            };
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                CodeFileError::Io { source, .. } if source.kind() != ErrorKind::NotFound => Self::Failed,
                _ => Self::Input,
            };
        }
        let is_input = error.is::<EnsembleError>()
            || error.is::<FeatureError>()
            || error.is::<KernelError>()
            || error.is::<CurvatureError>()
            || matches!(error.downcast_ref(), Some(ClassifierError::Config { .. }));
        if is_input { Self::Input } else { Self::Failed }
    }
}
