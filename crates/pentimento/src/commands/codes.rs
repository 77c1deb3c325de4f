//! `pentimento codes`: what a recipe's codes come to, before anything is trained.

use super::print;
use anyhow::Result;
use pentimento_attribution::ensemble::bias_bounds;
use pentimento_data::exact_duplicates;
use pentimento_run::RunOptions;
use pentimento_run::data::CodedData;
use pentimento_run::recipe::Recipe;
use pentimento_run::words::counted;

/// Prints members, their images, the bounds of theorem 2.1 and the cost.
pub(super) fn print_codes(recipe: &Recipe, options: &RunOptions) -> Result<()> {
    let data = CodedData::open(recipe, options)?;
    let (codes, images) = (&data.codes, data.images.len());
    let (members, weight) = (codes.members(), codes.weight());
    print(&format!("images: {images}, groups: {}", data.groups.len()))?;
    print(&format!(
        "members n = {members}, each group is seen by h = {weight} of them, {} remain without it",
        members - weight
    ))?;
    let sizes: Vec<usize> =
        (0..members).map(|member| Ok(data.member_images(member)?.len())).collect::<Result<_>>()?;
    let text: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    print(&format!("images of each member: {}", text.join(" ")))?;
    if data.groups.len() <= 64 {
        for (group, name) in data.groups.names().iter().enumerate() {
            if let Some(code) = codes.code(group as u32) {
                print(&format!("  {} {name}", code.digits(members)))?;
            }
        }
    }
    // Values of an image lie in [-1, 1], so the bound C on them is 1.
    match bias_bounds(members, weight, data.groups.len() as u32, 1.0) {
        Ok(bounds) => print(&format!("theorem 2.1: {bounds}"))?,
        Err(reason) => print(&format!("theorem 2.1 does not apply: {reason}"))?,
    }
    let duplicates = exact_duplicates(data.images.ids());
    let extra: usize = duplicates.iter().map(|group| group.len() - 1).sum();
    let verb = if extra == 1 { "has" } else { "have" };
    print(&format!(
        "exact duplicates: {} {verb} the same pixels as an earlier one",
        counted(extra, "image")
    ))?;
    let trained = sizes.iter().sum::<usize>() as f64 / images as f64;
    print(&format!(
        "cost: {members} members; together they see each image as often as {trained:.1} models of all images would"
    ))?;
    Ok(())
}
