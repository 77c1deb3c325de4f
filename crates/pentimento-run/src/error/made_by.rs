//! What makes something that a run lacks.

use std::path::PathBuf;

/// What makes something that a run lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MadeBy {
    /// The training of the members.
    Training,
    /// The training of the networks of a bank.
    Bank,
    /// The encoding of pictures and captions, with which scoring begins.
    Encoding,
    /// The sampling.
    Sampling,
    /// The attribution of the samples.
    Attribution,
    /// All stages, with other values of these keys of the recipe, `key=value`.
    Settings(Vec<String>),
    /// The import of the checkpoint in this folder; absent if the recipe does not name it.
    Import(Option<PathBuf>),
    /// The scores of a query set by a method, each as a person writes it; absent: the usual one.
    Scores {
        /// The method.
        method: Option<String>,
        /// Who is asked about.
        query: Option<String>,
    },
}
