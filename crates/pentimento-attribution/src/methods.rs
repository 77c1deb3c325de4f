//! Every method of attribution by its name: one table, from which the command line and its help, what tables of scores say of
//! themselves, and the page follow.
//!
//! What a method does is said by its [`Family`], in that family's own terms; what is computed is in that family's module.
//! What its scores are about, [`Statement`], follows from the family too.

mod statement;

pub use statement::Statement;

use crate::curvature::{InfluenceKind, Inverse, LossChange, QueryMeasurement};
use crate::ensemble::CodeDistance;
use crate::gradient::{Comparison, Divisor, GradientMethod, Measurement, QueryInput, TRAK};
use crate::likeness::Likeness;

/// A method, and what is true of it whatever it is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The name on the command line and of files.
    pub name: &'static str,
    /// The name for people, with its source.
    pub title: &'static str,
    /// What a score is, or what a larger one means.
    pub meaning: &'static str,
    /// Whether scores of several training images may be added up.
    pub adds_up: bool,
    /// What it does.
    pub family: Family,
}

/// Whence scores come. Where several methods are asked, they stand in this order of their families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The codes of a trained ensemble, for samples of its own.
    Codes(CodeDistance),
    /// Gradients, of any network.
    Gradients(GradientMethod),
    /// The curvature, of any network.
    Influence(InfluenceKind),
    /// Likeness without the network.
    Likeness(Likeness),
}

impl Family {
    /// The place of the family among the others.
    pub fn place(&self) -> usize {
        match self {
            Self::Codes(_) => 0,
            Self::Gradients(_) => 1,
            Self::Influence(_) => 2,
            Self::Likeness(_) => 3,
        }
    }
}

const fn codes(
    name: &'static str,
    title: &'static str,
    meaning: &'static str,
    distance: CodeDistance,
) -> Method {
    Method { name, title, meaning, adds_up: false, family: Family::Codes(distance) }
}

const fn gradients(name: &'static str, title: &'static str, method: GradientMethod) -> Method {
    let (meaning, adds_up) = (method.meaning(), method.adds_up());
    Method { name, title, meaning, adds_up, family: Family::Gradients(GradientMethod { name, ..method }) }
}

const fn influence(
    name: &'static str,
    title: &'static str,
    meaning: &'static str,
    kind: InfluenceKind,
) -> Method {
    Method { name, title, meaning, adds_up: true, family: Family::Influence(kind) }
}

const fn of_image(measurement: Measurement) -> InfluenceKind {
    InfluenceKind::Linear(QueryMeasurement::OfImage(measurement), Inverse::Blocks)
}

const fn likeness(name: &'static str, title: &'static str, likeness: Likeness) -> Method {
    Method { name, title, meaning: likeness.meaning(), adds_up: false, family: Family::Likeness(likeness) }
}

const D_TRAK: Method = gradients(
    "d-trak",
    "D-TRAK (Zheng et al. 2024)",
    GradientMethod { measurement: Measurement::Square, ..TRAK },
);

const INFLUENCE_CG: Method = influence(
    "influence-cg",
    "influence functions through the whole curvature, by conjugate gradients from EK-FAC on",
    "the predicted increase of the query's loss if the image is removed, through the inverse of the whole curvature",
    InfluenceKind::Linear(QueryMeasurement::OfImage(Measurement::Loss), Inverse::Whole),
);

impl Method {
    /// The methods that are taken if a person names none, the first one wherever it can be computed well. On two banks of networks
    /// trained on halves of the images, the first was the only method that was nowhere established to be behind another, and the
    /// second had the next best mean (41.4 and 34.2 % of a linear datamodelling score, docs/results/banks.md).
    pub const USUAL: [Self; 2] = [INFLUENCE_CG, D_TRAK];

    /// Every method, family by family, as its paper defines it. Of those by gradients, all but the ones that follow the
    /// training ask the network at its end only. DAS is its kernel, alone and with the leverage; the residual changes next to nothing.
    pub const ALL: [Self; 28] = [
        codes(
            "jacobian",
            "The paper's Jacobian",
            "length of J (u - 1/n), the first-order change of the sample without the training image's group; pixels beyond \
             black or white count as still",
            CodeDistance::Jacobian,
        ),
        codes(
            "second-order",
            "The one-member Jacobian with the second-order term: the search's first stage",
            "length of J (u - 1/n) + sum_j c_j^2 S_j, with one member's tangents per step; pixels beyond black or white \
             count as still",
            CodeDistance::SecondOrder,
        ),
        gradients(
            "tracin",
            "TracIn (Xie et al. 2024)",
            GradientMethod { comparison: Comparison::Dot, follows_training: true, ..TRAK },
        ),
        gradients(
            "retrac",
            "ReTrac (Xie et al. 2024)",
            GradientMethod { unit_length: true, comparison: Comparison::Dot, follows_training: true, ..TRAK },
        ),
        gradients(
            "gradient-cosine",
            "cosine of gradients, GAS at one checkpoint (Hammoudeh and Lowd 2022)",
            GradientMethod { comparison: Comparison::Cosine, ..TRAK },
        ),
        gradients("trak", "TRAK (Park et al. 2023)", TRAK),
        gradients(
            "elbo-trak",
            "TRAK of the weighted loss, the bound on the likelihood",
            GradientMethod { measurement: Measurement::WeightedLoss, ..TRAK },
        ),
        gradients(
            "relative-influence",
            "relative influence (Barshan et al. 2020)",
            GradientMethod { comparison: Comparison::InverseKernel(Divisor::SolvedLength), ..TRAK },
        ),
        gradients(
            "renormalised-influence",
            "renormalised influence (Hammoudeh and Lowd 2022)",
            GradientMethod { comparison: Comparison::InverseKernel(Divisor::Length), ..TRAK },
        ),
        gradients(
            "journey-trak",
            "Journey-TRAK (Georgiev et al. 2023) over the whole trajectory",
            GradientMethod { query: QueryInput::Journey, ..TRAK },
        ),
        D_TRAK,
        gradients(
            "d-trak-l1",
            "D-TRAK of the sum of magnitudes (Zheng et al. 2024)",
            GradientMethod { measurement: Measurement::SumOfMagnitudes, ..TRAK },
        ),
        gradients(
            "d-trak-l2",
            "D-TRAK of the length (Zheng et al. 2024)",
            GradientMethod { measurement: Measurement::Length, ..TRAK },
        ),
        gradients(
            "d-trak-max",
            "D-TRAK of the largest magnitude (Zheng et al. 2024)",
            GradientMethod { measurement: Measurement::LargestMagnitude, ..TRAK },
        ),
        gradients(
            "das-leverage",
            "the kernel of DAS with its leverage (Lin et al. 2025)",
            GradientMethod {
                measurement: Measurement::Mean,
                unit_length: true,
                comparison: Comparison::InverseKernel(Divisor::OneLessLeverage),
                ..TRAK
            },
        ),
        gradients(
            "das",
            "the kernel of DAS (Lin et al. 2025)",
            GradientMethod { measurement: Measurement::Mean, unit_length: true, ..TRAK },
        ),
        influence(
            "influence",
            "influence functions (Mlodozeniec et al. 2025)",
            "the predicted increase of the query's loss (mean squared error) if the image is removed and the network trained \
             again; larger = training on the image helped more to make the query",
            of_image(Measurement::Loss),
        ),
        INFLUENCE_CG,
        influence(
            "influence-elbo",
            "influence functions of the weighted loss, the bound on the likelihood",
            "the predicted increase of the query's weighted loss (bound on the negative log-likelihood, mean over timesteps \
             and values) if the image is removed; larger = training on the image helped more to make the query",
            of_image(Measurement::WeightedLoss),
        ),
        influence(
            "influence-square",
            "influence functions of the squared output",
            "the predicted increase of the mean square of the network's output for the query if the image is removed",
            of_image(Measurement::Square),
        ),
        influence(
            "influence-trajectory",
            "influence functions of the sampling trajectory's probability (Mlodozeniec et al. 2025)",
            "the predicted decrease of the log-probability of the sampler's steps to the sample (sum over steps, mean over \
             values) if the image is removed; larger = training on the image helped more to make the query",
            InfluenceKind::Linear(QueryMeasurement::Trajectory, Inverse::Blocks),
        ),
        influence(
            "unlearning",
            "attribution by unlearning the query (Wang et al. 2024)",
            "the increase of the training image's loss (mean squared error, same noise) when the query is unlearned, whose \
             intervals are over the draws of the training image; larger = training on the image helped more to make the query",
            InfluenceKind::Unlearning(LossChange::Increase),
        ),
        influence(
            "unlearning-ratio",
            "relative attribution by unlearning the query (as in MUCS, 2026)",
            "the increase of the training image's loss when the query is unlearned over the sum of the losses before and after, \
             (after - before) / (after + before + 0.001), whose intervals are over the draws of the training image; larger = \
             training on the image helped more to make the query",
            InfluenceKind::Unlearning(LossChange::Ratio),
        ),
        likeness("pixel-dot", "inner product of pixels", Likeness::PixelDot),
        likeness("pixel-cosine", "cosine of pixels", Likeness::PixelCosine),
        likeness("patches", "nearest patches, without a network (NDA, Zhao et al. 2025)", Likeness::Patches),
        likeness("classifier-cosine", "cosine of a classifier's features", Likeness::Classifier),
        likeness("random", "random numbers", Likeness::Random),
    ];

    /// The method of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name == name)
    }

    /// Whether queries are asked about by the steps in which they were made, and not by draws.
    pub fn follows_journey(&self) -> bool {
        matches!(self.family, Family::Gradients(GradientMethod { query: QueryInput::Journey, .. }))
    }

    /// Whether it gives a table of scores for any queries. Distances by codes are of an ensemble's own samples only.
    pub fn writes_table(&self) -> bool {
        !matches!(self.family, Family::Codes(_))
    }

    /// Names of the methods that write a table.
    pub fn names_of_tables() -> Vec<&'static str> {
        Self::ALL.iter().filter(|method| method.writes_table()).map(|method| method.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Method::ALL.iter().map(|method| method.name).collect();
        assert_eq!(names.len(), Method::ALL.len());
        for method in Method::ALL {
            assert_eq!(Method::named(method.name), Some(method));
            if let Family::Gradients(of_family) = method.family {
                assert_eq!(of_family.name, method.name);
            }
        }
        assert_eq!(Method::USUAL.map(|method| Method::named(method.name)), Method::USUAL.map(Some));
        assert_eq!(Method::named("guess"), None);
    }

    #[test]
    fn families_stand_together_and_in_their_order() {
        assert!(Method::ALL.iter().map(|method| method.family.place()).is_sorted());
    }

    /// Scores that were divided by something of their own image have units of their own and have no sum.
    #[test]
    fn scores_add_up_where_all_have_one_unit() {
        let without_sum: Vec<&str> = Method::ALL
            .iter()
            .filter(|method| method.writes_table() && !method.adds_up)
            .map(|method| method.name)
            .collect();
        assert_eq!(
            without_sum,
            [
                "gradient-cosine",
                "relative-influence",
                "renormalised-influence",
                "pixel-dot",
                "pixel-cosine",
                "patches",
                "classifier-cosine",
                "random"
            ]
        );
    }

    #[test]
    fn the_sign_is_said_to_be_derived_only_of_the_loss() {
        for method in Method::ALL {
            if let Family::Gradients(GradientMethod { measurement, .. }) = method.family {
                let of_loss = matches!(measurement, Measurement::Loss | Measurement::WeightedLoss);
                assert_eq!(method.meaning.contains("convention"), !of_loss, "{}", method.name);
            }
        }
    }
}
