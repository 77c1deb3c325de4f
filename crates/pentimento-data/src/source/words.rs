//! Lists and numbers in sentences.

/// Items of a list that are said; of more, their number.
const LISTED: usize = 6;

/// `1 file`, `2 files`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// `a, b, c`, and of a long list the first and how many more there are.
pub(crate) fn listed<S: AsRef<str>>(items: &[S]) -> String {
    let shown: Vec<&str> = items.iter().take(LISTED).map(AsRef::as_ref).collect();
    let more = items.len() - shown.len();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
