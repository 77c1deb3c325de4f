use crate::error::{StatisticsError, check_pairs, to_f64};

/// Pearson's correlation of two paired vectors, within [-1, 1]; `None` if one of them is constant.
///
/// Values have to differ by more than about 1e-12 of their size: the mean that is taken away is itself rounded.
///
/// Sums are taken in f64 and in the order of the values, also for vectors of f32 such as the pixels of images.
///
/// # Errors
///
/// If the vectors differ in length, are empty, or have a value that is not finite.
pub fn pearson<T: Copy + Into<f64>>(left: &[T], right: &[T]) -> Result<Option<f64>, StatisticsError> {
    let (mut left, mut right) = (to_f64(left), to_f64(right));
    check_pairs(&left, &right)?;
    if is_constant(&left) || is_constant(&right) {
        return Ok(None);
    }
    centre_and_scale(&mut left);
    centre_and_scale(&mut right);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let correlation = dot(&left, &right) / (dot(&left, &left).sqrt() * dot(&right, &right).sqrt());
    Ok(Some(correlation.clamp(-1.0, 1.0)))
}

/// Decided on the values themselves: the variance of a constant vector need not be zero after rounding.
fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// Takes the mean away, and brings the largest magnitude to between 1/2 and 1, so that no square overflows or vanishes.
fn centre_and_scale(values: &mut [f64]) {
    scale(values);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|value| *value -= mean);
    scale(values);
}

/// Multiplies by a power of two. Any other factor would round the values, and of values far from zero that would cost
/// the digits in which they differ.
fn scale(values: &mut [f64]) {
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let (_, exponent) = libm::frexp(largest);
    values.iter_mut().for_each(|value| *value = libm::scalbn(*value, -exponent));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_bounded_symmetric_and_blind_to_position_and_scale(
            pairs in prop::collection::vec((-1e3..1e3_f64, -1e3..1e3_f64), 2..50),
            shift in -1e3..1e3_f64, factor in 1e-3..1e3_f64,
        ) {
            let (left, right): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let Some(correlation) = pearson(&left, &right).unwrap() else { return Ok(()) };
            prop_assert!((-1.0..=1.0).contains(&correlation));
            prop_assert_eq!(pearson(&right, &left).unwrap(), Some(correlation));
            let spread = |values: &[f64]| values.iter().fold(0.0_f64, |s, v| s.max((v - values[0]).abs()));
            prop_assume!(spread(&left) > 1.0);
            let moved: Vec<f64> = left.iter().map(|value| factor * value + shift).collect();
            let mirrored: Vec<f64> = left.iter().map(|value| shift - factor * value).collect();
            prop_assert!((pearson(&moved, &right).unwrap().unwrap() - correlation).abs() < 1e-6);
            prop_assert!((pearson(&mirrored, &right).unwrap().unwrap() + correlation).abs() < 1e-6);
            prop_assert!((pearson(&left, &left).unwrap().unwrap() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn constant_vectors_have_no_correlation() {
        // The mean of three 0.1 in f64 is not 0.1, so the variance is not zero.
        assert_eq!(pearson(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]), Ok(None));
        assert_eq!(pearson(&[1.0_f32, 2.0], &[5.0, 5.0]), Ok(None));
        assert_eq!(pearson(&[1.0], &[2.0]), Ok(None));
    }

    #[test]
    fn huge_and_tiny_values_keep_their_correlation() {
        for scale in [1e-310, 1e-200, 1e200, 1e308] {
            let left = [scale, 0.0, -scale, 0.5 * scale];
            let correlation = pearson(&left, &[1.0, 0.0, -1.0, 0.5]).unwrap().unwrap();
            assert!((correlation - 1.0).abs() < 1e-12, "{scale}: {correlation}");
        }
    }

    #[test]
    fn wrong_data_is_refused() {
        assert_eq!(pearson(&[1.0, 2.0], &[1.0]), Err(StatisticsError::LengthMismatch { left: 2, right: 1 }));
        assert!(matches!(pearson::<f64>(&[], &[]), Err(StatisticsError::Empty { .. })));
        assert_eq!(
            pearson(&[1.0, 2.0], &[1.0, f64::INFINITY]).unwrap_err().to_string(),
            "second vector: value 1 is inf, not a finite number"
        );
    }
}
