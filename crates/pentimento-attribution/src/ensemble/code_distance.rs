//! Distances by which the codes of an ensemble are ranked. Their names stand in the table of all methods.

use super::approximation::second_order_terms;
use super::codes::CodeBook;
use super::counterfactual::Derivatives;
use super::error::EnsembleError;
use super::jacobian::{Jacobian, gram_matrix};
use super::search::QuadraticForm;
use super::space::Space;

/// How far an image moves without the members that saw a code's group, for every code, by an approximation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeDistance {
    /// By the paper's Jacobian.
    Jacobian,
    /// By the one-member Jacobian with the second-order term: the search's first stage.
    SecondOrder,
}

/// The quadratic form of one sample's distances by a Jacobian, of the finished image.
///
/// # Errors
///
/// If a value is not finite, or the Jacobian is one of another number of members.
pub fn jacobian_form(
    codes: &CodeBook,
    image: &[f32],
    jacobian: &Jacobian<f32>,
    space: Space,
) -> Result<QuadraticForm, EnsembleError> {
    let columns = jacobian.masked(image, space).columns;
    QuadraticForm::linear(codes, &gram_matrix::<f32>(&columns))
}

/// The quadratic form of one sample's distances by the one-member Jacobian and the second-order term, both of the finished
/// image.
///
/// # Errors
///
/// As [`jacobian_form`].
pub fn second_order_form(
    codes: &CodeBook,
    image: &[f32],
    derivatives: &Derivatives,
    space: Space,
) -> Result<QuadraticForm, EnsembleError> {
    let Derivatives { one_member_jacobian: jacobian, without_member } = derivatives;
    let terms = Jacobian { columns: second_order_terms(image, jacobian, without_member) };
    let mut columns = jacobian.masked(image, space).columns;
    columns.extend(terms.masked(image, space).columns);
    QuadraticForm::second_order(codes, &gram_matrix::<f32>(&columns))
}

#[cfg(test)]
mod tests {
    use super::super::approximation::{linear_masked, second_order};
    use super::super::counterfactual::tests::{derivatives, image};
    use super::super::displacement::linear_coefficients;
    use super::*;

    fn distance(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
    }

    /// A form measures the images that the same approximation makes, without making them.
    #[test]
    fn forms_measure_the_approximate_images() {
        let codes = CodeBook::draw(6, 3, 20, 7).unwrap();
        let (image, derivatives) = (image(), derivatives(6));
        let jacobian = &derivatives.one_member_jacobian;
        let terms = second_order_terms(&image, jacobian, &derivatives.without_member);
        let linear =
            jacobian_form(&codes, &image, jacobian, Space::Pixels).unwrap().distances(&codes).unwrap();
        let second = second_order_form(&codes, &image, &derivatives, Space::Pixels)
            .unwrap()
            .distances(&codes)
            .unwrap();
        for group in 0..20 {
            let direction = linear_coefficients(&codes.weights_without(&[group]).unwrap());
            let truth = distance(&linear_masked(&image, jacobian, &direction, Space::Pixels), &image);
            // Images are rounded to f32 of size one, distances are of three such values.
            assert!((linear[group as usize] - truth).abs() < 1e-6, "{} {truth}", linear[group as usize]);
            let truth = distance(&second_order(&image, jacobian, &terms, &direction), &image);
            assert!((second[group as usize] - truth).abs() < 1e-6, "{} {truth}", second[group as usize]);
        }
    }

    #[test]
    fn pixels_beyond_black_or_white_count_as_still() {
        let codes = CodeBook::draw(4, 2, 6, 1).unwrap();
        let jacobian = Jacobian { columns: (0..4).map(|member| vec![member as f32, 0.0]).collect() };
        let moves = |image: [f32; 2], space| -> f64 {
            jacobian_form(&codes, &image, &jacobian, space).unwrap().distances(&codes).unwrap().iter().sum()
        };
        assert!(moves([0.5, 0.0], Space::Pixels) > 0.1);
        assert_eq!(moves([1.5, 0.0], Space::Pixels), 0.0);
        assert!(moves([1.5, 0.0], Space::Latents) > 0.1);
    }
}
