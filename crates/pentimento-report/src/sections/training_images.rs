//! Lists of training images.

use maud::{Markup, html};

use super::image;
use crate::text::{self, name};
use crate::{Basis, ReportError, TimestepScore, TopImageView, TrainingImageList, data_uri};

/// Side of a training image in CSS pixels.
const TRAINING_IMAGE: u32 = 84;

pub(crate) fn list(list: &TrainingImageList, sample: u64) -> Result<Markup, ReportError> {
    let farthest =
        list.images.iter().map(|image| image.distance).filter(|one| one.is_finite()).fold(0.0, f64::max);
    let items = list
        .images
        .iter()
        .map(|image| item(image, sample, farthest))
        .collect::<Result<Vec<_>, ReportError>>()?;
    let near_ties = list.images.iter().any(|image| image.near_tie);
    Ok(html! {
        h4 { (name(&list.title)) }
        @if !list.explanation.is_empty() { p.small { (name(&list.explanation)) } }
        @if !list.statement.is_empty() {
            p.small.about {
                @for (place, (term, line)) in list.statement.lines().enumerate() {
                    @if place > 0 { "; " }
                    strong { (term) } ": " (name(line))
                }
            }
        }
        ol.training-images { @for item in &items { (item) } }
        @if list.images.iter().any(|image| !by_timestep(image).is_empty()) {
            p.small.legend {
                "The bars tell at which noise level an image mattered: little noise, where details are made, to the left, much "
                "noise, where the composition is made, to the right. Bars below the line: held to have hindered."
            }
        }
        (groups(list, sample))
        @if near_ties {
            p.small { "\u{2248} marks near ties: so close to the next that the order of the two is not certain." }
        }
    })
}

fn item(one: &TopImageView, sample: u64, farthest: f64) -> Result<Markup, ReportError> {
    let TopImageView { index, label, picture, distance, basis, rank, near_tie } = one;
    let picture = match picture {
        None => html! {},
        Some(picture) => {
            let label = if label.is_empty() { String::new() } else { format!(", {label}") };
            let alt = format!("Training image {index}{label}: rank {rank} for sample {sample}");
            image(&data_uri::picture(picture)?, picture.display_size(TRAINING_IMAGE), "training", &alt)
        }
    };
    Ok(html! {
        li {
            span.rank { (rank) @if *near_tie { " " span title="near tie" { "\u{2248}" } } }
            (picture)
            @if !label.is_empty() { span.label { (name(label)) } }
            span.small { "image " (index) }
            @match basis {
                Basis::Exact | Basis::Approximate { .. } => span { "distance " (text::distance(*distance, farthest)) },
                Basis::Scored { reach, .. } => {
                    span { "score " (text::score(*distance)) }
                    @if let Some(reach) = reach { span.small { "\u{b1} " (text::reach(*reach, *distance)) } }
                }
            }
            (strip(one))
            @match basis {
                Basis::Exact => span.small { "exact" },
                Basis::Approximate { method } => span.small.approximate { "approximate: " (name(method)) },
                Basis::Scored { method, near_duplicates, .. } => {
                    span.small { (name(method)) }
                    @if *near_duplicates > 0 {
                        span.small { "together with " (near_duplicates) " nearly the same" }
                    }
                }
            }
        }
    })
}

fn by_timestep(one: &TopImageView) -> &[TimestepScore] {
    match &one.basis {
        Basis::Scored { by_timestep, .. } => by_timestep,
        Basis::Exact | Basis::Approximate { .. } => &[],
    }
}

/// Sides of a strip in its own units; it is as wide as the picture above it.
const STRIP_WIDTH: f64 = 84.0;
const STRIP_HEIGHT: f64 = 28.0;

/// The score by timestep, as bars on the image's own scale.
fn strip(one: &TopImageView) -> Markup {
    let scores = by_timestep(one);
    let finite = || scores.iter().map(|point| point.score).filter(|score| score.is_finite());
    let (low, high) = finite().fold((0.0f64, 0.0f64), |(low, high), score| (low.min(score), high.max(score)));
    if scores.is_empty() || high <= low {
        return html! {};
    }
    let width = STRIP_WIDTH / scores.len() as f64;
    let down = |score: f64| (high - score) / (high - low) * STRIP_HEIGHT;
    let zero = down(0.0);
    let strongest =
        scores.iter().max_by(|a, b| a.score.total_cmp(&b.score)).map_or(0, |point| point.timestep);
    let alt = format!("Score by timestep, from {low:.1e} to {high:.1e}; largest at timestep {strongest}");
    html! {
        svg.by-timestep viewBox=(format!("0 0 {STRIP_WIDTH} {STRIP_HEIGHT}")) width=(STRIP_WIDTH) height=(STRIP_HEIGHT)
            role="img" aria-label=(alt) {
            @for (place, point) in scores.iter().enumerate().filter(|(_, point)| point.score.is_finite()) {
                @let at = down(point.score);
                rect x=(format!("{:.2}", place as f64 * width)) y=(format!("{:.2}", at.min(zero)))
                    width=(format!("{:.2}", (width * 0.85).max(0.5))) height=(format!("{:.2}", (at - zero).abs().max(0.3))) {}
            }
            line x1="0" x2=(STRIP_WIDTH) y1=(format!("{zero:.2}")) y2=(format!("{zero:.2}")) {}
        }
    }
}

/// Scores of groups as bars on a common scale.
fn groups(list: &TrainingImageList, sample: u64) -> Markup {
    let largest =
        list.groups.iter().map(|group| group.score.abs()).filter(|one| one.is_finite()).fold(0.0, f64::max);
    if list.groups.is_empty() || largest == 0.0 {
        return html! {};
    }
    html! {
        details.groups {
            summary { "By group of training images" }
            table.bars {
                caption.hidden { "Scores of groups of training images for sample " (sample) }
                thead { tr { th scope="col" { "group" } th scope="col" { "sum of scores" } } }
                tbody {
                    @for group in &list.groups {
                        tr {
                            th scope="row" { (name(&group.label)) span.small { (text::counted(group.images, "image")) } }
                            td {
                                div.track {
                                    span.length.less[group.score < 0.0]
                                        style=(format!("--share:{:.1}", (group.score.abs() / largest).clamp(0.0, 1.0) * 100.0)) {}
                                    span.number {
                                        (text::score(group.score))
                                        @if let Some(reach) = group.reach { " \u{b1} " (text::reach(reach, group.score)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
