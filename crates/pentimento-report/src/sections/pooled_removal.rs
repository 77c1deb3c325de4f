//! Many pictures at once, without the training images that were named for some of them.

use maud::{Markup, html};

use super::{Cell, plain_table};
use crate::text::{self, name};
use crate::{PooledMeasurementView, PooledRemovalView, PooledRowView, ReportView};

/// Sides of a row of dots, and the height of targets and of controls in it.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 30.0;
const HEIGHTS: [f64; 2] = [9.0, 21.0];
/// The dots at both ends stay inside.
const MARGIN: f64 = 4.0;

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    let PooledRemovalView { headline, caution, statement, measured } = view.pooled_removal.as_ref()?;
    Some(html! {
        h2 #pooled-removal-title { "Many at once" }
        p.finding { (name(headline)) }
        p.small { (name(caution)) }
        @for one in measured {
            (table(one))
            @if !one.comparisons.is_empty() {
                ul { @for comparison in &one.comparisons { li.small { (name(comparison)) } } }
            }
        }
        p.small.legend {
            "Each full dot is a target, each ring a control; zero is the line. All rows of a table are on one scale."
        }
        dl.words-list {
            @for (what, text) in statement.lines() { dt { (name(what)) } dd { (name(text)) } }
        }
    })
}

fn table(measured: &PooledMeasurementView) -> Markup {
    let all = measured.removals.iter().flat_map(|row| row.targets.iter().chain(&row.controls)).copied();
    let (low, high) = all
        .filter(|one| one.is_finite())
        .fold((0.0f64, 0.0f64), |(low, high), change| (low.min(change), high.max(change)));
    let headings = ["removed by", "each picture", "targets", "controls", "area under curve", "p"];
    let headings: Vec<Markup> = headings.into_iter().map(|heading| html! { (heading) }).collect();
    let row = |row: &PooledRowView| {
        let cells = [
            dots(row, [low, high]),
            html! { (text::score(mean(&row.targets))) },
            html! { (text::score(mean(&row.controls))) },
            html! { (text::number(row.area_under_curve, 2)) },
            text::p_value(row.log10_p),
        ];
        (html! { (name(&row.label)) }, cells.into_iter().map(Cell::Number).collect())
    };
    plain_table(&measured.title, &headings, measured.removals.iter().map(row))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The change of each picture on the scale of the table.
fn dots(row: &PooledRowView, [low, high]: [f64; 2]) -> Markup {
    let at = |change: f64| {
        let share = if high > low { (change - low) / (high - low) } else { 0.5 };
        format!("{:.1}", MARGIN + share * (WIDTH - 2.0 * MARGIN))
    };
    let circles = |changes: &[f64], height: f64, class: Option<&'static str>| {
        html! {
            @for &change in changes.iter().filter(|one| one.is_finite()) {
                circle class=[class] cx=(at(change)) cy=(height) r="3" {}
            }
        }
    };
    let alt = format!(
        "Changes of {} and of {}",
        text::counted(row.targets.len() as u64, "target"),
        text::counted(row.controls.len() as u64, "control")
    );
    html! {
        svg.changes viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) role="img" aria-label=(alt) {
            line x1=(at(0.0)) x2=(at(0.0)) y1="0" y2=(HEIGHT) {}
            (circles(&row.targets, HEIGHTS[0], Some("target")))
            (circles(&row.controls, HEIGHTS[1], None))
        }
    }
}
