//! What the curvature of a network costs, before there is one: for forecasts.

use super::CurvatureError;
use super::basis::{Axes, BlockBasis};
use super::blocks::blocks;
use faer::{Mat, Par, Side, get_global_parallelism, set_global_parallelism};
use pentimento_diffusion::unet::Architecture;
use std::time::Instant;

/// The largest matrix that is decomposed for a forecast: about a third of a second on one core.
const MOST_SIDE: usize = 1024;

/// Bases of the shape of a network's own, with eigenvectors of zero. What goes through them takes as long as through real ones
/// and says nothing.
pub fn stand_in_bases(architecture: &Architecture) -> Vec<BlockBasis> {
    let axes = |side: usize| Axes::stand_in(side);
    blocks(architecture)
        .into_iter()
        .map(|block| BlockBasis {
            inputs: block.has_inputs().then(|| axes(block.inputs)),
            outputs: axes(block.outputs),
            block,
        })
        .collect()
}

/// Seconds that all factors of a network will take to be decomposed, several at a time: one of them is decomposed to be timed,
/// or one of 1024 rows if they are larger, and time grows with the third power of the side.
///
/// # Errors
///
/// [`CurvatureError::Decomposition`].
pub fn decomposition_seconds(architecture: &Architecture) -> Result<f64, CurvatureError> {
    let blocks = blocks(architecture);
    let inputs = blocks.iter().filter(|block| block.has_inputs()).map(|block| block.inputs);
    let sides: Vec<usize> = blocks.iter().map(|block| block.outputs).chain(inputs).collect();
    let largest = sides.iter().copied().max().unwrap_or_default();
    let side = largest.min(MOST_SIDE);
    // Any matrix will do that is not yet diagonal.
    let matrix = Mat::from_fn(side, side, |row, column| {
        1.0 / (1 + row + column) as f64 + if row == column { 1.0 } else { 0.0 }
    });
    let before = get_global_parallelism();
    set_global_parallelism(Par::Seq);
    let started = Instant::now();
    let decomposed = matrix.self_adjoint_eigen(Side::Lower);
    let seconds = started.elapsed().as_secs_f64();
    set_global_parallelism(before);
    decomposed.map_err(|_| CurvatureError::Decomposition { block: "a matrix to be timed".into() })?;
    let cubed = |side: usize| (side as f64).powi(3);
    let all: f64 = sides.iter().map(|&side| cubed(side)).sum();
    // The last one has a thread to itself.
    let in_turns = all / rayon::current_num_threads().max(1) as f64;
    Ok(in_turns.max(cubed(largest)) * seconds / cubed(side).max(1.0))
}

/// Values that the bases of a network hold, and those of the sums that they come from.
pub fn values_of_factors(architecture: &Architecture) -> usize {
    let squares = |side: usize| side * side;
    let of = |block: super::Block| {
        squares(block.outputs) + if block.has_inputs() { squares(block.inputs) } else { 0 }
    };
    blocks(architecture).into_iter().map(of).sum()
}

/// The smallest network that there is, for tests of what holds for any.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
pub(super) fn smallest_network() -> Architecture {
    let config = pentimento_diffusion::unet::UnetConfig {
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![4],
        down_block_types: vec!["DownBlock2D".into()],
        up_block_types: vec!["UpBlock2D".into()],
        layers_per_block: 1,
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        ..Default::default()
    };
    Architecture::new(&config).unwrap()
}

#[cfg(test)]
mod tests {
    use super::super::{Curvature, EigenvalueSums};
    use super::*;

    #[test]
    fn gradients_pass_through_stand_ins_as_through_a_curvature() {
        let architecture = smallest_network();
        let bases = stand_in_bases(&architecture);
        let count = architecture.parameter_count();
        assert_eq!(bases.iter().map(|basis| basis.block().count()).sum::<usize>(), count);
        let curvature = Curvature::kronecker(bases.clone());
        let solved = curvature.solve(&vec![1.0; count], &vec![1.0; bases.len()]).unwrap();
        assert_eq!(solved, vec![0.0; count]);
        assert_eq!(EigenvalueSums::new(&bases, 1).draws(), 0);
        let values: usize = bases
            .iter()
            .map(|basis| {
                basis.outputs.values.len().pow(2)
                    + basis.inputs.as_ref().map_or(0, |axes| axes.values.len().pow(2))
            })
            .sum();
        assert_eq!(values_of_factors(&architecture), values);
        assert!(decomposition_seconds(&architecture).unwrap() > 0.0);
    }
}
