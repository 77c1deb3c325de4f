//! What several tests need: the golden cases, values without a pattern, and folders with changed files.

#![allow(dead_code, reason = "every test file uses its own part")]

use pentimento_diffusion::unet::ParameterSpec;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The golden cases of latent models: every folder with answers, of this repository and, if `PENTIMENTO_GOLDENS_LATENT` names a
/// folder, of that one.
pub fn golden_cases() -> Vec<PathBuf> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens_latent"));
    let other = std::env::var_os("PENTIMENTO_GOLDENS_LATENT").map(PathBuf::from);
    let mut cases = Vec::new();
    for folder in std::iter::once(own).chain(other) {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let found: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("golden.safetensors").is_file())
            .collect();
        assert!(!found.is_empty(), "{}: no golden case", folder.display());
        cases.extend(found);
    }
    cases.sort();
    cases
}

/// A case of this repository that has this file.
pub fn case_with(file: &str) -> PathBuf {
    golden_cases()
        .into_iter()
        .find(|case| case.join(file).is_file())
        .unwrap_or_else(|| panic!("no case has {file}"))
}

/// Answers of a case.
pub struct Golden {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Golden {
    pub fn read(case: &Path) -> Self {
        Self { tensors: tensors(&case.join("golden.safetensors")) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).0
    }

    pub fn values(&self, name: &str) -> &[f32] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).1
    }

    /// `[images, channels, height, width]` in this project's layout, and height and width.
    pub fn images(&self, name: &str) -> (Vec<f32>, [usize; 2]) {
        let &[_, channels, height, width] = self.shape(name) else { panic!("{name} are no images") };
        let mut images = Vec::new();
        for image in self.values(name).chunks_exact(channels * height * width) {
            for pixel in 0..height * width {
                images.extend((0..channels).map(|channel| image[channel * height * width + pixel]));
            }
        }
        (images, [height, width])
    }
}

/// The tensors of a file; whole numbers too become `f32`, which holds those of the golden cases.
pub fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: &TensorView<'_>| match view.dtype() {
        Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect(),
        Dtype::I64 => view.data().as_chunks::<8>().0.iter().map(|c| i64::from_le_bytes(*c) as f32).collect(),
        other => panic!("type {other:?}"),
    };
    read.tensors().into_iter().map(|(name, view)| (name, (view.shape().to_vec(), values(&view)))).collect()
}

/// Writes tensors of `f32`.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) {
    let mut arrays = pentimento_diffusion::arrays::ArrayWriter::default();
    for (name, (shape, values)) in tensors {
        arrays.put_f32(name, shape, values);
    }
    std::fs::write(path, arrays.to_bytes("test", None).unwrap()).unwrap();
}

/// Holds values to those of a golden case, relative to the largest of these.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    const RELATIVE: f32 = 2e-5;
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let distance = |(a, b): (&f32, &f32)| (a - b).abs();
    let worst = found.iter().zip(expected).map(distance).fold(0.0f32, f32::max);
    let worst = if found.iter().all(|value| value.is_finite()) { worst } else { f32::INFINITY };
    assert!(worst <= RELATIVE * largest, "{what}: off by {:e} of the largest value", worst / largest);
}

/// Values from -1 to 1 without a pattern.
pub fn values(count: usize, salt: u32) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Values for every parameter, small enough that nothing grows from layer to layer; norms near one.
pub fn parameter_values(parameters: &[ParameterSpec]) -> Vec<Vec<f32>> {
    let of = |(salt, spec): (usize, &ParameterSpec)| {
        let inputs: usize = spec.disk_shape.iter().skip(1).product();
        let is_scale = spec.name.contains("norm") && spec.name.ends_with(".weight");
        let (middle, bound) = if is_scale { (1.0, 0.1) } else { (0.0, 1.0 / (inputs as f32).sqrt()) };
        values(spec.len(), salt as u32 + 1).iter().map(|value| middle + bound * value).collect()
    };
    parameters.iter().enumerate().map(of).collect()
}

/// A copy of a folder that a test may change.
pub fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_into(folder, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            std::fs::create_dir(to.join(&name)).unwrap();
            copy_into(&path, &to.join(&name));
        } else {
            std::fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

/// Changes a JSON object.
pub fn edit(file: &Path, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    change(value.as_object_mut().unwrap());
    std::fs::write(file, value.to_string()).unwrap();
}

/// Bits, so that values are the same only if all their bytes are.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
