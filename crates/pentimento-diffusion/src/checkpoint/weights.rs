//! Weights with diffusers' names, shapes and layout.

use super::tensor_file::TensorFile;
use crate::DiffusionError;
use crate::arrays::ArrayWriter;
use crate::unet::{Architecture, ParameterSpec, StoredValues, to_disk_layout, to_memory_layout};
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
pub fn weights_to_bytes(
    architecture: &Architecture,
    values: impl IntoIterator<Item = impl AsRef<[f32]>>,
) -> Result<Vec<u8>, DiffusionError> {
    let mut arrays = ArrayWriter::default();
    for (spec, values) in architecture.parameters().iter().zip(values) {
        arrays.put_f32(&spec.name, &spec.disk_shape, &to_disk_layout(spec, values.as_ref()));
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
    Ok(read_weights(architecture, &mut [TensorFile::open(Cursor::new(bytes), file)?])?.values)
}

/// The values of a network, as they were found: in f32, or as [`StoredValues`] in the types of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadWeights<V = Vec<f32>> {
    /// In memory layout, one for each parameter.
    pub values: Vec<V>,
    /// What the names of all tensors begin with in the file before diffusers' names, such as `module.`; empty if nothing.
    pub prefix: String,
}

/// Reads weights in diffusers' names and layout, also the attention names of 2022-23, into memory layout. A checkpoint
/// may be cut into several files. One prefix that all names share is taken off, as wrappers for training put it there:
/// `module.` (several processes), `_orig_mod.` (a compiled network), `unet.` (a part of a larger model).
///
/// # Errors
///
/// [`DiffusionError::File`] for what cannot be read, [`DiffusionError::Tensor`] for a tensor that is missing,
/// superfluous, there twice, of another shape or type, or not finite; [`DiffusionError::OtherTensors`] for several that are
/// missing, superfluous or of another shape.
pub fn read_weights<R: Read + Seek>(
    architecture: &Architecture,
    files: &mut [TensorFile<R>],
) -> Result<ReadWeights, DiffusionError> {
    read_parameters(architecture.parameters(), &[], files)
}

/// As [`read_weights`], in the types in which the files have them: for a network beneath an adapter, which stands still.
///
/// # Errors
///
/// As [`read_weights`].
pub fn read_stored_weights<R: Read + Seek>(
    architecture: &Architecture,
    files: &mut [TensorFile<R>],
) -> Result<ReadWeights<StoredValues>, DiffusionError> {
    read_each(architecture.parameters(), &[], files, |spec, file, name| {
        Ok(file.finite(name)?.to_memory_layout(spec))
    })
}

/// As [`read_weights`], for the parameters of any network; tensors whose names end with one of `buffers` are passed over.
///
/// # Errors
///
/// As [`read_weights`].
pub fn read_parameters<R: Read + Seek>(
    parameters: &[ParameterSpec],
    buffers: &[&str],
    files: &mut [TensorFile<R>],
) -> Result<ReadWeights, DiffusionError> {
    read_each(parameters, buffers, files, |spec, file, name| {
        Ok(to_memory_layout(spec, &file.finite_f32(name)?))
    })
}

/// Finds the tensor of each parameter, and reads one after another by `read`.
fn read_each<R: Read + Seek, V>(
    parameters: &[ParameterSpec],
    buffers: &[&str],
    files: &mut [TensorFile<R>],
    read: impl Fn(&ParameterSpec, &mut TensorFile<R>, &str) -> Result<V, DiffusionError>,
) -> Result<ReadWeights<V>, DiffusionError> {
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
    file_of.retain(|name, _| !buffers.iter().any(|buffer| name.ends_with(buffer)));
    let prefix = common_prefix(parameters, &file_of);
    let mut differences = Differences::default();
    let mut found = Vec::with_capacity(parameters.len());
    for spec in parameters {
        let names = names_of(spec).into_iter().map(|name| format!("{prefix}{name}"));
        let Some((name, index)) = names.into_iter().find_map(|name| file_of.remove_entry(&name)) else {
            differences.missing.push(spec.name.clone());
            continue;
        };
        let shape = files[index].shape(&name)?;
        // Some very old files hold attention weights as 1x1 convolutions: the same values in the same order.
        let as_convolution = spec.disk_shape.len() == 2 && shape.get(2..) == Some(&[1, 1]);
        if shape == spec.disk_shape || (as_convolution && shape[..2] == spec.disk_shape) {
            found.push((spec, name, index));
        } else {
            differences.other_shape.push((name, shape.to_vec(), spec.disk_shape.clone()));
        }
    }
    differences.superfluous = file_of.into_keys().collect();
    let all_files = || files.iter().map(TensorFile::name).collect::<Vec<_>>().join(", ");
    differences.none_or_error(all_files, parameters.len())?;
    let mut values = Vec::with_capacity(found.len());
    for (spec, name, index) in found {
        values.push(read(spec, &mut files[index], &name)?);
    }
    Ok(ReadWeights { values, prefix })
}

/// What stands before the names of diffusers in all names of a file; empty if they have none in common.
fn common_prefix(parameters: &[ParameterSpec], file_of: &BTreeMap<String, usize>) -> String {
    let Some(spec) = parameters.first().filter(|spec| !file_of.contains_key(&spec.name)) else {
        return String::new();
    };
    let prefixes = file_of.keys().filter_map(|name| name.strip_suffix(spec.name.as_str()));
    prefixes
        .filter(|prefix| prefix.ends_with('.'))
        .find(|prefix| file_of.keys().all(|name| name.starts_with(prefix)))
        .unwrap_or_default()
        .to_owned()
}

/// Where the tensors of a file are not those of a network.
#[derive(Default)]
struct Differences {
    missing: Vec<String>,
    /// Each with its shape in the file and in the network.
    other_shape: Vec<(String, Vec<usize>, Vec<usize>)>,
    superfluous: Vec<String>,
}

impl Differences {
    /// One tensor is told by its name, of several the first few of each kind.
    fn none_or_error(self, file: impl FnOnce() -> String, tensors: usize) -> Result<(), DiffusionError> {
        let Self { missing, other_shape, superfluous } = self;
        let (tensor, problem) = match (missing.as_slice(), other_shape.as_slice(), superfluous.as_slice()) {
            ([], [], []) => return Ok(()),
            ([name], [], []) => (name.clone(), "is missing".into()),
            ([], [(name, found, configured)], []) => {
                (name.clone(), format!("has shape {found:?}, the configuration says {configured:?}"))
            }
            ([], [], [name]) => (name.clone(), "is not part of the configured network".into()),
            _ => {
                let in_words = |(name, found, configured): (String, Vec<usize>, Vec<usize>)| {
                    format!("{name} is {found:?} and not {configured:?}")
                };
                let other_shape = other_shape.into_iter().map(in_words).collect();
                let file = file();
                return Err(DiffusionError::OtherTensors {
                    file,
                    tensors,
                    missing,
                    other_shape,
                    superfluous,
                });
            }
        };
        Err(DiffusionError::Tensor { file: file(), tensor, problem })
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
