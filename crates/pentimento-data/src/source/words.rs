//! Lists and numbers in sentences.

use std::collections::BTreeMap;
use std::fmt;

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

/// A line for each kind of fault with its number, its first names, and what is wrong with the first. Each fault is a kind, a name
/// and a reason.
pub(super) fn write_by_kind<'a, K: Ord + fmt::Display>(
    formatter: &mut fmt::Formatter<'_>,
    faults: impl Iterator<Item = (K, &'a str, &'a str)>,
) -> fmt::Result {
    let mut kinds = BTreeMap::<K, Vec<(&str, &str)>>::new();
    for (kind, name, reason) in faults {
        kinds.entry(kind).or_default().push((name, reason));
    }
    for (position, (kind, faults)) in kinds.into_iter().enumerate() {
        let separator = if position > 0 { "\n" } else { "" };
        let names: Vec<&str> = faults.iter().map(|(name, _)| *name).collect();
        write!(formatter, "{separator}  {} {kind}: {}", faults.len(), listed(&names))?;
        if let Some((_, reason)) = faults.first() {
            write!(formatter, " ({reason})")?;
        }
    }
    Ok(())
}
