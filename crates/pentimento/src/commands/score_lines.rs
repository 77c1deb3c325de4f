//! Scores of training images in words.

use super::print;
use crate::progress::say;
use anyhow::Result;
use pentimento_attribution::gradient::CandidateQuality;
use pentimento_attribution::scores::top;
use pentimento_run::Recipe;
use pentimento_run::gradients::{ScoreTable, TrainingImages};
use pentimento_run::words::counted;

/// Prints the first training images of every query, and how far the scores can be trusted. `parameters` is how many a network
/// has, of which `recipe` says where it comes from.
pub(super) fn print_scores(
    table: &ScoreTable,
    training: &TrainingImages,
    recipe: &Recipe,
    parameters: usize,
    count: usize,
) -> Result<()> {
    let details = table.gradients();
    if let Some(taken) = table.taken() {
        let networks = match (recipe.adapter(), taken.networks) {
            (Some(adapter), _) => format!(" of {adapter}"),
            (None, 0 | 1) => String::new(),
            (None, several) => format!(" of {several} networks"),
        };
        let (checkpoints, draws) = match details.and_then(|details| details.followed.as_ref()) {
            None => {
                let of_query = table.influence().and_then(|influence| influence.query_draws);
                let of_query = of_query.filter(|&draws| draws != taken.draws);
                let of_query = of_query.map_or(String::new(), |draws| format!(" and {draws} of each query"));
                (String::new(), format!("{} draws of each image{of_query}", taken.draws))
            }
            Some(followed) => (
                match followed.checkpoints.len() {
                    1 => String::new(),
                    count => format!(" at {count} checkpoints"),
                },
                match followed.events {
                    None => format!("{} draws of each image", taken.draws),
                    Some(events) => format!(
                        "{} draws of each query and {events} events of training, at most {} of an image and checkpoint",
                        taken.draws, taken.draws
                    ),
                },
            ),
        };
        print(&format!(
            "{}: gradients in {parameters} of {parameters} parameters (100 %){networks}{checkpoints}, {draws}",
            table.method.title
        ))?;
    } else {
        print(&format!("{}: {}", table.method.title, table.method.meaning))?;
    }
    for (query, values) in table.scores.iter().enumerate() {
        let first = top(values, count + 1);
        let list: Vec<String> = first
            .iter()
            .take(count)
            .enumerate()
            .map(|(rank, &image)| {
                let index = training.images.source_indices()[image];
                let label = training.label_of(image);
                let label = if label.is_empty() { label } else { format!("{label} ") };
                let reach =
                    table.reach(query, image).map_or(String::new(), |reach| format!(" \u{b1} {reach:.1e}"));
                let ties = |other: Option<&usize>| {
                    other
                        .and_then(|&other| {
                            table.spread.is_tie(query, values, |scores| scores[image], |scores| scores[other])
                        })
                        .unwrap_or(false)
                };
                let mark = if ties(first.get(rank + 1)) { " ~" } else { "" };
                format!("{index} {label}({:+.3e}{reach}){mark}", values[image])
            })
            .collect();
        print(&format!("{}: {}", table.titles[query], list.join(", ")))?;
    }
    if let (Some(reliability), Some(taken)) = (table.spread.reliability(&table.scores), table.taken()) {
        // Steps of the sampler are no draws: more draws do not take the differences between them away.
        let is_drawn = !table.method.follows_journey();
        let (wanted, percent) = (taken.wanted, 100.0 * taken.wanted);
        let more = match table.spread.recommended_factor(&table.scores, wanted).filter(|_| is_drawn) {
            Some(factor) if taken.draws as f64 * factor <= taken.most_draws as f64 => {
                let draws = (taken.draws as f64 * factor).ceil();
                format!("; at most {draws:.0} would make it {percent:.0} %")
            }
            Some(_) => {
                format!(
                    "; even {}, as many as the schedule has timesteps, may not make it {percent:.0} %",
                    taken.most_draws
                )
            }
            None => String::new(),
        };
        print(&format!(
            "with {} draws, at least {:.0} % of what tells training images apart is no noise of the draws; {}{more} (\u{b1}: 95 % \
             intervals; ~: the order with the next, by itself, is not established)",
            taken.draws,
            100.0 * reliability,
            taken.ended_by.in_words()
        ))?;
    }
    let several = table.taken().is_some_and(|taken| taken.networks > 1);
    if let Some(influence) = table.influence() {
        let [least, middle, most] = influence.dampings;
        let of = if several { " of the first network" } else { "" };
        print(&format!(
            "{}; curvature{of} from {} with {} draws each; damping {middle:.1e} (blocks: {least:.1e} to {most:.1e}), {}{}",
            table.method.meaning,
            counted(influence.curvature_images, "image"),
            influence.curvature_draws,
            influence.damping_rule,
            influence.timestep_shares.in_words().map_or(String::new(), |words| format!("; {words}"))
        ))?;
        if let (Some(residual), Some(last_step)) = (influence.residual, influence.last_step) {
            print(&format!(
                "{} steps of conjugate gradients on the whole curvature, sampled by {} pseudo-gradients, left {:.0} % of a query's \
                 gradient (of the sample, with the damping that is shown); the last one added {:.1} % of the solution along it",
                influence.settings.steps(),
                influence.settings.pseudo_gradients(parameters),
                100.0 * residual,
                100.0 * last_step
            ))?;
            if residual > 1.0 {
                print(
                    "note: the solution was stopped long before its end, which the sample has in few of all directions: it orders images \
                     (docs/results/banks.md), but its numbers are too large (`influence.damping`, `influence.cg_gradients`)",
                )?;
            }
        }
    }
    if let Some(candidates) = table.candidates() {
        print(&approximation(candidates))?;
    }
    if let Some((details, projection)) = details.and_then(|details| Some((details, details.projection?))) {
        print(&format!(
            "the projection to {} numbers keeps the order of scores with a rank correlation of {:.2} (measured on {} \
             and {})",
            details.taken.dimension,
            projection.rank_agreement,
            counted(projection.images, "image"),
            match projection.queries {
                1 => "1 query".into(),
                count => format!("{count} queries"),
            }
        ))?;
    }
    print(&format!("{}", table.method.statement()))?;
    for (number, damping) in
        table.dampings().iter().enumerate().filter(|(_, damping)| damping.is_near_cliff())
    {
        let of = if several { format!(" of network {number}") } else { String::new() };
        if let Some((from, to, agreement)) = damping.cliff() {
            say(&format!(
                "warning: the damping {:.2e}{of} is near a cliff: between {from:.2e} and {to:.2e} the order of the images \
                 changes (rank correlation {agreement:.2})",
                damping.taken
            ));
        }
    }
    Ok(())
}

/// What scores of candidates only are worth.
fn approximation(found: &CandidateQuality) -> String {
    let interval = found.interval.map_or(String::new(), |[low, high]| {
        format!(", 95 % interval {:.0} to {:.0} %", 100.0 * low, 100.0 * high)
    });
    let stands_for = if found.images < found.all {
        let first = found.places * found.all / found.images;
        format!(" (which stand for the first {first} of all {})", found.all)
    } else {
        String::new()
    };
    format!(
        "approximation: only the {} training images that look most like each query were scored; measured on {} and {}, as large \
         a share of the images held {:.0} % of the first {} of full scores{interval}{stands_for}",
        found.candidates,
        match found.queries {
            1 => "1 query".into(),
            count => format!("{count} queries"),
        },
        counted(found.images, "training image"),
        100.0 * found.kept,
        found.places
    )
}
