//! Weights with diffusers' names, shapes and layout.

use super::tensor_file::TensorFile;
use crate::DiffusionError;
use crate::arrays::ArrayWriter;
use crate::unet::{Architecture, ParameterSpec, to_disk_layout, to_memory_layout};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};

/// Names of attention weights in checkpoints of 2022-23, by their names of today.
const OLD_NAMES: [(&str, &str); 4] =
    [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

/// A safetensors file with diffusers' names and layout.
///
/// # Errors
///
/// [`DiffusionError::File`] if it cannot be serialised.
pub fn weights_to_bytes(architecture: &Architecture, values: &[Vec<f32>]) -> Result<Vec<u8>, DiffusionError> {
    let mut arrays = ArrayWriter::default();
    for (spec, values) in architecture.parameters().iter().zip(values) {
        arrays.put_f32(&spec.name, &spec.disk_shape, &to_disk_layout(spec, values));
    }
    // What diffusers looks for to know whose file it is.
    Ok(arrays.to_bytes("weights", Some(("format", "pt")))?)
}

/// As [`read_weights`], from the bytes of one file.
///
/// # Errors
///
/// As [`read_weights`].
pub fn weights_from_bytes(
    architecture: &Architecture,
    bytes: &[u8],
    file: &str,
) -> Result<Vec<Vec<f32>>, DiffusionError> {
    read_weights(architecture, &mut [TensorFile::open(Cursor::new(bytes), file)?])
}

/// Reads weights in diffusers' names and layout, also the attention names of 2022-23, into memory layout. A checkpoint
/// may be cut into several files.
///
/// # Errors
///
/// [`DiffusionError::File`] for what cannot be read, [`DiffusionError::Tensor`] for a tensor that is missing,
/// superfluous, there twice, of another shape or type, or not finite.
pub fn read_weights<R: Read + Seek>(
    architecture: &Architecture,
    files: &mut [TensorFile<R>],
) -> Result<Vec<Vec<f32>>, DiffusionError> {
    let mut file_of = BTreeMap::<String, usize>::new();
    for (index, file) in files.iter().enumerate() {
        for name in file.names() {
            if let Some(&other) = file_of.get(&name) {
                let problem = format!("is also in {}", files[other].name());
                return Err(file.broken(&name, problem).into());
            }
            file_of.insert(name, index);
        }
    }
    let all_files = files.iter().map(TensorFile::name).collect::<Vec<_>>().join(", ");
    let mut values = Vec::with_capacity(architecture.parameters().len());
    for spec in architecture.parameters() {
        let found = names_of(spec).into_iter().find_map(|name| file_of.remove_entry(&name));
        let Some((name, index)) = found else {
            let (file, tensor, problem) = (all_files, spec.name.clone(), "is missing".into());
            return Err(DiffusionError::Tensor { file, tensor, problem });
        };
        let file = &mut files[index];
        let shape = file.shape(&name)?;
        // Some very old files hold attention weights as 1x1 convolutions: the same values in the same order.
        let as_convolution = spec.disk_shape.len() == 2 && shape.get(2..) == Some(&[1, 1]);
        if !(shape == spec.disk_shape || (as_convolution && shape[..2] == spec.disk_shape)) {
            let problem = format!("has shape {shape:?}, the configuration says {:?}", spec.disk_shape);
            return Err(file.broken(&name, problem).into());
        }
        values.push(to_memory_layout(spec, &file.finite_f32(&name)?));
    }
    match file_of.first_key_value() {
        Some((extra, &index)) => {
            Err(files[index].broken(extra, "is not part of the configured network".into()).into())
        }
        None => Ok(values),
    }
}

fn names_of(spec: &ParameterSpec) -> Vec<String> {
    let mut names = vec![spec.name.clone()];
    if spec.name.contains("attentions") {
        for (new, old) in OLD_NAMES {
            if spec.name.contains(new) {
                names.push(spec.name.replace(new, old));
            }
        }
    }
    names
}
