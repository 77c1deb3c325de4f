//! The correlation of every query, a strip for each method.

use maud::{Markup, html};

use crate::TargetView;
use crate::text::{Line, percent};

/// Heights in CSS pixels.
const STRIP: f64 = 44.0;
const FOOT: f64 = 26.0;
/// Units of a strip across, which stretches to the page.
const WIDTH: f64 = 1000.0;
/// Units of a strip downwards, which are CSS pixels.
const HEIGHT: f64 = 18.0;

/// Correlations of one method, rising.
struct Strip<'a> {
    method: &'a str,
    values: Vec<f64>,
}

impl Strip<'_> {
    /// The value below which a share of the queries lies, between neighbours in a straight line.
    fn quantile(&self, share: f64) -> f64 {
        let place = share * self.values.len().saturating_sub(1) as f64;
        let (below, above) = (libm::floor(place) as usize, libm::ceil(place) as usize);
        let of = |place: usize| self.values.get(place).copied().unwrap_or(0.0);
        of(below) + (place - below as f64) * (of(above) - of(below))
    }

    fn said(&self) -> String {
        let negative = self.values.iter().filter(|value| **value < 0.0).count();
        format!("median {}, {negative} of {} below 0", percent(self.quantile(0.5), 0), self.values.len())
    }
}

fn across(value: f64) -> f64 {
    (value.clamp(-1.0, 1.0) + 1.0) / 2.0 * WIDTH
}

pub(super) fn chart(id: &str, of: &str, target: &TargetView) -> Markup {
    let strips: Vec<Strip<'_>> = target
        .rows
        .iter()
        .map(|row| {
            let mut values: Vec<f64> =
                row.by_query.iter().copied().filter(|value| value.is_finite()).collect();
            values.sort_by(f64::total_cmp);
            Strip { method: &row.method, values }
        })
        .filter(|strip| !strip.values.is_empty())
        .collect();
    if strips.is_empty() {
        return html! {};
    }
    let (title, description) = (format!("{id}-queries"), format!("{id}-queries-said"));
    let foot = STRIP * strips.len() as f64;
    let said: Vec<String> =
        strips.iter().map(|strip| format!("{}: {}.", strip.method, strip.said())).collect();
    html! {
        figure.strips {
            h4 { "Query by query" }
            svg width="100%" height=(foot + FOOT) role="img" aria-labelledby=(title) aria-describedby=(description) {
                title id=(title) { "Correlation of every query: " (Line(of)) }
                desc id=(description) { (Line(&said.join(" "))) }
                @for (place, strip) in strips.iter().enumerate() { (drawn(strip, STRIP * place as f64)) }
                @for (at, anchor) in [(-1.0, "start"), (-0.5, "middle"), (0.0, "middle"), (0.5, "middle"), (1.0, "end")] {
                    text.tick x=(format!("{:.0}%", across(at) / WIDTH * 100.0)) y=(foot + 17.0) text-anchor=(anchor) { (percent(at, 0)) }
                }
            }
            figcaption.small {
                "A line for each query: how far the order of the networks by its loss agrees with the predicted one. The box holds the "
                "middle half of the queries, the thick line is their median."
            }
        }
    }
}

fn drawn(strip: &Strip<'_>, top: f64) -> Markup {
    let lines: Vec<String> =
        strip.values.iter().map(|value| format!("M{:.1} 3v{}", across(*value), HEIGHT - 6.0)).collect();
    let [lower, median, upper] = [0.25, 0.5, 0.75].map(|share| across(strip.quantile(share)));
    html! {
        line.between x1="0" x2="100%" y1=(top) y2=(top) {}
        text.method x="0" y=(top + 15.0) { (Line(strip.method)) }
        text.tick x="100%" y=(top + 15.0) text-anchor="end" { (strip.said()) }
        svg x="0" y=(top + 21.0) width="100%" height=(HEIGHT) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" {
            path.zero d=(format!("M{} 0v{HEIGHT}", across(0.0))) {}
            rect.half x=(format!("{lower:.1}")) width=(format!("{:.1}", upper - lower)) y="0" height=(HEIGHT) {}
            path.queries d=(lines.concat()) {}
            path.median d=(format!("M{median:.1} 0v{HEIGHT}")) {}
        }
    }
}
