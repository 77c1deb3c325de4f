//! Networks and pipelines that are told from their files to be of another kind.

use super::folder::{broken, read_config, read_text};
use crate::DiffusionError;
use crate::json;
use crate::unet::UnetConfig;
use std::path::Path;

/// Refuses the configuration of another kind of network, before its scheduler and its weights are looked for.
pub(super) fn refuse_other_networks(config: &Path) -> Result<(), DiffusionError> {
    // What else is wrong with it is said when it is opened.
    let class = read_text(config).ok().and_then(|text| json::object(&text).ok()?.remove("_class_name"));
    match class {
        Some(class) if class != "UNet2DModel" => read_config(config).map(drop),
        _ => Ok(()),
    }
}

/// Refuses a network that is told texts, for who has none to tell.
pub(super) fn refuse_networks_with_texts(config: &Path) -> Result<(), DiffusionError> {
    let read = read_config(config).ok().filter(|(network, _)| network.cross_attention.is_some());
    read.map_or(Ok(()), |(network, _)| {
        Err(DiffusionError::Config {
            file: config.display().to_string(),
            field: "_class_name".into(),
            value: format!("{:?}", network.class_name()),
            bound: "it is told texts, and here a network makes pictures by itself: supported is UNet2DModel"
                .into(),
        })
    })
}

/// What a network over texts is for that takes so many channels and gives four.
const TASKS_BY_CHANNELS: [(usize, &str); 4] = [
    (5, "makes pictures of a depth map"),
    (7, "enlarges pictures"),
    (8, "changes pictures as a text says (InstructPix2Pix)"),
    (9, "fills a hole in a picture (inpainting)"),
];

/// Refuses a network that gives something else than a prediction for each channel that it is given.
pub(super) fn refuse_other_outputs(config: &UnetConfig, file: &Path) -> Result<(), DiffusionError> {
    let UnetConfig { in_channels, out_channels, .. } = config;
    let bad = |field: &str, value: &usize, bound: String| {
        let (file, field) = (file.display().to_string(), field.into());
        Err(DiffusionError::Config { file, field, value: value.to_string(), bound })
    };
    let task = TASKS_BY_CHANNELS.iter().find(|(channels, _)| channels == in_channels);
    if let (Some((_, task)), 4, true) = (task, *out_channels, config.cross_attention.is_some()) {
        let bound = format!(
            "supported is 4: a network that takes {in_channels} channels {task}, and is given more than noise"
        );
        return bad("in_channels", in_channels, bound);
    }
    let bound = if in_channels == out_channels {
        return Ok(());
    } else if *out_channels == 2 * in_channels {
        format!("twice in_channels, {in_channels}: networks that learned a variance too are not supported")
    } else if in_channels > out_channels {
        format!(
            "fewer than in_channels, {in_channels}: networks that are given a second picture or another condition in further \
             channels, as for super-resolution or inpainting, are not supported"
        )
    } else {
        format!("it must be as in_channels, {in_channels}")
    };
    bad("out_channels", out_channels, bound)
}

/// Parts of a pipeline whose network does not make images of pixels by itself.
const PARTS_OF_LATENT_PIPELINES: [&str; 5] =
    ["vae", "vqvae", "text_encoder", "text_encoder_2", "image_encoder"];

/// Refuses a pipeline of which the network is only one part.
pub(super) fn refuse_other_pipelines(folder: &Path) -> Result<(), DiffusionError> {
    let file = folder.join("model_index.json");
    if !file.is_file() {
        return Ok(());
    }
    let index = json::object(&read_text(&file)?)
        .map_err(|problem| broken(&file, format!("no list of a pipeline's parts: {problem}")))?;
    if let Some(part) =
        PARTS_OF_LATENT_PIPELINES.iter().find(|part| index.get(**part).is_some_and(|p| !p.is_null()))
    {
        let problem = format!(
            "the pipeline has a `{part}`, so its network makes no pixels by itself; supported are pipelines of a `unet` and a `scheduler`"
        );
        return Err(broken(&file, problem));
    }
    Ok(())
}
