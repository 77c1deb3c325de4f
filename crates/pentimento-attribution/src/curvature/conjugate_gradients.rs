//! The inverse of the whole curvature by conjugate gradients, where its blocks only precondition.
//!
//! EK-FAC takes layers for independent, and the directions of a layer too. What it leaves out is in the Gauss-Newton matrix of the
//! whole network, `H = mean g g'` over pseudo-gradients g (`pass`). A sample of them is held in memory, so that a product with H is
//! two products of matrices, for all right-hand sides at once. `(H + D) x = q` is solved with the damping D of each block and the
//! damped EK-FAC as preconditioner P. The first direction is EK-FAC's own solution `P^-1 q`; each step adds one.
//!
//! A sample of M pseudo-gradients has M directions of all P that a network has; the others are left to the damping alone. Where P is
//! far larger than M, the full solution is that of a far larger damping, too large by the quotient of the two, and a few steps are a
//! stopped way towards it. What is left of a right-hand side is that of the sampled matrix, and may be more than there was.

use super::basis::BlockBasis;
use super::matrices::{product, transposed};
use super::{Curvature, CurvatureError, QuantisedRows};
use rayon::prelude::*;

/// Pseudo-gradients of a whole network, in 8 bits. `H` is their mean outer product.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledCurvature {
    gradients: QuantisedRows,
    count: usize,
    parameters: usize,
}

/// What conjugate gradients found.
#[derive(Clone, Debug, PartialEq)]
pub struct Solved {
    /// The solution for each right-hand side.
    pub vectors: Vec<Vec<f32>>,
    /// The length of what is left of each right-hand side as a share of its own, both in the norm of the preconditioner's inverse,
    /// in which all directions weigh alike; 0 for a right-hand side of zero.
    pub residuals: Vec<f64>,
    /// What the last step added to `x'q`, as a share of what all steps added; 0 for a right-hand side of zero. Each step adds `alpha
    /// rho` (Hestenes and Stiefel 1952), by which the squared error of x in the norm of the matrix falls: unlike the residual, it
    /// only gets smaller.
    pub last_steps: Vec<f64>,
}

/// One system that is being solved.
struct System {
    x: Vec<f32>,
    residual: Vec<f32>,
    direction: Vec<f32>,
    /// Residual times preconditioned residual.
    measure: f64,
    /// The same of the right-hand side.
    of_right: f64,
    /// What all steps, and the last of them, added to the solution times the right-hand side.
    gained: f64,
    last_gain: f64,
}

impl SampledCurvature {
    /// Room for so many pseudo-gradients, all zero.
    pub fn zeros(parameters: usize, count: usize) -> Self {
        Self { gradients: QuantisedRows::zeros(parameters, count), count, parameters }
    }

    /// Puts one in its place.
    ///
    /// # Errors
    ///
    /// [`CurvatureError::Mismatch`] if it has another length, or there is no such place.
    pub fn set(&mut self, place: usize, gradient: &[f32]) -> Result<(), CurvatureError> {
        self.gradients.set(place, gradient)
    }

    /// Pseudo-gradients of which it is the mean.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `H v` of some vectors, `[vectors][parameters]`.
    fn times(&self, vectors: &[&[f32]]) -> Result<Vec<Vec<f32>>, CurvatureError> {
        let products = self.gradients.products(&vectors.concat())?;
        let share = 1.0 / self.count.max(1) as f64;
        let weights: Vec<f32> = products.iter().flatten().map(|product| (share * product) as f32).collect();
        let weights = transposed(&weights, vectors.len(), self.count);
        self.gradients.combined(&weights, vectors.len())
    }

    /// Solves `(H + D) x = q` for some right-hand sides by so many steps of conjugate gradients beyond the solution of `curvature`,
    /// which preconditions. D is the damping of each of its blocks.
    ///
    /// # Errors
    ///
    /// As [`Curvature::solve`].
    pub fn solve(
        &self,
        curvature: &Curvature,
        dampings: &[f64],
        right: &[Vec<f32>],
        steps: usize,
    ) -> Result<Solved, CurvatureError> {
        let precondition = |vector: &[f32]| curvature.solve(vector, dampings);
        let begin = |right: &Vec<f32>| -> Result<System, CurvatureError> {
            let direction = precondition(right)?;
            let measure = dot(right, &direction);
            Ok(System {
                x: vec![0.0; right.len()],
                residual: right.clone(),
                direction,
                measure,
                of_right: measure,
                gained: 0.0,
                last_gain: 0.0,
            })
        };
        let mut systems = right.iter().map(begin).collect::<Result<Vec<_>, _>>()?;
        // The first goes along EK-FAC's own solution, as far as is best.
        for _ in 0..=steps {
            let directions: Vec<&[f32]> = systems.iter().map(|system| system.direction.as_slice()).collect();
            let applied = self.damped_times(curvature.bases(), dampings, &directions)?;
            for (system, applied) in systems.iter_mut().zip(&applied) {
                system.step(applied, precondition)?;
            }
        }
        let left = |system: &System| match system.of_right > 0.0 {
            true => (system.measure / system.of_right).sqrt(),
            false => 0.0,
        };
        let residuals = systems.iter().map(left).collect();
        let share =
            |system: &System| if system.gained > 0.0 { system.last_gain / system.gained } else { 0.0 };
        let last_steps = systems.iter().map(share).collect();
        Ok(Solved { vectors: systems.into_iter().map(|system| system.x).collect(), residuals, last_steps })
    }

    fn damped_times(
        &self,
        bases: &[BlockBasis],
        dampings: &[f64],
        vectors: &[&[f32]],
    ) -> Result<Vec<Vec<f32>>, CurvatureError> {
        let mut products = self.times(vectors)?;
        for (product, vector) in products.iter_mut().zip(vectors) {
            for (basis, &damping) in bases.iter().zip(dampings) {
                let range = basis.block.first..basis.block.first + basis.block.count();
                for (product, value) in product[range.clone()].iter_mut().zip(&vector[range]) {
                    *product += (damping * f64::from(*value)) as f32;
                }
            }
        }
        Ok(products)
    }
}

impl System {
    /// One step along the direction, of which `applied` is the product with the matrix.
    fn step(
        &mut self,
        applied: &[f32],
        precondition: impl Fn(&[f32]) -> Result<Vec<f32>, CurvatureError>,
    ) -> Result<(), CurvatureError> {
        let curved = dot(&self.direction, applied);
        // Nothing is left, or rounding is.
        if !(self.measure > 0.0 && curved > 0.0) {
            self.last_gain = 0.0;
            return Ok(());
        }
        self.last_gain = self.measure * self.measure / curved;
        self.gained += self.last_gain;
        let length = (self.measure / curved) as f32;
        for (x, direction) in self.x.iter_mut().zip(&self.direction) {
            *x += length * direction;
        }
        for (residual, applied) in self.residual.iter_mut().zip(applied) {
            *residual -= length * applied;
        }
        let preconditioned = precondition(&self.residual)?;
        let measure = dot(&self.residual, &preconditioned);
        let kept = (measure / self.measure) as f32;
        for (direction, preconditioned) in self.direction.iter_mut().zip(&preconditioned) {
            *direction = preconditioned + kept * *direction;
        }
        self.measure = measure;
        Ok(())
    }
}

/// In f64, in parts that do not depend on the number of threads.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    const PART: usize = 1 << 16;
    let of_part = |(a, b): (&[f32], &[f32])| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let parts: Vec<f64> = a.par_chunks(PART).zip(b.par_chunks(PART)).map(of_part).collect();
    parts.iter().sum()
}

/// What [`QuantisedRows`] adds for the other half of a product with their mean outer product.
impl QuantisedRows {
    /// Sums of the rows, `[columns][parameters]`, with weights `[rows, columns]`; several parts of the parameters at a time.
    pub(super) fn combined(&self, weights: &[f32], columns: usize) -> Result<Vec<Vec<f32>>, CurvatureError> {
        let parts: Vec<Vec<f32>> = self
            .parts()
            .into_par_iter()
            .map(|part| {
                let count = part.len();
                let widened = self.widened(part.start, count);
                let sums = product(&widened, weights, count, self.rows(), columns)?;
                Ok(transposed(&sums, count, columns))
            })
            .collect::<Result<_, CurvatureError>>()?;
        let mut combined = vec![Vec::new(); columns];
        for (part, range) in parts.iter().zip(self.parts()) {
            for (combined, values) in combined.iter_mut().zip(part.chunks_exact(range.len().max(1))) {
                combined.extend_from_slice(values);
            }
        }
        Ok(combined)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand_in::smallest_network;
    use super::super::stand_in_bases;
    use super::*;
    use pentimento_noise::{Purpose, Stream};

    fn length(vector: &[f32]) -> f64 {
        dot(vector, vector).sqrt()
    }

    fn slices(vectors: &[Vec<f32>]) -> Vec<&[f32]> {
        vectors.iter().map(Vec::as_slice).collect()
    }

    fn normals(number: u32, length: usize) -> Vec<f32> {
        let mut values = vec![0.0; length];
        Stream::new(4, Purpose::Test, number, 0).fill_normal(&mut values);
        values
    }

    /// Few pseudo-gradients in many parameters: what is not in their span is damped alone, so the inverse is known by the formula
    /// of Woodbury.
    #[test]
    fn the_system_is_solved() {
        const COUNT: usize = 12;
        let architecture = smallest_network();
        let parameters = architecture.parameter_count();
        // Eigenvectors of zero precondition nothing, so conjugate gradients would not move: unit ones do.
        let bases = stand_in_bases(&architecture).into_iter().map(BlockBasis::with_unit_vectors).collect();
        let curvature = Curvature::kronecker(bases);
        let dampings = vec![0.3; curvature.bases().len()];
        let mut sample = SampledCurvature::zeros(parameters, COUNT);
        for place in 0..COUNT {
            sample.set(place, &normals(place as u32, parameters)).unwrap();
        }
        let right: Vec<Vec<f32>> = (20..23).map(|number| normals(number, parameters)).collect();
        // As many steps as the matrix has different eigenvalues, and some for rounding.
        let solved = sample.solve(&curvature, &dampings, &right, COUNT + 8).unwrap();
        assert!(solved.residuals.iter().all(|residual| *residual < 1e-4), "{:?}", solved.residuals);
        let applied = sample.damped_times(curvature.bases(), &dampings, &slices(&solved.vectors)).unwrap();
        for (applied, right) in applied.iter().zip(&right) {
            let wrong: Vec<f32> = applied.iter().zip(right).map(|(a, b)| a - b).collect();
            assert!(length(&wrong) < 1e-3 * length(right));
        }
        // Each step comes nearer in the norm of the matrix: x'(H + D)x / 2 - x'q falls.
        let mut before = f64::INFINITY;
        let mut along_right = 0.0;
        for steps in 0..6 {
            let Solved { vectors: x, last_steps, .. } =
                sample.solve(&curvature, &dampings, &right[..1], steps).unwrap();
            let applied = sample.damped_times(curvature.bases(), &dampings, &slices(&x)).unwrap();
            let energy = dot(&x[0], &applied[0]) / 2.0 - dot(&x[0], &right[0]);
            assert!(energy < before, "{steps}: {energy} {before}");
            before = energy;
            // What a step added to the solution along the right-hand side is what is told of it.
            let now = dot(&x[0], &right[0]);
            let added = (now - along_right) / now;
            assert!((last_steps[0] - added).abs() < 1e-4, "{steps}: {} {added}", last_steps[0]);
            along_right = now;
        }
        // Systems do not see each other, and zero is solved by zero.
        let zero = vec![0.0; parameters];
        let alone = sample.solve(&curvature, &dampings, &right[1..2], 3).unwrap();
        let together =
            sample.solve(&curvature, &dampings, &[right[0].clone(), right[1].clone(), zero.clone()], 3);
        let together = together.unwrap();
        assert_eq!(alone.vectors[0], together.vectors[1]);
        assert_eq!((&together.vectors[2], together.residuals[2], together.last_steps[2]), (&zero, 0.0, 0.0));
    }

    #[test]
    fn products_with_the_matrix_are_those_written_out() {
        let parameters = 5000;
        let mut sample = SampledCurvature::zeros(parameters, 3);
        let gradients: Vec<Vec<f32>> = (0..3).map(|number| normals(number, parameters)).collect();
        for (place, gradient) in gradients.iter().enumerate() {
            sample.set(place, gradient).unwrap();
        }
        let vectors = [normals(7, parameters), normals(8, parameters)];
        let found = sample.times(&slices(&vectors)).unwrap();
        for (found, vector) in found.iter().zip(&vectors) {
            let weights: Vec<f64> = gradients.iter().map(|gradient| dot(gradient, vector) / 3.0).collect();
            let expected: Vec<f32> = (0..parameters)
                .map(|place| {
                    let terms =
                        weights.iter().zip(&gradients).map(|(weight, g)| weight * f64::from(g[place]));
                    terms.sum::<f64>() as f32
                })
                .collect();
            let wrong: Vec<f32> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
            // 8 bits of each value.
            assert!(length(&wrong) < 0.02 * length(&expected), "{} {}", length(&wrong), length(&expected));
        }
    }
}
