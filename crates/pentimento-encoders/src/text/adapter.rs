//! What an adapter adds to a text encoder: W + s B A in the place of W, as prompts are only encoded and nothing is trained here.

use crate::EncoderError;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::TextEncoderPart;
use pentimento_diffusion::unet::{ParameterKind, ParameterSpec, to_memory_layout};
use std::collections::BTreeMap;
use std::path::Path;

/// What names of layers begin with in most files, and not in those of transformers since 5.6.
const PREFIX: &str = "text_model.";

/// Adds the parts of an adapter to the values of the parameters. Errors name its file.
///
/// # Errors
///
/// [`DiffusionError::Tensor`] for a part of a layer that the encoder does not have, or has with other sizes.
pub(super) fn add(
    parameters: &[ParameterSpec],
    values: &mut [Vec<f32>],
    parts: &[TextEncoderPart],
    file: &Path,
) -> Result<(), EncoderError> {
    let mut layers = BTreeMap::new();
    for (place, spec) in parameters.iter().enumerate().filter(|(_, spec)| spec.kind == ParameterKind::Linear)
    {
        let Some(name) = spec.name.strip_suffix(".weight") else { continue };
        for name in [name.to_owned(), format!("{PREFIX}{name}")] {
            // kohya's trainer has `_` for `.`.
            layers.insert(name.replace('.', "_"), place);
            layers.insert(name, place);
        }
    }
    for part in parts {
        let broken = |problem: String| DiffusionError::Tensor {
            file: file.display().to_string(),
            tensor: part.module.clone(),
            problem,
        };
        let Some(&place) = layers.get(&part.module) else {
            return Err(
                broken("the text encoder has no such layer; the adapter is of another one".into()).into()
            );
        };
        let (spec, values) = (&parameters[place], &mut values[place]);
        let (outputs, inputs) = (spec.disk_shape[0], spec.disk_shape[1]);
        if part.down.len() != part.rank * inputs || part.up.len() != outputs * part.rank {
            let problem = format!(
                "A has {} values and B {}, beside this layer of {inputs} inputs and {outputs} outputs they have {} and {} at rank \
                 {}; the adapter is of another text encoder",
                part.down.len(),
                part.up.len(),
                part.rank * inputs,
                outputs * part.rank,
                part.rank
            );
            return Err(broken(problem).into());
        }
        for (value, added) in values.iter_mut().zip(to_memory_layout(spec, &product(part, inputs))) {
            *value += added;
        }
    }
    Ok(())
}

/// s B A, `[outputs, inputs]`.
fn product(part: &TextEncoderPart, inputs: usize) -> Vec<f32> {
    let scale = (part.alpha / part.rank as f64) as f32;
    let rows = part.up.chunks_exact(part.rank).flat_map(|factors| {
        let mut row = vec![0.0f32; inputs];
        for (factor, down) in factors.iter().zip(part.down.chunks_exact(inputs)) {
            row.iter_mut().zip(down).for_each(|(sum, value)| *sum += factor * value);
        }
        row.iter_mut().for_each(|sum| *sum *= scale);
        row
    });
    rows.collect()
}
