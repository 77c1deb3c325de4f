//! Longer pieces of the messages of failures.

use std::path::PathBuf;

/// Why work would be made again, for [`RunError::WouldReplace`].
pub(super) fn what_is_other(changes: Option<&[String]>) -> String {
    match changes {
        None => "other images, labels or groups, which would be made again (the recipe is the same)".into(),
        Some([]) => "another recipe, which would be made again".into(),
        Some(changes) => {
            format!("another recipe, which would be made again (the recipe now says {})", changes.join(", "))
        }
    }
}

/// Scores that are there instead of those that were asked for.
pub(super) fn scores_instead(methods: &[String], other_sets: &[(String, Vec<String>)]) -> String {
    if !methods.is_empty() {
        return format!(" (there are those of {})", methods.join(", "));
    }
    let sets = other_sets.iter().map(|(asked, methods)| format!("of {asked} by {}", methods.join(", ")));
    match sets.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => none,
        sets => format!(" (there are scores {sets})"),
    }
}

pub(super) fn list_of_states(states: &[(PathBuf, u32)]) -> String {
    let text = |(file, version): &(PathBuf, u32)| match version {
        0 => format!("`{}` (not recorded)", file.display()),
        version => format!("`{}` (version {version})", file.display()),
    };
    states.iter().map(text).collect::<Vec<_>>().join(", ")
}
