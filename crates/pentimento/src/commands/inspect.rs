//! `pentimento data inspect`: what is in an image set.

use super::print;
use crate::error::ProgramError;
use anyhow::{Context, Result};
use pentimento_data::{
    Colours, ImageSource as _, IndexedSource, Inspection, NEAR_DUPLICATE_BITS, Split, contact_sheet,
};
use pentimento_run::Reporter;
use pentimento_run::data::open_path;
use pentimento_run::pictures::png_of;
use pentimento_run::words::counted;
use std::path::Path;

/// Lines of each list of images.
const LINES: usize = 20;
/// Classes and sizes that are listed.
const KINDS: usize = 100;

/// Prints what is in the set at a path, and writes its contact sheet.
pub fn inspect(path: &Path, test: bool, sheet: Option<&Path>, reporter: &Reporter) -> Result<()> {
    if let Some(file) = sheet {
        let is_png = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        if !is_png {
            return Err(ProgramError::NotPng { file: file.to_path_buf() }.into());
        }
        if file.exists() {
            return Err(ProgramError::Taken { file: file.to_path_buf() }.into());
        }
    }
    let split = if test { Split::Test } else { Split::Train };
    let source = open_path(path, split, Colours::default(), reporter)?;
    let inspection = Inspection::of(&source)?;
    for line in lines(&source, &inspection) {
        print(&line)?;
    }
    if let Some(file) = sheet {
        let png = png_of(&contact_sheet(&source)?)?;
        std::fs::write(file, png).with_context(|| format!("cannot write {}", file.display()))?;
        print(&format!("contact sheet: {}", file.display()))?;
    }
    Ok(())
}

fn lines(source: &IndexedSource, inspection: &Inspection) -> Vec<String> {
    let Inspection { sizes, classes, exact_duplicates, near_pairs, first_near_pairs, damaged } = inspection;
    let mut lines = vec![
        format!("layout: {}", source.layout()),
        format!("images: {}", source.len()),
        format!("channels: {}", source.channels()),
    ];
    let all = sizes.iter().map(|([height, width], count)| format!("{height} x {width}: {count}"));
    lines.push(format!("sizes (height x width): {}", sizes.len()));
    lines.extend(shortened(all.collect(), KINDS));
    if source.labels().is_some() {
        lines.push(format!("classes: {}", classes.len()));
        let all = classes.iter().enumerate().map(|(label, (name, count))| format!("{label} {name}: {count}"));
        lines.extend(shortened(all.collect(), KINDS));
    } else {
        lines.push("classes: the set has no labels".into());
    }
    if let Some(groups) = source.groups() {
        let different: std::collections::BTreeSet<&String> = groups.iter().collect();
        lines.push(format!("groups: {}", different.len()));
    }
    let too_many: usize = exact_duplicates.iter().map(|same| same.len() - 1).sum();
    let verb = if too_many == 1 { "is" } else { "are" };
    lines.push(format!("exact duplicates: {} {verb} the same as an earlier one", counted(too_many, "image")));
    let all = exact_duplicates.iter().map(|same| {
        let keys: Vec<String> = same.iter().take(LINES).map(|&index| source.key(index)).collect();
        format!("{} times: {}", same.len(), keys.join(", "))
    });
    lines.extend(shortened(all.collect(), LINES));
    lines.push(format!(
        "near-duplicates: {} whose perceptual hashes differ in at most {NEAR_DUPLICATE_BITS} bits",
        if *near_pairs == 1 { "1 pair".into() } else { format!("{near_pairs} pairs") }
    ));
    let all = first_near_pairs.iter().map(|pair| {
        format!("{} and {} ({} bits)", source.key(pair.first), source.key(pair.second), pair.bits)
    });
    lines.extend(shortened(all.collect(), LINES));
    lines.push(format!("damaged images: {}", damaged.len()));
    lines.extend(damaged.iter().map(|image| format!("  {}: {}", image.key, image.reason)));
    lines
}

/// Indented, and with a last line that says how many are left out.
fn shortened(lines: Vec<String>, most: usize) -> Vec<String> {
    let left_out = lines.len().saturating_sub(most);
    let mut shown: Vec<String> = lines.into_iter().take(most).map(|line| format!("  {line}")).collect();
    if left_out > 0 {
        shown.push(format!("  and {left_out} more"));
    }
    shown
}
