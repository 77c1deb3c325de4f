//! What is asked of an imported network: `attribute`, `report` and `run`.

use super::print;
use crate::arguments::AttributeMethod;
use crate::error::ProgramError;
use crate::stages::analyse::{Members, sample};
use crate::stages::gradients::{Scores, TrainingImages, score, top, write_scores};
use crate::stages::{Workspace, imported_report};
use anyhow::Result;
use pentimento_attribution::gradient::Method;

/// The method that is taken if a person names none: with squared or mean outputs the scores predict retraining clearly
/// better than with the loss, and on generated queries this one is as good as any other here.
const DEFAULT: &str = "d-trak";

/// Training images of each list that `run` prints.
const PRINTED: usize = 5;

/// Scores every training image for every sample, writes the scores and prints the first ones.
pub(super) fn attribute(workspace: &Workspace, method: Option<AttributeMethod>, count: usize) -> Result<()> {
    let method = method_of(method)?;
    let (training, scores) = scored(workspace, method)?;
    for (sample, values) in scores.scores.iter().enumerate() {
        let list: Vec<String> = top(values, count)
            .into_iter()
            .map(|image| {
                let index = training.images.source_indices()[image];
                let label = training.images.labels()[image] as usize;
                let class = training.class_names.get(label).map_or("", String::as_str);
                format!("{index} {class} ({:+.3e})", values[image])
            })
            .collect();
        print(&format!("sample {sample}: {}", list.join(", ")))?;
    }
    let file = write_scores(workspace, &training, &scores)?;
    print(&format!("{}", workspace.run.root().join(file).display()))?;
    Ok(())
}

/// Writes the page and prints where it is.
pub(super) fn report(workspace: &Workspace) -> Result<()> {
    let (training, scores) = scored(workspace, method_of(None)?)?;
    let path = imported_report::report(workspace, &training, &scores)?;
    print(&format!("{}", path.display()))?;
    Ok(())
}

/// Samples and, if the recipe has training images, their attribution and the page.
pub(super) fn everything(workspace: &Workspace) -> Result<()> {
    sample(workspace, Members::Imported)?;
    if !workspace.recipe.data.has_source() {
        print(&format!("{}", workspace.run.root().join("samples").display()))?;
        return Ok(());
    }
    attribute(workspace, None, PRINTED)?;
    report(workspace)
}

fn scored(workspace: &Workspace, method: Method) -> Result<(TrainingImages, Scores)> {
    let training = TrainingImages::open(workspace)?;
    sample(workspace, Members::Imported)?;
    let scores = score(workspace, &training, method)?;
    Ok((training, scores))
}

fn method_of(method: Option<AttributeMethod>) -> Result<Method, ProgramError> {
    let name = method.map_or(DEFAULT, AttributeMethod::name);
    Method::named(name).ok_or_else(|| ProgramError::NoSuch {
        what: "method".into(),
        value: name.into(),
        bound: format!(
            "it needs an ensemble that was trained with codes; an imported network has {}",
            Method::ALL.map(|method| format!("`{}`", method.name)).join(", ")
        ),
    })
}
