//! Sizes in bytes and spans of time, as people write them.

use std::time::Duration;

/// Units by name: powers of 1000 without the `i`, of 1024 with it, as IEC 80000-13 has them.
const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Bytes of a mebibyte.
pub const MEBIBYTE: u64 = 1 << 20;

/// Reads `2GiB`, `500 MB`, `1.5gib` or a plain number of bytes.
///
/// # Errors
///
/// What would do instead, for text that is no size above zero.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size: write a number and a unit, such as `2GiB` or `500MB`");
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let &(_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
    let number: f64 = number.parse().map_err(|_| bad())?;
    let bytes = number * factor as f64;
    // Above 2^63 no machine has it, and the conversion would saturate.
    if (1.0..9.2e18).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// Seconds of a unit of time.
const UNITS_OF_TIME: [(&str, f64); 8] = [
    ("s", 1.0),
    ("m", 60.0),
    ("min", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
    ("seconds", 1.0),
    ("minutes", 60.0),
    ("hours", 3600.0),
];

/// Reads `90s`, `30m`, `1.5h` or `2 hours`.
///
/// # Errors
///
/// What would do instead, for text that is no span of time.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad =
        || format!("`{text}` is no span of time: write a number and a unit, such as `90s`, `30m` or `2h`");
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let &(_, seconds) = UNITS_OF_TIME.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
    let number: f64 = number.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_of_time_have_units() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 2 Hours ", 7200), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["30", "", "m", "-1s", "1.2.3h", "5 weeks", "1e400h", "99999999999999999999999d"] {
            assert!(parse_duration(text).is_err_and(|error| error.contains("30m")), "{text}");
        }
    }

    #[test]
    fn units_are_those_of_the_standard() {
        for (text, bytes) in [
            ("1", 1),
            ("2GiB", 2_147_483_648),
            ("2 gib", 2_147_483_648),
            ("500MB", 500_000_000),
            ("1.5KiB", 1536),
            (" 64 MiB ", 67_108_864),
            ("3kB", 3000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_would_do() {
        for text in [
            "",
            "GiB",
            "2 GiBs",
            "-1GiB",
            "0",
            "0.2",
            "1e3MB",
            "1.2.3MB",
            "nan",
            "inf",
            "99999999TiB",
            "2,5GiB",
            "２GiB",
        ] {
            let said = parse_bytes(text).unwrap_err();
            assert!(said.contains(text) && said.contains("`2GiB`"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_read_exactly(bytes in 1_u64..1 << 50) {
            prop_assert_eq!(parse_bytes(&bytes.to_string()), Ok(bytes));
            prop_assert_eq!(parse_bytes(&format!("{bytes} B")), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,12}") {
            let _ = parse_bytes(&text);
        }
    }
}
