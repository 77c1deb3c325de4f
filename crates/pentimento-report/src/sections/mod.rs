//! The parts of the page, in its order. Each gives its markup, or nothing when the view has nothing for it.

pub(crate) mod cost;
pub(crate) mod damping;
pub(crate) mod fidelity;
pub(crate) mod group_table;
pub(crate) mod headline;
pub(crate) mod overview;
pub(crate) mod pooled_removal;
pub(crate) mod removal;
mod rests_on;
pub(crate) mod sample;
pub(crate) mod settings;
pub(crate) mod training;
mod training_images;
pub(crate) mod words;

use maud::{Markup, html};

use crate::picture::DisplaySize;
use crate::text::{Line, interval, name, value};
use crate::{Estimate, Unit};

/// An image element. `class` is one of the style sheet's own names.
fn image(source: &str, size: DisplaySize, class: &str, alt: &str) -> Markup {
    let DisplaySize { width, height, crisp } = size;
    html! { img .(class) .px[crisp] src=(source) width=(width) height=(height) alt=(Line(alt)); }
}

/// A table that may scroll sideways on a narrow screen, also by keyboard.
fn scrolling(label: &str, table: Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(Line(label)) { (table) } }
}

/// What stands in a table beside the heading of its row.
pub(crate) enum Cell {
    /// A number, which stays on one line.
    Number(Markup),
    /// Words, which may take several.
    Words(Markup),
}

/// A table that [`scrolling`] shows, with a heading for each column and each row. The first column is that of the rows'
/// headings.
pub(crate) fn plain_table(
    label: &str,
    headings: &[Markup],
    rows: impl IntoIterator<Item = (Markup, Vec<Cell>)>,
) -> Markup {
    let table = html! {
        table.plain {
            caption { (name(label)) }
            thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
            tbody {
                @for (heading, cells) in rows {
                    tr {
                        th scope="row" { (heading) }
                        @for cell in cells {
                            @match cell {
                                Cell::Number(number) => { td { (number) } }
                                Cell::Words(words) => { td.words { (words) } }
                            }
                        }
                    }
                }
            }
        }
    };
    scrolling(label, table)
}

/// "0.871 ± 0.012", or a dash for what was not measured.
pub(crate) fn estimate(estimate: Option<Estimate>, unit: Unit) -> Markup {
    html! {
        @match estimate {
            Some(estimate) => {
                (value(estimate.value, unit))
                @if let Some(interval) = interval(estimate, unit) { " " span.interval { (interval) } }
            }
            None => { span title="not measured" { "\u{2013}" } }
        }
    }
}
