//! What does a classifier see in the samples of a run?
//!
//! `cargo run --release -p pentimento-run --example see_samples RUN CLASSIFIER` prints for each sample its prompt, the class that the
//! classifier sees in it, and how sure it is. CLASSIFIER is the file of one of this project
//! (`runs/quickstart/classifier/classifier.safetensors`), for pictures of the size of the run's.

use pentimento_diffusion::arrays::ArrayReader;
use pentimento_evaluation::classifier::Classifier;
use pentimento_run::analyse::shard_count;
use pentimento_run::{RunOptions, Workspace};
use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [run, classifier] = paths.as_slice() else {
        return Err("two arguments: the run and the file of a classifier".into());
    };
    let workspace = Workspace::open_read_only(run, RunOptions::default())?;
    let classifier = Classifier::from_bytes(&std::fs::read(classifier)?)?;
    let samples = &workspace.recipe.samples;
    let mut out = stdout().lock();
    let mut sample = 0;
    for shard in 0..shard_count(samples.count) {
        let shard = format!("samples/shard-{shard:05}.safetensors");
        let pictures: Vec<f32> = ArrayReader::new(&workspace.run.get(&shard)?, &shard)?
            .f32("image")?
            .iter()
            .map(|value| value.clamp(-1.0, 1.0))
            .collect();
        for seen in classifier.predict(&pictures)? {
            let prompt = samples.prompt(sample).unwrap_or_default();
            writeln!(out, "{sample},{prompt},{},{:.3}", seen.class, seen.probability)?;
            sample += 1;
        }
    }
    Ok(())
}
