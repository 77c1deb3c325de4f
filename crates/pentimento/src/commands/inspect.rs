//! `pentimento data inspect`: what is in an image set.

use super::print;
use crate::error::ProgramError;
use anyhow::{Context, Result};
use pentimento_data::{
    CaptionFaultSummary, CaptionSummary, Conversion, DamagedImage, ImageSource as _, IndexedSource,
    Inspection, NEAR_DUPLICATE_BITS, Note, OpenEvent, Split, contact_sheet,
};
use pentimento_run::RunOptions;
use pentimento_run::data::{open_path_telling, telling};
use pentimento_run::pictures::png_of;
use pentimento_run::recipe::DataRecipe;
use pentimento_run::words::counted;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Lines of each list of images.
const LINES: usize = 20;
/// Classes and sizes that are listed.
const KINDS: usize = 100;

/// What is looked at, and how it is shown.
pub struct How<'a> {
    /// The test half of a set that has halves.
    pub test: bool,
    /// The file of the contact sheet.
    pub sheet: Option<&'a Path>,
    /// As JSON.
    pub json: bool,
    /// Damaged images are told as left out.
    pub skip_damaged: bool,
}

/// Prints what is in the set at a path, and writes its contact sheet.
pub fn inspect(path: &Path, how: &How<'_>, options: &RunOptions) -> Result<()> {
    if let Some(file) = how.sheet {
        let is_png = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        if !is_png {
            return Err(ProgramError::NotPng { file: file.to_path_buf() }.into());
        }
        if file.exists() {
            return Err(ProgramError::Taken { file: file.to_path_buf() }.into());
        }
    }
    let split = if how.test { Split::Test } else { Split::Train };
    let recipe = DataRecipe { skip_damaged: how.skip_damaged, ..DataRecipe::default() };
    let mut tell = telling(&options.reporter);
    // What is in the set stands below.
    let mut tell_what_happens = |event: OpenEvent<'_>| {
        if !event.is_of_contents() {
            tell(event);
        }
    };
    let source = open_path_telling(path, split, &recipe, options, false, &mut tell_what_happens)?;
    let inspection = Inspection::of(&source, &mut tell_what_happens)?;
    if how.json {
        for line in serde_json::to_string_pretty(&description(&source, &inspection, how))?.lines() {
            print(line)?;
        }
    } else {
        for line in lines(&source, &inspection, how) {
            print(&line)?;
        }
    }
    if let Some(file) = how.sheet {
        let png = png_of(&contact_sheet(&source)?)?;
        std::fs::write(file, png).with_context(|| format!("cannot write {}", file.display()))?;
        if !how.json {
            print(&format!("contact sheet: {}", file.display()))?;
        }
    }
    Ok(())
}

/// Number of images of each group, by name; none if the set says nothing of groups.
fn groups(source: &IndexedSource) -> Option<BTreeMap<&String, usize>> {
    let mut counts = BTreeMap::new();
    for name in source.groups()? {
        *counts.entry(name).or_default() += 1;
    }
    Some(counts)
}

fn by_kind(damaged: &[DamagedImage]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for image in damaged {
        *counts.entry(image.kind.to_string()).or_default() += 1;
    }
    counts
}

/// What there is of captions.
fn captions_described(captions: &CaptionSummary) -> Value {
    let faults: Vec<Value> = captions
        .faults
        .iter()
        .map(|fault| {
            json!({ "position": fault.index, "name": fault.key, "kind": fault.kind, "reason": &*fault.reason })
        })
        .collect();
    json!({
        "source": captions.source,
        "images_with_one": captions.with_one,
        "images_with_several": captions.with_several,
        "empty": captions.empty,
        "example": captions.example.as_ref().map(|(name, text)| json!({ "image": name, "caption": text })),
        "faults": faults,
    })
}

/// All that the lines say, and all of the lists.
fn description(source: &IndexedSource, inspection: &Inspection, how: &How<'_>) -> Value {
    let Inspection {
        sizes,
        classes,
        exact_duplicates,
        near_pairs,
        first_near_pairs,
        captions,
        damaged,
        transparent,
        first_of_several,
    } = inspection;
    let name = |index: usize| source.key(index);
    let names = |indices: &[usize]| indices.iter().map(|&index| name(index)).collect::<Vec<_>>();
    let sizes: Vec<Value> = sizes
        .iter()
        .map(|([height, width], images)| json!({ "height": height, "width": width, "images": images }))
        .collect();
    let classes: Option<Vec<Value>> = source.labels().map(|_| {
        let of = |(label, (name, images)): (usize, &(String, usize))| {
            json!({ "label": label, "name": name, "images": images })
        };
        classes.iter().enumerate().map(of).collect()
    });
    let groups: Option<Vec<Value>> = groups(source).map(|groups| {
        groups.iter().map(|(name, images)| json!({ "name": name, "images": images })).collect()
    });
    let near: Vec<Value> = first_near_pairs
        .iter()
        .map(|pair| json!({ "images": [name(pair.first), name(pair.second)], "bits": pair.bits }))
        .collect();
    let images_damaged: Vec<Value> = damaged
        .iter()
        .map(|image| {
            json!({ "position": image.index, "name": image.key, "kind": image.kind, "reason": image.reason })
        })
        .collect();
    let converted = source.conversion().map(|conversion| match conversion {
        Conversion::SixteenBits => json!({ "numbers": "16 bits" }),
        Conversion::Floats { is_signed, found: [lowest, highest] } => {
            let range = if is_signed { [-1, 1] } else { [0, 1] };
            json!({ "numbers": "floating-point", "range": range, "lowest": lowest, "highest": highest })
        }
    });
    let (mut files, mut folders) = (BTreeMap::new(), Vec::new());
    for note in source.notes() {
        if let Note::LeftOut { files: more, folders: others, .. } = note {
            files.extend(more);
            folders.extend(others);
        }
    }
    let damaged_left_out = if how.skip_damaged { by_kind(damaged) } else { BTreeMap::new() };
    json!({
        "path": source.path().display().to_string(),
        "layout": source.layout(),
        "layout_title": source.layout().to_string(),
        "images": source.len(),
        "files": source.files().len(),
        "channels": source.channels(),
        "converted": converted,
        "sizes": sizes,
        "classes": classes,
        "groups": groups,
        "captions": captions.as_ref().map(captions_described),
        "exact_duplicates": {
            "too_many": exact_duplicates.iter().map(|same| same.len() - 1).sum::<usize>(),
            "images": exact_duplicates.iter().map(|same| names(same)).collect::<Vec<_>>(),
        },
        "near_duplicates": { "bits": NEAR_DUPLICATE_BITS, "pairs": near_pairs, "first": near },
        "damaged": { "by_kind": by_kind(damaged), "images": images_damaged },
        "left_out": { "damaged": damaged_left_out, "files": files, "folders": folders },
        "notes": source.notes().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "transparent": { "images": transparent, "background": source.background() },
        "first_of_several": names(first_of_several),
    })
}

fn lines(source: &IndexedSource, inspection: &Inspection, how: &How<'_>) -> Vec<String> {
    let Inspection {
        sizes,
        classes,
        exact_duplicates,
        near_pairs,
        first_near_pairs,
        captions,
        damaged,
        transparent,
        first_of_several,
    } = inspection;
    let mut lines = vec![
        format!("layout: {}", source.layout()),
        format!("images: {}", source.len()),
        format!("channels: {}", source.channels()),
    ];
    if let Some(conversion) = source.conversion() {
        lines.push(format!("numbers: {conversion}"));
    }
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
    if let Some(groups) = groups(source) {
        lines.push(format!("groups: {}", groups.len()));
    }
    if let Some(captions) = captions {
        lines.push(format!("captions: {captions}"));
        lines.extend(CaptionFaultSummary(&captions.faults).to_string().lines().map(str::to_owned));
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
    if *transparent > 0 {
        let event = OpenEvent::Transparent {
            images: *transparent,
            of: source.len(),
            background: source.background(),
        };
        lines.push(format!("transparency: {event}"));
    }
    if !first_of_several.is_empty() {
        lines.push(format!(
            "files with several pictures, of which the first is taken: {}",
            first_of_several.len()
        ));
        lines.extend(shortened(first_of_several.iter().map(|&index| source.key(index)).collect(), LINES));
    }
    let left_out = if how.skip_damaged && !damaged.is_empty() { ", left out" } else { "" };
    lines.push(format!("damaged images: {}{left_out}", damaged.len()));
    lines.extend(by_kind(damaged).into_iter().map(|(kind, count)| format!("  {count} {kind}")));
    lines.extend(damaged.iter().map(|image| format!("  {}: {}", image.key, image.reason)));
    // What is wrong with captions stands beside them.
    let others = source.notes().iter().filter(|note| !matches!(note, Note::CaptionFaults { .. }));
    lines.extend(others.map(ToString::to_string));
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
