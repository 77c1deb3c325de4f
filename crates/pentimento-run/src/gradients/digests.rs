//! What tells whether scores are still those of today: digests of the images, of the queries, and of what else they follow from.

use super::queries::Query;
use crate::error::Result;
use crate::workspace::Workspace;
use pentimento_data::PreparedSet;
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::checkpoint::ADAPTER_FILES;
use pentimento_store::Fingerprint;

/// Identifies the training images that scores are for: their pixels, in their order, what was done to them, and what networks are
/// told of them.
///
/// # Errors
///
/// If the preprocessing has no JSON form.
pub fn images_digest(workspace: &Workspace, images: &PreparedSet, knows_classes: bool) -> Result<String> {
    let mut digest = Fingerprint::of("images of scores")
        .json(&workspace.recipe.data.preprocessing)?
        .json(&images.ids())?
        .json(&images.source_indices())?;
    if workspace.recipe.encoders().is_some_and(|encoders| encoders.text.is_some()) {
        let captions: Vec<&[String]> = (0..images.len()).map(|image| images.captions(image)).collect();
        digest = digest.json(&captions)?;
    }
    if knows_classes {
        digest = digest.json(&images.labels())?;
    }
    Ok(digest.finish().to_string())
}

/// Identifies the images that were asked about: their pixels as the network takes them, in their order, and their classes.
pub fn queries_digest(queries: &[Query]) -> String {
    let keys: Vec<u8> = queries.iter().flat_map(|query| query.key()).collect();
    Fingerprint::of("queries of scores").bytes(&keys).finish().to_string()
}

/// Identifies what scores are made with beside the images: the numerics of this program, the networks, what the recipe says of gradients and influence,
/// schedule and seed, and, if samples were asked about, these.
///
/// # Errors
///
/// If the recipe has no JSON form.
pub fn made_with_digest(workspace: &Workspace, about_samples: bool) -> Result<String> {
    let recipe = &workspace.recipe;
    let is_used = |name: &str| {
        name.starts_with("members/")
            && (name.ends_with(".safetensors") || name.ends_with(ADAPTER_FILES[0]))
            && !name.ends_with("training_state.safetensors")
            || about_samples && name.starts_with("samples/shard-")
    };
    let mut builder = Fingerprint::of("what scores are made with")
        .json(&NUMERICS_VERSION)?
        .json(&recipe.gradients)?
        .json(&recipe.influence)?
        .json(&recipe.schedule)?
        .json(&recipe.seed)?;
    if let Some(encoders) = recipe.encoders() {
        let text = encoders.text.as_ref().map(|text| text.digest);
        builder = builder.json(&(encoders.autoencoder.digest, text))?;
    }
    let beneath = recipe.adapter().map(|adapter| adapter.base);
    if let Some(base) = beneath.or(recipe.beneath_members().map(|base| base.files.digest)) {
        builder = builder.json(&base)?;
    }
    for name in workspace.run.names().into_iter().filter(|name| is_used(name)) {
        if let Some(entry) = workspace.run.entry(&name) {
            builder = builder.text(&name).bytes(entry.blake3.as_bytes());
        }
    }
    // Samples are made when they are asked for: those of another recipe are not those that lie there.
    if about_samples {
        builder = builder.json(&recipe.sampling)?.json(&recipe.samples)?;
    }
    Ok(builder.finish().to_string())
}
