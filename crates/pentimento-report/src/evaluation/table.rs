//! The numbers of a target.

use maud::{Markup, html};

use crate::sections::{Cell, estimate, plain_table};
use crate::text::{name, percent};
use crate::{TargetView, Unit};

pub(super) fn table(of: &str, target: &TargetView) -> Markup {
    if target.rows.is_empty() {
        return html! {};
    }
    let undefined = target.rows.iter().any(|row| row.undefined > 0);
    let mut headings = vec![
        html! { "method" },
        html! { "score" },
        html! { "query mean removed" },
        html! { "p < 0.05" span.small { "share of queries" } },
        html! { "behind the best" },
    ];
    if undefined {
        headings.push(html! { "left out" span.small { "queries without a correlation" } });
    }
    let best = target.rows.iter().position(|row| row.score.is_some() && row.behind_the_best.is_none());
    let rows = target.rows.iter().enumerate().map(|(place, row)| {
        let mut cells = vec![
            Cell::Number(estimate(row.score, Unit::Share)),
            Cell::Number(estimate(row.without_query_mean, Unit::Share)),
            Cell::Number(html! { @match row.significant_share { Some(share) => (percent(share, 0)), None => "\u{2013}" } }),
            Cell::Number(match best == Some(place) {
                true => html! { "best" },
                false => estimate(row.behind_the_best, Unit::Share),
            }),
        ];
        if undefined {
            cells.push(Cell::Number(html! { (row.undefined) }));
        }
        (name(&row.method), cells)
    });
    plain_table(&format!("Scores: {of}"), &headings, rows)
}
