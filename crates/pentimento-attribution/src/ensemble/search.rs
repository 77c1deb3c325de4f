//! The influence of every code of a book, from a Gram matrix alone.

use pentimento_kernels::{SignForm, SignFormBound};
use rayon::prelude::*;
use serde::Serialize;

use super::codes::{Code, CodeBook};
use super::displacement::{check_gram, dot};
use super::error::EnsembleError;
use super::scan::{PackedCodes, Scan, ScanError};

/// Codes that are measured together: enough that starting a task (about a microsecond) does not count.
const CODES_PER_TASK: usize = 1 << 12;

/// How far the image moves when one group is removed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Influence {
    /// The group.
    pub group: u32,
    /// The Euclidean length of the approximate displacement, in the units of the images of the Gram matrix.
    pub distance: f64,
}

/// The squared length of the approximate displacement of an image as a quadratic form in the code of the removed group.
///
/// All codes have the same length n and weight h, so each coefficient of the displacement takes one of two values,
/// depending on one bit of the code. With s_j = -1 for the members that saw the group and +1 for the others, the squared
/// length is therefore a [`SignForm`], `constant + Σ_j s_j (linear_j + Σ_{k≠j} pair_jk s_k)`, for the second order as for the
/// linear displacement.
///
/// For the linear displacement and n = 2h, a code and its complement give the same bits.
#[derive(Clone, Debug)]
pub struct QuadraticForm {
    members: u32,
    weight: u32,
    square: SignForm,
    /// What the square is at most: tells most codes of a large book apart from the few that may come first.
    bound: SignFormBound,
}

/// The two values of a coefficient: `middle + half` for a member that remains, `middle - half` for one that is left out.
#[derive(Clone, Copy)]
struct TwoValues {
    middle: f64,
    half: f64,
}

impl TwoValues {
    fn new(remaining: f64, left_out: f64) -> Self {
        Self { middle: (remaining + left_out) / 2.0, half: (remaining - left_out) / 2.0 }
    }
}

impl QuadraticForm {
    /// The form of the linear displacement J (u - 1/n) for the codes of `book`.
    ///
    /// `gram` is JᵀJ, shape `[n, n]`.
    ///
    /// # Errors
    ///
    /// If the Gram matrix has another size or a value that is not finite.
    pub fn linear(book: &CodeBook, gram: &[f64]) -> Result<Self, EnsembleError> {
        Self::new(book, gram, &[linear_values(book)])
    }

    /// The form of the displacement with the diagonal second-order term, for the codes of `book`
    /// (see [`second_order_coefficients`](super::second_order_coefficients)).
    ///
    /// `gram` is the Gram matrix of the 2n columns `[J | S]`, shape `[2n, 2n]`.
    ///
    /// # Errors
    ///
    /// As [`linear`](Self::linear).
    pub fn second_order(book: &CodeBook, gram: &[f64]) -> Result<Self, EnsembleError> {
        let linear = linear_values(book);
        let others = f64::from(book.members()) - 1.0;
        let squared = |value: f64| (others * value).powi(2);
        let second =
            TwoValues::new(squared(linear.middle + linear.half), squared(linear.middle - linear.half));
        Self::new(book, gram, &[linear, second])
    }

    /// `blocks`: for each block of n columns, the two values of a coefficient.
    fn new(book: &CodeBook, gram: &[f64], blocks: &[TwoValues]) -> Result<Self, EnsembleError> {
        let members = book.members() as usize;
        let order = members * blocks.len();
        check_gram(gram, order)?;
        // A Gram matrix whose triangles differ by rounding is taken as their mean.
        let symmetric =
            |position: usize| gram[position] / 2.0 + gram[position % order * order + position / order] / 2.0;
        let gram: Vec<f64> = (0..order * order).map(symmetric).collect();

        // With coefficients x = middle + half * s, the form x'Gx has the parts
        // middle'G middle, 2 (half * G middle)'s and s'(half * G * half)s.
        let middle: Vec<f64> = (0..order).map(|row| blocks[row / members].middle).collect();
        let gram_middle: Vec<f64> = gram.chunks_exact(order).map(|row| dot(row, &middle)).collect();
        let mut linear = vec![0.0; members];
        for (row, value) in gram_middle.iter().enumerate() {
            linear[row % members] += 2.0 * blocks[row / members].half * value;
        }
        let mut pairs = vec![0.0; members * members];
        for (row, values) in gram.chunks_exact(order).enumerate() {
            for (column, value) in values.iter().enumerate() {
                pairs[row % members * members + column % members] +=
                    blocks[row / members].half * blocks[column / members].half * value;
            }
        }
        let diagonal: f64 = (0..members).map(|member| pairs[member * members + member]).sum();
        let constant = dot(&middle, &gram_middle) + diagonal;

        // The sum over ordered pairs, as one over pairs.
        let both: Vec<f64> = (0..members * members)
            .map(|position| pairs[position] + pairs[position % members * members + position / members])
            .collect();
        let bound = SignFormBound::new(constant, &linear, &both, book.weight())?;
        let square = SignForm::new(constant, &linear, &pairs)?;
        Ok(Self { members: book.members(), weight: book.weight(), square, bound })
    }

    /// The distance of every group of the book, in the order of the groups.
    ///
    /// # Errors
    ///
    /// If the book has another n or h than the one the form was made for.
    pub fn distances(&self, book: &CodeBook) -> Result<Vec<f64>, EnsembleError> {
        self.check_book(book)?;
        let mut distances = vec![0.0; book.codes().len()];
        distances.par_chunks_mut(CODES_PER_TASK).zip(book.codes().par_chunks(CODES_PER_TASK)).for_each(
            |(distances, codes)| {
                let bits: Vec<u64> = codes.iter().map(|code| code.bits()).collect();
                self.distances_of(&bits, distances);
            },
        );
        Ok(distances)
    }

    /// The `count` groups with the largest distances, largest first; of equal distances the lower group comes first.
    ///
    /// Memory is proportional to `count` and the number of threads, and the result does not depend on the latter.
    ///
    /// # Errors
    ///
    /// As [`distances`](Self::distances).
    pub fn most_influential(&self, book: &CodeBook, count: usize) -> Result<Vec<Influence>, EnsembleError> {
        self.check_book(book)?;
        let bits: Vec<u64> = book.codes().iter().map(|code| code.bits()).collect();
        let scan = Scan { forms: std::slice::from_ref(self), count };
        match scan.run::<EnsembleError>(PackedCodes::U64(&bits), |_| Ok(()), |_| Ok(())) {
            Ok(ranked) => Ok(ranked
                .into_iter()
                .flatten()
                .map(|found| Influence { group: found.position as u32, distance: found.distance })
                .collect()),
            Err(ScanError::Stopped(error)) => Err(error),
            // A book has codes of its own length and weight only.
            Err(ScanError::OtherCode { position }) => {
                let code = book.code(position as u32).map_or(0, Code::weight);
                Err(EnsembleError::UnequalWeights {
                    group: position as u32,
                    weight: code,
                    expected: self.weight,
                })
            }
        }
    }

    /// The length n of the codes that this form is for.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members
    }

    /// The weight h of the codes that this form is for.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The upper bound of the square of the distance.
    pub(super) fn bound(&self) -> &SignFormBound {
        &self.bound
    }

    fn check_book(&self, book: &CodeBook) -> Result<(), EnsembleError> {
        if (book.members(), book.weight()) == (self.members, self.weight) {
            return Ok(());
        }
        Err(EnsembleError::FormOfAnotherEnsemble {
            form_members: self.members,
            form_weight: self.weight,
            members: book.members(),
            weight: book.weight(),
        })
    }

    /// The distances of codes of length n and weight h; 0 where rounding would make a square negative.
    pub(super) fn distances_of(&self, codes: &[u64], distances: &mut [f64]) {
        self.square.values(codes, distances);
        for distance in distances {
            *distance = distance.max(0.0).sqrt();
        }
    }
}

/// u_j - 1/n is -1/n for the members that saw the group and 1/(n - h) - 1/n = h / (n (n - h)) for the others.
fn linear_values(book: &CodeBook) -> TwoValues {
    let (members, weight) = (f64::from(book.members()), f64::from(book.weight()));
    TwoValues::new(weight / (members * (members - weight)), -1.0 / members)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::HashMap;

    use pentimento_noise::{Purpose, Stream};
    use proptest::prelude::*;

    use super::super::displacement::{displacement_distance, linear_coefficients, second_order_coefficients};
    use super::*;

    const PIXELS: usize = 90;

    /// `columns` images of normally distributed values.
    fn random_images(columns: usize, seed: u64) -> Vec<Vec<f64>> {
        let images = (0..columns).map(|column| {
            let mut image = vec![0.0; PIXELS];
            Stream::new(seed, Purpose::Test, column as u32, 0).fill_normal_f64(&mut image);
            image
        });
        images.collect()
    }

    fn gram_of(columns: &[Vec<f64>]) -> Vec<f64> {
        columns.iter().flat_map(|left| columns.iter().map(move |right| dot(left, right))).collect()
    }

    /// Adds `factor` times `image` to `sum`.
    fn add(sum: &mut [f64], factor: f64, image: &[f64]) {
        for (value, pixel) in sum.iter_mut().zip(image) {
            *value += factor * pixel;
        }
    }

    fn length(image: &[f64]) -> f64 {
        dot(image, image).sqrt()
    }

    /// The Jacobian's columns, the drop-one displacements D_j and, from them by its definition, S.
    fn random_ensemble(members: usize, seed: u64) -> [Vec<Vec<f64>>; 3] {
        let jacobian = random_images(members, seed);
        let drop_one = random_images(members, seed.wrapping_add(1));
        let n = members as f64;
        let second = (0..members).map(|dropped| {
            let mut rest = drop_one[dropped].clone();
            for (member, column) in jacobian.iter().enumerate() {
                let indicator = if member == dropped { 1.0 } else { 0.0 };
                add(&mut rest, (indicator - 1.0 / n) / (n - 1.0), column);
            }
            rest
        });
        let second = second.collect();
        [jacobian, drop_one, second]
    }

    fn any_book() -> impl Strategy<Value = CodeBook> {
        let drawn = (2_u32..=64, 0.0..1.0_f64, 1_u32..=40, any::<u64>()).prop_filter_map(
            "more groups than codes",
            |(members, share, groups, seed)| {
                let weight = (1 + (share * f64::from(members - 1)) as u32).min(members - 1);
                CodeBook::draw(members, weight, groups, seed).ok()
            },
        );
        prop_oneof![drawn, (3_u32..=40).prop_map(|groups| CodeBook::walsh(groups).unwrap())]
    }

    proptest! {
        #[test]
        fn distances_are_the_lengths_of_the_displaced_images(book in any_book(), seed: u64) {
            let members = book.members() as usize;
            let n = members as f64;
            let [jacobian, drop_one, second] = random_ensemble(members, seed);
            let stacked: Vec<Vec<f64>> = jacobian.iter().chain(&second).cloned().collect();
            let (linear_gram, stacked_gram) = (gram_of(&jacobian), gram_of(&stacked));
            let linear = QuadraticForm::linear(&book, &linear_gram).unwrap().distances(&book).unwrap();
            let with_second =
                QuadraticForm::second_order(&book, &stacked_gram).unwrap().distances(&book).unwrap();
            for group in 0..book.groups() {
                let weights = book.weights_without(&[group]).unwrap();
                let mut image = vec![0.0; PIXELS];
                for (weight, column) in weights.iter().zip(&jacobian) {
                    add(&mut image, weight - 1.0 / n, column);
                }
                let expected = length(&image);
                let tolerance = 1e-9 * (1.0 + expected);
                prop_assert!((linear[group as usize] - expected).abs() < tolerance);
                let dense = displacement_distance(&linear_gram, &linear_coefficients(&weights)).unwrap();
                prop_assert!((dense - expected).abs() < tolerance);

                // Σ_j c_j² (D_j - J d_j), in image space.
                for (dropped, displaced) in drop_one.iter().enumerate() {
                    let square = (-(n - 1.0) * (weights[dropped] - 1.0 / n)).powi(2);
                    add(&mut image, square, displaced);
                    for (member, column) in jacobian.iter().enumerate() {
                        let indicator = if member == dropped { 1.0 } else { 0.0 };
                        let change = -(indicator - 1.0 / n) / (n - 1.0);
                        add(&mut image, -square * change, column);
                    }
                }
                let expected = length(&image);
                let tolerance = 1e-9 * (1.0 + expected);
                prop_assert!((with_second[group as usize] - expected).abs() < tolerance);
                let dense = displacement_distance(&stacked_gram, &second_order_coefficients(&weights)).unwrap();
                prop_assert!((dense - expected).abs() < tolerance);
            }
        }

        #[test]
        fn the_ranking_is_that_of_a_full_sort(
            groups in 1_u32..3000, count in 0_usize..50, seed: u64, coarse: bool,
        ) {
            let book = CodeBook::draw(14, 7, groups, seed).unwrap();
            // A multiple of the identity gives every code the same distance: all ties.
            let gram = if coarse {
                (0..14 * 14).map(|position| if position % 15 == 0 { 2.0 } else { 0.0 }).collect()
            } else {
                gram_of(&random_images(14, seed))
            };
            let form = QuadraticForm::linear(&book, &gram).unwrap();
            let mut expected: Vec<Influence> = (0..)
                .zip(form.distances(&book).unwrap())
                .map(|(group, distance)| Influence { group, distance })
                .collect();
            expected.sort_by(|left, right| right.distance.total_cmp(&left.distance).then(left.group.cmp(&right.group)));
            expected.truncate(count);
            prop_assert_eq!(form.most_influential(&book, count).unwrap(), expected);
        }
    }

    #[test]
    fn a_code_and_its_complement_tie_exactly_in_first_order_and_not_in_second() {
        for members in [2_u32, 8, 14, 20, 30] {
            let groups = binomial_capped(members);
            let book = CodeBook::draw(members, members / 2, groups, 5).unwrap();
            let complements =
                book.codes().iter().map(|code| Code::from_bits(!code.bits() & ((1 << members) - 1)));
            let complements = CodeBook::from_codes(members, complements.collect()).unwrap();
            let [jacobian, _, second] = random_ensemble(members as usize, 9);
            let form = QuadraticForm::linear(&book, &gram_of(&jacobian)).unwrap();
            assert_eq!(form.distances(&book), form.distances(&complements));
            let stacked: Vec<Vec<f64>> = jacobian.into_iter().chain(second).collect();
            let form = QuadraticForm::second_order(&book, &gram_of(&stacked)).unwrap();
            let pairs = form.distances(&book).unwrap().into_iter().zip(form.distances(&complements).unwrap());
            for (distance, of_complement) in pairs {
                assert!((distance - of_complement).abs() > 1e-6 * distance);
            }
        }
    }

    fn binomial_capped(members: u32) -> u32 {
        super::super::binomial(members, members / 2).map_or(1, |codes| codes.min(300) as u32)
    }

    #[test]
    fn ties_go_to_the_lower_group() {
        // All 70 codes of n = 8, h = 4: 35 pairs of complements with equal distances.
        let book = CodeBook::draw(8, 4, 70, 3).unwrap();
        let form = QuadraticForm::linear(&book, &gram_of(&random_images(8, 4))).unwrap();
        let ranking = form.most_influential(&book, 70).unwrap();
        let group_of: HashMap<Code, u32> = book.codes().iter().copied().zip(0..).collect();
        for pair in ranking.chunks_exact(2) {
            let code = book.code(pair[0].group).unwrap();
            assert_eq!(group_of[&Code::from_bits(!code.bits() & 0xff)], pair[1].group);
            assert!(pair[0].group < pair[1].group);
            assert_eq!(pair[0].distance, pair[1].distance);
        }
    }

    #[test]
    fn what_all_columns_share_does_not_blur_the_differences() {
        // A common image 10^6 times as large as the differences between the columns: its square leaves 4 digits of
        // those in the Gram matrix, and the distances must have about as many.
        let differences = random_images(16, 2);
        let common = random_images(1, 3);
        let mut shifted = differences.clone();
        shifted.iter_mut().for_each(|column| add(column, 1e6, &common[0]));
        for weight in [2, 8, 14] {
            let book = CodeBook::draw(16, weight, 100, 1).unwrap();
            let distances = |images: &[Vec<f64>]| {
                QuadraticForm::linear(&book, &gram_of(images)).unwrap().distances(&book).unwrap()
            };
            for (actual, expected) in distances(&shifted).iter().zip(distances(&differences)) {
                assert!((actual / expected - 1.0).abs() < 1e-2, "h = {weight}: {actual} {expected}");
            }
        }
    }

    #[test]
    fn a_gram_matrix_is_taken_as_the_mean_of_its_triangles() {
        let book = CodeBook::draw(9, 3, 80, 1).unwrap();
        let gram = gram_of(&random_images(18, 2));
        // Twice the upper triangle and none of the lower one.
        let upper: Vec<f64> = (0..18 * 18)
            .map(|position| match (position / 18).cmp(&(position % 18)) {
                Ordering::Less => 2.0 * gram[position],
                Ordering::Equal => gram[position],
                Ordering::Greater => 0.0,
            })
            .collect();
        let form = |gram: &[f64]| QuadraticForm::second_order(&book, gram).unwrap();
        assert_eq!(form(&upper).distances(&book), form(&gram).distances(&book));
    }

    #[test]
    fn the_ranking_is_the_same_with_any_number_of_threads() {
        let book = CodeBook::draw(20, 10, 150_000, 7).unwrap();
        let form = QuadraticForm::linear(&book, &gram_of(&random_images(20, 8))).unwrap();
        let ranked_by = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| form.most_influential(&book, 1000).unwrap())
        };
        let alone = ranked_by(1);
        assert_eq!(alone.len(), 1000);
        for threads in [2, 3, 8] {
            assert_eq!(ranked_by(threads), alone);
        }
    }

    #[test]
    fn wrong_matrices_and_books_are_refused() {
        let book = CodeBook::walsh(7).unwrap();
        let refused = |gram: &[f64]| QuadraticForm::linear(&book, gram).unwrap_err().to_string();
        assert_eq!(refused(&[0.0; 48]), "Gram matrix: 48 values given, but 7 x 7 = 49 are needed");
        let mut gram = [1.0; 49];
        gram[10] = f64::NAN;
        assert_eq!(refused(&gram), "Gram matrix: the value in row 1, column 3 is NaN, not a finite number");
        assert!(QuadraticForm::second_order(&book, &[1.0; 49]).is_err());
        let form = QuadraticForm::linear(&book, &[1.0; 49]).unwrap();
        let other = CodeBook::draw(7, 4, 7, 0).unwrap();
        assert!(matches!(form.distances(&other), Err(EnsembleError::FormOfAnotherEnsemble { .. })));
        assert!(matches!(form.most_influential(&other, 3), Err(EnsembleError::FormOfAnotherEnsemble { .. })));
        assert!(displacement_distance(&[1.0; 3], &[1.0; 2]).is_err());
    }
}
