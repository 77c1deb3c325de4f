//! A picture made again by networks that were trained without some training images.

use maud::{Markup, html};

use super::sample::{BASE, COUNTERFACTUAL, legend};
use super::{Cell, image, plain_table, training_images};
use crate::difference::Scale;
use crate::text::{self, name};
use crate::{RemovalView, RemovedView, ReportError, ReportView, data_uri};

pub(crate) fn section(view: &ReportView, scale: Scale) -> Result<Option<Markup>, ReportError> {
    let Some(removal) = &view.removal else { return Ok(None) };
    let RemovalView { id, name: called, image: picture, headline, caution, statement, removals } = removal;
    let base = image(&data_uri::picture(picture)?, picture.display_size(BASE), "base", called);
    let cards = removals
        .iter()
        .filter_map(|removed| card(removal, removed, scale).transpose())
        .collect::<Result<Vec<_>, ReportError>>()?;
    let lists = removals
        .iter()
        .map(|removed| training_images::list(&removed.removed, *id))
        .collect::<Result<Vec<_>, ReportError>>()?;
    let (of_method, of_controls) = lists.split_at(lists.len().min(1));
    Ok(Some(html! {
        h2 #removal-title { "Trained again" }
        div.opening {
            figure.base {
                (base)
                figcaption { (name(called)) }
            }
            div.told {
                p.finding { (name(headline)) }
                p.small { (name(caution)) }
                (table(removals))
            }
        }
        @if !cards.is_empty() {
            h4 { "Made again without\u{2026}" }
            ol.strip { @for card in &cards { (card) } }
            (legend(scale))
        }
        @for list in of_method { (list) }
        @if !of_controls.is_empty() {
            details {
                summary { "What was taken away to compare" }
                @for list in of_controls { (list) }
            }
        }
        dl.words-list {
            @for (what, text) in statement.lines() { dt { (name(what)) } dd { (name(text)) } }
        }
    }))
}

/// A picture made again, and what changes; none of a picture that was given.
fn card(removal: &RemovalView, removed: &RemovedView, scale: Scale) -> Result<Option<Markup>, ReportError> {
    let Some(picture) = &removed.picture else { return Ok(None) };
    let (label, size) = (&removed.label, picture.display_size(COUNTERFACTUAL));
    let map = scale.map(&removal.image, picture);
    let again = image(&data_uri::picture(picture)?, size, "again", &format!("Made again without {label}"));
    let map = data_uri::difference_map(removal.image.height, removal.image.width, &map)?;
    let map = image(&map, size, "map", &format!("What changes without {label}"));
    Ok(Some(html! { li { p.without { (name(label)) } (again) (map) } }))
}

fn table(removals: &[RemovedView]) -> Markup {
    let distances = || removals.iter().filter_map(|removed| removed.distance);
    let farthest = distances().filter(|one| one.is_finite()).fold(0.0, f64::max);
    let has_distances = distances().next().is_some();
    let headings = ["without", "distance of the picture", "change of its loss"];
    let headings: Vec<Markup> = headings
        .into_iter()
        .enumerate()
        .filter(|(column, _)| *column != 1 || has_distances)
        .map(|(_, heading)| html! { (heading) })
        .collect();
    let row = |removed: &RemovedView| {
        let distance = removed.distance.map(|distance| text::distance(distance, farthest));
        let distance = distance.map(|distance| Cell::Number(html! { (distance) }));
        let loss = Cell::Number(html! { (text::score(removed.loss_change)) });
        (html! { (name(&removed.label)) }, distance.into_iter().chain([loss]).collect())
    };
    plain_table("What changes", &headings, removals.iter().map(row))
}
