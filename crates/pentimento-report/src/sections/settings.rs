//! How the run was made, so that it can be made again.

use maud::{Markup, html};

use crate::ReportView;
use crate::text::{Lines, name};

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    let ReportView { commands, recipe, duplicates_note, .. } = view;
    if commands.is_empty() && recipe.is_empty() && duplicates_note.is_none() {
        return None;
    }
    Some(html! {
        h2 #settings-title { "How it was made" }
        @if let Some(note) = duplicates_note {
            h3 { "Duplicates among the training images" }
            p { (name(note)) }
        }
        @if !commands.is_empty() {
            h3 { "Commands" }
            pre tabindex="0" { code { @for command in commands { (Lines(command)) "\n" } } }
        }
        @if !recipe.is_empty() {
            h3 { "Settings" }
            details { summary { "The recipe with every default written out" } pre tabindex="0" { code { (Lines(recipe)) } } }
        }
    })
}
