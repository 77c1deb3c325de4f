//! The values have the distribution that their names promise.
//!
//! The seeds are fixed, so a test either always passes or never does; each bound is passed by a correct generator with
//! a probability of about 1 - 1e-6.

use pentimento_noise::{Purpose, Stream};

const COUNT: usize = 1_000_000;

/// The two-sided normal quantile of 1e-6.
const Z: f64 = 4.9;

/// The Kolmogorov-Smirnov statistic, times the root of the count, that is exceeded once in a million: sqrt(-ln(1e-6 / 2) / 2).
const KOLMOGOROV: f64 = 2.7;

fn test_stream(id: u32) -> Stream {
    Stream::new(20_261_122, Purpose::Test, id, 0)
}

/// The largest distance of the distribution functions, times the root of the count.
fn kolmogorov_smirnov(mut values: Vec<f64>, cumulative: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let mut largest = 0.0_f64;
    for (index, value) in values.iter().enumerate() {
        let expected = cumulative(*value);
        largest = largest.max((index as f64 + 1.0) / count - expected).max(expected - index as f64 / count);
    }
    largest * count.sqrt()
}

#[test]
fn normals_have_the_moments_of_a_standard_normal() {
    let mut normals = vec![0.0_f64; COUNT];
    test_stream(0).fill_normal_f64(&mut normals);
    let moment = |power: i32| normals.iter().map(|normal| normal.powi(power)).sum::<f64>() / COUNT as f64;
    // E x^p for p = 1..4 is 0, 1, 0, 3; the variance of x^p is E x^2p - (E x^p)^2 = 1, 2, 15, 96.
    for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0_f64)] {
        let bound = Z * (variance / COUNT as f64).sqrt();
        let found = moment(power);
        assert!((found - expected).abs() < bound, "moment {power}: {found}, not {expected} ± {bound}");
    }
}

#[test]
fn normals_follow_the_normal_distribution_function() {
    let mut normals = vec![0.0_f64; COUNT];
    test_stream(1).fill_normal_f64(&mut normals);
    let distance = kolmogorov_smirnov(normals, |x| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2));
    assert!(distance < KOLMOGOROV, "{distance}");
}

/// Neighbours within a block share words (sine and cosine of one angle), neighbouring blocks share a key.
#[test]
fn neighbouring_normals_are_uncorrelated() {
    let mut normals = vec![0.0_f64; COUNT];
    test_stream(2).fill_normal_f64(&mut normals);
    for lag in 1..=8 {
        let pairs = || normals.iter().zip(&normals[lag..]);
        let bound = Z / ((COUNT - lag) as f64).sqrt();
        let correlation = pairs().map(|(a, b)| a * b).sum::<f64>() / (COUNT - lag) as f64;
        assert!(correlation.abs() < bound, "lag {lag}: {correlation}");
        // The magnitudes too: (x^2 - 1)(y^2 - 1) has the variance 4.
        let magnitudes =
            pairs().map(|(a, b)| (a * a - 1.0) * (b * b - 1.0)).sum::<f64>() / (COUNT - lag) as f64;
        assert!(magnitudes.abs() < 2.0 * bound, "lag {lag}, squares: {magnitudes}");
    }
}

#[test]
fn streams_of_neighbouring_ids_and_steps_are_uncorrelated() {
    let count = 100_000;
    let fill = |id, step| {
        let mut normals = vec![0.0_f64; count];
        Stream::new(5, Purpose::Test, id, step).fill_normal_f64(&mut normals);
        normals
    };
    let base = fill(10, 10);
    for other in [fill(11, 10), fill(10, 11), fill(11, 11)] {
        let correlation = base.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>() / count as f64;
        assert!(correlation.abs() < Z / (count as f64).sqrt(), "{correlation}");
    }
}

#[test]
fn uniforms_are_uniform() {
    let mut uniforms = vec![0.0_f64; COUNT];
    test_stream(3).fill_uniform_f64(&mut uniforms);
    let distance = kolmogorov_smirnov(uniforms, |x| x);
    assert!(distance < KOLMOGOROV, "{distance}");
}

#[test]
fn bounded_integers_are_uniform() {
    const BOUND: usize = 7;
    let stream = test_stream(4);
    let mut counts = [0_u32; BOUND];
    for index in 0..COUNT {
        counts[stream.below(index as u64, BOUND as u64) as usize] += 1;
    }
    // Chi-square with 6 degrees of freedom; exceeded by 38.3 once in a million.
    assert!(chi_square(&counts) < 38.3, "{counts:?}");
}

/// Every order of five elements equally often, which a shuffle with a wrong bound misses.
#[test]
fn permutations_are_uniform() {
    let mut counts = vec![0_u32; 5_usize.pow(5)];
    for id in 0..120_000 {
        let order = Stream::new(9, Purpose::Test, id, 0).permutation(5);
        counts[order.iter().fold(0, |code, element| code * 5 + *element as usize)] += 1;
    }
    counts.retain(|count| *count > 0);
    assert_eq!(counts.len(), 120);
    // Chi-square with 119 degrees of freedom; exceeded by 208 once in a million.
    assert!(chi_square(&counts) < 208.0, "{}", chi_square(&counts));
}

fn chi_square(counts: &[u32]) -> f64 {
    let total: u32 = counts.iter().sum();
    let expected = f64::from(total) / counts.len() as f64;
    counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}
