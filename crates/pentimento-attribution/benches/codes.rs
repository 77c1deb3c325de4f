//! How fast codes are drawn and searched: `cargo bench -p pentimento-attribution --bench codes`.

#![expect(clippy::print_stdout, reason = "a bench prints its measurements")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use pentimento_attribution::ensemble::{CodeBook, QuadraticForm};
use pentimento_noise::{Purpose, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    for (members, groups) in [(24, 200_000), (32, 200_000), (64, 200_000), (24, 2_700_000)] {
        let seconds = fastest(|| black_box(CodeBook::draw(members, members / 2, groups, 1)).map(drop))?;
        println!("draw {groups} codes of n = {members}: {:.1} ms", 1e3 * seconds);
    }
    let threads = rayon::current_num_threads();
    for (members, groups) in [(16, 12_870), (20, 184_756), (24, 2_700_000), (64, 2_700_000)] {
        let book = CodeBook::draw(members, members / 2, groups, 1)?;
        let linear = QuadraticForm::linear(&book, &random_gram(members as usize))?;
        let second_order = QuadraticForm::second_order(&book, &random_gram(2 * members as usize))?;
        for (order, form) in [("linear", linear), ("second order", second_order)] {
            // Small books are searched again and again, so that the measurement takes long enough.
            let repeats = 2_700_000 / groups;
            let seconds = fastest(|| {
                (0..repeats).try_for_each(|_| black_box(form.most_influential(&book, 100)).map(drop))
            })?;
            let millions = f64::from(repeats * groups) / 1e6;
            println!(
                "search n = {members}, {order}: {:.1} million codes/s, {threads} threads",
                millions / seconds
            );
        }
    }
    Ok(())
}

/// The shortest of five runs, in seconds.
fn fastest<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut shortest = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        run()?;
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    Ok(shortest)
}

/// The Gram matrix of `order` images of 100 normally distributed pixels.
fn random_gram(order: usize) -> Vec<f64> {
    let columns = (0..order).map(|column| {
        let mut image = [0.0; 100];
        Stream::new(2, Purpose::Test, column as u32, 0).fill_normal_f64(&mut image);
        image
    });
    let columns: Vec<_> = columns.collect();
    let dot = |left: &[f64; 100], right: &[f64; 100]| left.iter().zip(right).map(|(l, r)| l * r).sum::<f64>();
    columns.iter().flat_map(|left| columns.iter().map(move |right| dot(left, right))).collect()
}
