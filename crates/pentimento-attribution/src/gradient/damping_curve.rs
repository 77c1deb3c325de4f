//! What other dampings would do to the order of scores.

use super::comparison::Compared;
use super::feature_source::FeatureSource;
use crate::scores::{ScoreRows, add_rows, rank_agreement};

/// Dampings of the curve, each a factor 10^(1/3) above the last, from 10^-4 of the one that is taken to 10^4 of it.
const STEPS_PER_DECADE: usize = 3;
const DECADES: i32 = 4;

/// Queries that the curve looks at; their order of all training images is made for every damping.
const MOST_QUERIES: usize = 16;

/// Rank agreement of neighbouring dampings below which scores are said to fall off a cliff.
const CLIFF: f64 = 0.9;

/// What the damping does to the scores of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct DampingView {
    /// The one that was taken.
    pub taken: f64,
    /// The one that is taken if none is named; none if all features are the same.
    pub by_centred_eigenvalue: Option<f64>,
    /// A hundred times the median eigenvalue.
    pub by_median_eigenvalue: f64,
    /// How many directions of the features it leaves.
    pub degrees_of_freedom: f64,
    /// Other dampings, rising.
    pub curve: Vec<DampingPoint>,
}

/// Scores with another damping.
#[derive(Clone, Debug, PartialEq)]
pub struct DampingPoint {
    /// The damping.
    pub damping: f64,
    /// How many directions of the features it leaves.
    pub degrees_of_freedom: f64,
    /// Rank correlation of its scores with those of the damping that was taken.
    pub agreement_with_taken: Option<f64>,
    /// Rank correlation of its scores with those of the point before.
    pub agreement_with_before: Option<f64>,
}

/// Scores the first queries of a network with dampings around the one that was taken; none without a kernel.
///
/// # Errors
///
/// As reading features, or if a score is not finite.
pub fn damping_view<S: FeatureSource>(
    compared: &Compared<'_, S::Error>,
    network: &S,
) -> Result<Option<DampingView>, S::Error> {
    let Some((kernel, damping)) = compared.kernel() else { return Ok(None) };
    let count = network.queries().min(MOST_QUERIES);
    let queries = compared.queries(network.query_features(0..count, &|_| true)?)?;
    let scores_at =
        |damping: f64| Ok::<_, S::Error>(compared.scores_at(&queries, damping)?.unwrap_or_default());
    let taken = scores_at(damping)?;
    let mut curve: Vec<DampingPoint> = Vec::new();
    let mut before: Option<Vec<Vec<f64>>> = None;
    let steps = DECADES * STEPS_PER_DECADE as i32;
    for step in -steps..=steps {
        let at = damping * libm::pow(10.0, f64::from(step) / STEPS_PER_DECADE as f64);
        let scores = scores_at(at)?;
        let with_before = match &before {
            Some(before) => rank_agreement(&scores, before)?,
            None => None,
        };
        curve.push(DampingPoint {
            damping: at,
            degrees_of_freedom: kernel.degrees_of_freedom(at),
            agreement_with_taken: rank_agreement(&scores, &taken)?,
            agreement_with_before: with_before,
        });
        before = Some(scores);
    }
    Ok(Some(DampingView {
        taken: damping,
        by_centred_eigenvalue: kernel.damping().ok(),
        by_median_eigenvalue: kernel.damping_by_median(),
        degrees_of_freedom: kernel.degrees_of_freedom(damping),
        curve,
    }))
}

impl DampingView {
    /// The step of the curve over which scores change most, if they fall off a cliff there: its two dampings and their rank
    /// agreement.
    pub fn cliff(&self) -> Option<(f64, f64, f64)> {
        let steps = self
            .curve
            .windows(2)
            .filter_map(|pair| Some((pair[0].damping, pair[1].damping, pair[1].agreement_with_before?)));
        steps.min_by(|a, b| a.2.total_cmp(&b.2)).filter(|step| step.2 < CLIFF)
    }

    /// Whether the damping that was taken lies within a factor of ten of the cliff.
    pub fn is_near_cliff(&self) -> bool {
        self.cliff().is_some_and(|(from, to, _)| self.taken > from / 10.0 && self.taken < to * 10.0)
    }
}

/// Scores of all training images for all queries at multiples of the damping that was taken of each network,
/// `[factors][queries][images]`, the sum over networks; none without a kernel.
///
/// # Errors
///
/// As reading features.
pub fn scores_around<S: FeatureSource>(
    compared: &[Compared<'_, S::Error>],
    networks: &[S],
    factors: &[f64],
) -> Result<Option<Vec<ScoreRows>>, S::Error> {
    let mut all = vec![Vec::new(); factors.len()];
    for (compared, network) in compared.iter().zip(networks) {
        let Some((_, damping)) = compared.kernel() else { return Ok(None) };
        let queries = compared.queries(network.query_features(0..network.queries(), &|_| true)?)?;
        for (sum, factor) in all.iter_mut().zip(factors) {
            let scores = compared.scores_at(&queries, factor * damping)?.unwrap_or_default();
            add_rows(sum, network.factor(), &scores);
        }
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::super::jackknife::tests::network;
    use super::super::jackknife::{compare_networks, image_readers};
    use super::super::method::{Comparison, Divisor};
    use super::*;

    /// A curve whose steps agree as told, from a damping of 1 on.
    fn view(taken: f64, agreements: &[f64]) -> DampingView {
        let point = |(step, agreement): (usize, Option<f64>)| DampingPoint {
            damping: libm::pow(10.0, step as f64),
            degrees_of_freedom: 1.0,
            agreement_with_taken: None,
            agreement_with_before: agreement,
        };
        let steps = std::iter::once(None).chain(agreements.iter().copied().map(Some));
        DampingView {
            taken,
            by_centred_eigenvalue: None,
            by_median_eigenvalue: 1.0,
            degrees_of_freedom: 1.0,
            curve: steps.enumerate().map(point).collect(),
        }
    }

    #[test]
    fn a_cliff_is_the_steepest_step_if_it_is_steep() {
        assert_eq!(view(1.0, &[0.99, 0.95, 0.97]).cliff(), None);
        let steep = view(1.0, &[0.99, 0.5, 0.7, 0.99, 0.99]);
        assert_eq!(steep.cliff(), Some((10.0, 100.0, 0.5)));
        for (taken, near) in [(0.5, false), (2.0, true), (50.0, true), (999.0, true), (1001.0, false)] {
            assert_eq!(view(taken, &[0.99, 0.5, 0.7, 0.99, 0.99]).is_near_cliff(), near, "{taken}");
        }
    }

    #[test]
    fn a_curve_goes_through_the_damping_that_was_taken() {
        let networks = [network(1.0, 8)];
        let readers = image_readers(&networks);
        let of = |comparison| {
            let compared = compare_networks(&networks, &readers, comparison, Some(3.0), || Ok(())).unwrap();
            damping_view(&compared[0], &networks[0]).unwrap()
        };
        assert_eq!(of(Comparison::Dot), None);
        let view = of(Comparison::InverseKernel(Divisor::One)).unwrap();
        assert_eq!((view.taken, view.curve.len()), (3.0, 25));
        let middle = &view.curve[12];
        assert_eq!(middle.damping, 3.0);
        // Scores agree with themselves, but for the rounding of two square roots.
        assert!(middle.agreement_with_taken.is_some_and(|agreement| agreement > 1.0 - 1e-15));
        assert_eq!(middle.degrees_of_freedom, view.degrees_of_freedom);
        assert_eq!(view.curve[0].agreement_with_before, None);
        // A decade above, ten times the damping; more damping leaves fewer directions.
        assert!((view.curve[15].damping / 30.0 - 1.0).abs() < 1e-12);
        assert!(view.curve.windows(2).all(|two| two[0].degrees_of_freedom > two[1].degrees_of_freedom));
    }
}
