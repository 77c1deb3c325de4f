//! The main results.

use maud::{Markup, html};

use crate::text::{interval, name, reference_value, value};
use crate::{HeadlineFigure, ReportView, Unit};

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    if view.headline_figures.is_empty() {
        return None;
    }
    Some(html! {
        h2 #figures-title { "In short" }
        div.figures { @for figure in &view.headline_figures { (card(figure)) } }
        @if !view.interval_meaning.is_empty() {
            p.small { "The numbers after \u{b1}, and those joined by \u{201c}to\u{201d}, say how sure a result is: "
                (name(&view.interval_meaning)) "." }
        }
    })
}

fn card(figure: &HeadlineFigure) -> Markup {
    let HeadlineFigure { label, estimate, unit, note, references } = figure;
    let mut references: Vec<_> = references.iter().collect();
    references.sort_by(|one, other| one.value.total_cmp(&other.value));
    html! {
        div.figure {
            h3 { (name(label)) }
            p.value {
                (value(estimate.value, *unit))
                @if let Some(interval) = interval(*estimate, *unit) { " " span.interval { (interval) } }
            }
            @if *unit == Unit::Share { (scale(figure)) }
            @if !references.is_empty() {
                p.references {
                    @for (number, reference) in references.iter().enumerate() {
                        @if number > 0 { ", " }
                        (name(&reference.label)) " " (reference_value(reference.value, *unit))
                    }
                }
            }
            @if !note.is_empty() { p.small { (name(note)) } }
        }
    }
}

/// A line from 0 to 100 % with the interval, the value and the references on it. The same stands in words
/// beside it.
fn scale(figure: &HeadlineFigure) -> Markup {
    let at = |share: f64| format!("{:.1}%", if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) * 100.0 });
    html! {
        div.scale aria-hidden="true" {
            @for reference in &figure.references { span.tick style={ "left:" (at(reference.value)) } {} }
            @if let Some(interval) = figure.estimate.interval {
                span.range style={ "left:" (at(interval.low)) ";width:" (at(interval.high - interval.low)) } {}
            }
            @if figure.estimate.value.is_finite() { span.dot style={ "left:" (at(figure.estimate.value)) } {} }
        }
    }
}
