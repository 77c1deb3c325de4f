//! How far the approximations can be trusted.

use maud::{Markup, html};

use super::{Cell, estimate, plain_table};
use crate::text::{name, number, p_value};
use crate::{ReportView, Unit};

const CORRELATION: Unit = Unit::Number { decimals: 3 };

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    let ReportView { fidelity, method_comparisons, stage_agreement, .. } = view;
    if fidelity.is_empty() && method_comparisons.is_empty() && stage_agreement.is_empty() {
        return None;
    }
    Some(html! {
        h2 #approximations-title { "How far the approximations can be trusted" }
        p {
            "Making a picture again exactly is the proof, but it costs a run of the remaining members for each removal. The "
            "approximations are cheaper. Here they are held against the exact pictures."
        }
        @if !fidelity.is_empty() { (fidelity_table(view)) }
        @if !method_comparisons.is_empty() { (comparison_table(view)) }
        @if !stage_agreement.is_empty() { (agreement_table(view)) }
    })
}

fn fidelity_table(view: &ReportView) -> Markup {
    let headings = [
        html! { "method" },
        html! { "same change" span.small { "Pearson" } },
        html! { "same order" span.small { "Spearman, distances" } },
        html! { "same strongest" span.small { "share of samples" } },
        html! { "cost" },
    ];
    let rows = view.fidelity.iter().map(|row| {
        let cells = vec![
            Cell::Number(estimate(row.pearson, CORRELATION)),
            Cell::Number(estimate(row.spearman, CORRELATION)),
            Cell::Number(estimate(row.top1, Unit::Share)),
            Cell::Words(name(&row.cost)),
        ];
        (name(&row.method), cells)
    });
    html! {
        (plain_table("Approximate against exact", &headings, rows))
        p.small {
            "Same change: does each pixel change as in the exact picture? Same order: are the removals ranked alike by "
            "distance? For both, 1 is perfect and 0 is chance."
        }
    }
}

fn comparison_table(view: &ReportView) -> Markup {
    let headings = ["measure", "first", "second", "first is larger", "p", "values"];
    let rows = view.method_comparisons.iter().map(|row| {
        let cells = vec![
            Cell::Words(name(&row.first)),
            Cell::Words(name(&row.second)),
            Cell::Number(html! { (number(row.probability_first_larger, 3)) }),
            Cell::Number(html! { (p_value(row.log10_p)) }),
            Cell::Number(html! { (row.first_count) " and " (row.second_count) }),
        ];
        (name(&row.measure), cells)
    });
    html! {
        (plain_table("Is one method better than another?", &headings.map(|heading| html! { (heading) }), rows))
        p.small {
            "Mann-Whitney test, two-sided. \u{201c}First is larger\u{201d} is the probability that a value of the first method "
            "exceeds one of the second; 0.5 would mean no difference. p is the probability of a result at least this "
            "clear if there were none."
        }
    }
}

fn agreement_table(view: &ReportView) -> Markup {
    let headings = ["question", "share"].map(|heading| html! { (heading) });
    let rows = view
        .stage_agreement
        .iter()
        .map(|row| (name(&row.question), vec![Cell::Number(estimate(Some(row.share), Unit::Share))]));
    plain_table("How often the stages of the search agree", &headings, rows)
}
