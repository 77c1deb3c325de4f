//! Checks a view before anything is drawn from it.

use std::collections::BTreeMap;

use crate::{Picture, RemovalView, ReportError, ReportView, SampleView, TrainingImageList};

/// Larger pictures would make a page that no browser opens quickly.
const LARGEST_SIDE: u32 = 4096;

/// Refuses a view whose parts do not fit together, naming the field.
pub(crate) fn check(view: &ReportView) -> Result<(), ReportError> {
    let mut seen = BTreeMap::new();
    for (position, sample) in view.samples.iter().enumerate() {
        if let Some(first) = seen.insert(sample.id, position) {
            return Err(ReportError::DuplicateSample { id: sample.id, first, second: position });
        }
        check_sample(sample, position)?;
    }
    if let Some(removal) = &view.removal {
        check_removal(removal)?;
    }
    if let Some(table) = &view.group_table {
        for (row, entry) in table.rows.iter().enumerate() {
            if entry.counts.len() != table.classes.len() {
                let (found, expected) = (entry.counts.len(), table.classes.len());
                return Err(ReportError::TableRow { row, found, expected });
            }
        }
    }
    Ok(())
}

fn check_sample(sample: &SampleView, position: usize) -> Result<(), ReportError> {
    let place = format!("samples[{position}]");
    check_picture(&sample.image, || format!("{place}.image"))?;
    for (number, counterfactual) in sample.counterfactuals.iter().enumerate() {
        let place = format!("{place}.counterfactuals[{number}]");
        if let Some(picture) = &counterfactual.exact {
            check_alike(picture, &sample.image, || format!("{place}.exact"))?;
        }
        for (number, approximation) in counterfactual.approximations.iter().enumerate() {
            if let Some(picture) = &approximation.picture {
                check_alike(picture, &sample.image, || format!("{place}.approximations[{number}].picture"))?;
            }
        }
    }
    for (number, list) in sample.training_image_lists.iter().enumerate() {
        check_list(list, &format!("{place}.training_image_lists[{number}]"))?;
    }
    Ok(())
}

fn check_removal(removal: &RemovalView) -> Result<(), ReportError> {
    check_picture(&removal.image, || "removal.image".into())?;
    for (number, removed) in removal.removals.iter().enumerate() {
        let place = format!("removal.removals[{number}]");
        if let Some(picture) = &removed.picture {
            check_alike(picture, &removal.image, || format!("{place}.picture"))?;
        }
        check_list(&removed.removed, &format!("{place}.removed"))?;
    }
    Ok(())
}

fn check_list(list: &TrainingImageList, place: &str) -> Result<(), ReportError> {
    for (number, image) in list.images.iter().enumerate() {
        if let Some(picture) = &image.picture {
            check_picture(picture, || format!("{place}.images[{number}].picture"))?;
        }
    }
    Ok(())
}

fn check_alike(picture: &Picture, sample: &Picture, field: impl Fn() -> String) -> Result<(), ReportError> {
    check_picture(picture, &field)?;
    if picture.shape() == sample.shape() {
        Ok(())
    } else {
        Err(ReportError::DifferentShape { field: field(), found: picture.shape(), expected: sample.shape() })
    }
}

fn check_picture(picture: &Picture, field: impl Fn() -> String) -> Result<(), ReportError> {
    let &Picture { height, width, channels, ref pixels } = picture;
    let side_fits = |side: u32| (1..=LARGEST_SIDE).contains(&side);
    if !side_fits(height) || !side_fits(width) || !matches!(channels, 1 | 3) {
        let largest_side = LARGEST_SIDE;
        return Err(ReportError::PictureSize { field: field(), height, width, channels, largest_side });
    }
    let expected = height as usize * width as usize * channels as usize;
    if pixels.len() != expected {
        return Err(ReportError::PixelCount { field: field(), found: pixels.len(), expected });
    }
    Ok(())
}
