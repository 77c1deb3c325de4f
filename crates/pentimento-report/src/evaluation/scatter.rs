//! Predicted changes beside measured ones.

use maud::{Markup, html};

use crate::text::{Line, name, number};
use crate::ticks::{even_ticks, tick_text};
use crate::{QueryPairs, ScatterView};

/// Size of the drawing in its own units.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 300.0;

/// What an axis shows: a little more than the values.
#[derive(Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// None if nothing is to be shown.
    fn over(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let span = high - low;
        let free = match span > 0.0 {
            true => 0.04 * span,
            false => 0.5 * low.abs().max(f64::MIN_POSITIVE),
        };
        let range = Self { low: low - free, high: high + free };
        (range.low.is_finite() && range.high.is_finite() && range.high > range.low).then_some(range)
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

pub(super) fn chart(id: &str, of: &str, scatter: &ScatterView) -> Markup {
    let shown = || {
        let pairs = scatter.queries.iter().flat_map(|query| &query.pairs);
        pairs.copied().filter(|pair| pair.iter().all(|value| value.is_finite()))
    };
    let ranges = Range::over(shown().map(|pair| pair[0])).zip(Range::over(shown().map(|pair| pair[1])));
    let (slope, pearson) = (number(scatter.slope, 2), number(scatter.pearson, 2));
    let count = shown().count() as u64;
    let (title, description) = (format!("{id}-drawn"), format!("{id}-said"));
    html! {
        figure.scatter {
            h4 { "Predicted and measured change: " (name(&scatter.method)) }
            @if let Some((across, down)) = ranges {
                p.small.upwards { "measured change of the loss" }
                div.plot {
                    @for tick in even_ticks(down.low, down.high, 4) {
                        span.level style={ "top:" (percent(1.0 - down.share(tick))) } { span { (tick_text(tick)) } }
                    }
                    svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby=(title) aria-describedby=(description) {
                        title id=(title) { "Predicted and measured change by " (Line(&scatter.method)) ": " (Line(of)) }
                        desc id=(description) {
                            "Slope " (slope) ", correlation " (pearson) " over " (scatter.pairs) " pairs of a network and a query."
                        }
                        @if let Some(line) = straight(1.0, across, down) { path.identity d=(line) {} }
                        @for query in &scatter.queries { (dots(query, across, down)) }
                        @if let Some(line) = straight(scatter.slope, across, down) { path.fitted d=(line) {} }
                    }
                    @for tick in even_ticks(across.low, across.high, 4) {
                        span.step-tick style={ "left:" (percent(across.share(tick))) } { (tick_text(tick)) }
                    }
                }
                p.small.across { "predicted change" }
            }
            figcaption.small {
                "The measured change is " (slope) " of the predicted one (full line; the dashed line is where both are the same), with a "
                "correlation of " (pearson) ". "
                @if count < scatter.pairs { "Shown are " (count) " of " (scatter.pairs) " pairs of a network and a query; the figures are of all." }
                @else { "All " (scatter.pairs) " pairs of a network and a query are shown." }
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

/// A straight line through zero, as far as it is within both ranges.
fn straight(slope: f64, across: Range, down: Range) -> Option<String> {
    // Where it meets the lower and the upper end of the other axis.
    let (mut from, mut to) = (across.low, across.high);
    if slope != 0.0 {
        let ends = [down.low / slope, down.high / slope];
        (from, to) = (from.max(ends[0].min(ends[1])), to.min(ends[0].max(ends[1])));
    } else if down.low > 0.0 || down.high < 0.0 {
        return None;
    }
    let corner =
        |x: f64| format!("{:.1} {:.1}", across.share(x) * WIDTH, (1.0 - down.share(slope * x)) * HEIGHT);
    (from < to && slope.is_finite()).then(|| format!("M{}L{}", corner(from), corner(to)))
}

/// The dots of a query, which are round ends of lines without length.
fn dots(query: &QueryPairs, across: Range, down: Range) -> Markup {
    let dots: String = query
        .pairs
        .iter()
        .filter(|pair| pair.iter().all(|value| value.is_finite()))
        .map(|pair| {
            format!("M{:.1} {:.1}h0", across.share(pair[0]) * WIDTH, (1.0 - down.share(pair[1])) * HEIGHT)
        })
        .collect();
    html! {
        @if !dots.is_empty() { path.dots d=(dots) { title { "query " (Line(&query.query)) } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_within_the_drawing() {
        let [one, ten] = [Range { low: -1.0, high: 1.0 }, Range { low: -10.0, high: 10.0 }];
        // The identity leaves the narrow axis at its ends, by hand: x from -1 to 1 is 45 % to 55 % of the wide one.
        assert_eq!(straight(1.0, ten, one), Some("M180.0 300.0L220.0 0.0".into()));
        assert_eq!(straight(1.0, one, ten), Some("M0.0 165.0L400.0 135.0".into()));
        assert_eq!(straight(-1.0, one, one), Some("M0.0 0.0L400.0 300.0".into()));
        assert_eq!(straight(0.0, one, one), Some("M0.0 150.0L400.0 150.0".into()));
        assert_eq!(straight(0.0, one, Range { low: 2.0, high: 3.0 }), None);
        assert_eq!(straight(1.0, one, Range { low: 2.0, high: 3.0 }), None);
        assert_eq!(straight(f64::NAN, one, one), None);
    }

    #[test]
    fn an_axis_holds_all_values_and_has_a_length() {
        let range = Range::over([2.0, -1.0].into_iter()).unwrap();
        assert!(range.low < -1.0 && range.high > 2.0);
        let range = Range::over([3.0].into_iter()).unwrap();
        assert!(range.low < 3.0 && range.high > 3.0);
        assert!(Range::over(std::iter::empty()).is_none());
    }
}
