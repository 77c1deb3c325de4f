//! Makes one piece of a run in a folder of its own, as another machine would, and takes it over.
//!
//! `cargo run --release -p pentimento-run --example make_and_adopt RUN attribute/7 FOLDER`. `pentimento pieces RUN` lists the
//! pieces. The first half only reads the run, so it may run wherever the run can be read, while other machines make others.

use pentimento_run::drive::Adoption;
use pentimento_run::gradients::QuerySet;
use pentimento_run::piece::PieceName;
use pentimento_run::{RunOptions, Workspace, stages};
use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, piece, folder] = arguments.as_slice() else {
        return Err("three arguments: the run, the piece, the folder that it is made in".into());
    };
    let (run, folder) = (PathBuf::from(run), PathBuf::from(folder));
    let (piece, queries): (PieceName, _) = (piece.parse()?, QuerySet::Samples);
    let mut out = stdout().lock();

    let reader = Workspace::open_read_only(&run, RunOptions::default())?;
    let was_made = stages::make(&reader, &piece, &queries, Some(&folder))?;
    writeln!(out, "{piece}: {} {}", if was_made { "made in" } else { "was in" }, folder.display())?;

    let owner = Workspace::open(&run, RunOptions::default())?;
    for (piece, adoption) in stages::adopt(&owner, &folder, &queries)? {
        let what = match adoption {
            Adoption::Adopted => "taken over".into(),
            Adoption::WasThere => "was there".into(),
            Adoption::Foreign => "made from something else: left where it is".into(),
            Adoption::Unfinished => "not finished".into(),
            Adoption::Damaged(error) => error.to_string(),
            Adoption::TooEarly(error) => error.to_string(),
            Adoption::NotThere => continue,
        };
        writeln!(out, "{piece}: {what}")?;
    }
    Ok(())
}
