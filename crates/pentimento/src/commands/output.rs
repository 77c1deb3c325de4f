//! Results, which go to the standard output.

use crate::error::ProgramError;
use crate::progress::harmless;
use std::io::Write as _;

/// One line of results to stdout, made [`harmless`].
pub(crate) fn print(line: &str) -> Result<(), ProgramError> {
    writeln!(std::io::stdout(), "{}", harmless(line)).map_err(|source| ProgramError::Output { source })
}
