//! Attention as plain loops.

use super::Real;
use crate::AttentionShape;

/// Softmax weights of one head of one image, `[queries][keys]`.
fn attention_weights<T: Real>(
    shape: &AttentionShape,
    queries: &[T],
    keys: &[T],
    image: usize,
    head: usize,
) -> Vec<T> {
    let of_query = places(shape, shape.queries, image, head);
    let of_key = places(shape, shape.keys, image, head);
    let depth = shape.channels / shape.heads;
    let scale = T::of(1.0 / (depth as f64).sqrt());
    let mut weights = Vec::with_capacity(shape.queries * shape.keys);
    for query in 0..shape.queries {
        let product = |key, c| queries[of_query(query, c)] * keys[of_key(key, c)];
        let scores: Vec<T> =
            (0..shape.keys).map(|key| scale * (0..depth).map(|c| product(key, c)).sum::<T>()).collect();
        let largest = scores.iter().copied().fold(scores[0], |a, b| if b > a { b } else { a });
        let powers: Vec<T> = scores.iter().map(|&score| T::of(libm::exp((score - largest).wide()))).collect();
        let sum: T = powers.iter().copied().sum();
        weights.extend(powers.into_iter().map(|power| power / sum));
    }
    weights
}

/// The place of each token and channel of one head, in what has so many tokens for each image.
fn places(
    shape: &AttentionShape,
    tokens: usize,
    image: usize,
    head: usize,
) -> impl Fn(usize, usize) -> usize + use<> {
    let (channels, first) = (shape.channels, head * (shape.channels / shape.heads));
    move |token, channel| (image * tokens + token) * channels + first + channel
}

/// `direction -> scale * weights * (direction - sum of weights * direction)`, row by row.
fn softmax_derivative<T: Real>(shape: &AttentionShape, weights: &[T], direction: &mut [T]) {
    let scale = T::of(1.0 / ((shape.channels / shape.heads) as f64).sqrt());
    for (row, weights) in direction.chunks_exact_mut(shape.keys).zip(weights.chunks_exact(shape.keys)) {
        let mean: T = row.iter().zip(weights).map(|(&d, &w)| d * w).sum();
        for (value, &weight) in row.iter_mut().zip(weights) {
            *value = scale * weight * (*value - mean);
        }
    }
}

/// See [`crate::attention`].
pub fn attention<T: Real>(shape: &AttentionShape, queries: &[T], keys: &[T], values: &[T]) -> Vec<T> {
    let mut output = vec![T::of(0.0); queries.len()];
    for image in 0..shape.images {
        for head in 0..shape.heads {
            let weights = attention_weights(shape, queries, keys, image, head);
            let of_query = places(shape, shape.queries, image, head);
            let of_key = places(shape, shape.keys, image, head);
            for query in 0..shape.queries {
                for channel in 0..shape.channels / shape.heads {
                    output[of_query(query, channel)] = (0..shape.keys)
                        .map(|key| weights[query * shape.keys + key] * values[of_key(key, channel)])
                        .sum();
                }
            }
        }
    }
    output
}

/// See [`crate::attention_backward`]; returns the gradients of queries, keys and values.
pub fn attention_backward<T: Real>(
    shape: &AttentionShape,
    queries: &[T],
    keys: &[T],
    values: &[T],
    output_gradient: &[T],
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let zero = |like: &[T]| vec![T::of(0.0); like.len()];
    let (mut dq, mut dk, mut dv) = (zero(queries), zero(keys), zero(values));
    for image in 0..shape.images {
        for head in 0..shape.heads {
            let of_query = places(shape, shape.queries, image, head);
            let of_key = places(shape, shape.keys, image, head);
            let channels = shape.channels / shape.heads;
            let weights = attention_weights(shape, queries, keys, image, head);
            let mut scores = vec![T::of(0.0); shape.queries * shape.keys];
            for query in 0..shape.queries {
                for key in 0..shape.keys {
                    for channel in 0..channels {
                        let upstream = output_gradient[of_query(query, channel)];
                        dv[of_key(key, channel)] += weights[query * shape.keys + key] * upstream;
                        scores[query * shape.keys + key] += upstream * values[of_key(key, channel)];
                    }
                }
            }
            softmax_derivative(shape, &weights, &mut scores);
            for query in 0..shape.queries {
                for key in 0..shape.keys {
                    let score = scores[query * shape.keys + key];
                    for channel in 0..channels {
                        dq[of_query(query, channel)] += score * keys[of_key(key, channel)];
                        dk[of_key(key, channel)] += score * queries[of_query(query, channel)];
                    }
                }
            }
        }
    }
    (dq, dk, dv)
}

/// See [`crate::attention_tangent`].
#[allow(clippy::too_many_arguments, reason = "three inputs and their tangents")]
pub fn attention_tangent<T: Real>(
    shape: &AttentionShape,
    queries: &[T],
    keys: &[T],
    values: &[T],
    query_tangent: &[T],
    key_tangent: &[T],
    value_tangent: &[T],
) -> Vec<T> {
    let mut output = vec![T::of(0.0); query_tangent.len()];
    if queries.is_empty() {
        return output;
    }
    let tangents = query_tangent.len() / queries.len();
    let channels = shape.channels / shape.heads;
    for image in 0..shape.images {
        for head in 0..shape.heads {
            let weights = attention_weights(shape, queries, keys, image, head);
            let of_query = places(shape, shape.queries, image, head);
            let of_key = places(shape, shape.keys, image, head);
            for number in 0..tangents {
                let moved_query = places(shape, shape.queries, image * tangents + number, head);
                let moved_key = places(shape, shape.keys, image * tangents + number, head);
                let mut scores = vec![T::of(0.0); shape.queries * shape.keys];
                for query in 0..shape.queries {
                    for key in 0..shape.keys {
                        scores[query * shape.keys + key] = (0..channels)
                            .map(|c| {
                                query_tangent[moved_query(query, c)] * keys[of_key(key, c)]
                                    + queries[of_query(query, c)] * key_tangent[moved_key(key, c)]
                            })
                            .sum();
                    }
                }
                softmax_derivative(shape, &weights, &mut scores);
                for query in 0..shape.queries {
                    for c in 0..channels {
                        output[moved_query(query, c)] = (0..shape.keys)
                            .map(|key| {
                                scores[query * shape.keys + key] * values[of_key(key, c)]
                                    + weights[query * shape.keys + key] * value_tangent[moved_key(key, c)]
                            })
                            .sum();
                    }
                }
            }
        }
    }
    output
}

/// See [`crate::attention_query_tangent`].
pub fn attention_query_tangent<T: Real>(
    shape: &AttentionShape,
    queries: &[T],
    keys: &[T],
    values: &[T],
    query_tangent: &[T],
) -> Vec<T> {
    let tangents = query_tangent.len().checked_div(queries.len()).unwrap_or(0);
    let zeros = vec![T::of(0.0); tangents * keys.len()];
    attention_tangent(shape, queries, keys, values, query_tangent, &zeros, &zeros)
}
