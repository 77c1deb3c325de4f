//! The page around the sections.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::difference::{BRIGHTER, DARKER, LEVELS, Scale, palette_entry};
use crate::sections;
use crate::text::{Line, name};
use crate::{MadeWith, ReportError, ReportView};

const SCRIPT: &str = include_str!("page.js");

/// Draws the page.
///
/// # Errors
/// A [`ReportError`] that names the field when the parts of the view do not fit together: a picture whose
/// bytes do not fit its size, a counterfactual of another size than its sample, two samples with one id, a
/// table row of the wrong length.
pub fn render(view: &ReportView) -> Result<String, ReportError> {
    crate::check::check(view)?;
    let scale = Scale::for_page(view);
    let sections = [
        ("figures", "In short", sections::headline::section(view)),
        ("removal", "Trained again", sections::removal::section(view, scale)?),
        ("pooled-removal", "Many at once", sections::pooled_removal::section(view)),
        ("samples", "Samples", sections::overview::section(view)?),
        ("detail", "One by one", sections::sample::section(view, scale)?),
        ("classes", "Class by class", sections::group_table::section(view)),
        ("approximations", "Approximations", sections::fidelity::section(view)),
        ("damping", "Damping", sections::damping::section(view)),
        ("training", "Training", sections::training::section(view)),
        ("cost", "Cost", sections::cost::section(view)),
        ("settings", "How it was made", sections::settings::section(view)),
        ("words", "Words", Some(sections::words::section(view))),
    ];
    let section = |(id, title, body): (&str, &str, Option<Markup>)| {
        Some(Section { id: id.to_owned(), title: title.to_owned(), body: body? })
    };
    let colours = colours();
    let page = Page {
        brand: "pentimento report",
        title: &view.title,
        what_this_is: &view.what_this_is,
        made_with: &view.made_with,
        style: &[&colours, STYLE],
        script: Some(SCRIPT),
        sections: sections.into_iter().filter_map(section).collect(),
    };
    Ok(page.into_string())
}

/// The style sheet that all pages share.
pub(crate) const STYLE: &str = include_str!("page.css");

/// A page with everything around its sections.
pub(crate) struct Page<'a> {
    /// What kind of page it is, and whose.
    pub(crate) brand: &'static str,
    pub(crate) title: &'a str,
    pub(crate) what_this_is: &'a str,
    pub(crate) made_with: &'a MadeWith,
    /// Style sheets, one after another.
    pub(crate) style: &'a [&'a str],
    pub(crate) script: Option<&'static str>,
    pub(crate) sections: Vec<Section>,
}

/// A part of a page. The heading in its body has the id of the part with `-title` behind it.
pub(crate) struct Section {
    pub(crate) id: String,
    /// What the list of parts calls it.
    pub(crate) title: String,
    pub(crate) body: Markup,
}

impl Page<'_> {
    pub(crate) fn into_string(self) -> String {
        let Self { brand, title, what_this_is, made_with, style, script, sections } = self;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(content_security_policy(script));
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="no-referrer";
                    title { (Line(title)) " \u{b7} pentimento" }
                    style { @for sheet in style { (PreEscaped(sheet)) } }
                }
                body {
                    a.skip href="#main" { "Skip to the report" }
                    header.masthead {
                        p.brand { (brand) }
                        h1 { (name(title)) }
                        @if !what_this_is.is_empty() { p.lead { (name(what_this_is)) } }
                        (made_with_list(made_with))
                        nav aria-label="Parts of this page" {
                            ul { @for part in &sections { li { a href={ "#" (part.id) } { (name(&part.title)) } } } }
                        }
                    }
                    main #main tabindex="-1" {
                        @for Section { id, body, .. } in &sections {
                            section id=(id) aria-labelledby={ (id) "-title" } { (body) }
                        }
                    }
                    footer { p { "This page is one file. It loads nothing and sends nothing." } }
                    @if let Some(script) = script { script { (PreEscaped(script)) } }
                }
            }
        };
        page.into_string()
    }
}

/// Nothing may be loaded; pictures come from the page itself; only the page's own script may run, if it has one. Styles are
/// open because bars and marks carry their lengths as style attributes, which hold numbers only.
fn content_security_policy(script: Option<&str>) -> String {
    let script = match script {
        Some(script) => format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script.as_bytes()))),
        None => "'none'".into(),
    };
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {script}; base-uri 'none'; \
         form-action 'none'"
    )
}

/// The colours of the difference maps for the style sheet, so that legend, table and maps share them.
fn colours() -> String {
    let [darker, brighter] = [DARKER, BRIGHTER].map(|[red, green, blue]| format!("{red} {green} {blue}"));
    let ramp = (0..=2 * LEVELS).map(|index| {
        let ([red, green, blue], alpha) = palette_entry(index);
        format!("rgb({red} {green} {blue}/{:.2})", f64::from(alpha) / 255.0)
    });
    let ramp = ramp.collect::<Vec<_>>().join(",");
    format!(":root {{ --less: {darker}; --more: {brighter}; --ramp: linear-gradient(to right,{ramp}); }}\n")
}

fn made_with_list(made: &MadeWith) -> Markup {
    let parts = [
        ("made with", &made.version),
        ("recipe", &made.recipe_name),
        ("on", &made.machine),
        ("date", &made.date),
    ];
    html! {
        @if parts.iter().any(|(_, text)| !text.is_empty()) {
            dl.made {
                @for (term, text) in parts {
                    @if !text.is_empty() { div { dt { (term) } dd { (name(text)) } } }
                }
            }
        }
    }
}
