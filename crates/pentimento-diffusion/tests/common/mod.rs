//! What the tests of the diffusion crate share: small networks, made-up values and the golden cases.

#![allow(dead_code, reason = "every test file uses its own part")]

use burn::tensor::{Tensor, TensorData};
use pentimento_diffusion::checkpoint::{SchedulerFile, open_unet};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Parameters, Precision, UnetConfig};
use pentimento_kernels::extension::device_for;
use pentimento_noise::{Purpose, Stream};
use proptest::prelude::ProptestConfig;
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The golden cases: diffusers checkpoints and what PyTorch computed with them in `f64`. Every folder is one, of this
/// repository's or that of `PENTIMENTO_GOLDENS`, and of `shared/goldens` beside the repository if there is one.
pub fn golden_cases() -> Vec<String> {
    let in_folder = |folder: &Path| -> Vec<String> {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut cases: Vec<String> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("golden.safetensors").is_file())
            .map(|path| path.into_os_string().into_string().unwrap())
            .collect();
        cases.sort();
        cases
    };
    let mut cases = in_folder(&goldens());
    assert!(!cases.is_empty(), "{}: no golden case", goldens().display());
    let beside = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/goldens"));
    if std::env::var_os("PENTIMENTO_GOLDENS").is_none() && beside.is_dir() {
        cases.extend(in_folder(beside));
    }
    cases
}

/// The folder of the golden cases: that of this repository, or another one by `PENTIMENTO_GOLDENS`.
pub fn goldens() -> PathBuf {
    let own = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens"));
    std::env::var_os("PENTIMENTO_GOLDENS").map_or_else(own, PathBuf::from)
}

pub fn read(path: &str) -> Vec<u8> {
    let path = goldens().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A network of a golden case; `folder` is `unet`, `old_names`, `member_1` or `member_2`.
pub fn golden_network(case: &str, folder: &str) -> (Architecture, Vec<Vec<f32>>) {
    let config_file = format!("{case}/{folder}/config.json");
    let weights_file = format!("{case}/{folder}/diffusion_pytorch_model.safetensors");
    let config = String::from_utf8(read(&config_file)).unwrap();
    open_unet(&config, &config_file, &read(&weights_file), &weights_file).unwrap()
}

/// The noise schedule of a golden case, as its `scheduler_config.json` has it.
pub fn golden_schedule(case: &str) -> ScheduleConfig {
    let file = format!("{case}/scheduler/scheduler_config.json");
    SchedulerFile::from_json(&String::from_utf8(read(&file)).unwrap(), &file).unwrap().schedule
}

/// Inputs and answers of a golden case.
pub struct Golden {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Golden {
    pub fn read(case: &str) -> Self {
        Self::open(&read(&format!("{case}/golden.safetensors")))
    }

    pub fn open(bytes: &[u8]) -> Self {
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let tensors = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let values = match view.dtype() {
                    Dtype::F32 => view
                        .data()
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|c| f64::from(f32::from_le_bytes(*c)))
                        .collect(),
                    Dtype::I64 => {
                        view.data().as_chunks::<8>().0.iter().map(|c| i64::from_le_bytes(*c) as f64).collect()
                    }
                    other => panic!("{name} has type {other:?}"),
                };
                (name, (view.shape().to_vec(), values))
            })
            .collect();
        Self { tensors }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The sizes of a tensor.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).0
    }

    /// The values of a tensor as they lie in the file.
    pub fn values(&self, name: &str) -> &[f64] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).1
    }

    pub fn whole_numbers(&self, name: &str) -> Vec<usize> {
        self.values(name).iter().map(|&value| value as usize).collect()
    }

    /// Images `[images, channels, height, width]`, or one image without the first axis, in this project's layout
    /// `[images, height, width, channels]`.
    pub fn images(&self, name: &str) -> Vec<f64> {
        let (shape, values) = &self.tensors[name];
        let [channels, height, width] = shape[shape.len() - 3..] else {
            panic!("{name} has shape {shape:?}")
        };
        let mut images = Vec::with_capacity(values.len());
        for image in values.chunks_exact(channels * height * width) {
            for pixel in 0..height * width {
                images.extend((0..channels).map(|channel| image[channel * height * width + pixel]));
            }
        }
        images
    }
}

pub fn of<T: Precision>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::of(value)).collect()
}

pub fn wide<T: Precision>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.wide()).collect()
}

pub fn tensor<T: Precision>(values: &[f64], shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(of::<T>(values), shape), (&device_for(T::dtype()), T::dtype()))
}

pub fn values_of<T: Precision>(tensor: Tensor<4>) -> Vec<f64> {
    wide(&tensor.into_data().try_into_vec::<T>().unwrap())
}

pub fn parameters<T: Precision>(architecture: &Architecture, values: &[Vec<f32>]) -> Parameters {
    let values = values.iter().map(|values| values.iter().map(|&value| T::of(f64::from(value))).collect());
    Parameters::from_memory::<T>(architecture, values.collect())
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Asserts that no entry is wrong by more than `relative` times the largest entry.
#[track_caller]
pub fn assert_close(what: &str, computed: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(computed.len(), expected.len(), "{what}: number of values");
    let size = largest(expected);
    assert!(size > 0.0 && size.is_finite(), "{what}: nothing to compare with");
    for (place, (a, b)) in computed.iter().zip(expected).enumerate() {
        let error = (a - b).abs() / size;
        assert!(
            error <= relative,
            "{what}[{place}]: {a} instead of {b}, relative error {error:e} > {relative:e}"
        );
    }
}

/// This many random cases. A failing case is printed with its smallest form; nothing is written into the sources.
pub fn cases(number: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(number) }
}

/// A network of two levels for images of one channel, small enough for hundreds of steps in a second.
pub fn tiny_config() -> UnetConfig {
    let names = |names: [&str; 2]| names.map(String::from).to_vec();
    UnetConfig {
        sample_size: Some(4),
        in_channels: 1,
        out_channels: 1,
        down_block_types: names(["DownBlock2D", "AttnDownBlock2D"]),
        up_block_types: names(["AttnUpBlock2D", "UpBlock2D"]),
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        attention_head_dim: Some(4),
        norm_num_groups: 2,
        ..UnetConfig::default()
    }
}

pub fn tiny() -> Architecture {
    Architecture::new(&tiny_config()).unwrap()
}

/// Standard normal values that are the same for the same number.
pub fn normals(number: u32, length: usize) -> Vec<f32> {
    let mut values = vec![0.0; length];
    Stream::new(1, Purpose::Test, number, 0).fill_normal(&mut values);
    values
}

/// Weights of ordinary size everywhere: a fresh network starts some layers at zero, which would hide mistakes.
pub fn random_values(architecture: &Architecture, number: u32) -> Vec<Vec<f32>> {
    let specs = architecture.parameters().iter().enumerate();
    specs
        .map(|(place, spec)| {
            let fan_in: usize = spec.disk_shape.iter().skip(1).product();
            let mut values = normals(1000 * number + place as u32, spec.len());
            for value in &mut values {
                *value = match spec.disk_shape.len() {
                    1 if spec.name.contains("norm") && spec.name.ends_with("weight") => 1.0 + 0.1 * *value,
                    1 => 0.1 * *value,
                    _ => *value / (fan_in as f32).sqrt(),
                };
            }
            values
        })
        .collect()
}

/// Runs in a thread pool of its own.
pub fn with_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

/// Bits of values: zero and minus zero differ, and a NaN equals itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
