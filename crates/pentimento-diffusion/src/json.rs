//! JSON as Python's `json` module writes it: numbers may be `NaN` or infinite, and editors put a byte-order mark first.

use crate::checkpoint::signature::what_it_is;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What Python writes for numbers that JSON does not have; the longer name first.
const NOT_FINITE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Reads an object. A number that is not finite becomes a text of its name: it does no harm under a key that nobody reads, and
/// whoever reads the key as a number names it.
///
/// # Errors
///
/// What is wrong with the text, without the name of its file.
pub fn object(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(instead) = what_it_is(text.as_bytes()) {
        return Err(instead.into());
    }
    serde_json::from_str(&quoted(text)).map_err(|error| error.to_string())
}

/// The text with quotes around numbers that are not finite.
fn quoted(text: &str) -> Cow<'_, str> {
    if !NOT_FINITE.iter().any(|name| text.contains(name)) {
        return text.into();
    }
    let (mut quoted, mut rest, mut in_string) = (String::with_capacity(text.len() + 16), text, false);
    while let Some(c) = rest.chars().next() {
        let name = NOT_FINITE.into_iter().find(|name| !in_string && rest.starts_with(name));
        let taken = match (c, name) {
            (_, Some(name)) => {
                quoted.extend(["\"", name, "\""]);
                name.len()
            }
            // A backslash and what it escapes, which may be a quote.
            ('\\', _) if in_string => {
                let escaped = rest.chars().nth(1).map_or(0, char::len_utf8);
                quoted.push_str(&rest[..1 + escaped]);
                1 + escaped
            }
            (c, _) => {
                in_string ^= c == '"';
                quoted.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    quoted.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `json.dumps({"a": float("inf"), "b": [-float("inf"), float("nan"), -1.5], "NaN": "Infinity", "c": "\\"})` of Python.
    #[test]
    fn numbers_that_python_writes() {
        let text =
            r#"{"a": Infinity, "b": [-Infinity, NaN, -1.5], "NaN": "Infinity", "c": "\\", "d": "\"NaN é"}"#;
        let read = Value::Object(object(text).unwrap());
        let expected = json!({"a": "Infinity", "b": ["-Infinity", "NaN", -1.5], "NaN": "Infinity", "c": "\\",
            "d": "\"NaN é"});
        assert_eq!(read, expected);
        assert!(object("{\"a\": Infinity, \"b\": \"\\").is_err());
        assert!(object("{\"a\": Infinit}").is_err());
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(Value::Object(object("\u{feff}{\"a\": 1}").unwrap()), json!({"a": 1}));
    }

    #[test]
    fn what_is_no_json_is_named() {
        assert!(object("<!DOCTYPE html><html>404</html>").unwrap_err().contains("a web page"));
        assert!(
            object("version https://git-lfs.github.com/spec/v1\noid").unwrap_err().contains("git lfs pull")
        );
        assert!(object("").unwrap_err().contains("empty"));
    }
}
