//! What a sample rests on most, by the distances in the view.

use crate::{CounterfactualView, SampleView};

/// The counterfactual that is farthest from its sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestsOn<'a> {
    pub(crate) farthest: &'a CounterfactualView,
    pub(crate) distance: f64,
    /// The next farthest and its distance.
    pub(crate) next: Option<(&'a CounterfactualView, f64)>,
    /// The approximation that the distances come from; `None` when they are exact.
    pub(crate) method: Option<&'a str>,
}

impl<'a> RestsOn<'a> {
    /// Takes exact distances if every counterfactual has one, else the first approximation that has all, else
    /// the exact distances there are. Distances of different methods are never compared with each other.
    /// `None` when nothing was measured or nothing moves the picture.
    pub(crate) fn of(sample: &'a SampleView) -> Option<Self> {
        let all = &sample.counterfactuals;
        let methods = all.first()?.approximations.iter().map(|one| Some(one.method.as_str()));
        let complete = |&method: &Option<&str>| all.iter().all(|one| distance_by(one, method).is_some());
        let method = std::iter::once(None).chain(methods).find(complete).unwrap_or(None);

        let mut ranked: Vec<_> =
            all.iter().filter_map(|one| distance_by(one, method).map(|distance| (one, distance))).collect();
        ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
        let &(farthest, distance) = ranked.first().filter(|(_, distance)| *distance > 0.0)?;
        Some(Self { farthest, distance, next: ranked.get(1).copied(), method })
    }

    /// Whether the classifier sees in the sample the very class that it rests on most. `None` when one of
    /// them is not known.
    pub(crate) fn agrees(&self, sample: &SampleView) -> Option<bool> {
        let class = self.farthest.removed.class.as_ref()?;
        Some(*class == sample.seen_as.as_ref()?.label)
    }

    /// The shortest name of what it rests on most.
    pub(crate) fn short_name(&self) -> &'a str {
        let removed = &self.farthest.removed;
        removed.class.as_deref().unwrap_or(&removed.label)
    }
}

/// Distance of a counterfactual, exact or by an approximation. Only finite ones count.
pub(crate) fn distance_by(counterfactual: &CounterfactualView, method: Option<&str>) -> Option<f64> {
    let distance = match method {
        None => counterfactual.distance_exact,
        Some(method) => counterfactual.approximations.iter().find(|one| one.method == method)?.distance,
    };
    distance.filter(|distance| distance.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApproximationView, Picture, Removed};

    fn sample(distances: &[(Option<f64>, Option<f64>)]) -> SampleView {
        let counterfactuals =
            distances.iter().enumerate().map(|(number, &(exact, linear))| CounterfactualView {
                removed: Removed { label: format!("class {number}"), class: Some(number.to_string()) },
                exact: None,
                distance_exact: exact,
                seen_as: None,
                members_left: None,
                approximations: vec![ApproximationView {
                    method: "linear".to_owned(),
                    picture: None,
                    distance: linear,
                    pearson_with_exact: None,
                }],
            });
        SampleView {
            name: None,
            id: 0,
            image: Picture { height: 1, width: 1, channels: 1, pixels: vec![0] },
            seen_as: None,
            counterfactuals: counterfactuals.collect(),
            training_image_lists: Vec::new(),
            show_detail: true,
        }
    }

    #[test]
    fn exact_distances_win_when_complete() {
        let sample = sample(&[(Some(1.0), Some(9.0)), (Some(3.0), Some(0.1)), (Some(2.0), Some(5.0))]);
        let rests_on = RestsOn::of(&sample).expect("has distances");
        assert_eq!((rests_on.short_name(), rests_on.distance, rests_on.method), ("1", 3.0, None));
        assert_eq!(rests_on.next.map(|(_, distance)| distance), Some(2.0));
    }

    #[test]
    fn an_approximation_that_has_all_is_preferred_to_a_few_exact_ones() {
        let sample = sample(&[(Some(1.0), Some(0.9)), (None, Some(4.0))]);
        let rests_on = RestsOn::of(&sample).expect("has distances");
        assert_eq!((rests_on.short_name(), rests_on.method), ("1", Some("linear")));
    }

    #[test]
    fn infinite_and_missing_distances_do_not_count() {
        let sample_with_gaps = sample(&[(Some(f64::INFINITY), None), (Some(0.5), Some(f64::NAN))]);
        let rests_on = RestsOn::of(&sample_with_gaps).expect("one distance");
        assert_eq!((rests_on.short_name(), rests_on.method), ("1", None));
        assert!(RestsOn::of(&sample(&[(None, None)])).is_none());
        assert!(RestsOn::of(&sample(&[(Some(0.0), None)])).is_none(), "nothing moves it");
        assert!(RestsOn::of(&sample(&[])).is_none());
    }

    #[test]
    fn the_first_of_equal_distances_is_taken() {
        let sample = sample(&[(Some(2.0), None), (Some(2.0), None)]);
        assert_eq!(RestsOn::of(&sample).map(|one| one.short_name()), Some("0"));
    }
}
