//! What the scores of a method are about, in three lines: what is measured of a query, what is taken away, and which training
//! that stands for. A score without them is read as if something had been trained again.

use super::{Family, Method};
use crate::curvature::{InfluenceKind, Inverse, QueryMeasurement};
use crate::ensemble::CodeDistance;
use crate::gradient::{Comparison, Divisor, GradientMethod, Measurement, QueryInput};
use crate::likeness::Likeness;
use std::fmt;

/// What scores are about. Nothing was trained again for the scores of a method, so intervention and training process say what
/// a score *stands for*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What is measured of the query.
    pub behaviour: String,
    /// What is taken away.
    pub intervention: String,
    /// What is trained without it, and how.
    pub training_process: String,
}

impl fmt::Display for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { behaviour, intervention, training_process } = self;
        write!(
            formatter,
            "behaviour: {behaviour}; intervention: {intervention}; training process: {training_process}"
        )
    }
}

impl Statement {
    fn new(behaviour: impl Into<String>, intervention: &str, training_process: impl Into<String>) -> Self {
        Self {
            behaviour: behaviour.into(),
            intervention: intervention.into(),
            training_process: training_process.into(),
        }
    }

    /// Of samples that an ensemble made again without the members that saw something: exactly, or by an approximation where
    /// that is said.
    pub fn of_counterfactuals() -> Self {
        Self::new(
            "the finished picture, made from the same noise",
            "the members that saw the image, all at once, and exactly where nothing else is said",
            "none again: the members that are left were trained without the image",
        )
    }

    /// Of distances by codes.
    pub fn of_codes(distance: CodeDistance) -> Self {
        let order = match distance {
            CodeDistance::Jacobian => "the members that saw the image, to first order in their weights",
            CodeDistance::SecondOrder => "the members that saw the image, to second order in their weights",
        };
        Self { intervention: order.into(), ..Self::of_counterfactuals() }
    }
}

impl Method {
    /// What its scores are about.
    pub fn statement(&self) -> Statement {
        match self.family {
            Family::Codes(distance) => Statement::of_codes(distance),
            Family::Gradients(method) => of_gradients(method),
            Family::Influence(InfluenceKind::Linear(measured, inverse)) => of_influence(measured, inverse),
            Family::Influence(InfluenceKind::Unlearning(_)) => Statement::new(
                "the loss of each training image, mean over draws, which stands for the loss of the query without that image",
                "the query, unlearned",
                "one step of unlearning on the finished network, through the inverse curvature of blocks",
            ),
            Family::Likeness(likeness) => of_likeness(likeness),
        }
    }
}

fn of_gradients(method: GradientMethod) -> Statement {
    let GradientMethod { measurement, unit_length, query, comparison, follows_training, .. } = method;
    let measured = of_query(measurement);
    let behaviour = match query {
        QueryInput::Image => format!("{measured} of the query, mean over draws"),
        QueryInput::Journey => {
            format!(
                "{measured} of the images that the network predicts on the way to the sample, mean over steps"
            )
        }
    };
    let behaviour = match unit_length {
        true => format!("{behaviour}, each timestep's gradient at unit length"),
        false => behaviour,
    };
    let image = "one training image, to first order";
    let linear =
        "a linear model on gradients of the finished network, fitted to all training images with a ridge";
    let (intervention, process) = match comparison {
        Comparison::Dot if follows_training => (
            "the steps of training on one image, to first order",
            "the steps of gradient descent around each checkpoint, one by one",
        ),
        Comparison::Dot => (image, "one step of gradient descent on the finished network"),
        Comparison::Cosine => (
            "none: directions of gradients are compared",
            "none: the gradients are those of the finished network",
        ),
        Comparison::InverseKernel(Divisor::One) => (image, linear),
        Comparison::InverseKernel(Divisor::OneLessLeverage) => {
            ("one training image, left out of the fit exactly (by its leverage)", linear)
        }
        Comparison::InverseKernel(Divisor::SolvedLength) => {
            ("so much of one training image as moves the fit by one, to first order", linear)
        }
        Comparison::InverseKernel(Divisor::Length) => {
            ("so much of one training image as gives its gradient unit length, to first order", linear)
        }
    };
    Statement::new(behaviour, intervention, process)
}

fn of_influence(measured: QueryMeasurement, inverse: Inverse) -> Statement {
    let behaviour = match measured {
        QueryMeasurement::OfImage(measurement) => {
            format!("{} of the query, mean over draws", of_query(measurement))
        }
        QueryMeasurement::Trajectory => "the log-probability of the sampler's steps to the sample".into(),
    };
    let curvature = match inverse {
        Inverse::Blocks => "the damped curvature of blocks",
        Inverse::Whole => "the damped curvature of the whole network",
    };
    Statement::new(
        behaviour,
        "one training image, to first order",
        format!("a converged training's linear response, through {curvature} at the finished network"),
    )
}

/// What is measured of a noised image.
fn of_query(measurement: Measurement) -> &'static str {
    match measurement {
        Measurement::Loss => "the loss",
        Measurement::WeightedLoss => "the weighted loss (the bound on the likelihood)",
        Measurement::Square => "the mean square of the network's output",
        Measurement::Mean => "the mean of the network's output",
        Measurement::SumOfMagnitudes => "the sum of magnitudes of the network's output",
        Measurement::Length => "the length of the network's output",
        Measurement::LargestMagnitude => "the largest magnitude of the network's output",
    }
}

fn of_likeness(likeness: Likeness) -> Statement {
    let (behaviour, of) = match likeness {
        Likeness::PixelDot | Likeness::PixelCosine => ("the pixels of the query", "likeness of pixels"),
        Likeness::Patches => ("the patches of the query's pixels, noised", "likeness of patches of pixels"),
        Likeness::Classifier => ("a classifier's features of the query", "likeness to a classifier"),
        Likeness::Random => ("none", "random numbers"),
    };
    Statement::new(behaviour, "none: nothing is taken away", format!("none: {of}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two methods that differ in what they measure, take away or stand for say so; those that differ only in how they come
    /// near the same thing may say the same.
    #[test]
    fn what_tells_methods_apart_is_said() {
        let of = |name: &str| Method::named(name).unwrap().statement();
        for [a, b] in [
            ["trak", "d-trak"],
            ["trak", "elbo-trak"],
            ["trak", "journey-trak"],
            ["das", "das-leverage"],
            ["tracin", "retrac"],
            ["tracin", "gradient-cosine"],
            ["influence", "influence-cg"],
            ["influence", "unlearning"],
            ["influence", "influence-trajectory"],
            ["jacobian", "second-order"],
            ["pixel-cosine", "classifier-cosine"],
        ] {
            assert_ne!(of(a), of(b), "{a} and {b}");
        }
        assert_eq!(of("pixel-cosine"), of("pixel-dot"));
        // One behaviour, two trainings.
        assert_eq!(of("trak").behaviour, of("influence").behaviour);
        assert_ne!(of("trak").training_process, of("influence").training_process);
    }

    #[test]
    fn likeness_takes_nothing_away_and_trains_nothing() {
        for method in Method::ALL {
            let Statement { behaviour, intervention, training_process } = method.statement();
            for line in [&behaviour, &intervention, &training_process] {
                // Each stands alone in a line, and several are joined by "; ".
                assert!(!line.is_empty() && !line.contains([';', '\n']), "{}: {line}", method.name);
            }
            let is_likeness = matches!(method.family, Family::Likeness(_));
            assert_eq!(intervention.starts_with("none: nothing"), is_likeness, "{}", method.name);
            assert!(!is_likeness || training_process.starts_with("none: "), "{}", method.name);
        }
    }
}
