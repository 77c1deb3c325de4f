//! The program: parses its arguments, runs one command, and turns its result into an exit code.

use clap::Parser as _;
use pentimento::arguments::Arguments;
use pentimento::error::{advice, exit_code, message};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match pentimento::commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit_code(&error);
            if code != ExitCode::SUCCESS {
                pentimento::progress::say(&format!("pentimento: {}", message(&error)));
                if let Some(advice) = advice(&error) {
                    pentimento::progress::say(&format!("what to do: {advice}"));
                }
            }
            code
        }
    }
}
