//! All samples as small pictures.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::image;
use super::rests_on::RestsOn;
use crate::text::{name, seen_as};
use crate::{ReportError, ReportView, SampleView, data_uri};

/// Side of a small picture in CSS pixels.
const THUMBNAIL: u32 = 56;
/// More samples than this go behind a disclosure, so that the rest of the page stays within reach.
const SHOWN_AT_ONCE: usize = 240;

pub(crate) fn section(view: &ReportView) -> Result<Option<Markup>, ReportError> {
    if view.samples.is_empty() {
        return Ok(None);
    }
    let filters = Filters::of(view);
    let cells =
        view.samples.iter().map(|sample| cell(sample, &filters)).collect::<Result<Vec<_>, ReportError>>()?;
    let (first, rest) = cells.split_at(cells.len().min(SHOWN_AT_ONCE));
    let agreement_known = view.samples.iter().any(|sample| agrees(sample).is_some());
    let has_rests_on = !filters.rests_on.is_empty();
    Ok(Some(html! {
        h2 #samples-title { "Samples" }
        p {
            (view.samples.len()) @if view.samples.len() == 1 { " picture" } @else { " pictures" }
            @if view.samples.iter().any(|sample| sample.name.is_some()) { ". " }
            @else if view.shows_ensemble() { " made by all members of the ensemble together. " } @else { " made by the network. " }
            @if has_rests_on {
                "Under each one stands what it rests on most: the part of the training images whose removal changes "
                "the picture most. "
            }
            @if agreement_known {
                "A full dot says that the classifier sees this same class in the picture, a ring that it sees another."
            }
        }
        (filters.form(agreement_known))
        ol.grid { @for cell in first { (cell) } }
        @if !rest.is_empty() {
            details.more {
                summary { "Show the other " (rest.len()) }
                ol.grid { @for cell in rest { (cell) } }
            }
        }
    }))
}

fn agrees(sample: &SampleView) -> Option<bool> {
    RestsOn::of(sample)?.agrees(sample)
}

fn cell(sample: &SampleView, filters: &Filters<'_>) -> Result<Markup, ReportError> {
    let rests_on = RestsOn::of(sample);
    let agrees = agrees(sample);
    let mut alt = sample.name.clone().unwrap_or_else(|| format!("Sample {}", sample.id));
    if let Some(seen) = &sample.seen_as {
        alt += &format!(", seen as {}", seen_as(seen));
    }
    if let Some(rests_on) = &rests_on {
        alt += &format!(", rests most on {}", rests_on.farthest.removed.label);
    }
    let picture =
        image(&data_uri::picture(&sample.image)?, sample.image.display_size(THUMBNAIL), "thumbnail", &alt);
    let content = html! {
        (picture)
        @if let Some(rests_on) = &rests_on {
            span.mark aria-hidden="true" {
                @match agrees {
                    Some(true) => { span.full {} }
                    Some(false) => { span.ring {} }
                    None => {}
                }
                (name(rests_on.short_name()))
            }
        }
    };
    // Filters compare positions in their lists, never the labels themselves.
    let seen = sample.seen_as.as_ref().and_then(|seen| position(&filters.seen_as, &seen.label));
    let rests = rests_on.as_ref().and_then(|one| position(&filters.rests_on, one.short_name()));
    Ok(html! {
        li.cell data-seen=[seen] data-rests=[rests] data-agrees=[agrees] {
            @if sample.show_detail { a href={ "#sample-" (sample.id) } { (content) } } @else { span { (content) } }
        }
    })
}

fn position(labels: &[&str], label: &str) -> Option<usize> {
    labels.iter().position(|&one| one == label)
}

/// The labels one can filter by. The form is hidden until the script runs.
struct Filters<'a> {
    seen_as: Vec<&'a str>,
    rests_on: Vec<&'a str>,
}

impl<'a> Filters<'a> {
    fn of(view: &'a ReportView) -> Self {
        let seen: BTreeSet<_> = view
            .samples
            .iter()
            .filter_map(|one| one.seen_as.as_ref().map(|seen| seen.label.as_str()))
            .collect();
        let rests: BTreeSet<_> = view
            .samples
            .iter()
            .filter_map(|one| RestsOn::of(one).map(|rests_on| rests_on.short_name()))
            .collect();
        Self { seen_as: seen.into_iter().collect(), rests_on: rests.into_iter().collect() }
    }

    fn form(&self, agreement_known: bool) -> Markup {
        let choice = |id: &str, title: &str, labels: &[&str]| {
            html! {
                @if labels.len() > 1 {
                    label for={ "filter-" (id) } { (title) " "
                        select id={ "filter-" (id) } data-filter=(id) {
                            option value="" { "any" }
                            @for (number, label) in labels.iter().enumerate() {
                                option value=(number) { (crate::text::Line(label)) }
                            }
                        }
                    }
                }
            }
        };
        html! {
            div.filters hidden {
                (choice("seen", "Seen as", &self.seen_as))
                (choice("rests", "Rests most on", &self.rests_on))
                @if agreement_known {
                    label for="filter-agrees" { "The two "
                        select #filter-agrees data-filter="agrees" {
                            option value="" { "agree or not" }
                            option value="true" { "agree" }
                            option value="false" { "do not agree" }
                        }
                    }
                }
                output.small #filter-count aria-live="polite" {}
            }
        }
    }
}
