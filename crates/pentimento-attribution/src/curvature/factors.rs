//! The factors of K-FAC: for each layer the moments of what goes in, and of the gradients of what comes out.

use super::CurvatureError;
use super::blocks::{Block, BlockKind, blocks};
use super::input_moments::{mean_patches, sum_over_patches};
use super::matrices::{Triangle, transposed_product};
use super::pass::{DRAWS_IN_FILES, ImageRecords};
use crate::gradient::{LossOfTenths, TENTHS};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::unet::{Architecture, LayerRecord};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a layer that acts at many positions shares its weight among them (Eschenhagen et al. 2023, arXiv 2311.00636).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightSharing {
    /// Every position is a sample of its own: `A = mean a a'` over positions, `B = sum g g'`.
    #[default]
    Expand,
    /// Positions are put together first: `A` of the mean input, `B` of the summed gradient. Keys of attention are expanded all
    /// the same, as their gradients sum to zero.
    Reduce,
}

/// The factors of a block: of what goes in, if it has several rows, and of what comes out.
pub type Factors = (Option<faer::Mat<f64>>, faer::Mat<f64>);

/// What files call the losses of tenths of the schedule: their sums, then how many draws they are of.
pub const LOSSES_IN_FILES: &str = "losses_of_tenths";

/// Sums over images. They are added up image by image, or shard by shard, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct FactorSums {
    blocks: Vec<Block>,
    sharing: WeightSharing,
    sums: Vec<BlockSums>,
    draws: u64,
    loss: f64,
    losses: LossOfTenths,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct BlockSums {
    /// Of what goes in; none for blocks of one row.
    inputs: Option<Triangle>,
    /// Of the gradients of what comes out; for blocks of one row, of their own gradients.
    outputs: Triangle,
}

impl FactorSums {
    /// Sums over no image.
    pub fn new(architecture: &Architecture, sharing: WeightSharing) -> Self {
        let blocks = blocks(architecture);
        let sums = blocks
            .iter()
            .map(|block| BlockSums {
                inputs: block.has_inputs().then(|| Triangle::zero(block.inputs)),
                outputs: Triangle::zero(block.outputs),
            })
            .collect();
        Self { blocks, sharing, sums, draws: 0, loss: 0.0, losses: LossOfTenths::default() }
    }

    /// Draws that were added.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// The mean loss over the draws.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.draws.max(1) as f64
    }

    /// The losses at the draws, by where in the schedule they are.
    pub fn losses(&self) -> LossOfTenths {
        self.losses
    }

    /// The blocks of the network.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Adds what layers saw of some images, one after another; several layers at a time.
    ///
    /// # Errors
    ///
    /// [`CurvatureError`] for a layer that cannot be done; the sums are then of no use.
    pub fn add(&mut self, images: &[ImageRecords]) -> Result<(), CurvatureError> {
        let sharing = self.sharing;
        self.sums.par_iter_mut().zip(&self.blocks).try_for_each(|(sums, block)| {
            images.iter().try_for_each(|image| sums.add(block, image, sharing))
        })?;
        for image in images {
            self.draws += image.draws as u64;
            self.loss += image.loss;
            self.losses.merge(&image.losses);
        }
        Ok(())
    }

    /// Adds the sums of further images.
    ///
    /// # Errors
    ///
    /// [`CurvatureError::Mismatch`] if they are of another network or another sharing.
    pub fn merge(&mut self, other: &Self) -> Result<(), CurvatureError> {
        if (&self.blocks, self.sharing) != (&other.blocks, other.sharing) {
            return Err(CurvatureError::Mismatch {
                what: "the network of the factors".into(),
                found: format!("{} blocks, {:?}", other.blocks.len(), other.sharing),
                expected: format!("{} blocks, {:?}", self.blocks.len(), self.sharing),
            });
        }
        for (sums, other) in self.sums.iter_mut().zip(&other.sums) {
            if let (Some(sums), Some(other)) = (&mut sums.inputs, &other.inputs) {
                sums.merge(other);
            }
            sums.outputs.merge(&other.outputs);
        }
        self.draws += other.draws;
        self.loss += other.loss;
        self.losses.merge(&other.losses);
        Ok(())
    }

    /// The factors of a block: `A` (none for blocks of one row) and `B`, means over the draws.
    ///
    /// # Errors
    ///
    /// [`CurvatureError::Empty`] without a draw; [`CurvatureError::Sums`] if they are not finite.
    pub fn factors(&self, block: usize) -> Result<Factors, CurvatureError> {
        self.sums[block].factors(&self.blocks[block], self.draws)
    }

    /// Every block with its sums.
    pub(super) fn into_blocks(self) -> Vec<(Block, BlockSums)> {
        self.blocks.into_iter().zip(self.sums).collect()
    }

    /// Writes the sums as arrays.
    pub fn write(&self, to: &mut ArrayWriter) {
        for (block, sums) in self.blocks.iter().zip(&self.sums) {
            if let Some(inputs) = &sums.inputs {
                to.put_f64(&format!("inputs.{}", block.name), &[inputs.values.len()], &inputs.values);
            }
            to.put_f64(
                &format!("outputs.{}", block.name),
                &[sums.outputs.values.len()],
                &sums.outputs.values,
            );
        }
        to.put_f64(DRAWS_IN_FILES, &[1], &[self.draws as f64]);
        to.put_f64("loss", &[1], &[self.loss]);
        to.put_f64(LOSSES_IN_FILES, &[2 * TENTHS], &self.losses.to_values());
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    ///
    /// If an array is missing or has another length.
    pub fn read(
        architecture: &Architecture,
        sharing: WeightSharing,
        from: &ArrayReader<'_>,
    ) -> Result<Self, pentimento_diffusion::arrays::ArrayError> {
        let mut result = Self::new(architecture, sharing);
        let read = |name: String, length: usize| {
            from.expect_shape(&name, &[length])?;
            from.f64(&name)
        };
        for (block, sums) in result.blocks.iter().zip(&mut result.sums) {
            if let Some(inputs) = &mut sums.inputs {
                inputs.values = read(format!("inputs.{}", block.name), inputs.values.len())?;
            }
            sums.outputs.values = read(format!("outputs.{}", block.name), sums.outputs.values.len())?;
        }
        result.draws = read(DRAWS_IN_FILES.into(), 1)?.first().copied().unwrap_or_default() as u64;
        result.loss = read("loss".into(), 1)?.first().copied().unwrap_or_default();
        let losses = read(LOSSES_IN_FILES.into(), 2 * TENTHS)?;
        result.losses = LossOfTenths::from_values(&losses).unwrap_or_default();
        Ok(result)
    }
}

impl BlockSums {
    /// Means over so many draws.
    pub(super) fn factors(&self, block: &Block, draws: u64) -> Result<Factors, CurvatureError> {
        if draws == 0 {
            return Err(CurvatureError::Empty);
        }
        let inputs = self.inputs.as_ref().map_or(&[][..], |sums| &sums.values);
        if !inputs.iter().chain(&self.outputs.values).all(|value| value.is_finite()) {
            return Err(CurvatureError::Sums { block: block.name.clone() });
        }
        let share = 1.0 / draws as f64;
        Ok((self.inputs.as_ref().map(|sums| sums.matrix(share)), self.outputs.matrix(share)))
    }

    fn add(
        &mut self,
        block: &Block,
        image: &ImageRecords,
        sharing: WeightSharing,
    ) -> Result<(), CurvatureError> {
        // Gradients of keys sum to zero over positions, as the softmax does not see what all keys have in common.
        // The softmax does not see what all keys have in common, so their gradients sum to zero.
        let sharing = if block.is_of_keys() { WeightSharing::Expand } else { sharing };
        let record = image.of(block)?;
        let Some(inputs) = &mut self.inputs else {
            let gradients = image.vector_gradients(block)?;
            let moments =
                transposed_product(&gradients, &gradients, image.draws, block.outputs, block.outputs)?;
            self.outputs.add(&moments, 1.0);
            return Ok(());
        };
        let LayerRecord { input, output_gradient: gradient, geometry, .. } = record;
        let geometry = geometry.unwrap_or(pentimento_kernels::ConvGeometry::POINTWISE);
        let [draws, height, width, channels] = gradient.sides;
        match sharing {
            WeightSharing::Expand => {
                inputs.add(&sum_over_patches(input, geometry)?, 1.0 / (height * width) as f64);
                let rows = draws * height * width;
                self.outputs.add(
                    &transposed_product(gradient.values(), gradient.values(), rows, channels, channels)?,
                    1.0,
                );
            }
            WeightSharing::Reduce => {
                let means = mean_patches(input, geometry);
                inputs.add(&transposed_product(&means, &means, draws, block.inputs, block.inputs)?, 1.0);
                let sums = image.vector_gradients(&Block { kind: BlockKind::Bias, ..block.clone() })?;
                self.outputs.add(&transposed_product(&sums, &sums, draws, channels, channels)?, 1.0);
            }
        }
        Ok(())
    }
}
