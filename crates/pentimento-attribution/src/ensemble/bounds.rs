//! How far random codes are from all possible splits: theorem 2.1 of Dai and Gifford.

use std::f64::consts::LN_2;
use std::fmt;

use serde::Serialize;

use super::combinatorics::binomial;

/// Upper bounds of the bias of an encoded ensemble with respect to the average over all possible splits of the images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BiasBounds {
    /// For the ensemble of all members: ln(16) (N - 1)² C / C(n, h).
    pub full: f64,
    /// For the ensemble without the members that saw one group: ln(16) N² C / C(n, h).
    pub ablated: f64,
    /// C, the bound on the magnitude of the function.
    pub value_bound: f64,
}

impl BiasBounds {
    /// Whether the bounds say nothing: two averages of values within ±C never differ by more than 2C.
    #[must_use]
    pub fn are_vacuous(&self) -> bool {
        self.full.min(self.ablated) >= 2.0 * self.value_bound
    }
}

/// The condition of theorem 2.1 that an ensemble does not fulfil.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BiasBoundsNotApplicable {
    /// n is not 2h.
    #[error("theorem 2.1 is for n = 2h, but n = {members} and h = {weight}")]
    WeightIsNotHalf {
        /// The number of members n.
        members: u32,
        /// The code weight h.
        weight: u32,
    },
    /// There are fewer than twice as many codes as groups.
    #[error("theorem 2.1 needs C(n, h) >= 2N, but C({members}, {weight}) = {codes} < 2 x {groups}")]
    TooFewCodes {
        /// The number of members n.
        members: u32,
        /// The code weight h.
        weight: u32,
        /// C(n, h).
        codes: u64,
        /// The number of groups N.
        groups: u32,
    },
    /// C is not a positive finite number, or n is above 64.
    #[error("theorem 2.1 needs a finite bound C > 0 and n up to 64, but C = {value_bound} and n = {members}")]
    OutOfRange {
        /// The bound on the values of the function.
        value_bound: f64,
        /// The number of members n.
        members: u32,
    },
}

/// The bounds of theorem 2.1 of Dai and Gifford (2023) for N = `groups` groups, n = `members` and h = `weight`, and a
/// function of the images whose values lie within ±`value_bound`.
///
/// # Errors
///
/// Where the theorem does not apply: it needs n = 2h and C(n, h) ≥ 2N.
pub fn bias_bounds(
    members: u32,
    weight: u32,
    groups: u32,
    value_bound: f64,
) -> Result<BiasBounds, BiasBoundsNotApplicable> {
    let codes = binomial(members, weight).filter(|_| value_bound.is_finite() && value_bound > 0.0);
    let Some(codes) = codes else {
        return Err(BiasBoundsNotApplicable::OutOfRange { value_bound, members });
    };
    if u64::from(members) != 2 * u64::from(weight) {
        return Err(BiasBoundsNotApplicable::WeightIsNotHalf { members, weight });
    }
    if codes < 2 * u64::from(groups) {
        return Err(BiasBoundsNotApplicable::TooFewCodes { members, weight, codes, groups });
    }
    // With n up to 64 and N up to 2^32 every factor is below 2^64, so f64 neither overflows nor underflows.
    let bound = |images: f64| 4.0 * LN_2 * (images * images / codes as f64) * value_bound;
    let groups = f64::from(groups);
    Ok(BiasBounds { full: bound((groups - 1.0).max(0.0)), ablated: bound(groups), value_bound })
}

impl fmt::Display for BiasBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "bias at most {:.3e} (one group removed: {:.3e}) for values within ±{}",
            self.full, self.ablated, self.value_bound
        )?;
        if self.are_vacuous() {
            write!(f, "; says nothing, as it is above {}", 2.0 * self.value_bound)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_exact_arithmetic() {
        // CelebA of the paper: N = 202,599, n = 24, C(24, 12) = 2,704,156. Computed with Python's decimal to 40 digits.
        let bounds = bias_bounds(24, 12, 202_599, 1.0).unwrap();
        assert!((bounds.full / 42_084.678_903_758_81 - 1.0).abs() < 1e-14, "{}", bounds.full);
        assert!((bounds.ablated / 42_085.094_354_876_46 - 1.0).abs() < 1e-14, "{}", bounds.ablated);
        assert!(bounds.are_vacuous());
        // The same images with 64 members and values within ±2.
        let bounds = bias_bounds(64, 32, 202_599, 2.0).unwrap();
        assert!((bounds.ablated / 1.241_985_826_420_153e-7 - 1.0).abs() < 1e-14, "{}", bounds.ablated);
        assert!(!bounds.are_vacuous());
        // A single group has nothing to be confused with.
        assert_eq!(bias_bounds(2, 1, 1, 1.0).unwrap().full, 0.0);
    }

    #[test]
    fn the_conditions_of_the_theorem_are_checked() {
        // MNIST of the paper: 12,870 codes for 10,000 images are enough to be unique, not for the theorem.
        assert_eq!(
            bias_bounds(16, 8, 10_000, 1.0),
            Err(BiasBoundsNotApplicable::TooFewCodes {
                members: 16,
                weight: 8,
                codes: 12_870,
                groups: 10_000
            })
        );
        assert!(bias_bounds(16, 8, 6_435, 1.0).is_ok());
        assert!(bias_bounds(16, 8, 6_436, 1.0).is_err());
        assert_eq!(
            bias_bounds(7, 3, 7, 1.0),
            Err(BiasBoundsNotApplicable::WeightIsNotHalf { members: 7, weight: 3 })
        );
        for (members, value_bound) in [(65, 1.0), (16, f64::NAN), (16, f64::INFINITY), (16, 0.0), (16, -1.0)]
        {
            assert!(matches!(
                bias_bounds(members, members / 2, 10, value_bound),
                Err(BiasBoundsNotApplicable::OutOfRange { .. })
            ));
        }
        assert!(bias_bounds(16, u32::MAX, 10, 1.0).is_err());
    }
}
