//! Which training images do the pictures of a diffusion model rest on?
//!
//! `cargo run --release -p pentimento-run --example attribute_checkpoint CHECKPOINT IMAGES RUN` opens a checkpoint of
//! diffusers and the images that it was trained on, and keeps what it computes in the folder RUN: asked again, it reads it.

use pentimento_run::checkpoint::{Selection, import_checkpoint, open_checkpoint};
use pentimento_run::gradients::QuerySet;
use pentimento_run::score_tables::score_training_images;
use pentimento_run::{Event, Reporter, RunOptions};
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [checkpoint, images, run] = paths.as_slice() else {
        return Err("three arguments: the checkpoint, its training images, the folder of the run".into());
    };
    let options = RunOptions { reporter: bars(), ..RunOptions::default() };
    let checkpoint = open_checkpoint(checkpoint, &Selection::default(), &options.reporter)?;
    let settings = [format!("data.path={images:?}"), "samples.count=4".into()];
    let run = import_checkpoint(&checkpoint, Some(run), &settings, options)?;

    let table = score_training_images(&run, "d-trak", QuerySet::Samples)?;
    let mut out = stdout().lock();
    for (query, title) in table.titles.iter().enumerate() {
        writeln!(
            out,
            "{title}: training images with the largest scores by {}, and 95 % intervals",
            table.method.name
        )?;
        for found in table.first(query, 10) {
            write!(out, "{:>4}. image {:>6}  {:+.3e}", found.rank, found.image, found.score)?;
            match found.interval {
                Some([low, high]) => writeln!(out, "  [{low:+.3e}, {high:+.3e}]")?,
                None => writeln!(out)?,
            }
        }
    }
    Ok(())
}

/// Draws a bar of the stage that is under way, and a line for everything else that happens.
fn bars() -> Reporter {
    let total = AtomicU64::new(1);
    Reporter::new(move |event| {
        let text = match event {
            Event::Began { total: units, .. } => return total.store((*units).max(1), Relaxed),
            Event::Progressed { stage, done, .. } => {
                let filled = 30 * done / total.load(Relaxed);
                format!("\r{stage:<12} [{:<30}]", "#".repeat(filled as usize))
            }
            event => format!("\r{:<45}\n", event.to_string()),
        };
        // Nobody is told of a closed stderr.
        let _ = stderr().write_all(text.as_bytes());
    })
}
