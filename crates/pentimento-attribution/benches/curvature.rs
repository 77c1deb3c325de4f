//! How long the curvature of a network takes: `cargo bench -p pentimento-attribution --bench curvature -- [1.16M|35.7M]`.
//!
//! Per draw: what layers see (a forward and a backward pass), the factors, the squares for the eigenvalues. Once: the
//! decomposition, a product with the inverse. Prints medians over rounds as JSON, with the largest memory of the process.

#![expect(clippy::print_stdout, reason = "a bench prints its measurements")]

use pentimento_attribution::curvature::{
    Curvature, CurvatureError, CurvaturePart, CurvaturePass, DampingRule, EigenvalueSums, FactorSums,
    ImageRecords, QuantisedRows, WeightSharing, bases, curvature_draws,
};
use pentimento_attribution::gradient::side_by_side;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};
use pentimento_noise::{Purpose, Stream};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Draws of an image, as the recipe's default has them.
const DRAWS: usize = 12;
const QUERIES: usize = 192;

const NETWORKS: [(&str, &str, &[usize], usize); 2] = [
    ("1.16M", include_str!("../../../bench/unet_28.json"), &[], 7),
    ("35.7M", include_str!("../../../bench/unet_32.json"), &[128, 256, 256, 256], 1),
];

fn main() -> Result<()> {
    let which: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut all = serde_json::Map::new();
    for (name, config, widths, rounds) in NETWORKS {
        if which.is_empty() || which.iter().any(|asked| asked == name) {
            all.insert(name.into(), measure(&architecture(config, widths)?, rounds)?);
        }
    }
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(())
}

fn architecture(config: &str, widths: &[usize]) -> Result<Architecture> {
    let mut config: Value = serde_json::from_str(config)?;
    if !widths.is_empty() {
        for (key, plain) in [("down_block_types", "DownBlock2D"), ("up_block_types", "UpBlock2D")] {
            let blocks = config[key].as_array_mut().ok_or("blocks")?;
            while blocks.len() < widths.len() {
                blocks.push(plain.into());
            }
        }
        config["block_out_channels"] = widths.into();
    }
    Ok(Architecture::new(&UnetConfig::from_json(&config.to_string(), "bench")?.0)?)
}

fn measure(architecture: &Architecture, rounds: usize) -> Result<Value> {
    let schedule = ScheduleConfig::default();
    let side = architecture.config().sample_size.ok_or("no size")?.height;
    let length = side * side * architecture.config().in_channels;
    let mut values = Parameters::initial(architecture, 1, 0);
    // A fresh network has layers of zeros, behind which nothing has a gradient.
    for (place, values) in
        values.iter_mut().enumerate().filter(|(_, values)| values.iter().all(|&value| value == 0.0))
    {
        Stream::new(1, Purpose::Test, place as u32, 1).fill_normal(values);
        values.iter_mut().for_each(|value| *value *= 0.02);
    }
    let parameters = Parameters::from_memory(architecture, values);
    let pass = CurvaturePass::new(architecture, parameters, &schedule, [side, side]);
    let mut image = vec![0.0f32; length];
    Stream::new(1, Purpose::Test, 7, 0).fill_uniform(&mut image);
    let at_once = rayon::current_num_threads();
    let draws_at_once = DRAWS.min(pass.draws_at_once());
    let records = |round: usize| -> std::result::Result<Vec<ImageRecords>, CurvatureError> {
        side_by_side(at_once, |index| {
            let image_number = (round * at_once + index) as u32;
            let draws =
                curvature_draws(&schedule, 1, CurvaturePart::Factors, draws_at_once, image_number, length);
            pass.records(&image, None, &draws, "bench")
        })
    };
    let mut factors = FactorSums::new(architecture, WeightSharing::Expand);
    let (mut passes, mut added) = (Vec::new(), Vec::new());
    let per_draw = |begin: Instant| 1e3 * begin.elapsed().as_secs_f64() / (at_once * draws_at_once) as f64;
    for round in 0..=rounds {
        let begin = Instant::now();
        let records = records(round)?;
        passes.push(per_draw(begin));
        let begin = Instant::now();
        factors.add(&records)?;
        added.push(per_draw(begin));
    }
    let begin = Instant::now();
    let bases = bases(factors)?;
    let decomposition = begin.elapsed().as_secs_f64();
    let mut sums = EigenvalueSums::new(&bases, 1_000_000);
    let mut squares = Vec::new();
    for round in 0..=rounds {
        let records = records(round)?;
        let begin = Instant::now();
        sums.add(&bases, &records)?;
        squares.push(per_draw(begin));
    }
    let curvature = Curvature::corrected(bases, &sums)?;
    let dampings = DampingRule::Block.dampings(&curvature);
    let count = architecture.parameter_count();
    let mut gradient = vec![0.0f32; count];
    Stream::new(1, Purpose::Test, 8, 0).fill_normal(&mut gradient);
    let begin = Instant::now();
    let solved = curvature.solve(&gradient, &dampings)?;
    let solve = begin.elapsed().as_secs_f64();
    let queries = QUERIES.min((2usize << 30) / count);
    let mut rows = QuantisedRows::zeros(count, queries);
    for row in 0..queries {
        rows.set(row, &solved)?;
    }
    let images = (1usize << 26) / (4 * count).max(1);
    let gradients = gradient.repeat(4 * images.clamp(1, 64));
    let begin = Instant::now();
    rows.products(&gradients)?;
    let products = begin.elapsed().as_secs_f64() / images.clamp(1, 64) as f64;
    Ok(json!({
        "parameters": count,
        "draws_at_once": draws_at_once,
        "layers_see_ms_per_draw": median(passes),
        "factors_ms_per_draw": median(added),
        "eigenvalues_ms_per_draw": median(squares),
        "decomposition_s": decomposition,
        "product_with_the_inverse_s": solve,
        "products_of_an_image_in_4_groups_s": products,
        "queries_times_groups": queries,
        "largest_memory_gib": largest_memory_gib(),
    }))
}

/// Of all rounds but the first.
fn median(values: Vec<f64>) -> f64 {
    let mut values = values.get(1..).unwrap_or_default().to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What Linux says of this process; none elsewhere.
fn largest_memory_gib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / f64::from(1 << 20))
}
