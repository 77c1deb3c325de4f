//! Does the class whose removal moves an image most fit the class that a classifier sees in it? (Dai and Gifford 2023,
//! section 3.1.)
//!
//! Each sample is made once by the whole ensemble and once more without each of several groups of training images, where
//! a group is one class. A *pair* is a sample and a removed class; it is an *own* pair if the classifier sees that class
//! in the sample, and an *other* pair if not. A sample that shows a class which is no group has other pairs only.

use serde::{Deserialize, Serialize};

use crate::statistics::{
    BinomialTest, Estimate, IntervalSettings, StatisticsError, binomial_test_above, bootstrap_mean,
    bootstrap_ratio, mann_whitney, wilson_interval,
};

/// One sample, as the classifier sees it with and without each group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AblatedSample {
    /// The class seen in the sample, of all classes that the classifier knows.
    pub class: u32,
    /// Its probability, the largest of all.
    pub probability: f64,
    /// What became of the sample without each group, in the order of the groups.
    pub removals: Vec<Removal>,
}

/// A sample made without a group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    /// The distance of the two images, at least 0, in any unit.
    pub distance: f64,
    /// The class seen in it now.
    pub class: u32,
}

/// The figures of a class ablation. What has nothing to be computed from is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassAblation {
    /// Number of samples.
    pub samples: u64,
    /// How many of them show the class of a group.
    pub samples_of_groups: u64,
    /// In how many samples the class whose removal moves the image most (of equal distances, the first group) is the
    /// class seen, among samples that show the class of a group.
    pub agreement_of_groups: Option<Agreement>,
    /// The same among all samples; one that shows no group's class cannot agree.
    pub agreement: Agreement,
    /// In how many own pairs the class seen changes. There is one such pair in each sample that shows a group's class,
    /// so the interval is Wilson's.
    pub own_flips: Option<Estimate>,
    /// In how many other pairs the class seen changes. The pairs of a sample hang together, so the interval is a cluster
    /// bootstrap over samples.
    pub other_flips: Estimate,
    /// How much of its own class a removal leaves: over the groups' classes, the number of images that show a class
    /// after its removal, divided by the number of those that show it without any.
    pub diagonal_kept: Option<Estimate>,
    /// Mean over samples of the probability of the class seen.
    pub mean_maximum_probability: Estimate,
    /// Mean distance of own pairs.
    pub own_distance: Option<Estimate>,
    /// Mean distance of other pairs, with a cluster bootstrap over samples.
    pub other_distance: Estimate,
    /// The probability that an own pair has a larger distance than an other pair (the Mann-Whitney statistic as an area
    /// under the curve). It has no p-value, as the pairs of a sample are not independent.
    pub own_above_other: Option<f64>,
    /// The classes seen: first with nothing removed, then without each group.
    pub table: Vec<ClassCounts>,
}

/// How often the class moved most is the class seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Number of samples that agree.
    pub agreeing: u64,
    /// Number of samples.
    pub samples: u64,
    /// Their share, with Wilson's interval.
    pub share: Estimate,
    /// The exact test against guessing one of the groups.
    pub against_chance: BinomialTest,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// The class removed; `None` for the samples themselves.
    pub removed: Option<u32>,
    /// The number of images in which each class is seen, one count per class.
    pub counts: Vec<u64>,
}

/// Why a class ablation cannot be evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassAblationError {
    /// Fewer than two groups: there is nothing to choose from.
    #[error("groups: {groups} given, at least 2 are needed")]
    TooFewGroups {
        /// How many.
        groups: usize,
    },
    /// Two groups of one class.
    #[error("groups: class {class} is there twice")]
    RepeatedGroup {
        /// The class.
        class: u32,
    },
    /// A class that the classifier does not know.
    #[error("{field}: class {class}, but there are {classes} classes, counted from 0")]
    ClassOutOfRange {
        /// Where it stands.
        field: String,
        /// The class.
        class: u32,
        /// Number of classes.
        classes: u32,
    },
    /// A sample without one removal for each group.
    #[error("sample {sample}: {removals} removals given for {groups} groups")]
    RemovalCount {
        /// The sample, from 0.
        sample: usize,
        /// Number of its removals.
        removals: usize,
        /// Number of groups.
        groups: usize,
    },
    /// A probability or distance outside its range.
    #[error("{field} is {value}: {bound}")]
    OutOfBounds {
        /// Which value.
        field: String,
        /// The value.
        value: f64,
        /// What would be accepted.
        bound: &'static str,
    },
    /// No samples, or interval settings out of bounds.
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
}

/// Evaluates a class ablation. `groups` has the class of each removed group, `classes` is the number of classes that the
/// classifier knows.
///
/// # Errors
///
/// [`ClassAblationError`] if there are no samples or fewer than two groups, a class is out of range, a sample has not one
/// removal per group, or a distance, probability or interval setting is out of bounds.
pub fn class_ablation(
    groups: &[u32],
    classes: u32,
    samples: &[AblatedSample],
    intervals: &IntervalSettings,
) -> Result<ClassAblation, ClassAblationError> {
    check(groups, classes, samples)?;
    let IntervalSettings { confidence, resamples, seed } = *intervals;

    let (mut own_flips, mut own_distances) = (Vec::new(), Vec::new());
    let (mut other_flips, mut other_distances) = (Vec::new(), Vec::new());
    let mut diagonal = Vec::new();
    let mut agreeing = 0;
    for AblatedSample { class, removals, .. } in samples {
        let pairs = || groups.iter().zip(removals);
        let flip = |removal: &Removal| f64::from(u8::from(removal.class != *class));
        let own = pairs().find(|(group, _)| *group == class).map(|(_, removal)| removal);
        let others = || pairs().filter(|(group, _)| *group != class).map(|(_, removal)| removal);
        own_flips.extend(own.map(flip));
        own_distances.extend(own.map(|removal| removal.distance));
        other_flips.push(others().map(flip).collect::<Vec<f64>>());
        other_distances.push(others().map(|removal| removal.distance).collect::<Vec<f64>>());
        let left = pairs().filter(|(group, removal)| **group == removal.class).count();
        diagonal.push((left as f64, if own.is_some() { 1.0 } else { 0.0 }));
        agreeing += u64::from(most_moving(groups, removals) == Some(*class));
    }

    let samples_of_groups = own_flips.len() as u64;
    let agreement = |count: u64| -> Result<Agreement, StatisticsError> {
        Ok(Agreement {
            agreeing,
            samples: count,
            share: wilson_interval(agreeing, count, confidence)?,
            against_chance: binomial_test_above(agreeing, count, 1.0 / groups.len() as f64)?,
        })
    };
    let mean = |clusters: &[Vec<f64>]| bootstrap_mean(clusters, confidence, resamples, seed);
    let own_mean = |values: &[f64]| mean(&values.iter().map(|&value| vec![value]).collect::<Vec<_>>());
    let some_own = samples_of_groups > 0;
    let flipped = own_flips.iter().filter(|&&flip| flip == 1.0).count() as u64;
    Ok(ClassAblation {
        samples: samples.len() as u64,
        samples_of_groups,
        agreement_of_groups: some_own.then(|| agreement(samples_of_groups)).transpose()?,
        agreement: agreement(samples.len() as u64)?,
        own_flips: some_own.then(|| wilson_interval(flipped, samples_of_groups, confidence)).transpose()?,
        other_flips: mean(&other_flips)?,
        diagonal_kept: bootstrap_ratio(&diagonal, confidence, resamples, seed)?,
        mean_maximum_probability: own_mean(
            &samples.iter().map(|sample| sample.probability).collect::<Vec<_>>(),
        )?,
        own_distance: some_own.then(|| own_mean(&own_distances)).transpose()?,
        other_distance: mean(&other_distances)?,
        own_above_other: some_own
            .then(|| mann_whitney(&own_distances, &other_distances.concat()))
            .transpose()?
            .map(|test| test.area_under_curve),
        table: table(groups, classes, samples),
    })
}

/// The class of the group whose removal moves the image most; of equal distances, the first.
fn most_moving(groups: &[u32], removals: &[Removal]) -> Option<u32> {
    let mut most: Option<(u32, f64)> = None;
    for (&group, removal) in groups.iter().zip(removals) {
        if most.is_none_or(|(_, distance)| removal.distance > distance) {
            most = Some((group, removal.distance));
        }
    }
    most.map(|(group, _)| group)
}

fn table(groups: &[u32], classes: u32, samples: &[AblatedSample]) -> Vec<ClassCounts> {
    let row = |removed: Option<u32>, seen: &dyn Fn(&AblatedSample) -> u32| {
        let mut counts = vec![0; classes as usize];
        for sample in samples {
            counts[seen(sample) as usize] += 1;
        }
        ClassCounts { removed, counts }
    };
    let of_groups = groups
        .iter()
        .enumerate()
        .map(|(place, &group)| row(Some(group), &|sample: &AblatedSample| sample.removals[place].class));
    std::iter::once(row(None, &|sample: &AblatedSample| sample.class)).chain(of_groups).collect()
}

fn check(groups: &[u32], classes: u32, samples: &[AblatedSample]) -> Result<(), ClassAblationError> {
    if groups.len() < 2 {
        return Err(ClassAblationError::TooFewGroups { groups: groups.len() });
    }
    let known = |field: &dyn Fn() -> String, class: u32| {
        if class < classes {
            return Ok(());
        }
        Err(ClassAblationError::ClassOutOfRange { field: field(), class, classes })
    };
    for (place, &class) in groups.iter().enumerate() {
        known(&|| format!("group {place}"), class)?;
        if groups[..place].contains(&class) {
            return Err(ClassAblationError::RepeatedGroup { class });
        }
    }
    for (index, sample) in samples.iter().enumerate() {
        known(&|| format!("sample {index}"), sample.class)?;
        let outside = |what: String, value: f64, bound: &'static str| {
            Err(ClassAblationError::OutOfBounds { field: format!("sample {index}: {what}"), value, bound })
        };
        if !(0.0..=1.0).contains(&sample.probability) {
            return outside("the probability".to_owned(), sample.probability, "must be 0 to 1");
        }
        if sample.removals.len() != groups.len() {
            let (removals, groups) = (sample.removals.len(), groups.len());
            return Err(ClassAblationError::RemovalCount { sample: index, removals, groups });
        }
        for (removal, group) in sample.removals.iter().zip(groups) {
            known(&|| format!("sample {index} without class {group}"), removal.class)?;
            if !(removal.distance >= 0.0 && removal.distance.is_finite()) {
                let what = format!("the distance without class {group}");
                return outside(what, removal.distance, "must be a finite number, at least 0");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: IntervalSettings = IntervalSettings { confidence: 0.95, resamples: 500, seed: 4 };

    fn sample(class: u32, probability: f64, removals: &[(f64, u32)]) -> AblatedSample {
        let removals = removals.iter().map(|&(distance, class)| Removal { distance, class }).collect();
        AblatedSample { class, probability, removals }
    }

    /// Classes 0 to 3, groups 2, 0 and 1; class 3 is no group's.
    fn four_samples() -> Vec<AblatedSample> {
        vec![
            // Agrees; its own flip is the only one.
            sample(2, 1.0, &[(5.0, 3), (1.0, 2), (2.0, 2)]),
            // Does not agree, as class 2 moves it most; no own flip, one other flip.
            sample(0, 0.5, &[(4.0, 1), (3.0, 0), (0.0, 0)]),
            // Classes 0 and 1 move it equally, and 0 stands first: does not agree. Own flip, both others flip.
            sample(1, 0.75, &[(0.5, 0), (6.0, 3), (6.0, 0)]),
            // No own pair; flips without class 0 and turns to the class removed.
            sample(3, 0.25, &[(2.0, 3), (7.0, 0), (1.0, 3)]),
        ]
    }

    #[test]
    fn figures_by_hand() {
        let result = class_ablation(&[2, 0, 1], 4, &four_samples(), &SETTINGS).unwrap();
        assert_eq!((result.samples, result.samples_of_groups), (4, 3));

        let of_groups = result.agreement_of_groups.unwrap();
        assert_eq!((of_groups.agreeing, of_groups.samples), (1, 3));
        assert_eq!(of_groups.share, wilson_interval(1, 3, 0.95).unwrap());
        // At least one of three at chance 1/3: 1 - (2/3)^3.
        assert!((of_groups.against_chance.p_value - 19.0 / 27.0).abs() < 1e-12);
        assert_eq!((result.agreement.agreeing, result.agreement.samples), (1, 4));
        assert!((result.agreement.against_chance.p_value - 65.0 / 81.0).abs() < 1e-12);

        assert_eq!(result.own_flips, Some(wilson_interval(2, 3, 0.95).unwrap()));
        // Samples have 0 of 2, 1 of 2, 2 of 2 and 1 of 3 other flips.
        let flips = [vec![0.0, 0.0], vec![1.0, 0.0], vec![1.0, 1.0], vec![0.0, 1.0, 0.0]];
        assert_eq!(result.other_flips, bootstrap_mean(&flips, 0.95, 500, 4).unwrap());
        assert!((result.other_flips.value - 4.0 / 9.0).abs() < 1e-15);
        assert!((result.mean_maximum_probability.value - 0.625).abs() < 1e-15);

        // Own distances are 5, 3 and 6; others 1 2, 4 0, 0.5 6 and 2 7 1.
        assert!((result.own_distance.unwrap().value - 14.0 / 3.0).abs() < 1e-15);
        assert!((result.other_distance.value - 23.5 / 9.0).abs() < 1e-15);
        // 5 is above seven of the nine others, 3 above six, 6 above seven and equal to one.
        assert!((result.own_above_other.unwrap() - (7.0 + 6.0 + 7.5) / 27.0).abs() < 1e-15);

        let row = |removed, counts: [u64; 4]| ClassCounts { removed, counts: counts.to_vec() };
        let table = [
            row(None, [1, 1, 1, 1]),
            row(Some(2), [1, 1, 0, 2]),
            row(Some(0), [2, 0, 1, 1]),
            row(Some(1), [2, 0, 1, 1]),
        ];
        assert_eq!(result.table, table);
        // The table's diagonal, 0 + 2 + 0, over the three samples of groups.
        assert!((result.diagonal_kept.unwrap().value - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn samples_of_no_group_leave_own_figures_out() {
        let result = class_ablation(&[0, 1], 4, &[sample(3, 0.9, &[(1.0, 3), (2.0, 2)])], &SETTINGS).unwrap();
        assert_eq!((result.agreement_of_groups, result.own_flips, result.own_distance), (None, None, None));
        assert_eq!((result.own_above_other, result.diagonal_kept), (None, None));
        assert_eq!((result.agreement.agreeing, result.other_flips.value), (0, 0.5));
    }

    #[test]
    fn the_result_survives_json() {
        let result = class_ablation(&[2, 0, 1], 4, &four_samples(), &SETTINGS).unwrap();
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["table"][2]["removed"], 0);
        assert!(serde_json::from_str::<ClassAblation>(&text).is_ok());
    }

    #[test]
    fn wrong_data_is_refused() {
        let message = |groups: &[u32], samples: &[AblatedSample]| {
            class_ablation(groups, 4, samples, &SETTINGS).unwrap_err().to_string()
        };
        let good = || sample(0, 0.5, &[(1.0, 0), (1.0, 1)]);
        assert!(class_ablation(&[0, 1], 4, &[good()], &SETTINGS).is_ok());
        assert_eq!(message(&[0], &[]), "groups: 1 given, at least 2 are needed");
        assert_eq!(message(&[3, 3], &[]), "groups: class 3 is there twice");
        assert_eq!(message(&[0, 4], &[]), "group 1: class 4, but there are 4 classes, counted from 0");
        assert!(matches!(class_ablation(&[0, 1], 4, &[], &SETTINGS), Err(ClassAblationError::Statistics(_))));
        assert_eq!(message(&[0, 1, 2], &[good()]), "sample 0: 2 removals given for 3 groups");
        assert_eq!(
            message(&[0, 1], &[good(), sample(9, 0.5, &[])]),
            "sample 1: class 9, but there are 4 classes, counted from 0"
        );
        assert_eq!(
            message(&[0, 2], &[sample(0, 0.5, &[(1.0, 0), (1.0, 7)])]),
            "sample 0 without class 2: class 7, but there are 4 classes, counted from 0"
        );
        assert_eq!(
            message(&[0, 1], &[sample(0, 1.5, &[])]),
            "sample 0: the probability is 1.5: must be 0 to 1"
        );
        assert_eq!(
            message(&[0, 1], &[sample(0, 0.5, &[(1.0, 0), (f64::NAN, 1)])]),
            "sample 0: the distance without class 1 is NaN: must be a finite number, at least 0"
        );
    }
}
