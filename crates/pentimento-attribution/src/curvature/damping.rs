//! What is added to the curvature before it is inverted.

use super::inverse::Curvature;

/// Share of a block's mean eigenvalue that is added where nothing is known of the training. Between 1e-5 and 0.1 of it
/// nothing changed in a comparison with retrained networks (1000 MNIST images at 16x16, 32 subsets).
const SHARE_OF_BLOCK: f64 = 0.01;

/// The least damping of a block, as a share of the mean eigenvalue of all parameters. Blocks without curvature, such as the
/// bias of keys, have gradients that are rounding: their squares, over this, are nothing beside what other blocks add.
const LEAST_SHARE: f64 = 1e-6;

/// How a network was trained, as far as it decides how far its training went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingLength {
    /// The sum of the learning rates of all steps.
    pub learning_rates: f64,
    /// Images of a step.
    pub batch: usize,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// The mean squared error at its end.
    pub loss: f64,
    /// Values of the network's output.
    pub outputs: usize,
}

/// Where the damping comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DampingRule {
    /// The same for all blocks.
    Number(f64),
    /// A hundredth of each block's mean eigenvalue.
    Block,
    /// What training would not have forgotten: directions that bend less than `1 / (eta K)` have not converged after K
    /// steps of learning rate eta (Bae et al. 2024, SOURCE, arXiv 2405.12186, with one segment).
    Training(TrainingLength),
}

impl DampingRule {
    /// The damping of each block.
    ///
    /// Adam divides steps by `sqrt(v)`, the root mean square of a parameter's gradient over batches. It is taken as one number
    /// for each block, from the curvature itself: a gradient of the mean squared error over D values is `2/D` times the
    /// error, a pseudo-gradient is `sqrt(2/D)` times noise of variance one, so the mean square of an image's gradient is
    /// `2 L / D` times the mean eigenvalue if the errors are white and independent of the network's derivatives; that of a
    /// batch's is so much over its images. Errors of a real network are neither: in a denoiser of 5,000 parameters Adam's
    /// `sqrt(v)` was 2.7 to 3.4 times as large, by block. Weight decay, which Adam does not
    /// divide, is a curvature of its own.
    pub fn dampings(&self, curvature: &Curvature) -> Vec<f64> {
        let means = curvature.mean_eigenvalues();
        let counts: Vec<usize> = curvature.bases().iter().map(|basis| basis.block().count()).collect();
        let total: usize = counts.iter().sum();
        let overall = means.iter().zip(&counts).map(|(mean, &count)| mean * count as f64).sum::<f64>()
            / total.max(1) as f64;
        let of_block = |mean: &f64| match self {
            Self::Number(damping) => *damping,
            Self::Block => (SHARE_OF_BLOCK * mean).max(LEAST_SHARE * overall),
            Self::Training(training) => {
                let TrainingLength { learning_rates, batch, weight_decay, loss, outputs } = *training;
                let of_batch = 2.0 * loss / outputs as f64 * mean / batch as f64;
                (of_batch.sqrt() * (1.0 / learning_rates + weight_decay)).max(LEAST_SHARE * overall)
            }
        };
        means.iter().map(of_block).collect()
    }
}
