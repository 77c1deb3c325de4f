//! What the classifier sees when each group is removed in turn.

use maud::{Markup, html};

use super::scrolling;
use crate::text::name;
use crate::{GroupTableRow, GroupTableView, ReportView};

/// Opacity of the strongest shade; more would cost the numbers their contrast.
const STRONGEST_SHADE: f64 = 0.55;

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    let table = view.group_table.as_ref()?;
    Some(html! {
        h2 #classes-title { "Class by class" }
        p {
            "All samples are made again without one class, and the classifier counts what it sees. In the framed cells the "
            "removed class meets itself: the closer to zero, the better the removal works."
        }
        (scrolling("What the classifier sees", body(table)))
        p.small {
            "Blue cells hold fewer pictures than with nothing removed, orange ones more. The stronger the colour, the larger "
            "the change against the first row."
        }
    })
}

fn body(table: &GroupTableView) -> Markup {
    let base = table.rows.iter().find(|row| row.removed.is_none());
    html! {
        table.counts {
            caption { "Number of samples by what the classifier sees in them" }
            thead {
                tr {
                    th scope="col" { "removed" }
                    @for class in &table.classes { th scope="col" { (name(class)) } }
                }
            }
            tbody { @for row in &table.rows { (line(table, row, base)) } }
        }
    }
}

fn line(table: &GroupTableView, row: &GroupTableRow, base: Option<&GroupTableRow>) -> Markup {
    let removed_class = row.removed.as_ref().and_then(|removed| removed.class.as_ref());
    html! {
        tr.nothing[row.removed.is_none()] {
            th scope="row" {
                @match &row.removed {
                    Some(removed) => (name(&removed.label)),
                    None => "nothing",
                }
            }
            @for (column, (&count, class)) in row.counts.iter().zip(&table.classes).enumerate() {
                @let before = base.and_then(|base| base.counts.get(column)).copied();
                @let shade = before.filter(|_| row.removed.is_some()).map_or(0.0, |before| change(before, count));
                td.own[removed_class == Some(class)] .less[shade < 0.0] .more[shade > 0.0]
                    style=[(shade != 0.0).then(|| format!("--shade:{:.2}", shade.abs() * STRONGEST_SHADE))] {
                    (count)
                }
            }
        }
    }
}

/// Change against the first row as a share of it, from -1 (all gone) to 1 (doubled or more).
fn change(before: u64, after: u64) -> f64 {
    ((after as f64 - before as f64) / (before.max(1) as f64)).clamp(-1.0, 1.0)
}
