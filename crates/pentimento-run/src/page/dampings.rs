//! What a page says of the damping of methods with a kernel.

use crate::gradients::ScoreTable;
use crate::recipe::Recipe;
use pentimento_attribution::gradient::DampingView;
use pentimento_report::{DampingCurve, DampingCurvePoint};

/// The curve of each network's damping; none for methods without one.
pub(super) fn dampings(recipe: &Recipe, table: &ScoreTable) -> Vec<DampingCurve> {
    let name = |number: usize| match table.dampings().len() {
        1 => table.method.name.into(),
        _ => format!("{}, member {number}", table.method.name),
    };
    table.dampings().iter().enumerate().map(|(number, view)| damping(recipe, name(number), view)).collect()
}

fn damping(recipe: &Recipe, method: String, view: &DampingView) -> DampingCurve {
    let DampingView { taken, by_centred_eigenvalue, by_median_eigenvalue, degrees_of_freedom, curve } = view;
    let by_hand = recipe.gradients.damping.is_some();
    let mut rules = Vec::new();
    if by_hand {
        rules.extend(
            by_centred_eigenvalue.map(|value| ("Chosen from the features, it would be".to_owned(), value)),
        );
    }
    rules.push(("A hundred times the median eigenvalue would be".into(), *by_median_eigenvalue));
    let warning = view.cliff().filter(|_| view.is_near_cliff()).map(|(from, to, agreement)| {
            format!(
                "The damping that was taken is near a cliff: between {from:.2e} and {to:.2e} the order of the images changes \
                 (rank correlation {agreement:.2}). Compare methods, or other dampings, before you rely on it."
            )
        });
    DampingCurve {
        method,
        taken: *taken,
        chosen: format!(
            "The damping is {taken:.2e}, {}; it leaves {degrees_of_freedom:.0} directions of the training images' features.",
            if by_hand { "as the recipe says" } else { "the mean eigenvalue of the double-centred kernel" }
        ),
        rules,
        points: curve
            .iter()
            .map(|point| DampingCurvePoint {
                damping: point.damping,
                degrees_of_freedom: point.degrees_of_freedom,
                agreement: point.agreement_with_taken,
            })
            .collect(),
        warning,
    }
}
