//! How far the approximations can be trusted.

use maud::{Markup, html};

use super::{estimate, scrolling};
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
    let table = html! {
        table.plain {
            caption { "Approximate against exact" }
            thead {
                tr {
                    th scope="col" { "method" }
                    th scope="col" { "same change" span.small { "Pearson, pixels" } }
                    th scope="col" { "same order" span.small { "Spearman, distances" } }
                    th scope="col" { "same strongest" span.small { "share of samples" } }
                    th scope="col" { "cost" }
                }
            }
            tbody {
                @for row in &view.fidelity {
                    tr {
                        th scope="row" { (name(&row.method)) }
                        td { (estimate(row.pearson, CORRELATION)) }
                        td { (estimate(row.spearman, CORRELATION)) }
                        td { (estimate(row.top1, Unit::Share)) }
                        td.words { (name(&row.cost)) }
                    }
                }
            }
        }
    };
    html! {
        (scrolling("Approximate against exact", table))
        p.small {
            "Same change: does each pixel change as in the exact picture? Same order: are the removals ranked alike by "
            "distance? For both, 1 is perfect and 0 is chance."
        }
    }
}

fn comparison_table(view: &ReportView) -> Markup {
    let table = html! {
        table.plain {
            caption { "Is one method better than another?" }
            thead {
                tr {
                    th scope="col" { "measure" }
                    th scope="col" { "first" }
                    th scope="col" { "second" }
                    th scope="col" { "first is larger" }
                    th scope="col" { "p" }
                    th scope="col" { "values" }
                }
            }
            tbody {
                @for row in &view.method_comparisons {
                    tr {
                        th scope="row" { (name(&row.measure)) }
                        td.words { (name(&row.first)) }
                        td.words { (name(&row.second)) }
                        td { (number(row.probability_first_larger, 3)) }
                        td { (p_value(row.log10_p)) }
                        td { (row.first_count) " and " (row.second_count) }
                    }
                }
            }
        }
    };
    html! {
        (scrolling("Is one method better than another", table))
        p.small {
            "Mann-Whitney test, two-sided. \u{201c}First is larger\u{201d} is the probability that a value of the first method "
            "exceeds one of the second; 0.5 would mean no difference. p is the probability of a result at least this "
            "clear if there were none."
        }
    }
}

fn agreement_table(view: &ReportView) -> Markup {
    let table = html! {
        table.plain {
            caption { "How often the stages of the search agree" }
            thead { tr { th scope="col" { "question" } th scope="col" { "share" } } }
            tbody {
                @for row in &view.stage_agreement {
                    tr { th scope="row" { (name(&row.question)) } td { (estimate(Some(row.share), Unit::Share)) } }
                }
            }
        }
    };
    scrolling("How often the stages of the search agree", table)
}
