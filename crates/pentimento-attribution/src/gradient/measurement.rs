//! What of a network's output is differentiated in the parameters.

/// A number that the network's output for one noisy image is turned into (Zheng et al. 2024 compare these and others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// The mean square of what is wrong: the loss that networks are trained with.
    Loss,
    /// The mean square of the output (D-TRAK).
    Square,
    /// The mean of the output (DAS).
    Mean,
}

impl Measurement {
    /// Gives `add` the derivative of the measurement in every place of the output, times `factor`. `output` and `target`,
    /// what the output should have been, are `[image]`.
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    pub(super) fn add_derivative(
        self,
        output: &[f64],
        target: &[f64],
        factor: f64,
        mut add: impl FnMut(usize, f64),
    ) {
        assert_eq!(output.len(), target.len(), "lengths of an output and its target");
        let of_mean = factor / output.len() as f64;
        for (place, (output, target)) in output.iter().zip(target).enumerate() {
            add(
                place,
                of_mean
                    * match self {
                        Self::Loss => 2.0 * (output - target),
                        Self::Square => 2.0 * output,
                        Self::Mean => 1.0,
                    },
            );
        }
    }
}
