//! `pentimento ablate`: one sample, made again without some of the training images.

use super::print;
use crate::arguments;
use anyhow::Result;
use pentimento_run::Workspace;
use pentimento_run::ablate::{AblationMethod, ablate as make_again};

impl From<arguments::AblationMethod> for AblationMethod {
    fn from(method: arguments::AblationMethod) -> Self {
        match method {
            arguments::AblationMethod::Exact => Self::Exact,
            arguments::AblationMethod::ControlVariate => Self::ControlVariate,
            arguments::AblationMethod::Jacobian => Self::Jacobian,
        }
    }
}

/// Makes the sample with and without, and prints what was left out, the distance and the picture's file.
pub(super) fn ablate(
    workspace: &Workspace,
    sample: u32,
    groups: &[String],
    images: &[String],
    method: arguments::AblationMethod,
) -> Result<()> {
    let found = make_again(workspace, sample, groups, images, method.into())?;
    print(&format!(
        "sample {sample} without {} of {} groups, {} of {} members left ({}{})",
        found.removed.len(),
        found.groups,
        found.members_left.len(),
        found.members,
        found.method.name(),
        if found.method.is_approximate() { ", approximate" } else { "" }
    ))?;
    print(&format!("distance: {:.4}", found.distance))?;
    if !found.uncovered.is_empty() {
        let count = found.uncovered.len();
        print(&format!("note: {count} other groups are seen by no member that is left either"))?;
    }
    print(&format!("{}", workspace.run.root().join(found.file).display()))?;
    Ok(())
}
