//! The ways of telling the image without a group without making it exactly, by name, and the image that each gives.

use super::approximation::{individual_members, linear, linear_masked, second_order, second_order_terms};
use super::displacement::linear_coefficients;
use super::jacobian::Jacobian;
use super::space::Space;
use serde::{Deserialize, Serialize};

/// The approximations of a counterfactual, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approximation {
    /// Along the full ensemble's trajectory, corrected by one surviving member.
    ControlVariate,
    /// One member's tangents with the diagonal second-order term, clamped after.
    SecondOrder,
    /// One member's tangents, clamped after.
    OneMemberJacobian,
    /// All members' tangents, clamped after.
    Jacobian,
    /// All members' tangents, masked by the clamp: as the paper has it.
    PaperJacobian,
    /// Baseline 2 of the paper.
    IndividualMembers,
    /// Baseline 1 of the paper.
    LastStep,
}

/// Derivatives of one sample along the full ensemble's trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivatives {
    /// One member's tangents per step, one image per member.
    pub one_member_jacobian: Jacobian<f32>,
    /// The image without each member, by control variate, not clamped.
    pub without_member: Vec<Vec<f32>>,
}

/// What else the approximations of one sample's counterfactuals take, for samples on which all of them are measured.
#[derive(Clone, Debug, PartialEq)]
pub struct FidelityInputs {
    /// Control-variate counterfactuals, one per group, not clamped.
    pub control_variate: Vec<Vec<f32>>,
    /// The last-step baseline, one per group, not clamped.
    pub last_step: Vec<Vec<f32>>,
    /// The paper's Jacobian, if the recipe asks for it.
    pub full_jacobian: Option<Jacobian<f32>>,
    /// Each member's own image from the same noise, not clamped.
    pub alone: Vec<Vec<f32>>,
}

impl Approximation {
    /// Every approximation, the best first.
    pub const ALL: [Self; 7] = [
        Self::ControlVariate,
        Self::SecondOrder,
        Self::OneMemberJacobian,
        Self::Jacobian,
        Self::PaperJacobian,
        Self::IndividualMembers,
        Self::LastStep,
    ];

    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlVariate => "control variate",
            Self::SecondOrder => "one-member Jacobian, second order",
            Self::OneMemberJacobian => "one-member Jacobian",
            Self::Jacobian => "Jacobian, clamped after",
            Self::PaperJacobian => "Jacobian (as in the paper)",
            Self::IndividualMembers => "individual members (paper's baseline)",
            Self::LastStep => "last step (paper's baseline)",
        }
    }

    /// What it does, in a sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::ControlVariate => {
                "Follows the picture's own way with what all members said along it, and lets one member that never saw \
                 the removed images correct each step."
            }
            Self::SecondOrder => {
                "Extrapolates from how the picture changes with the weight of each member, and adds how it bends when a \
                 single member leaves. That tells two codes apart that the extrapolation cannot; the picture itself may \
                 come out less like the exact one."
            }
            Self::OneMemberJacobian => {
                "Extrapolates from how the picture changes with the weight of each member; one member per step carries \
                 the derivative."
            }
            Self::Jacobian => {
                "Extrapolates from how the picture changes with the weight of each member; all members carry the \
                 derivative."
            }
            Self::PaperJacobian => {
                "The same extrapolation as Dai and Gifford have it: pixels that are black or white stay as they are."
            }
            Self::IndividualMembers => "Mixes the pictures that each member makes alone.",
            Self::LastStep => "Leaves the members out in the very last step only.",
        }
    }

    /// What it costs, per sampler step, with n members.
    pub fn cost(self) -> &'static str {
        match self {
            Self::ControlVariate => "n forward passes per sample, then 1 per counterfactual",
            Self::SecondOrder => "2 n forward passes and 1 pass with n tangents per sample, then none",
            Self::OneMemberJacobian => "n forward passes and 1 pass with n tangents per sample, then none",
            Self::Jacobian | Self::PaperJacobian => "n passes with n tangents per sample, then none",
            Self::IndividualMembers => "n forward passes per sample, then none",
            Self::LastStep => "the sample itself, then 1 step per counterfactual",
        }
    }

    /// The approximate counterfactual as it is compared with the exact one: of the group at `place` of those that `inputs`
    /// were made for, whose members' weights without it are `weights`. `image` is the sample, not clamped, of which `space` says
    /// what its values are. None if it takes what was not computed. The paper's two linear methods change the finished image and are
    /// not clamped again.
    pub fn counterfactual(
        self,
        (image, space): (&[f32], Space),
        derivatives: &Derivatives,
        inputs: &FidelityInputs,
        place: usize,
        weights: &[f64],
    ) -> Option<Vec<f32>> {
        let direction = linear_coefficients(weights);
        let one_member = &derivatives.one_member_jacobian;
        match self {
            Self::ControlVariate => inputs.control_variate.get(place).map(|image| space.finished(image)),
            Self::SecondOrder => {
                let terms = second_order_terms(image, one_member, &derivatives.without_member);
                Some(space.finished(&second_order(image, one_member, &terms, &direction)))
            }
            Self::OneMemberJacobian => Some(space.finished(&linear(image, one_member, &direction))),
            Self::Jacobian => {
                inputs.full_jacobian.as_ref().map(|all| space.finished(&linear(image, all, &direction)))
            }
            Self::PaperJacobian => {
                inputs.full_jacobian.as_ref().map(|all| linear_masked(image, all, &direction, space))
            }
            // The paper mixes finished images.
            Self::IndividualMembers => {
                let alone: Vec<Vec<f32>> = inputs.alone.iter().map(|image| space.finished(image)).collect();
                Some(individual_members(&space.finished(image), &alone, &direction))
            }
            Self::LastStep => inputs.last_step.get(place).map(|image| space.finished(image)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::weights::leave_out;
    use super::*;

    /// A sample of three pixels, none of them near black or white.
    pub fn image() -> Vec<f32> {
        vec![0.1, -0.2, 0.3]
    }

    /// A sample that is, as a function of the weights w, exactly `image + J (w - 1/n)`, plus a bend of a member's own when it
    /// leaves.
    pub fn derivatives(members: usize) -> Derivatives {
        let column = |member: usize| {
            let angle = member as f64 + 0.5;
            vec![(0.1 * libm::sin(angle)) as f32, (0.1 * libm::cos(angle)) as f32, 0.02 * member as f32]
        };
        let jacobian = Jacobian { columns: (0..members).map(column).collect() };
        let without = |removed: usize| {
            let direction = linear_coefficients(&leave_out(members, removed));
            let mut image = linear(&image(), &jacobian, &direction);
            image[removed % 3] += 0.01 * removed as f32;
            image
        };
        Derivatives { without_member: (0..members).map(without).collect(), one_member_jacobian: jacobian }
    }

    /// Of an image that is linear in the weights, every approximation is exact; each is clamped as it says.
    #[test]
    fn where_the_image_is_linear_all_agree() {
        let members = 4;
        // Without any group: pixel 0 beyond white, and pixel 1 not.
        let base = vec![1.2f32, 0.5];
        let columns: Vec<Vec<f32>> =
            [[0.8f32, -0.2], [-1.6, 0.4], [0.0, 0.2], [0.8, -0.4]].map(|column| column.to_vec()).to_vec();
        let jacobian = Jacobian { columns };
        let at = |weights: &[f64]| linear(&base, &jacobian, &linear_coefficients(weights));
        let weights = [0.5, 0.0, 0.0, 0.5];
        let truth = at(&weights);
        // 1.2 + 1/4 (0.8 + 1.6 - 0.0 + 0.8), 0.5 + 1/4 (-0.2 - 0.4 - 0.2 - 0.4).
        assert!((truth[0] - 2.0).abs() < 1e-6 && (truth[1] - 0.2).abs() < 1e-6, "{truth:?}");
        let alone = |member: usize| at(&super::super::weights::only(members, member));
        let derivatives = Derivatives {
            one_member_jacobian: jacobian.clone(),
            without_member: (0..members).map(|removed| at(&leave_out(members, removed))).collect(),
        };
        let mut inputs = FidelityInputs {
            control_variate: vec![vec![9.0, 9.0], truth.clone()],
            last_step: vec![vec![9.0, 9.0], truth.clone()],
            full_jacobian: Some(jacobian.clone()),
            alone: (0..members).map(alone).collect(),
        };
        let image = |approximation: Approximation, inputs: &FidelityInputs| {
            approximation.counterfactual((&base, Space::Pixels), &derivatives, inputs, 1, &weights)
        };
        for approximation in Approximation::ALL {
            let found = image(approximation, &inputs).unwrap();
            match approximation {
                // Of finished images: members alone have 1, -0.4, 1 and 1 where the ensemble has 1.
                Approximation::IndividualMembers => {
                    let finished: Vec<f32> =
                        inputs.alone.iter().map(|image| image[0].clamp(-1.0, 1.0)).collect();
                    let mixed =
                        finished.iter().zip(weights).map(|(&value, w)| (w - 0.25) as f32 * (value - 1.0));
                    assert!((found[0] - (1.0 + mixed.sum::<f32>())).abs() < 1e-6, "{found:?}");
                }
                // Beyond white nothing moves, and elsewhere no clamp is needed.
                Approximation::PaperJacobian => assert_eq!(found[0], 1.0),
                _ => assert_eq!(found[0], 1.0, "{approximation:?} is clamped"),
            }
            assert!((found[1] - truth[1]).abs() < 1e-6, "{approximation:?}: {found:?}");
        }
        inputs.full_jacobian = None;
        let known = Approximation::ALL.map(|approximation| image(approximation, &inputs).is_some());
        assert_eq!(known, [true, true, true, false, false, true, true]);
    }

    #[test]
    fn every_approximation_has_a_text_and_a_key_of_its_own() {
        let mut names: Vec<&str> = Approximation::ALL.iter().map(|one| one.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Approximation::ALL.len());
        let key = serde_json::to_string(&Approximation::OneMemberJacobian).unwrap();
        assert_eq!(key, "\"one_member_jacobian\"");
    }
}
