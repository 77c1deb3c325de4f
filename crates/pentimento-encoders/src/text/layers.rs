//! The layers of a text encoder that are no products of matrices. A prompt is encoded once, so these are plain loops, each
//! sum in one fixed order.

use super::config::Activation;
use rayon::prelude::*;

/// Layer normalisation (Ba et al. 2016) of rows as long as `scale`.
pub(super) fn layer_norm(input: &[f32], scale: &[f32], shift: &[f32], epsilon: f64) -> Vec<f32> {
    let width = scale.len();
    let mut output = vec![0.0; input.len()];
    output.par_chunks_exact_mut(width).zip(input.par_chunks_exact(width)).for_each(|(output, row)| {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
        let variance =
            row.iter().map(|&x| (f64::from(x) - mean) * (f64::from(x) - mean)).sum::<f64>() / width as f64;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for (((y, &x), scale), shift) in output.iter_mut().zip(row).zip(scale).zip(shift) {
            *y = ((f64::from(x) - mean) * inverse) as f32 * scale + shift;
        }
    });
    output
}

/// The activation of every value.
pub(super) fn activate(activation: Activation, input: &[f32]) -> Vec<f32> {
    /// The factor of `quick_gelu`.
    const SLOPE: f32 = 1.702;
    const VALUES_OF_A_TASK: usize = 4096;
    let mut output = vec![0.0; input.len()];
    let tasks = output.par_chunks_mut(VALUES_OF_A_TASK).zip(input.par_chunks(VALUES_OF_A_TASK));
    tasks.for_each(|(output, input)| match activation {
        Activation::QuickGelu => {
            // `silu(1.702 x) / 1.702`, as `silu(z)` is `z sigmoid(z)`.
            let scaled: Vec<f32> = input.iter().map(|x| x * SLOPE).collect();
            pentimento_kernels::silu(&scaled, output);
            for y in output {
                *y /= SLOPE;
            }
        }
        Activation::Gelu => {
            for (y, &x) in output.iter_mut().zip(input) {
                *y = 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
            }
        }
    });
    output
}

/// Attention in which a token sees itself and those before it. All arguments are `[prompts, tokens, width]`, and a head owns
/// `width / heads` consecutive channels.
pub(super) fn causal_attention(
    [queries, keys, values]: [&[f32]; 3],
    tokens: usize,
    width: usize,
    heads: usize,
) -> Vec<f32> {
    let channels = width / heads;
    let scale = (1.0 / (channels as f64).sqrt()) as f32;
    let mut output = vec![0.0; queries.len()];
    output.par_chunks_exact_mut(tokens * width).enumerate().for_each(|(prompt, output)| {
        let of_prompt = |all: &[f32], token: usize, head: usize| -> std::ops::Range<usize> {
            let first = (prompt * tokens + token) * width + head * channels;
            debug_assert!(first + channels <= all.len());
            first..first + channels
        };
        // Scores of a query are summed side by side over all keys, which lie in rows of one channel each.
        let (mut by_channel, mut weights) = (vec![0.0; channels * tokens], vec![0.0; tokens]);
        for head in 0..heads {
            for token in 0..tokens {
                for (channel, &key) in keys[of_prompt(keys, token, head)].iter().enumerate() {
                    by_channel[channel * tokens + token] = key;
                }
            }
            for token in 0..tokens {
                let weights = &mut weights[..=token];
                weights.fill(0.0);
                let query = &queries[of_prompt(queries, token, head)];
                for (&query, keys) in query.iter().zip(by_channel.chunks_exact(tokens)) {
                    for (weight, key) in weights.iter_mut().zip(keys) {
                        *weight += query * scale * key;
                    }
                }
                softmax(weights);
                let output = &mut output[token * width + head * channels..][..channels];
                for (seen, &weight) in weights.iter().enumerate() {
                    for (sum, value) in output.iter_mut().zip(&values[of_prompt(values, seen, head)]) {
                        *sum += weight * value;
                    }
                }
            }
        }
    });
    output
}

fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = libm::expf(*value - largest);
        sum += *value;
    }
    for value in row {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values without a pattern, from -2 to 2.
    fn values(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + salt * 104_729) % 4001) as f32 / 1000.0 - 2.0).collect()
    }

    #[test]
    fn activations_are_those_of_their_formulas() {
        let input: Vec<f32> = (-800..800).map(|step| step as f32 * 0.01).collect();
        let quick = |x: f64| x / (1.0 + libm::exp(-1.702 * x));
        let exact = |x: f64| x * 0.5 * (1.0 + libm::erf(x / 2f64.sqrt()));
        for (activation, truth) in
            [(Activation::QuickGelu, &quick as &dyn Fn(f64) -> f64), (Activation::Gelu, &exact)]
        {
            for (x, y) in input.iter().zip(activate(activation, &input)) {
                let error = (f64::from(y) - truth(f64::from(*x))).abs();
                assert!(error < 2e-6, "{activation:?} of {x} is {y}");
            }
        }
    }

    #[test]
    fn layer_norm_has_mean_shift_and_deviation_scale() {
        let (width, shift) = (40, 0.25);
        let input = values(3 * width, 1);
        let output = layer_norm(&input, &vec![3.0; width], &vec![shift; width], 1e-12);
        for row in output.chunks_exact(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
            assert!((mean - shift).abs() < 1e-5 && (variance - 9.0).abs() < 1e-4, "{mean} {variance}");
        }
        // A large epsilon is seen: the variance of -1 and 1 is 1, of which 3 more make 4.
        assert_eq!(layer_norm(&[-1.0, 1.0], &[1.0; 2], &[0.0; 2], 3.0), [-0.5, 0.5]);
    }

    #[test]
    fn attention_is_that_of_the_tokens_so_far() {
        let (prompts, tokens, width, heads) = (2, 5, 6, 3);
        let [q, k, v] = [1, 2, 3].map(|salt| values(prompts * tokens * width, salt));
        let output = causal_attention([&q, &k, &v], tokens, width, heads);
        let channels = width / heads;
        for (at, found) in output.iter().enumerate() {
            let (prompt, token, channel) = (at / (tokens * width), at / width % tokens, at % width);
            let head = channel / channels * channels;
            let place = |token: usize, channel: usize| (prompt * tokens + token) * width + channel;
            let weight = |seen: usize| {
                let product = (head..head + channels)
                    .map(|c| f64::from(q[place(token, c)]) * f64::from(k[place(seen, c)]))
                    .sum::<f64>();
                libm::exp(product / (channels as f64).sqrt())
            };
            let sum: f64 = (0..=token).map(weight).sum();
            let truth: f64 = (0..=token).map(|seen| weight(seen) * f64::from(v[place(seen, channel)])).sum();
            assert!((f64::from(*found) - truth / sum).abs() < 1e-5, "value {at}");
        }
    }
}
