//! What each stage cost.

use maud::{Markup, html};

use super::scrolling;
use crate::ReportView;
use crate::text::{duration, name};

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    if view.stage_costs.is_empty() {
        return None;
    }
    let counted = |seconds: f64| if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    let total: f64 = view.stage_costs.iter().map(|stage| counted(stage.seconds)).sum();
    let share = |seconds: f64| counted(seconds) / total.max(f64::MIN_POSITIVE) * 100.0;
    let table = html! {
        table.plain.costs {
            caption { "Wall time of each stage" }
            thead {
                tr { th scope="col" { "stage" } th scope="col" { "time" } th scope="col" { "what was done" } }
            }
            tbody {
                @for stage in &view.stage_costs {
                    tr {
                        th scope="row" { (name(&stage.stage)) }
                        td { (duration(stage.seconds)) span.length style=(format!("--share:{:.1}", share(stage.seconds))) {} }
                        td.words { (name(&stage.note)) }
                    }
                }
            }
            tfoot { tr { th scope="row" { "all" } td { (duration(total)) } td {} } }
        }
    };
    Some(html! { h2 #cost-title { "What it cost" } (scrolling("Wall time of each stage", table)) })
}
