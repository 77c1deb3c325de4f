//! The golden cases and what is in them, for the tests of every crate that compares itself with them.

#![allow(dead_code, reason = "every test file uses its own part")]

use pentimento_diffusion::checkpoint::{SchedulerFile, weights_from_bytes};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, UnetConfig};
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
    let (config, _) = UnetConfig::from_json(&config, &config_file).unwrap();
    let architecture = Architecture::new(&config).unwrap();
    let values = weights_from_bytes(&architecture, &read(&weights_file), &weights_file).unwrap();
    (architecture, values)
}

/// The noise schedule of a golden case, as its `scheduler_config.json` has it.
pub fn golden_schedule(case: &str) -> ScheduleConfig {
    let file = format!("{case}/scheduler/scheduler_config.json");
    SchedulerFile::from_json(&String::from_utf8(read(&file)).unwrap(), &file).unwrap().schedule
}

/// Inputs and answers of a golden case.
#[derive(Clone, Default)]
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

    /// Those whose names begin with a prefix, without it.
    pub fn under(&self, prefix: &str) -> Self {
        let own = |(name, tensor): (&String, &(Vec<usize>, Vec<f64>))| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        };
        Self { tensors: self.tensors.iter().filter_map(own).collect() }
    }

    /// One of them, under another name.
    pub fn only(&self, name: &str, new_name: &str) -> Self {
        Self { tensors: BTreeMap::from([(new_name.to_owned(), self.tensors[name].clone())]) }
    }

    /// These, and of others those of some names that are not among these.
    pub fn and(mut self, others: &Self, is_wanted: impl Fn(&str) -> bool) -> Self {
        for (name, tensor) in others.tensors.iter().filter(|(name, _)| is_wanted(name)) {
            self.tensors.entry(name.clone()).or_insert_with(|| tensor.clone());
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
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

    /// The same, a row for each image.
    pub fn image_rows(&self, name: &str) -> Vec<Vec<f64>> {
        let shape = self.shape(name);
        let length = shape[shape.len() - 3..].iter().product();
        self.images(name).chunks_exact(length).map(<[f64]>::to_vec).collect()
    }

    /// The columns of a matrix.
    pub fn columns(&self, name: &str) -> Vec<Vec<f64>> {
        let &[_, columns] = self.shape(name) else { panic!("{name} is no matrix") };
        let values = self.values(name);
        (0..columns).map(|column| values.iter().skip(column).step_by(columns).copied().collect()).collect()
    }
}
