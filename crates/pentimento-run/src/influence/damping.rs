//! What is added to a network's curvature before it is inverted.

use super::curvature_store::MeasuredCurvature;
use crate::gradients::{InfluenceNote, Subject};
use crate::recipe::{InfluenceDamping, InfluenceDampingRule};
use pentimento_attribution::curvature::{DampingRule, TrainingLength};

/// The damping of each block, with where it comes from.
pub fn dampings(subject: &Subject<'_>, measured: &MeasuredCurvature) -> (Vec<f64>, InfluenceNote) {
    let recipe = &subject.workspace.recipe;
    let trained_on = subject.networks.trained_on;
    let by_default = match trained_on {
        Some(_) => InfluenceDampingRule::Training,
        None => InfluenceDampingRule::Block,
    };
    let damping = recipe.influence.damping.unwrap_or(InfluenceDamping::Rule(by_default));
    let (rule, words) = match (damping, trained_on) {
        (InfluenceDamping::Number(damping), _) => {
            (DampingRule::Number(damping), "as the recipe says".to_owned())
        }
        // No recipe asks for the training of a network that was trained elsewhere.
        (InfluenceDamping::Rule(InfluenceDampingRule::Block), _) | (InfluenceDamping::Rule(_), None) => {
            (DampingRule::Block, "a hundredth of each block's mean eigenvalue".to_owned())
        }
        (InfluenceDamping::Rule(InfluenceDampingRule::Training), Some(data)) => {
            let training = &data.trained.training;
            let learning_rates = (0..training.steps).map(|step| training.learning_rate_at(step)).sum();
            let length = TrainingLength {
                learning_rates,
                // Of fewer images a step takes all.
                batch: training.batch.min(measured.seen).max(1),
                weight_decay: training.optimiser.weight_decay,
                loss: measured.mean_loss,
                outputs: subject.shape().iter().product(),
            };
            let mirrored = match training.horizontal_flip {
                true => "; mirrored images, which the training saw too, are not measured",
                false => "",
            };
            let words =
                format!("from the training: learning rates that sum to {learning_rates:.3e}{mirrored}");
            (DampingRule::Training(length), words)
        }
    };
    let dampings = rule.dampings(&measured.curvature);
    let mut sorted = dampings.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    let note = InfluenceNote {
        curvature_images: measured.images,
        curvature_draws: recipe.influence.draws,
        query_draws: None,
        timestep_shares: measured.shares,
        damping_rule: words,
        dampings: [at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1))],
        mean_loss: measured.mean_loss,
        settings: recipe.influence,
        residual: None,
        last_step: None,
    };
    (dampings, note)
}
