//! Eigenvectors of the factors: the directions in which the curvature of a block is taken to be independent.

use super::CurvatureError;
use super::blocks::Block;
use super::factors::{BlockSums, FactorSums};
use super::matrices::{product, transposed, transposed_product};
use super::pass::ImageRecords;
use faer::{Mat, Par, Side, get_global_parallelism, set_global_parallelism};
use pentimento_diffusion::arrays::{ArrayError, ArrayReader, ArrayWriter};
use pentimento_diffusion::unet::{Architecture, LayerRecord};
use rayon::prelude::*;

/// A symmetric matrix in its eigenvectors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axes {
    /// Rising, none negative.
    pub(super) values: Vec<f64>,
    /// `[direction, coordinate]`.
    vectors: Vec<f32>,
}

impl Axes {
    /// Of a matrix of so many rows, with eigenvectors of zero and eigenvalues of one.
    pub(super) fn stand_in(side: usize) -> Self {
        Self { values: vec![1.0; side], vectors: vec![0.0; side * side] }
    }

    /// The same with the unit vectors.
    #[cfg(test)]
    fn of_unit_vectors(side: usize) -> Self {
        let vectors = (0..side * side).map(|place| f32::from(u8::from(place % (side + 1) == 0))).collect();
        Self { vectors, ..Self::stand_in(side) }
    }

    /// `[coordinate, direction]`.
    fn columns(&self) -> Vec<f32> {
        transposed(&self.vectors, self.side(), self.side())
    }

    fn side(&self) -> usize {
        self.values.len()
    }
}

/// A block in the eigenvectors of its factors.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockBasis {
    /// The block.
    pub(super) block: Block,
    /// Of what goes in; none for blocks of one row.
    pub(super) inputs: Option<Axes>,
    /// Of the gradients of what comes out.
    pub(super) outputs: Axes,
}

/// Decomposes the factors of all blocks, several at a time, each of which is dropped then.
///
/// # Errors
///
/// [`CurvatureError`] for sums without a draw, or that are not finite, with the block.
pub fn bases(factors: FactorSums) -> Result<Vec<BlockBasis>, CurvatureError> {
    let before = get_global_parallelism();
    // Each decomposition on one thread, so that its sums have one order.
    set_global_parallelism(Par::Seq);
    let draws = factors.draws();
    let of = |(block, sums): (Block, BlockSums)| {
        let (inputs, outputs) = sums.factors(&block, draws)?;
        drop(sums);
        let inputs = inputs.map(|inputs| axes(inputs, &block)).transpose()?;
        Ok(BlockBasis { inputs, outputs: axes(outputs, &block)?, block })
    };
    let bases = factors.into_blocks().into_par_iter().map(of).collect();
    set_global_parallelism(before);
    bases
}

fn axes(matrix: Mat<f64>, block: &Block) -> Result<Axes, CurvatureError> {
    let decomposed = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| CurvatureError::Decomposition { block: block.name.clone() })?;
    // Sums of squares: what is below zero is rounding.
    let values: Vec<f64> = decomposed.S().column_vector().iter().map(|value| value.max(0.0)).collect();
    let vectors = decomposed.U();
    let side = values.len();
    let vectors = (0..side)
        .flat_map(|direction| (0..side).map(move |place| vectors[(place, direction)] as f32))
        .collect();
    Ok(Axes { values, vectors })
}

impl BlockBasis {
    /// The block in the unit vectors, with eigenvalues of one.
    #[cfg(test)]
    pub(super) fn with_unit_vectors(self) -> Self {
        let inputs = self.inputs.map(|axes| Axes::of_unit_vectors(axes.side()));
        Self { inputs, outputs: Axes::of_unit_vectors(self.outputs.side()), block: self.block }
    }

    /// The block.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The eigenvalues that K-FAC takes for the directions `[inputs, outputs]`: products of the factors' own.
    pub fn kronecker_eigenvalues(&self) -> Vec<f64> {
        let one = [1.0];
        let inputs = self.inputs.as_ref().map_or(&one[..], |axes| &axes.values);
        inputs.iter().flat_map(|input| self.outputs.values.iter().map(move |output| input * output)).collect()
    }

    /// `Q_A' V Q_B` of a matrix `V` `[inputs, outputs]`.
    pub(super) fn coordinates(&self, matrix: &[f32]) -> Result<Vec<f32>, CurvatureError> {
        let (inputs, outputs) = (self.block.inputs, self.block.outputs);
        let right = product(matrix, &self.outputs.columns(), inputs, outputs, outputs)?;
        match &self.inputs {
            Some(axes) => product(&axes.vectors, &right, inputs, inputs, outputs),
            None => Ok(right),
        }
    }

    /// `Q_A V Q_B'`: from coordinates back.
    pub(super) fn restored(&self, matrix: &[f32]) -> Result<Vec<f32>, CurvatureError> {
        let (inputs, outputs) = (self.block.inputs, self.block.outputs);
        let right = product(matrix, &self.outputs.vectors, inputs, outputs, outputs)?;
        match &self.inputs {
            Some(axes) => product(&axes.columns(), &right, inputs, inputs, outputs),
            None => Ok(right),
        }
    }

    /// Adds to `sums`, `[inputs, outputs]`, the squares of the coordinates of the pseudo-gradients of all draws, or what has the
    /// same mean: of layers where turning a gradient costs most, the square of the sum over so many draws `together`.
    pub(super) fn add_squares(
        &self,
        image: &ImageRecords,
        together: usize,
        sums: &mut [f64],
    ) -> Result<(), CurvatureError> {
        let Some(axes) = &self.inputs else {
            let gradients = image.vector_gradients(&self.block)?;
            let side = self.outputs.side();
            let coordinates = product(&gradients, &self.outputs.columns(), image.draws, side, side)?;
            coordinates.chunks_exact(side).for_each(|draw| add_squares(draw, sums));
            return Ok(());
        };
        let LayerRecord { input, output_gradient: gradient, geometry, .. } = image.of(&self.block)?;
        let geometry = geometry.unwrap_or(pentimento_kernels::ConvGeometry::POINTWISE);
        let [draws, height, width, outputs] = gradient.sides;
        let (inputs, positions) = (self.block.inputs, height * width);
        let output_directions = self.outputs.columns();
        // The gradient of a draw is a product of what goes in at its positions and what comes out. Few positions are
        // turned before that product, many after it.
        if positions < outputs && geometry.kernel == 1 {
            let turned = product(input.values(), &axes.columns(), draws * positions, inputs, inputs)?;
            let gradient =
                product(gradient.values(), &output_directions, draws * positions, outputs, outputs)?;
            for (a, g) in
                turned.chunks_exact(positions * inputs).zip(gradient.chunks_exact(positions * outputs))
            {
                add_squares(&transposed_product(a, g, positions, inputs, outputs)?, sums);
            }
            return Ok(());
        }
        let (input_length, gradient_length) = (input.values().len() / draws, positions * outputs);
        let groups = draws.div_ceil(together);
        // Side by side, `[inputs, groups * outputs]`, so that one product turns the inputs of all groups.
        let mut right = vec![0.0f32; inputs * groups * outputs];
        for group in 0..groups {
            let range = group * together..draws.min((group + 1) * together);
            let shape = [range.len(), input.sides[1], input.sides[2], input.sides[3]];
            let shape = super::matrices::shape(shape, outputs, geometry)?;
            let mut own = vec![0.0f32; inputs * outputs];
            let (input, gradient) = (
                &input.values()[range.start * input_length..range.end * input_length],
                &gradient.values()[range.start * gradient_length..range.end * gradient_length],
            );
            pentimento_kernels::conv2d_backward_weight(&shape, input, gradient, &mut own);
            let own = product(&own, &output_directions, inputs, outputs, outputs)?;
            for (to, from) in right.chunks_exact_mut(groups * outputs).zip(own.chunks_exact(outputs)) {
                to[group * outputs..][..outputs].copy_from_slice(from);
            }
        }
        let turned = product(&axes.vectors, &right, inputs, inputs, groups * outputs)?;
        for (sums, row) in sums.chunks_exact_mut(outputs).zip(turned.chunks_exact(groups * outputs)) {
            row.chunks_exact(outputs).for_each(|group| add_squares(group, sums));
        }
        Ok(())
    }
}

fn add_squares(values: &[f32], sums: &mut [f64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += f64::from(*value) * f64::from(*value);
    }
}

/// Writes bases as arrays.
pub fn write_bases(bases: &[BlockBasis], to: &mut ArrayWriter) {
    let mut put = |name: String, axes: &Axes| {
        to.put_f64(&format!("{name}.eigenvalues"), &[axes.side()], &axes.values);
        to.put_f32(&format!("{name}.eigenvectors"), &[axes.side(), axes.side()], &axes.vectors);
    };
    for basis in bases {
        if let Some(inputs) = &basis.inputs {
            put(format!("inputs.{}", basis.block.name), inputs);
        }
        put(format!("outputs.{}", basis.block.name), &basis.outputs);
    }
}

/// Reads what [`write_bases`] wrote.
///
/// # Errors
///
/// If an array is missing or has another shape.
pub fn read_bases(
    architecture: &Architecture,
    from: &ArrayReader<'_>,
) -> Result<Vec<BlockBasis>, ArrayError> {
    let read = |name: String, side: usize| -> Result<Axes, ArrayError> {
        let (values, vectors) = (format!("{name}.eigenvalues"), format!("{name}.eigenvectors"));
        from.expect_shape(&values, &[side])?;
        from.expect_shape(&vectors, &[side, side])?;
        Ok(Axes { values: from.f64(&values)?, vectors: from.finite_f32(&vectors)? })
    };
    super::blocks(architecture)
        .into_iter()
        .map(|block| {
            let inputs = block
                .has_inputs()
                .then(|| read(format!("inputs.{}", block.name), block.inputs))
                .transpose()?;
            let outputs = read(format!("outputs.{}", block.name), block.outputs)?;
            Ok(BlockBasis { block, inputs, outputs })
        })
        .collect()
}
