use serde::{Deserialize, Serialize};

/// The mean of the values that are defined, and how many were not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DefinedMean {
    /// The mean of the defined values; `None` if there are none.
    pub mean: Option<f64>,
    /// How many values are defined.
    pub defined: usize,
    /// How many are not, such as correlations with a constant vector.
    pub undefined: usize,
}

impl FromIterator<Option<f64>> for DefinedMean {
    fn from_iter<I: IntoIterator<Item = Option<f64>>>(values: I) -> Self {
        let (mut sum, mut defined, mut undefined) = (0.0, 0, 0);
        for value in values {
            match value {
                Some(value) => {
                    sum += value;
                    defined += 1;
                }
                None => undefined += 1,
            }
        }
        Self { mean: (defined > 0).then(|| sum / defined as f64), defined, undefined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_values_are_counted_and_left_out() {
        let mean = |values: &[Option<f64>]| values.iter().copied().collect::<DefinedMean>();
        assert_eq!(
            mean(&[Some(1.0), None, Some(4.0)]),
            DefinedMean { mean: Some(2.5), defined: 2, undefined: 1 }
        );
        assert_eq!(mean(&[None]), DefinedMean { mean: None, defined: 0, undefined: 1 });
    }
}
