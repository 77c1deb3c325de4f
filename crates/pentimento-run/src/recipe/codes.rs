//! Which member trains on which images.

use super::bound::{BrokenBound, broken};
use super::data::DataRecipe;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What shares a code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// Every image has its own.
    #[default]
    Image,
    /// All images of a class.
    Class,
    /// Groups by a table, `codes.table`.
    Table,
    /// What the set of `data.path` says: class folders, or a column `group`, `contributor` or `artist`.
    Source,
}

impl GroupBy {
    /// What a group is, and which key of the recipe says so.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Image => "`codes.groups` is \"image\": a group is one training image",
            Self::Class => "`codes.groups` is \"class\": a group is a class",
            Self::Table => "`codes.groups` is \"table\": a group is one of the table `codes.table`",
            Self::Source => "`codes.groups` is \"source\": a group is one of the image set's own",
        }
    }
}

/// How codes are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    /// Drawn at random, `members` long with `weight` ones.
    #[default]
    Drawn,
    /// Rows of a Walsh matrix; the number of members follows from the number of groups.
    Walsh,
}

/// Which member trains on which images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CodesRecipe {
    /// How codes are chosen.
    pub kind: CodeKind,
    /// What shares a code.
    pub groups: GroupBy,
    /// A CSV file `image,group`, with `groups = "table"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<PathBuf>,
    /// Length n of drawn codes: the number of members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// Weight h of drawn codes; half of n if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

impl CodesRecipe {
    /// Refuses groups that these images cannot have, and codes that are given twice or not at all.
    pub(super) fn validate(&self, data: &DataRecipe) -> Result<(), BrokenBound> {
        validate_groups("codes", self.groups, self.table.as_deref(), data)?;
        let of_walsh = "with `kind = \"walsh\"` it follows from the groups";
        match (self.kind, self.members, self.weight) {
            (CodeKind::Drawn, None, _) => {
                broken("codes.members", "missing", "the number of members n that drawn codes need")
            }
            (CodeKind::Walsh, Some(number), _) => broken("codes.members", number, of_walsh),
            (CodeKind::Walsh, None, Some(number)) => broken("codes.weight", number, of_walsh),
            _ => Ok(()),
        }
    }
}

/// Refuses groups that some images cannot have, or a table that nothing asks for; `section` is where they stand.
pub(super) fn validate_groups(
    section: &str,
    groups: GroupBy,
    table: Option<&Path>,
    data: &DataRecipe,
) -> Result<(), BrokenBound> {
    if groups == GroupBy::Source && data.path.is_none() {
        return broken(&format!("{section}.groups"), "\"source\"", "only with `data.path`");
    }
    let field = format!("{section}.table");
    match (groups == GroupBy::Table, table) {
        (true, None) => {
            broken(&field, "missing", format!("the name of a CSV file, as `{section}.groups` is \"table\""))
        }
        (false, Some(table)) => {
            broken(&field, format!("{table:?}"), format!("only with `{section}.groups = \"table\"`"))
        }
        _ => Ok(()),
    }
}
