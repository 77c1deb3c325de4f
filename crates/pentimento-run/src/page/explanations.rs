//! What a page says of a method whose scores it shows.

use crate::gradients::{GradientsTaken, InfluenceNote, ScoreTable};
use crate::recipe::Recipe;
use crate::words::counted;
use pentimento_attribution::methods::{self, Family};
use pentimento_report::Statement;

/// What scores are about, for a page.
pub fn statement(of: methods::Statement) -> Statement {
    let methods::Statement { behaviour, intervention, training_process } = of;
    Statement { behaviour, intervention, training_process }
}

/// What the distances of an ensemble's counterfactuals are about.
pub(super) fn of_counterfactuals() -> Statement {
    statement(methods::Statement::of_counterfactuals())
}

/// What a method did, and how far its scores can be trusted.
pub(super) fn explanation(recipe: &Recipe, table: &ScoreTable) -> String {
    if let Family::Likeness(likeness) = table.method.family {
        return likeness.explanation().into();
    }
    let Some(taken) = table.taken() else { return String::new() };
    let length = if table.influence().is_some() {
        format!("through the inverse of {} curvature", if taken.networks > 1 { "each one's" } else { "its" })
    } else if recipe.gradients.is_projected() {
        format!("projected to {} numbers", taken.dimension)
    } else {
        "not projected".into()
    };
    let (networks, averaged) = match taken.networks {
        0 | 1 => (what_has_gradients(recipe), ""),
        several => {
            let of_members = match recipe.beneath_members() {
                None => "in all their parameters",
                Some(_) => "in all parameters of their adapters, the network beneath standing still",
            };
            (format!("all {several} members {of_members}"), "; scores are the members' average")
        }
    };
    let mut text = format!(
        "{}: gradients of {networks}{}, {length}{averaged}.",
        table.method.title,
        draws(table, taken)
    );
    if let Some(InfluenceNote {
        curvature_images,
        curvature_draws,
        timestep_shares,
        dampings,
        damping_rule,
        settings,
        residual,
        last_step,
        ..
    }) = table.influence()
    {
        let [least, middle, most] = dampings;
        text.push_str(&format!(
            " A score is {}. The curvature was measured on {curvature_images} images with {curvature_draws} draws each; \
             its damping is {middle:.1e} in the middle block ({least:.1e} to {most:.1e}), {damping_rule}.",
            table.method.meaning
        ));
        if let Some(words) = timestep_shares.in_words() {
            let (first, rest) = words.split_at(1);
            text.push_str(&format!(" {}{rest}.", first.to_uppercase()));
        }
        if let (Some(residual), Some(last_step)) = (residual, last_step) {
            text.push_str(&format!(
                " {} steps of conjugate gradients on the whole curvature left {:.0} % of a query's gradient, measured on the sample of it; \
                 the last one added {:.1} % of the solution along it.",
                settings.steps(),
                100.0 * residual,
                100.0 * last_step
            ));
        }
    }
    if let Some(reliability) = table.spread.reliability(&table.scores) {
        text.push_str(&format!(
            " Of what tells training images apart, at least {:.0} % is no noise of the draws; {}.",
            100.0 * reliability,
            taken.ended_by.in_words().replace("; the same command goes on", "")
        ));
    }
    if let Some(found) = table.candidates() {
        let interval = found.interval.map_or(String::new(), |[low, high]| {
            format!(" (95 % interval {:.0} to {:.0} %)", 100.0 * low, 100.0 * high)
        });
        text.push_str(&format!(
            " An approximation: only the {} training images whose pixels are most like the picture's were scored. Measured on \
             {} pictures and {}, as large a share of the images held {:.0} % of the first {} of full scores{interval}.",
            found.candidates,
            found.queries,
            counted(found.images, "training image"),
            100.0 * found.kept,
            found.places
        ));
    }
    if let Some(projection) = table.gradients().and_then(|details| details.projection) {
        text.push_str(&format!(
            " The projection keeps the order of scores with a rank correlation of {:.2}, measured on {}.",
            projection.rank_agreement,
            counted(projection.images, "image")
        ));
    }
    text
}

/// What a network's gradients are those of.
fn what_has_gradients(recipe: &Recipe) -> String {
    match recipe.adapter() {
        None => "the network in all its parameters".into(),
        Some(adapter) => {
            format!(
                "{adapter} in all its {} parameters, the network beneath it standing still",
                adapter.parameters
            )
        }
    }
}

/// How many draws were taken, of which images.
fn draws(table: &ScoreTable, taken: &GradientsTaken) -> String {
    let Some(followed) = table.gradients().and_then(|details| details.followed.as_ref()) else {
        return format!(", {} draws of each image", taken.draws);
    };
    let checkpoints = match followed.checkpoints.len() {
        1 => String::new(),
        several => format!(" at {several} checkpoints of their training"),
    };
    match followed.events {
        None => format!("{checkpoints}, {} draws of each image", taken.draws),
        Some(events) => {
            format!("{checkpoints}, {} draws of each picture and {events} events of training", taken.draws)
        }
    }
}
