//! Round numbers along an axis.

use crate::text::number;

/// Multiples of 1, 2 or 5 times a power of ten inside the range, about `wanted` of them.
pub(crate) fn even_ticks(low: f64, high: f64, wanted: u32) -> Vec<f64> {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) {
        return vec![low];
    }
    let rough = span / f64::from(wanted);
    let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|&step| step >= rough);
    let step = step.unwrap_or(rough);
    let first = libm::ceil(low / step);
    (0..=2 * wanted)
        .map(|number| (first + f64::from(number)) * step)
        .take_while(|&tick| tick <= high)
        .collect()
}

/// A tick's number without needless zeros.
pub(crate) fn tick_text(value: f64) -> String {
    let text = if value != 0.0 && value.abs() < 0.001 { format!("{value:.0e}") } else { number(value, 3) };
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(even_ticks(0.0, 700.0, 5), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(even_ticks(1.0, 1.0, 5), [1.0]);
        assert_eq!(
            ["0.05", "200", "1e-5"],
            [0.05, 200.0, 0.00001].map(tick_text).each_ref().map(String::as_str)
        );
    }
}
