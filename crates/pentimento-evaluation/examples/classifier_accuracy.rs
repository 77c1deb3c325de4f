//! Trains the classifier on the MNIST training split at 14x14 pixels with three seeds, and prints its accuracy on the
//! test split and the seconds that training took.
//!
//! `cargo run --release --package pentimento-evaluation --example classifier_accuracy`

use std::io::Write as _;
use std::time::Instant;

use pentimento_data::{
    FetchOptions, PreparedSet, Preprocessing, PublicSet, Resize, ResizeFilter, Split, default_cache_dir,
    fetch, prepare,
};
use pentimento_evaluation::classifier::{Classifier, ClassifierConfig};

fn main() -> anyhow::Result<()> {
    let fetched = fetch(PublicSet::Mnist, &FetchOptions::new(default_cache_dir()?), &mut |_| {})?;
    let resize = Some(Resize { height: 14, width: 14, filter: ResizeFilter::Box });
    let read = |split| -> anyhow::Result<PreparedSet> {
        Ok(prepare(&fetched.open(split)?, &Preprocessing { split, resize, ..Preprocessing::default() })?)
    };
    let (train, test) = (read(Split::Train)?, read(Split::Test)?);
    let test_images: Vec<f32> = (0..test.len()).flat_map(|index| test.scaled(index)).collect();
    let mut output = std::io::stdout();
    for seed in 0..3 {
        let config = ClassifierConfig { seed, ..ClassifierConfig::new(10, [14, 14, 1]) };
        let start = Instant::now();
        let images = |index: usize, image: &mut [f32]| train.scaled_into(index, image);
        let classifier = Classifier::train(config, &images, train.len(), train.labels(), |_| anyhow::Ok(()))?;
        let seconds = start.elapsed().as_secs_f64();
        let accuracy = classifier.accuracy(&test_images, test.labels())?;
        writeln!(output, "seed {seed}: {:.2} % of the test split, {seconds:.1} s", 100.0 * accuracy)?;
    }
    Ok(())
}
