//! What the program itself can fail with, and the exit code for every failure.

use pentimento_data::{DataError, FetchError};
use pentimento_diffusion::DiffusionError;
use pentimento_store::StoreError;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Failures that belong to no library.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A recipe that cannot be read or does not hold together.
    #[error("{file}: {message}")]
    Recipe {
        /// The file, or the recipe's name.
        file: String,
        /// What is wrong, with the key and the bound.
        message: String,
    },
    /// Ctrl-C or SIGTERM; what was finished is kept.
    #[error("stopped; what is finished is kept, and the same command goes on from there")]
    Stopped,
    /// Ctrl-C or SIGTERM while the machine was measured.
    #[error("stopped before everything was measured; nothing is kept")]
    MeasuringStopped,
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
    /// The results have nowhere to go.
    #[error("cannot write to the standard output: {source}")]
    Output {
        /// The system's answer.
        source: std::io::Error,
    },
    /// An earlier stage has not been run, or for another recipe.
    #[error("{what} is not there yet: run `{command}` first")]
    NotYet {
        /// What is missing.
        what: String,
        /// The command that makes it.
        command: String,
    },
    /// Something in the run contradicts something else in it.
    #[error("{object}: {problem}")]
    Inconsistent {
        /// The object.
        object: String,
        /// What is wrong.
        problem: String,
    },
}

/// The exit code of a failure: 1 failed, 42 wrong input, 75 try again (clap itself ends with 2 on wrong usage).
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<ProgramError>() {
            return ExitCode::from(match error {
                ProgramError::Recipe { .. } | ProgramError::NoSuch { .. } | ProgramError::NotYet { .. } => 42,
                ProgramError::Stopped | ProgramError::MeasuringStopped => 75,
                ProgramError::Inconsistent { .. } => 1,
                // The reader has what it wanted, as in `pentimento codes RECIPE | head -3`.
                ProgramError::Output { source } if source.kind() == ErrorKind::BrokenPipe => 0,
                ProgramError::Output { .. } => 1,
            });
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return ExitCode::from(match error {
                StoreError::Locked { .. } | StoreError::DiskFull { .. } => 75,
                StoreError::NotARun { .. } | StoreError::Format { .. } | StoreError::Manifest { .. } => 42,
                _ => 1,
            });
        }
        if let Some(error) = cause.downcast_ref::<DiffusionError>() {
            return ExitCode::from(if matches!(error, DiffusionError::Diverged { .. }) { 1 } else { 42 });
        }
        if let Some(error) = cause.downcast_ref::<DataError>() {
            return ExitCode::from(match error {
                // A recipe names a file that is not there, or whose compressed data are damaged.
                DataError::Io { source, .. } => match source.kind() {
                    ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::InvalidInput => 42,
                    _ => 1,
                },
                DataError::OutOfMemory { .. } => 1,
                _ => 42,
            });
        }
        if let Some(error) = cause.downcast_ref::<FetchError>() {
            return ExitCode::from(if matches!(error, FetchError::NothingAnswered { .. }) { 75 } else { 1 });
        }
        if cause.downcast_ref::<pentimento_attribution::ensemble::EnsembleError>().is_some() {
            return ExitCode::from(42);
        }
    }
    ExitCode::FAILURE
}
