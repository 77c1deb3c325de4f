//! The scores of all methods on one axis, a rung for each.

use maud::{Markup, html};

use crate::text::{Line, interval, percent, value};
use crate::ticks::even_ticks;
use crate::{Estimate, JudgedRow, TargetView, Unit};

/// Heights in CSS pixels.
const HEAD: f64 = 24.0;
const RUNG: f64 = 58.0;
const FOOT: f64 = 26.0;
/// What stays free on both sides of the axis, in percent.
const MARGIN: f64 = 2.0;

/// The axis of a drawing without a width of its own.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Holds zero, all scores with their intervals, and the ceilings.
    fn over(target: &TargetView) -> Self {
        let of_row = |row: &JudgedRow| [row.score, row.without_query_mean];
        let estimates = target.rows.iter().flat_map(of_row).flatten();
        let ends = |estimate: Estimate| {
            let ends =
                estimate.interval.map_or([estimate.value; 2], |interval| [interval.low, interval.high]);
            [estimate.value, ends[0], ends[1]]
        };
        let ceilings = [target.ceiling, target.ceiling_without_query_mean];
        let (low, high) = estimates
            .flat_map(ends)
            .chain(ceilings.into_iter().flatten().map(|ceiling| ceiling.largest_score))
            .filter(|value| value.is_finite())
            .map(|value| value.clamp(-1.0, 1.0))
            .fold((0.0_f64, 0.1_f64), |(low, high), value| (low.min(value), high.max(value)));
        let free = 0.05 * (high - low);
        Self { low: low - free, high: high + free }
    }

    fn percent(&self, value: f64) -> f64 {
        let share = (value.clamp(-1.0, 1.0) - self.low) / (self.high - self.low);
        MARGIN + (100.0 - 2.0 * MARGIN) * share.clamp(0.0, 1.0)
    }

    fn at(&self, value: f64) -> String {
        format!("{:.2}%", self.percent(value))
    }
}

pub(super) fn chart(id: &str, of: &str, target: &TargetView) -> Markup {
    if target.rows.is_empty() {
        return html! {};
    }
    let axis = Axis::over(target);
    let (title, description) = (format!("{id}-ladder"), format!("{id}-ladder-said"));
    let foot = HEAD + RUNG * target.rows.len() as f64;
    html! {
        figure.ladder {
            svg width="100%" height=(foot + FOOT) role="img" aria-labelledby=(title) aria-describedby=(description) {
                title id=(title) { "Scores: " (Line(of)) }
                desc id=(description) { (Line(&said(target))) }
                (beyond(target, &axis, foot))
                @for tick in even_ticks(axis.low, axis.high, 5) {
                    line.gridline x1=(axis.at(tick)) x2=(axis.at(tick)) y1=(HEAD) y2=(foot) {}
                    text.tick x=(axis.at(tick)) y=(foot + 17.0) text-anchor="middle" { (percent(tick, 0)) }
                }
                line.zero x1=(axis.at(0.0)) x2=(axis.at(0.0)) y1=(HEAD) y2=(foot) {}
                @for (place, row) in target.rows.iter().enumerate() { (rung(row, HEAD + RUNG * place as f64, &axis)) }
            }
            figcaption.small {
                span.swatch.own {} "score, with its 95\u{a0}% interval; "
                @if target.rows.iter().any(|row| row.without_query_mean.is_some()) {
                    span.swatch.rest {} "the same with the query mean removed; "
                }
                "the upright line at 0 is chance"
                @if target.ceiling.is_some() { "; from the dashed line on, no scores are expected to reach" }
                "."
            }
        }
    }
}

/// What lies beyond the ceiling.
fn beyond(target: &TargetView, axis: &Axis, foot: f64) -> Markup {
    let of = |most: f64| most.is_finite().then(|| axis.percent(most));
    let ceiling = target.ceiling.and_then(|ceiling| of(ceiling.largest_score));
    let rest = target.ceiling_without_query_mean.and_then(|ceiling| of(ceiling.largest_score));
    html! {
        @if let Some(at) = ceiling {
            rect.beyond x=(format!("{at:.2}%")) width=(format!("{:.2}%", 100.0 - at)) y=(HEAD) height=(foot - HEAD) {}
            line.ceiling x1=(format!("{at:.2}%")) x2=(format!("{at:.2}%")) y1=(HEAD) y2=(foot) {}
            text.tick x=(format!("{at:.2}%")) y=(HEAD - 8.0) text-anchor=(if at > 50.0 { "end" } else { "start" }) {
                "ceiling"
            }
        }
        @if let Some(at) = rest {
            line.ceiling.rest x1=(format!("{at:.2}%")) x2=(format!("{at:.2}%")) y1=(HEAD) y2=(foot) {}
        }
    }
}

fn rung(row: &JudgedRow, top: f64, axis: &Axis) -> Markup {
    html! {
        line.between x1="0" x2="100%" y1=(top) y2=(top) {}
        text.method x="0" y=(top + 16.0) { (Line(&row.method)) }
        text.tick x="100%" y=(top + 16.0) text-anchor="end" {
            @match row.score { Some(score) => (in_words(score)), None => "no correlation" }
        }
        @if let Some(score) = row.score { (mark(score, top + 32.0, axis, "own", 6)) }
        @if let Some(score) = row.without_query_mean { (mark(score, top + 46.0, axis, "rest", 4)) }
    }
}

fn mark(estimate: Estimate, down: f64, axis: &Axis, class: &str, radius: u8) -> Markup {
    html! {
        @if let Some(interval) = estimate.interval.filter(|interval| interval.low <= interval.high) {
            line.reach.(class) x1=(axis.at(interval.low)) x2=(axis.at(interval.high)) y1=(down) y2=(down) {}
        }
        @if estimate.value.is_finite() { circle.(class) cx=(axis.at(estimate.value)) cy=(down) r=(radius) {} }
    }
}

fn in_words(estimate: Estimate) -> String {
    let interval = interval(estimate, Unit::Share).map_or(String::new(), |interval| format!(", {interval}"));
    format!("{}{interval}", value(estimate.value, Unit::Share))
}

/// The drawing for those who do not see it.
fn said(target: &TargetView) -> String {
    let of_row = |row: &JudgedRow| {
        let own = row.score.map_or("no correlation".into(), in_words);
        let rest = row
            .without_query_mean
            .map_or(String::new(), |rest| format!("; with the query mean removed {}", in_words(rest)));
        format!("{}: {own}{rest}.", row.method)
    };
    let ceiling =
        target.ceiling.map(|ceiling| format!("Ceiling: {}.", value(ceiling.largest_score, Unit::Share)));
    target.rows.iter().map(of_row).chain(ceiling).collect::<Vec<_>>().join(" ")
}
