//! What the damping does to the scores of methods with a kernel.

use maud::{Markup, html};

use super::{Cell, plain_table};
use crate::text::{name, number};
use crate::{DampingCurve, ReportView};

/// Size of a drawing in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 160.0;

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    if view.damping_curves.is_empty() {
        return None;
    }
    Some(html! {
        h2 #damping-title { "Damping" }
        p {
            "A method that compares images through all of them needs a number that keeps it from trusting directions that few "
            "images share: the damping. A larger one leaves fewer directions. The line tells how much the order of the training "
            "images would stay the same with another damping: 1 is the same order. Where it is level, the choice hardly matters."
        }
        @for curve in &view.damping_curves { (of(curve)) }
    })
}

fn of(curve: &DampingCurve) -> Markup {
    html! {
        h3 { (name(&curve.method)) }
        p.small {
            (name(&curve.chosen)) " "
            @for (rule, damping) in &curve.rules { (name(rule)) ": " (scientific(*damping)) ". " }
        }
        @if let Some(warning) = &curve.warning { p.warning { (name(warning)) } }
        (chart(curve))
        details {
            summary { "The numbers" }
            (table(curve))
        }
    }
}

fn chart(curve: &DampingCurve) -> Markup {
    let known: Vec<(f64, f64)> = curve
        .points
        .iter()
        .filter_map(|point| Some((libm::log10(point.damping), point.agreement?)))
        .filter(|(damping, agreement)| damping.is_finite() && agreement.is_finite())
        .collect();
    let (Some(first), Some(last)) = (known.first(), known.last()) else { return html! {} };
    let lowest = known.iter().fold(0.0f64, |lowest, point| lowest.min(point.1));
    let span = (last.0 - first.0).max(f64::MIN_POSITIVE);
    let across = |damping: f64| (damping - first.0) / span * WIDTH;
    let down = |agreement: f64| (1.0 - agreement) / (1.0 - lowest) * HEIGHT;
    let line: Vec<String> = known
        .iter()
        .map(|(damping, agreement)| format!("{:.1},{:.1}", across(*damping), down(*agreement)))
        .collect();
    let taken = across(libm::log10(curve.taken));
    let alt = format!(
        "Rank agreement with the scores of the damping that was taken, for dampings from {:.1e} to {:.1e}",
        libm::pow(10.0, first.0),
        libm::pow(10.0, last.0)
    );
    html! {
        figure.damping {
            svg viewBox=(format!("-4 -4 {} {}", WIDTH + 8.0, HEIGHT + 8.0)) role="img" aria-label=(alt) {
                line.axis x1="0" x2=(WIDTH) y1=(format!("{:.1}", down(0.0))) y2=(format!("{:.1}", down(0.0))) {}
                line.taken x1=(format!("{taken:.1}")) x2=(format!("{taken:.1}")) y1="0" y2=(HEIGHT) {}
                polyline points=(line.join(" ")) {}
            }
            figcaption.small {
                "Damping from " (scientific(libm::pow(10.0, first.0))) " (left) to " (scientific(libm::pow(10.0, last.0)))
                " (right), three steps to a factor of ten; agreement from " (number(lowest, 1)) " (bottom) to 1 (top). The upright "
                "line is the damping that was taken."
            }
        }
    }
}

fn table(curve: &DampingCurve) -> Markup {
    let headings = ["damping", "directions left", "rank agreement"].map(|heading| html! { (heading) });
    let rows = curve.points.iter().map(|point| {
        let agreement = point.agreement.map_or_else(|| "\u{2013}".into(), |value| number(value, 3));
        let cells = [number(point.degrees_of_freedom, 1), agreement];
        let cells = cells.into_iter().map(|text| Cell::Number(html! { (text) })).collect();
        (html! { (scientific(point.damping)) }, cells)
    });
    plain_table(&format!("Damping of {}", curve.method), &headings, rows)
}

fn scientific(value: f64) -> String {
    format!("{value:.2e}")
}
