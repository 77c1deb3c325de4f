//! One sample at a time: the picture, the picture made again, where they differ, and by how much.

use maud::{Markup, html};

use super::rests_on::{RestsOn, distance_by};
use super::{image, scrolling, training_images};
use crate::difference::Scale;
use crate::text::{self, name, number, seen_as};
use crate::{CounterfactualView, Picture, ReportError, ReportView, SampleView, data_uri};

/// Sides of pictures in CSS pixels: multiples of 14 and 28, the sides of the digits this began with.
pub(super) const BASE: u32 = 224;
pub(super) const COUNTERFACTUAL: u32 = 112;
const BESIDE: u32 = 56;

pub(crate) fn section(view: &ReportView, scale: Scale) -> Result<Option<Markup>, ReportError> {
    let samples: Vec<_> = view.samples.iter().filter(|sample| sample.show_detail).collect();
    if samples.is_empty() {
        return Ok(None);
    }
    let mut articles = Vec::with_capacity(samples.len());
    for (position, sample) in samples.iter().enumerate() {
        let neighbours = Neighbours {
            previous: position.checked_sub(1).and_then(|index| samples.get(index)).map(|sample| sample.id),
            next: samples.get(position + 1).map(|sample| sample.id),
            position: position + 1,
            count: samples.len(),
        };
        articles.push(article(view, sample, &neighbours, scale)?);
    }
    Ok(Some(html! {
        h2 #detail-title { "One by one" }
        p {
            @if view.shows_ensemble() {
                "Each picture is made again from the same noise, but only by members that never saw a part of the training "
                "images. The further the new picture is from the first, the more the first rests on that part."
                @if view.shows_scores() {
                    " Below stand the training images that other methods put first, and beside them those that merely look like "
                    "it: estimates, for which nothing was made again."
                }
            } @else {
                "Under each picture stand the training images that a method puts first, and beside them those that merely look "
                "like it."
            }
        }
        p.small.keys { "The arrow keys " kbd { "\u{2190}" } " and " kbd { "\u{2192}" } " go from sample to sample." }
        div.samples { @for article in &articles { (article) } }
    }))
}

struct Neighbours {
    previous: Option<u64>,
    next: Option<u64>,
    /// From 1.
    position: usize,
    count: usize,
}

fn article(
    view: &ReportView,
    sample: &SampleView,
    neighbours: &Neighbours,
    scale: Scale,
) -> Result<Markup, ReportError> {
    let id = sample.id;
    let called = sample.name.clone().unwrap_or_else(|| format!("Sample {id}"));
    let rests_on = RestsOn::of(sample);
    let alt = match &sample.seen_as {
        Some(seen) => format!("{called} as all members make it, seen as {}", seen.label),
        None if sample.counterfactuals.is_empty() => called.clone(),
        None => format!("{called} as all members make it"),
    };
    let picture = image(&data_uri::picture(&sample.image)?, sample.image.display_size(BASE), "base", &alt);
    let mut cards = Vec::new();
    for counterfactual in &sample.counterfactuals {
        let strongest = rests_on.is_some_and(|one| std::ptr::eq(one.farthest, counterfactual));
        cards.push(card(sample, counterfactual, strongest, scale)?);
    }
    let lists = sample
        .training_image_lists
        .iter()
        .map(|list| training_images::list(list, sample.id))
        .collect::<Result<Vec<_>, ReportError>>()?;
    let link = |target: Option<u64>, step: &str, text: &str| {
        html! {
            @match target {
                Some(target) => a.step href={ "#sample-" (target) } data-step=(step) { (text) },
                None => span.step aria-disabled="true" { (text) },
            }
        }
    };
    Ok(html! {
        article.sample id={ "sample-" (id) } tabindex="-1" aria-labelledby={ "sample-" (id) "-title" } {
            div.bar {
                h3 id={ "sample-" (id) "-title" } { (name(&called)) }
                span.small.count { (neighbours.position) " of " (neighbours.count) }
                (link(neighbours.previous, "-1", "\u{2190} Previous"))
                (link(neighbours.next, "1", "Next \u{2192}"))
                a.all href="#samples" { "All samples" }
            }
            div.opening {
                figure.base {
                    (picture)
                    @if let Some(seen) = &sample.seen_as {
                        figcaption { "seen as " strong { (name(&seen.label)) } " (" (text::percent(seen.probability, 0)) ")" }
                    }
                }
                div.told {
                    (sentence(sample, rests_on.as_ref()))
                    (distances(sample, rests_on.as_ref()))
                }
            }
            @if !cards.is_empty() {
                h4 { "Made again without\u{2026}" }
                ol.strip { @for card in &cards { (card) } }
                @if sample.counterfactuals.iter().any(|one| shown_picture(one).is_some()) { (legend(scale)) }
            }
            (approximations(view, sample)?)
            @for list in &lists { (list) }
        }
    })
}

/// The finding in words.
fn sentence(sample: &SampleView, rests_on: Option<&RestsOn<'_>>) -> Markup {
    let Some(RestsOn { farthest, distance, next, method }) = rests_on else {
        let measured = sample.counterfactuals.iter().any(|one| one.distance_exact.is_some());
        return html! {
            @if measured { p.finding { "No removal tried here changes this picture." } }
            @else if !sample.counterfactuals.is_empty() { p.finding { "No distance was measured." } }
        };
    };
    let removed = name(&farthest.removed.label);
    html! {
        p.finding {
            "This picture rests most on " strong { (removed) } ". "
            @match (&farthest.seen_as, &sample.seen_as) {
                (Some(after), Some(before)) if after.label == before.label => {
                    "Made again without " (removed) ", it is still seen as " (name(&seen_as(after))) ". "
                }
                (Some(after), Some(before)) => {
                    "Made again without " (removed) ", it is seen as " strong { (name(&seen_as(after))) }
                    " instead of " (name(&before.label)) ". "
                }
                _ => {}
            }
        }
        p.small {
            "Distance " (text::distance(*distance, *distance))
            @if let Some((next, next_distance)) = next {
                "; next is " (name(&next.removed.label)) " with " (text::distance(*next_distance, *distance))
            }
            ". "
            @if let Some(method) = method {
                "These distances are approximate (" (name(method)) "): not every picture was made again exactly."
            }
        }
    }
}

/// How far each removal moves the picture, as bars on a common scale.
fn distances(sample: &SampleView, rests_on: Option<&RestsOn<'_>>) -> Markup {
    let Some(rests_on) = rests_on else { return html! {} };
    html! {
        table.bars {
            caption.hidden { "Distance from sample " (sample.id) " by what was removed" }
            thead { tr { th scope="col" { "without" } th scope="col" { "distance" } } }
            tbody {
                @for one in &sample.counterfactuals {
                    @let distance = distance_by(one, rests_on.method);
                    tr class=[std::ptr::eq(one, rests_on.farthest).then_some("strongest")] {
                        th scope="row" { (name(&one.removed.label)) }
                        td {
                            div.track {
                                @match distance {
                                    Some(distance) => {
                                        @let share = (distance / rests_on.distance).clamp(0.0, 1.0) * 100.0;
                                        span.length style=(format!("--share:{share:.1}")) {}
                                        span.number { (text::distance(distance, rests_on.distance)) }
                                    }
                                    None => span.number { "not measured" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The picture of a counterfactual to show: exact, else the first approximation that has one, with its name.
fn shown_picture(counterfactual: &CounterfactualView) -> Option<(&Picture, Option<&str>)> {
    if let Some(exact) = &counterfactual.exact {
        return Some((exact, None));
    }
    let approximations = &counterfactual.approximations;
    approximations
        .iter()
        .find_map(|one| one.picture.as_ref().map(|picture| (picture, Some(one.method.as_str()))))
}

fn card(
    sample: &SampleView,
    counterfactual: &CounterfactualView,
    strongest: bool,
    scale: Scale,
) -> Result<Markup, ReportError> {
    let CounterfactualView { removed, seen_as, .. } = counterfactual;
    let Some((picture, method)) = shown_picture(counterfactual) else {
        return Ok(html! { li { p.without { (name(&removed.label)) } p.small { "not made" } } });
    };
    let size = picture.display_size(COUNTERFACTUAL);
    let map = scale.map(&sample.image, picture);
    let alt = match method {
        None => format!("Made again without {}", removed.label),
        Some(method) => format!("Made again without {}, approximately ({method})", removed.label),
    };
    let picture = image(&data_uri::picture(picture)?, size, "again", &alt);
    let map = data_uri::difference_map(sample.image.height, sample.image.width, &map)?;
    let map = image(&map, size, "map", &format!("What changes without {}", removed.label));
    Ok(html! {
        li class=[strongest.then_some("strongest")] {
            p.without { (name(&removed.label)) }
            (picture)
            (map)
            @if let Some(seen) = seen_as.as_ref().filter(|_| method.is_none()) {
                p.small { "seen as " (name(&seen.label)) " (" (text::percent(seen.probability, 0)) ")" }
            }
            @if let Some(method) = method { p.small.approximate { "approximate: " (name(method)) } }
        }
    })
}

/// The exact pictures beside what cheaper methods say, behind a disclosure.
fn approximations(view: &ReportView, sample: &SampleView) -> Result<Markup, ReportError> {
    let mut methods: Vec<&str> = Vec::new();
    for approximation in sample.counterfactuals.iter().flat_map(|one| &one.approximations) {
        if !methods.contains(&approximation.method.as_str()) {
            methods.push(&approximation.method);
        }
    }
    if methods.is_empty() {
        return Ok(html! {});
    }
    let approximate =
        sample.counterfactuals.iter().flat_map(|one| &one.approximations).map(|one| one.distance);
    let exact = sample.counterfactuals.iter().map(|one| one.distance_exact);
    let farthest = exact.chain(approximate).flatten().filter(|one| one.is_finite()).fold(0.0, f64::max);
    let mut rows = Vec::new();
    for counterfactual in &sample.counterfactuals {
        rows.push(beside_row(view, counterfactual, &methods, farthest)?);
    }
    let table = html! {
        table.beside {
            caption.hidden { "Sample " (sample.id) ": exact and approximate counterfactuals" }
            thead {
                tr {
                    th scope="col" { "without" }
                    th scope="col" { "exact" }
                    @for method in &methods { th scope="col" { (name(method)) } }
                }
            }
            tbody { @for row in &rows { (row) } }
        }
    };
    Ok(html! {
        details.approximations {
            summary { "Exact beside approximate" }
            p.small {
                "Each number is the distance from the picture above. Below it, r tells how well the approximate change "
                "matches the exact one, value by value: 1 is a perfect match, 0 is none."
            }
            (scrolling(&format!("Exact beside approximate, sample {}", sample.id), table))
        }
    })
}

fn beside_row(
    view: &ReportView,
    counterfactual: &CounterfactualView,
    methods: &[&str],
    farthest: f64,
) -> Result<Markup, ReportError> {
    let label = &counterfactual.removed.label;
    let picture = |picture: Option<&Picture>, alt: String| -> Result<Markup, ReportError> {
        let Some(picture) = picture else { return Ok(html! {}) };
        Ok(image(&data_uri::picture(picture)?, picture.display_size(BESIDE), "again", &alt))
    };
    let exact = picture(counterfactual.exact.as_ref(), format!("Without {label}, exact"))?;
    let mut cells = Vec::new();
    for &method in methods {
        let approximation = counterfactual.approximations.iter().find(|one| one.method == method);
        cells.push(match approximation {
            None => html! { td {} },
            Some(one) => {
                let picture = picture(one.picture.as_ref(), format!("Without {label}, {method}"))?;
                html! {
                    td {
                        (picture)
                        @if let Some(distance) = one.distance { span { (text::distance(distance, farthest)) } }
                        @if let Some(pearson) = one.pearson_with_exact { span.small { "r " (number(pearson, 2)) } }
                    }
                }
            }
        });
    }
    Ok(html! {
        tr {
            th scope="row" {
                (name(label))
                @if let Some(left) = counterfactual.members_left {
                    span.small { (left) @if let Some(members) = view.members { " of " (members) } " members left" }
                }
            }
            td { (exact) @if let Some(distance) = counterfactual.distance_exact { span { (text::distance(distance, farthest)) } } }
            @for cell in &cells { (cell) }
        }
    })
}

/// How to read the pairs of pictures above it.
pub(super) fn legend(scale: Scale) -> Markup {
    html! {
        p.small.legend {
            "Above the new picture, below what changes: "
            span.ramp { "darker " span.colours {} " brighter" }
            ". The full colour stands for a change " (scale.in_words()) "."
        }
    }
}
