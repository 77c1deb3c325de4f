//! Lists of training images.

use maud::{Markup, html};

use super::image;
use crate::text::{self, name};
use crate::{Basis, ReportError, TopImageView, TrainingImageList, data_uri};

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
        ol.training-images { @for item in &items { (item) } }
        @if near_ties {
            p.small { "\u{2248} marks near ties: the distances are so close that the order is not certain." }
        }
    })
}

fn item(one: &TopImageView, sample: u64, farthest: f64) -> Result<Markup, ReportError> {
    let TopImageView { index, label, picture, distance, basis, rank, near_tie } = one;
    let picture = match picture {
        None => html! {},
        Some(picture) => {
            let alt = format!("Training image {index}, {label}: rank {rank} for sample {sample}");
            image(&data_uri::picture(picture)?, picture.display_size(TRAINING_IMAGE), "training", &alt)
        }
    };
    Ok(html! {
        li {
            span.rank { (rank) @if *near_tie { " " span title="near tie" { "\u{2248}" } } }
            (picture)
            span.label { (name(label)) }
            span.small { "image " (index) }
            @match basis {
                Basis::Exact | Basis::Approximate { .. } => span { "distance " (text::distance(*distance, farthest)) },
                Basis::Scored { .. } => span { "score " (text::score(*distance)) },
            }
            @match basis {
                Basis::Exact => span.small { "exact" },
                Basis::Approximate { method } => span.small.approximate { "approximate: " (name(method)) },
                Basis::Scored { method } => span.small { (name(method)) },
            }
        }
    })
}
