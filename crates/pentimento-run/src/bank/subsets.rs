//! Which images each network of a bank is trained on.

use super::subset_training::positions;
use crate::error::{Result, RunError};
use crate::recipe::{SubsetChoice, SubsetsRecipe};
use crate::words::first_of;
use pentimento_attribution::ensemble::CodeBook;
use pentimento_data::{Groups, PreparedSet};
use pentimento_noise::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// Some of the images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subset {
    /// What it is called: `all`, `random 3`, `coded 3` or `without cat/7.png`.
    pub name: String,
    /// Whether each image is in it.
    #[serde(skip)]
    pub kept: Vec<bool>,
}

impl Subset {
    /// Positions of the images in it, rising.
    pub fn positions(&self) -> Vec<u32> {
        positions(&self.kept)
    }
}

/// All subsets of a bank: that of all images, those that are drawn, and one without each image or group that is named. A
/// random subset follows from the seed and its number, so with more of them the first stay what they are.
///
/// # Errors
///
/// [`RunError::NoSuch`] for a name that is neither a group's nor an image's, [`RunError::RecipeValue`] for a subset without
/// an image, and for drawn ones that would leave nothing out; as drawing codes.
pub fn subsets(
    recipe: &SubsetsRecipe,
    images: &PreparedSet,
    groups: &Groups,
    seed: u64,
) -> Result<Vec<Subset>> {
    let of_groups = |name: String, kept: &dyn Fn(u32) -> bool| Subset {
        name,
        kept: groups.group_of().iter().map(|&group| kept(group)).collect(),
    };
    let mut all = vec![of_groups("all".into(), &|_| true)];
    match recipe.choice {
        SubsetChoice::Random => {
            let count = groups.len();
            let stay = (libm::round(recipe.share * count as f64) as usize).clamp(1, count);
            if stay == count && recipe.subsets > 0 {
                return Err(RunError::RecipeValue {
                    file: "recipe".into(),
                    field: "bank.share".into(),
                    value: recipe.share.to_string(),
                    bound: format!("so small that it leaves out at least one of {count} groups"),
                });
            }
            for subset in 0..recipe.subsets {
                let order = Stream::new(seed, Purpose::BankSubset, 0, subset).permutation(count as u32);
                let mut kept = vec![false; count];
                for &group in order.iter().take(stay) {
                    kept[group as usize] = true;
                }
                all.push(of_groups(format!("random {subset}"), &|group| kept[group as usize]));
            }
        }
        SubsetChoice::Coded => {
            let codes = CodeBook::draw(recipe.subsets, recipe.weight(), groups.len() as u32, seed)?;
            let trains = |group, subset| codes.code(group).is_some_and(|code| code.trains(subset));
            for subset in 0..recipe.subsets {
                all.push(of_groups(format!("coded {subset}"), &|group| trains(group, subset)));
            }
        }
    }
    for name in &recipe.without {
        all.push(without(name, images, groups)?);
    }
    match all.iter().find(|subset| !subset.kept.contains(&true)) {
        None => Ok(all),
        Some(empty) => Err(RunError::RecipeValue {
            file: "recipe".into(),
            field: "bank".into(),
            value: format!("the subset `{}` without an image", empty.name),
            bound: "at least one image in each".into(),
        }),
    }
}

/// All images but those of a group, or but one image.
fn without(name: &str, images: &PreparedSet, groups: &Groups) -> Result<Subset> {
    let group = groups.names().iter().position(|group| group == name);
    let image = images.find(name);
    let kept: Vec<bool> = match (group, image) {
        (Some(group), _) => groups.group_of().iter().map(|&of| of as usize != group).collect(),
        (None, Some(image)) => (0..images.len()).map(|position| position != image).collect(),
        (None, None) => {
            return Err(RunError::NoSuch {
                what: "group or image of `bank.without`".into(),
                value: format!("`{name}`"),
                bound: format!(
                    "groups are {}; images have names or positions, such as {}",
                    first_of(groups.names()),
                    images.title(0)
                ),
            });
        }
    };
    Ok(Subset { name: format!("without {name}"), kept })
}
