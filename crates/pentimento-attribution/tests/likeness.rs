//! Scores without gradients: nearest patches against plain loops, and what must hold for any images.

use pentimento_attribution::likeness::*;
use pentimento_noise::{Purpose, Stream};

/// Images with values between -1 and 1.
fn images(first: u32, count: u32, length: usize) -> Vec<Vec<f32>> {
    let made = |id| {
        let mut values = vec![0.0; length];
        Stream::new(1, Purpose::Test, id, 0).fill_uniform(&mut values);
        values.into_iter().map(|value| 2.0 * value - 1.0).collect()
    };
    (first..first + count).map(made).collect()
}

fn noises(count: usize, length: usize) -> Vec<Vec<f32>> {
    (0..count as u32).map(|query| patch_noise(7, 300, query, length)).collect()
}

/// The value of an image at a place of a patch, or what stands for outside.
fn entry(image: &[f64], [height, width, channels]: [usize; 3], y: isize, x: isize, channel: usize) -> f64 {
    if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
        return 10.0;
    }
    image[(y as usize * width + x as usize) * channels + channel]
}

/// Squared distance of the patch around `(y, x)` of the noisy query and that around `(v, u)` of a scaled training image.
fn patch_distance(settings: &NearestPatches, query: &[f64], image: &[f64], [y, x, v, u]: [usize; 4]) -> f64 {
    let reach = (settings.side / 2) as isize;
    let mut distance = 0.0;
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            for channel in 0..settings.image[2] {
                let at = |image, y: usize, x: usize| {
                    entry(image, settings.image, y as isize + dy, x as isize + dx, channel)
                };
                distance += (at(query, y, x) - at(image, v, u)).powi(2);
            }
        }
    }
    distance
}

/// The definition, step by step.
fn naive(settings: &NearestPatches, query: &[f32], noise: &[f32], images: &[Vec<f32>]) -> Vec<f64> {
    let [height, width, _] = settings.image;
    let variance = 1.0 - settings.abar;
    let noisy: Vec<f64> = query
        .iter()
        .zip(noise)
        .map(|(&q, &e)| settings.abar.sqrt() * f64::from(q) + variance.sqrt() * f64::from(e))
        .collect();
    let scaled: Vec<Vec<f64>> = images
        .iter()
        .map(|image| image.iter().map(|&value| settings.abar.sqrt() * f64::from(value)).collect())
        .collect();
    let mut scores = vec![0.0; images.len()];
    for y in 0..height {
        for x in 0..width {
            let mut logits = Vec::new();
            for image in &scaled {
                for (v, u) in (0..height).flat_map(|v| (0..width).map(move |u| (v, u))) {
                    logits.push(-patch_distance(settings, &noisy, image, [y, x, v, u]) / (2.0 * variance));
                }
            }
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = logits.iter().map(|logit| libm::exp(logit - largest)).collect();
            let sum: f64 = weights.iter().sum();
            for (score, weights) in scores.iter_mut().zip(weights.chunks(height * width)) {
                let mut weights = weights.to_vec();
                weights.sort_by(|a, b| b.total_cmp(a));
                *score += weights.iter().take(settings.largest).sum::<f64>() / sum;
            }
        }
    }
    scores
}

/// A bound of the relative error of a weight, which is the error of its logit times two, as it is divided by a sum of
/// others. The product and the offset each take at most this many f32 roundings of values no larger than the sum of all
/// products' magnitudes, where pixels are at most `pixel` and noise at most `noise`.
fn weight_error(settings: &NearestPatches, pixel: f64, noise: f64) -> f64 {
    let entries = (settings.side * settings.side * settings.image[2]) as f64;
    let variance = 1.0 - settings.abar;
    let largest_noisy = pixel + noise * variance.sqrt();
    let magnitude = entries * largest_noisy * pixel / variance;
    // Entries are rounded themselves, and exponentials and sums of weights by some more units.
    2.0 * ((entries + 4.0) * magnitude + 100.0) * f64::from(f32::EPSILON) / 2.0
}

#[test]
fn nearest_patches_are_those_of_the_definition() {
    // Sides of 1 (no outline) to the whole image, k that cuts and k that does not, and more positions than a block has.
    for (image, side, largest, abar, count) in [
        ([6, 5, 1], 3, 4, 0.4, 5),
        ([5, 7, 3], 5, 6, 0.6, 4),
        ([7, 7, 3], 7, 100, 0.15, 3),
        ([4, 4, 2], 1, 1, 0.9, 3),
        ([18, 17, 1], 3, 100, 0.5, 2),
    ] {
        let settings = NearestPatches { image, abar, side, largest };
        let length = image.iter().product();
        let (queries, training) = (images(100, 2, length), images(0, count, length));
        let noises = noises(2, length);
        let scores = settings.scores(&queries, &noises, &training).unwrap();
        for ((query, noise), scores) in queries.iter().zip(&noises).zip(&scores) {
            let truth = naive(&settings, query, noise, &training);
            for (score, truth) in scores.iter().zip(&truth) {
                let error = (score - truth).abs();
                assert!(
                    error <= weight_error(&settings, 1.0, 4.5) * truth,
                    "{settings:?}: {score}, not {truth}"
                );
            }
        }
    }
}

/// Faint images, so that nothing but the values outside could be rounded by much.
#[test]
fn values_outside_do_not_drown_the_others() {
    let settings = NearestPatches { image: [7, 7, 3], abar: 0.97, side: 7, largest: 100 };
    let faint = |mut rows: Vec<Vec<f32>>| {
        rows.iter_mut().flatten().for_each(|value| *value *= 0.05);
        rows
    };
    let (queries, training) = (faint(images(100, 1, 147)), faint(images(0, 4, 147)));
    let noises = faint(noises(1, 147));
    let scores = settings.scores(&queries, &noises, &training).unwrap();
    let truth = naive(&settings, &queries[0], &noises[0], &training);
    let bound = weight_error(&settings, 0.05, 4.5 * 0.05);
    for (score, truth) in scores[0].iter().zip(&truth) {
        assert!((score - truth).abs() <= bound * truth, "{score}, not {truth}");
    }
}

/// Half an image is as its neighbour's other half, so many logits are equal, at the border too.
#[test]
fn equal_patches_count_as_often_as_they_occur() {
    let settings = NearestPatches { image: [8, 8, 1], abar: 0.4, side: 3, largest: 10 };
    let mut training = images(0, 3, 64);
    training[1][..40].fill(-1.0);
    training[2].fill(-1.0);
    let query = training[1].clone();
    let noise = patch_noise(7, 300, 3, 64);
    let truth = naive(&settings, &query, &noise, &training);
    let scores = settings.scores(&[query], &[noise], &training).unwrap();
    for (score, truth) in scores[0].iter().zip(&truth) {
        assert!((score - truth).abs() <= weight_error(&settings, 1.0, 4.5) * truth, "{score}, not {truth}");
    }
}

#[test]
fn scores_of_a_query_sum_to_its_positions() {
    let image = [9, 6, 3];
    let (length, positions) = (9 * 6 * 3, 54.0);
    let (queries, training) = (images(100, 3, length), images(0, 6, length));
    for largest in [1, 20, 53, 54, 1000] {
        let settings = NearestPatches { image, abar: 0.3, side: 5, largest };
        for scores in settings.scores(&queries, &noises(3, length), &training).unwrap() {
            let sum: f64 = scores.iter().sum();
            // Of f64 sums of some hundred terms.
            assert!(sum <= positions + 1e-10, "k = {largest}: {sum}");
            assert!(largest < 54 || sum >= positions - 1e-10, "k = {largest}: {sum}");
            assert!(largest > 1 || sum < positions - 1.0, "k = {largest}: {sum}");
            assert!(scores.iter().all(|&score| score > 0.0));
        }
    }
}

#[test]
fn an_image_is_nearest_to_itself() {
    let image = [10, 10, 1];
    let training = images(0, 8, 100);
    let settings = NearestPatches::new(image, 0.95);
    let scores = settings.scores(&training, &noises(8, 100), &training).unwrap();
    for (own, scores) in scores.iter().enumerate() {
        for (other, score) in scores.iter().enumerate() {
            assert!(other == own || *score < scores[own], "image {own} got {scores:?}");
        }
    }
}

#[test]
fn duplicates_share_what_one_image_would_get() {
    let settings = NearestPatches { image: [8, 8, 3], abar: 0.4, side: 5, largest: 100 };
    let (queries, noises) = (images(100, 1, 192), noises(1, 192));
    let single = images(0, 2, 192);
    let mut doubled = single.clone();
    doubled.push(single[0].clone());
    let [alone, shared] = [&single, &doubled].map(|set| settings.scores(&queries, &noises, set).unwrap());
    assert_eq!(shared[0][0].to_bits(), shared[0][2].to_bits());
    // With the image twice, its share of each position is 2 w / (2 w + v) instead of w / (w + v): not more than twice.
    assert!(shared[0][0] < alone[0][0] && 2.0 * shared[0][0] > alone[0][0]);
    let twice = vec![single[0].clone(); 2];
    let halves = settings.scores(&queries, &noises, &twice).unwrap();
    assert!((halves[0][0] - 32.0).abs() < 1e-10 && halves[0][0] == halves[0][1], "{halves:?}");
}

#[test]
fn scores_follow_their_images() {
    let settings = NearestPatches { image: [8, 8, 1], abar: 0.4, side: 5, largest: 7 };
    let (queries, noises, training) = (images(100, 2, 64), noises(2, 64), images(0, 9, 64));
    let scores = settings.scores(&queries, &noises, &training).unwrap();
    let order = Stream::new(5, Purpose::Test, 0, 1).permutation(9);
    let mixed: Vec<Vec<f32>> = order.iter().map(|&place| training[place as usize].clone()).collect();
    let of_mixed = settings.scores(&queries, &noises, &mixed).unwrap();
    for (scores, of_mixed) in scores.iter().zip(&of_mixed) {
        for (&place, score) in order.iter().zip(of_mixed) {
            // The sum over images has another order: roundings of f64.
            assert!((score / scores[place as usize] - 1.0).abs() < 1e-13);
        }
    }
}

fn bits(scores: &[Vec<f64>]) -> Vec<u64> {
    scores.iter().flatten().map(|score| score.to_bits()).collect()
}

#[test]
fn bytes_do_not_depend_on_threads_or_on_other_queries() {
    // More rows than a block of positions, so that products are cut.
    let settings = NearestPatches { image: [20, 20, 1], abar: 0.4, side: 7, largest: 30 };
    let (queries, noises, training) = (images(100, 3, 400), noises(3, 400), images(0, 11, 400));
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let patches = settings.scores(&queries, &noises, &training).unwrap();
            [patches, dot(&queries, &training).unwrap(), cosines(&queries, &training).unwrap()]
        })
    };
    let one = with_threads(1);
    for (one, two) in one.iter().zip(&with_threads(2)) {
        assert_eq!(bits(one), bits(two));
    }
    let second = settings.scores(&queries[1..2], &noises[1..2], &training).unwrap();
    assert_eq!(bits(&second), bits(&one[0][1..2]));
}

#[test]
fn noise_follows_from_its_address_alone() {
    assert_eq!(patch_noise(1, 300, 2, 10), patch_noise(1, 300, 2, 20)[..10]);
    for other in [patch_noise(2, 300, 2, 10), patch_noise(1, 299, 2, 10), patch_noise(1, 300, 3, 10)] {
        assert_ne!(patch_noise(1, 300, 2, 10), other);
    }
}

#[test]
fn dots_and_cosines_are_those_of_plain_loops() {
    let (queries, mut training) = (images(100, 3, 75), images(0, 4, 75));
    training[2].fill(0.0);
    let plain =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let (dots, all_cosines) = (dot(&queries, &training).unwrap(), cosines(&queries, &training).unwrap());
    for (query, (dots, cosines)) in queries.iter().zip(dots.iter().zip(&all_cosines)) {
        for (image, (dot, cosine)) in training.iter().zip(dots.iter().zip(cosines)) {
            // 75 roundings of sums below 75.
            assert!((dot - plain(query, image)).abs() < 1e-12);
            let lengths = (plain(query, query) * plain(image, image)).sqrt();
            let truth = if lengths == 0.0 { 0.0 } else { plain(query, image) / lengths };
            assert!((cosine - truth).abs() < 1e-13, "{cosine}, not {truth}");
        }
        assert_eq!(cosines[2], 0.0);
    }
    let own = cosines(&queries, &queries).unwrap();
    assert!((0..3).all(|row| (own[row][row] - 1.0).abs() < 1e-14));
}

#[test]
fn random_scores_belong_to_their_query_and_image() {
    let scores = random_scores(3, &[0, 5], &[0, 1, 2, 40]);
    let mut uniform = [0.0; 41];
    Stream::new(3, Purpose::RandomScore, 5, 0).fill_uniform_f64(&mut uniform);
    assert_eq!(scores[1], [uniform[0], uniform[1], uniform[2], uniform[40]]);
    assert_eq!(random_scores(3, &[5], &[40, 2]), [[uniform[40], uniform[2]]]);
    assert_ne!(scores[0], scores[1]);
    assert_ne!(scores, random_scores(4, &[0, 5], &[0, 1, 2, 40]));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let row = |length: usize| vec![vec![0.5f32; length]];
    for compare in [dot, cosines] {
        assert_eq!(compare(&[], &row(4)), Err(LikenessError::Empty { what: "queries" }));
        assert_eq!(compare(&row(4), &[]), Err(LikenessError::Empty { what: "images" }));
        let found = LikenessError::Length { what: "image", index: 0, found: 3, expected: 4 };
        assert_eq!(compare(&row(4), &row(3)), Err(found));
        let empty = LikenessError::Length { what: "query", index: 0, found: 0, expected: 0 };
        assert_eq!(compare(&row(0), &row(0)), Err(empty));
    }

    let good = NearestPatches { image: [4, 6, 1], abar: 0.4, side: 3, largest: 5 };
    let with = |settings: NearestPatches| settings.scores(&row(24), &row(24), &row(24));
    assert!(with(good).is_ok());
    for abar in [0.0, 1.0, -0.1, 1.1, f64::NAN] {
        assert!(matches!(with(NearestPatches { abar, ..good }), Err(LikenessError::Abar { .. })), "{abar}");
    }
    for side in [0, 2, 4, 5, usize::MAX] {
        let refused = LikenessError::PatchSide { side, most: 4 };
        assert_eq!(with(NearestPatches { side, ..good }), Err(refused));
    }
    assert_eq!(with(NearestPatches { largest: 0, ..good }), Err(LikenessError::NoWeights));
    for image in [[0, 6, 1], [4, 6, 0], [usize::MAX, 6, 1]] {
        let refused = with(NearestPatches { image, ..good });
        assert!(matches!(refused, Err(LikenessError::ImageShape { .. })), "{refused:?}");
    }
    // One row of values, but more positions than a product has columns.
    let image = [1, 20_000, 1];
    let wide = NearestPatches { image, side: 1, ..good }.scores(&row(20_000), &row(20_000), &row(20_000));
    assert!(matches!(wide, Err(LikenessError::Product(_))), "{wide:?}");

    assert_eq!(good.scores(&[], &[], &row(24)), Err(LikenessError::Empty { what: "queries" }));
    assert_eq!(good.scores(&row(24), &row(24), &[]), Err(LikenessError::Empty { what: "images" }));
    assert_eq!(good.scores(&row(24), &[], &row(24)), Err(LikenessError::Noises { noises: 0, queries: 1 }));
    for (what, rows) in [("query", [23, 24, 24]), ("noise", [24, 25, 24]), ("image", [24, 24, 0])] {
        let [query, noise, image] = rows.map(row);
        let found = rows.into_iter().find(|&length| length != 24).unwrap();
        let refused = LikenessError::Length { what, index: 0, found, expected: 24 };
        assert_eq!(good.scores(&query, &noise, &image), Err(refused));
    }
    for value in [f32::NAN, f32::INFINITY, -10.5] {
        let mut bad = row(24);
        bad[0][7] = value;
        let refused = good.scores(&row(24), &bad, &row(24));
        assert!(matches!(refused, Err(LikenessError::Value { what: "noise", index: 0, .. })), "{refused:?}");
    }
}
