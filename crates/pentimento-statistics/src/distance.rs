use crate::error::{StatisticsError, check_pairs, to_f64};

/// The Euclidean distance of two vectors, such as the pixels of two images, in their units. Summed in f64.
///
/// # Errors
///
/// If the vectors differ in length, are empty, or have a value that is not finite.
pub fn euclidean_distance<T: Copy + Into<f64>>(left: &[T], right: &[T]) -> Result<f64, StatisticsError> {
    let (left, right) = (to_f64(left), to_f64(right));
    check_pairs(&left, &right)?;
    Ok(left.iter().zip(&right).map(|(l, r)| (l - r) * (l - r)).sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_pythagoras() {
        assert_eq!(euclidean_distance(&[1.0_f32, -2.0, 5.0], &[1.0, 1.0, 1.0]), Ok(5.0));
        assert_eq!(euclidean_distance(&[7.5], &[7.5]), Ok(0.0));
        assert!(euclidean_distance(&[1.0], &[1.0, 2.0]).is_err());
        assert!(euclidean_distance(&[f64::NAN], &[1.0]).is_err());
    }
}
