//! Strangers' text and numbers, made fit for a page.

use std::fmt::Write as _;

use maud::{Markup, Render, html};

use crate::{Estimate, SeenAs, Unit};

/// Text of one line that came from outside. Escaped, and with invisible or direction-turning characters
/// written out, so that a name cannot pass for another one. Line breaks become spaces.
pub(crate) struct Line<'a>(pub(crate) &'a str);

/// The same for text of several lines: line breaks and tabs stay.
pub(crate) struct Lines<'a>(pub(crate) &'a str);

impl Render for Line<'_> {
    fn render_to(&self, buffer: &mut String) {
        written_out(self.0, |character| matches!(character, '\n' | '\r' | '\t').then_some(' '))
            .render_to(buffer);
    }
}

impl Render for Lines<'_> {
    fn render_to(&self, buffer: &mut String) {
        written_out(&self.0.replace("\r\n", "\n"), |character| {
            matches!(character, '\n' | '\t').then_some(character)
        })
        .render_to(buffer);
    }
}

fn written_out(text: &str, kept: impl Fn(char) -> Option<char>) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if let Some(kept) = kept(character) {
            shown.push(kept);
        } else if is_invisible(character) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\u{27e8}U+{:04X}\u{27e9}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Control characters, bidirectional marks, overrides and isolates, and characters without width. The joiners
/// U+200C and U+200D stay: several scripts and emoji need them.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

const NOT_DEFINED: &str = "not defined";

/// "1 image", "2 images".
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// A number with fixed decimals and a true minus sign.
pub(crate) fn number(value: f64, decimals: u8) -> String {
    if !value.is_finite() {
        return NOT_DEFINED.to_owned();
    }
    let digits = usize::from(decimals.min(12));
    let text = format!("{:.digits$}", value.abs());
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if value < 0.0 && !is_zero { format!("\u{2212}{text}") } else { text }
}

/// A score of any size, to three digits.
pub(crate) fn score(value: f64) -> String {
    if !value.is_finite() {
        return "not a number".into();
    }
    if value == 0.0 || (0.01..1000.0).contains(&value.abs()) {
        return number(value, if value.abs() < 1.0 { 3 } else { 2 });
    }
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let digits = digits.replace('-', "\u{2212}");
            format!("{digits}\u{b7}10^{}", exponent.replace('-', "\u{2212}"))
        }
        None => text,
    }
}

/// How far the interval of a score reaches, with as many places as the score has.
pub(crate) fn reach(reach: f64, of: f64) -> String {
    let plain = (0.01..1000.0).contains(&of.abs()) && reach < 1000.0;
    if plain && reach >= 0.001 { number(reach, if of.abs() < 1.0 { 3 } else { 2 }) } else { score(reach) }
}

/// A distance, with the decimals that give the largest one it is shown beside three digits.
pub(crate) fn distance(value: f64, largest: f64) -> String {
    let mut decimals = 0;
    let mut reach = 100.0;
    while decimals < 8 && largest.is_finite() && largest.abs() < reach {
        decimals += 1;
        reach /= 10.0;
    }
    number(value, if largest == 0.0 { 2 } else { decimals })
}

/// A share in percent; `decimals` as asked.
pub(crate) fn percent(share: f64, decimals: u8) -> String {
    if share.is_finite() {
        format!("{}\u{a0}%", number(share * 100.0, decimals))
    } else {
        NOT_DEFINED.to_owned()
    }
}

/// A value of a figure.
pub(crate) fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => percent(value, 1),
        Unit::Number { decimals } => number(value, decimals),
    }
}

/// A value to hold a figure against: percent without needless zeros.
pub(crate) fn reference_value(reference: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => percent(reference, 1).replace(".0\u{a0}", "\u{a0}"),
        Unit::Number { .. } => value(reference, unit),
    }
}

/// The interval of an estimate: "± 0.012" where both sides are alike, "0.850 to 0.885" where they are not.
pub(crate) fn interval(estimate: Estimate, unit: Unit) -> Option<String> {
    let interval = estimate.interval?;
    let below = value(estimate.value - interval.low, unit);
    let above = value(interval.high - estimate.value, unit);
    if below == above && interval.low <= interval.high {
        return Some(format!("\u{b1}\u{a0}{above}"));
    }
    let (low, high) = match unit {
        Unit::Share if interval.low.is_finite() => {
            (number(interval.low * 100.0, 1), value(interval.high, unit))
        }
        _ => (value(interval.low, unit), value(interval.high, unit)),
    };
    Some(format!("{low} to {high}"))
}

/// A wall time a person can read.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return NOT_DEFINED.to_owned();
    }
    if seconds < 59.95 {
        let decimals = if seconds < 9.95 { 2 } else { 1 };
        return format!("{}\u{a0}s", number(seconds, decimals));
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{}\u{a0}min {:02}\u{a0}s", whole / 60, whole % 60)
    } else {
        let minutes = (whole + 30) / 60;
        format!("{}\u{a0}h {:02}\u{a0}min", minutes / 60, minutes % 60)
    }
}

/// A p-value from its logarithm: written out down to 0.0001, as a bound by a power of ten below.
pub(crate) fn p_value(log10_p: f64) -> Markup {
    html! {
        @if !log10_p.is_finite() { (NOT_DEFINED) }
        @else if log10_p < -4.0 { "at most 10" sup { (number(log10_p.ceil(), 0)) } }
        @else { (number(libm::pow(10.0, log10_p), 4)) }
    }
}

/// A name that came from outside. Isolated, so that a right-to-left name does not turn the text around it.
pub(crate) fn name(text: &str) -> Markup {
    html! { bdi { (Line(text)) } }
}

/// "8 (97 %)". Not escaped yet.
pub(crate) fn seen_as(seen: &SeenAs) -> String {
    format!("{} ({})", seen.label, percent(seen.probability, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interval;

    #[test]
    fn markup_and_quotes_are_escaped() {
        let shown = Line("</script><b a=\"x\">&amp;").render().into_string();
        assert_eq!(shown, "&lt;/script&gt;&lt;b a=&quot;x&quot;&gt;&amp;amp;");
    }

    #[test]
    fn characters_that_hide_or_turn_text_are_written_out() {
        let shown = |text| Line(text).render().into_string();
        assert_eq!(shown("cat\u{202e}gpj.exe"), "cat\u{27e8}U+202E\u{27e9}gpj.exe");
        assert_eq!(shown("a\u{0}b\u{200b}c\u{feff}"), "a⟨U+0000⟩b⟨U+200B⟩c⟨U+FEFF⟩");
        assert_eq!(shown("two\nlines\tand a tab"), "two lines and a tab");
        assert_eq!(shown("שלום é 图 👩\u{200d}🎨"), "שלום é 图 👩\u{200d}🎨", "ordinary text stays as it is");
        let lines = Lines("a = 1\r\n\tb = \u{1b}[31m").render().into_string();
        assert_eq!(lines, "a = 1\n\tb = ⟨U+001B⟩[31m");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(number(-0.0004, 2), "0.00", "no minus before zero");
        assert_eq!(number(-1.5, 1), "−1.5");
        assert_eq!(number(f64::NAN, 1), "not defined");
        assert_eq!(percent(0.586, 1), "58.6\u{a0}%");
        let beside = |largest: f64| [3.456, 0.0456].map(|value| distance(value, largest));
        assert_eq!(beside(3.456), ["3.46", "0.05"]);
        assert_eq!(beside(0.5), ["3.456", "0.046"]);
        assert_eq!(beside(250.0), ["3", "0"]);
        assert_eq!(distance(0.000_012, 0.000_012), "0.0000120");
        assert_eq!(distance(0.0, 0.0), "0.00");
        let times = [0.456, 12.34, 59.96, 151.0, 3599.6, 3840.0, 3570.0 + 3600.0];
        let words =
            ["0.46 s", "12.3 s", "1 min 00 s", "2 min 31 s", "1 h 00 min", "1 h 04 min", "2 h 00 min"];
        assert_eq!(times.map(|seconds| duration(seconds).replace('\u{a0}', " ")), words);
    }

    #[test]
    fn intervals_are_plus_minus_only_when_symmetric() {
        let estimate = |value, low, high| Estimate { value, interval: Some(Interval { low, high }) };
        let three = Unit::Number { decimals: 3 };
        assert_eq!(interval(estimate(0.871, 0.859, 0.883), three).as_deref(), Some("±\u{a0}0.012"));
        assert_eq!(interval(estimate(0.871, 0.8, 0.883), three).as_deref(), Some("0.800 to 0.883"));
        assert_eq!(interval(estimate(0.5, 0.42, 0.6), Unit::Share).as_deref(), Some("42.0 to 60.0\u{a0}%"));
        assert_eq!(interval(Estimate { value: 1.0, interval: None }, three), None);
    }

    #[test]
    fn tiny_p_values_become_bounds() {
        assert_eq!(p_value(-1.0).into_string(), "0.1000");
        assert_eq!(p_value(-167.3).into_string(), "at most 10<sup>−167</sup>");
        assert_eq!(p_value(f64::NEG_INFINITY).into_string(), "not defined");
    }
}
