//! The approximate displacement of an image when the weights of the ensemble change, as a linear combination of few
//! known images.
//!
//! Let y0 be the image of the whole ensemble of n members, and u the weights of a counterfactual
//! ([`CodeBook::weights_without`](super::CodeBook::weights_without)).
//!
//! - **Linear** (Dai and Gifford, 2023, section 2.3): v = J d with d = u - 1/n, where column j of J is ∂y/∂w_j at w = 1/n.
//! - **Second order, diagonal**: v = J d + Σ_j c_j² s_j with c_j = -(n - 1) d_j and s_j = D_j - J d_j. D_j is the
//!   displacement when member j alone is dropped (by control variate, in the program), and d_j = -(e_j - 1/n) / (n - 1) the change of the weights that makes;
//!   Σ_j c_j d_j = d. As c_j² does not change its sign with d, this tells a code from its complement, which the
//!   linear displacement cannot when n = 2h.
//!
//! The coefficients here are those of the columns of J and of `[J | S]`.

use super::error::EnsembleError;

/// d = u - 1/n, the coefficients of the n columns of J, for the weights u (shape `[n]`).
#[must_use]
pub fn linear_coefficients(weights: &[f64]) -> Vec<f64> {
    let mean = 1.0 / weights.len() as f64;
    weights.iter().map(|weight| weight - mean).collect()
}

/// (d, c²), the coefficients of the 2n columns of `[J | S]`, for the weights u (shape `[n]`).
#[must_use]
pub fn second_order_coefficients(weights: &[f64]) -> Vec<f64> {
    let mut coefficients = linear_coefficients(weights);
    let others = weights.len() as f64 - 1.0;
    coefficients.extend_from_within(..);
    for coefficient in coefficients.iter_mut().skip(weights.len()) {
        *coefficient = (others * *coefficient).powi(2);
    }
    coefficients
}

/// The Euclidean length of Σ_j x_j a_j for coefficients x (shape `[m]`) and images a_j that are known by their Gram matrix
/// alone (`[m, m]`, entry (j, k) = <a_j, a_k>). For any counterfactual; a whole code book is measured faster by
/// [`QuadraticForm`](super::QuadraticForm).
///
/// # Errors
///
/// If the Gram matrix has not m x m entries or an entry is not finite.
pub fn displacement_distance(gram: &[f64], coefficients: &[f64]) -> Result<f64, EnsembleError> {
    let order = coefficients.len();
    check_gram(gram, order)?;
    let rows = gram.chunks_exact(order.max(1));
    let squared: f64 = coefficients.iter().zip(rows).map(|(x, row)| x * dot(row, coefficients)).sum();
    Ok(squared.max(0.0).sqrt())
}

pub(super) fn check_gram(gram: &[f64], order: usize) -> Result<(), EnsembleError> {
    if order.checked_mul(order) != Some(gram.len()) {
        return Err(EnsembleError::GramSize { actual: gram.len(), order });
    }
    match gram.iter().position(|value| !value.is_finite()) {
        Some(position) => Err(EnsembleError::GramNotFinite {
            row: position / order,
            column: position % order,
            value: gram[position],
        }),
        None => Ok(()),
    }
}

pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(l, r)| l * r).sum()
}
