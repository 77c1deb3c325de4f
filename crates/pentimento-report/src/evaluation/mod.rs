//! The page of an evaluation: how well scores of training images predict what networks do that were trained on parts of them.
//!
//! It is made of text and drawings only and has no script. Drawings have no fixed width: places along an axis are percentages,
//! so that letters and marks keep their size on a phone.

mod by_query;
mod ladder;
mod reading;
mod scatter;
mod table;
pub(crate) mod view;

use maud::{Markup, html};

use crate::page::{Page, STYLE, Section};
use crate::text::{name, value};
use crate::{CeilingView, EvaluationView, JudgedMethodView, JudgedSetView, TargetView, Unit};

const SHEET: &str = include_str!("evaluation.css");

/// Draws the page of an evaluation. The same view gives the same bytes.
pub fn render_evaluation(view: &EvaluationView) -> String {
    let mut sections = vec![section("judged", "What was judged", judged(view))];
    if view.sets.iter().any(|set| set.targets.iter().any(|target| !target.finding.is_empty())) {
        sections.push(section("short", "In short", in_short(view)));
    }
    for (number, set) in view.sets.iter().enumerate() {
        let id = format!("set-{number}");
        sections.push(section(&id, &set.title, of_set(&id, set)));
    }
    sections.push(section("reading", "How to read this", reading::section(view)));
    let page = Page {
        brand: "pentimento evaluation",
        title: &view.title,
        what_this_is: &view.what_this_is,
        made_with: &view.made_with,
        style: &[STYLE, SHEET],
        script: None,
        sections,
    };
    page.into_string()
}

fn section(id: &str, title: &str, body: Markup) -> Section {
    Section { id: id.to_owned(), title: title.to_owned(), body }
}

/// What was judged and by what.
fn judged(view: &EvaluationView) -> Markup {
    html! {
        h2 #judged-title { "What was judged, and by what" }
        p {
            "A method gives every training image a score for a query: a picture that is asked about. Here networks were trained "
            "again on parts of the training images, and the scores have to tell on which of these networks the query comes out worse. "
            "That is what really happened; the scores are held against it."
        }
        @if !view.statement.is_empty() {
            dl.words-list.statement {
                @for (term, line) in view.statement.lines() { dt { (term) } dd { (name(line)) } }
            }
        }
    }
}

/// The findings of all sets, the first measurement of each in full.
fn in_short(view: &EvaluationView) -> Markup {
    html! {
        h2 #short-title { "In short" }
        @for (number, set) in view.sets.iter().enumerate() {
            @for (place, target) in set.targets.iter().enumerate().filter(|(_, target)| !target.finding.is_empty()) {
                @if place == 0 {
                    h3 { a href={ "#set-" (number) } { (name(&set.title)) } }
                    p.finding { (name(&target.finding)) }
                } @else {
                    p.small { strong { (name(&target.name)) ": " } (name(&target.finding)) }
                }
            }
        }
        @if !view.interval_meaning.is_empty() {
            p.small { "What stands after \u{b1}, or is joined by \u{201c}to\u{201d}, is how sure a number is: " (name(&view.interval_meaning)) "." }
        }
    }
}

fn of_set(id: &str, set: &JudgedSetView) -> Markup {
    html! {
        h2 id={ (id) "-title" } { (name(&set.title)) }
        @if !set.note.is_empty() { p { (name(&set.note)) } }
        @for (number, target) in set.targets.iter().enumerate() { (of_target(&format!("{id}-{number}"), set, target)) }
    }
}

fn of_target(id: &str, set: &JudgedSetView, target: &TargetView) -> Markup {
    let of = format!("{}, {}", set.title, target.name);
    html! {
        h3.target { "How well the " (name(&target.name)) " is predicted" }
        @if !target.finding.is_empty() { p { (name(&target.finding)) } }
        (ladder::chart(id, &of, target))
        (ceilings(target))
        (table::table(&of, target))
        (by_query::chart(id, &of, target))
        @for (number, scatter) in target.scatters.iter().enumerate() {
            (scatter::chart(&format!("{id}-scatter-{number}"), &of, scatter))
        }
    }
}

fn ceilings(target: &TargetView) -> Markup {
    let of = |ceiling: &CeilingView| {
        html! {
            (value(ceiling.largest_score, Unit::Share)) " (the outcomes of one seed tell those of another with "
            (value(ceiling.between_seeds, Unit::Share)) ")"
        }
    };
    html! {
        @if let Some(ceiling) = &target.ceiling {
            p.small {
                "The most that any scores can be expected to reach: " (of(ceiling))
                @if let Some(ceiling) = &target.ceiling_without_query_mean {
                    "; with the query mean removed " (of(ceiling))
                }
                "."
            }
        } @else {
            p.small {
                "Nobody knows how high scores could be: that takes networks of a second training seed, and there is one."
            }
        }
    }
}

/// The methods, each with what its scores stand for.
fn methods(methods: &[JudgedMethodView]) -> Markup {
    html! {
        @for JudgedMethodView { name: called, title, statement } in methods {
            dt { (name(called)) }
            dd {
                @if !title.is_empty() { (name(title)) "." }
                @if !statement.is_empty() {
                    @for (term, line) in statement.lines() { span.line { (term) ": " (name(line)) } }
                }
            }
        }
    }
}
