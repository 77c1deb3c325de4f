//! The golden pipelines of latent networks for tests of the program: their pictures as files, and what their encoders make of them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test uses a part of it; helpers of tests fail as tests do"
)]

use crate::common::{assert_equal_runs, program};
use pentimento_attribution::methods::Method;
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_encoders::Encoders;
use pentimento_encoders::autoencoder::Autoencoder;
use pentimento_noise::{Purpose, Stream};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Methods that a network which was not trained here can be asked by, about samples of a sampler without noise.
pub fn methods() -> Vec<&'static str> {
    let others = ["classifier-cosine", "influence-trajectory"];
    Method::names_of_tables().into_iter().filter(|name| !others.contains(name)).collect()
}

/// Recipes have the names of their runs.
pub fn assert_equal_but_the_recipe(expected: &BTreeMap<String, Vec<u8>>, run: &Path) {
    let mut expected = expected.clone();
    expected.insert("recipe.toml".into(), fs::read(run.join("recipe.toml")).unwrap());
    assert_equal_runs(&expected, run);
}

pub fn pipeline(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens_latent").join(name)
}

pub fn import(from: &Path, run: &Path) -> Command {
    program([Path::new("import"), from, Path::new("--run"), run])
}

/// Few samples and short features of the images in a folder, with more settings.
pub fn settings(images: &Path, more: &[&str]) -> Vec<String> {
    let data = format!("data.path={images:?}");
    let own = [
        "samples.count=3",
        "influence.cg_gradients=64",
        "gradients.dimension=512",
        "gradients.groups=4",
        "gradients.timesteps=3",
        &data,
    ];
    own.into_iter().chain(more.iter().copied()).flat_map(|setting| ["--set".into(), setting.into()]).collect()
}

/// Values of a golden tensor, and its shape.
fn golden(case: &Path, name: &str) -> (Vec<f32>, Vec<usize>) {
    let bytes = fs::read(case.join("golden.safetensors")).unwrap();
    let tensor = SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().clone();
    let values = match tensor.dtype() {
        safetensors::Dtype::I64 => {
            tensor.data().as_chunks::<8>().0.iter().map(|value| i64::from_le_bytes(*value) as f32).collect()
        }
        _ => tensor.data().as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect(),
    };
    (values, tensor.shape().to_vec())
}

/// The prompts of a case that a tensor numbers.
fn prompts(case: &Path, numbers: &str) -> Vec<String> {
    let said: serde_json::Value =
        serde_json::from_slice(&fs::read(case.join("golden.json")).unwrap()).unwrap();
    let prompt = |number: f32| said["prompts"][number as usize].as_str().unwrap().to_owned();
    golden(case, numbers).0.into_iter().map(prompt).collect()
}

/// The bytes of golden pictures `[pictures, channels, height, width]`, `[pictures][height, width, channels]`.
fn bytes_of(case: &Path, name: &str) -> (Vec<Vec<u8>>, [usize; 2]) {
    let (values, shape) = golden(case, name);
    let &[_, channels, height, width] = shape.as_slice() else { panic!("{name} are no pictures") };
    let byte = |value: f32| ((value + 1.0) * 127.5).round() as u8;
    let picture = |values: &[f32]| -> Vec<u8> {
        (0..height * width * channels)
            .map(|place| byte(values[place % channels * height * width + place / channels]))
            .collect()
    };
    (values.chunks_exact(channels * height * width).map(picture).collect(), [height, width])
}

/// Writes golden pictures as PNG into a new folder, with their prompts beside them if a tensor numbers these.
pub fn write_pictures(case: &Path, name: &str, folder: &Path, numbers: Option<&str>) {
    fs::create_dir_all(folder).unwrap();
    let (pictures, [height, width]) = bytes_of(case, name);
    let prompts = numbers.map(|numbers| prompts(case, numbers));
    for (place, picture) in pictures.iter().enumerate() {
        let file = folder.join(format!("{place}.png"));
        image::save_buffer(file, picture, width as u32, height as u32, image::ColorType::Rgb8).unwrap();
        if let Some(prompts) = &prompts {
            fs::write(folder.join(format!("{place}.txt")), &prompts[place]).unwrap();
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn array(made: &BTreeMap<String, Vec<u8>>, start: &str, name: &str) -> Vec<f32> {
    let objects: Vec<_> = made
        .iter()
        .filter(|(object, _)| object.starts_with(start) && object.ends_with(".safetensors"))
        .collect();
    let [(object, bytes)] = objects[..] else { panic!("{} objects {start}", objects.len()) };
    ArrayReader::new(bytes, object).unwrap().f32(name).unwrap()
}

/// A run keeps the very latents that the autoencoder makes of the pictures, which are those of PyTorch but for the rounding of pictures
/// to bytes.
pub fn check_latents(case: &Path, made: &BTreeMap<String, Vec<u8>>, name: &str) {
    let (pictures, [height, width]) = bytes_of(case, name);
    let scaled: Vec<f32> = pictures.concat().into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0).collect();
    let encoders = Encoders::open(case, None).unwrap();
    let truth = encoders.autoencoder.latents(&scaled, height, width).unwrap();
    let found = array(made, "latents/", "latent");
    assert_eq!(bits(&found), bits(&truth));
    // Both are [channels, pixels] of an image in another order, so sums of squares tell an exchange of images or factors.
    let square = |values: &[f32]| -> f32 { values.iter().map(|value| value * value).sum() };
    let (golden, shape) = golden(case, &name.replace("images", "latents"));
    let length = shape[1..].iter().product();
    for (found, golden) in found.chunks_exact(length).zip(golden.chunks_exact(length)) {
        let (found, golden) = (square(found), square(golden));
        assert!((found - golden).abs() < 0.02 * golden, "{found} instead of {golden}");
    }
}

/// A run keeps latents that were drawn from what the autoencoder says of the pictures, each with a noise of its own picture and the seed.
pub fn check_drawn_latents(case: &Path, made: &BTreeMap<String, Vec<u8>>, name: &str, seed: u64) {
    let (pictures, [height, width]) = bytes_of(case, name);
    let Autoencoder::Kl(autoencoder) = Encoders::open(case, None).unwrap().autoencoder else {
        panic!("{} is no AutoencoderKL", case.display())
    };
    let found = array(made, "latents/", "latent");
    let length = found.len() / pictures.len();
    for (picture, found) in pictures.iter().zip(found.chunks_exact(length)) {
        let scaled: Vec<f32> = picture.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        let digest = blake3::hash(picture);
        let id = u32::from_le_bytes(*digest.as_bytes().first_chunk().unwrap());
        let mut noise = vec![0.0; length];
        Stream::new(seed, Purpose::PosteriorNoise, id, 0).fill_normal(&mut noise);
        let truth = autoencoder.encode(&scaled, height, width).unwrap().sample(&noise);
        assert_eq!(bits(found), bits(&truth));
    }
}

/// Samples are kept as latents, and shown as what the autoencoder makes of these.
pub fn check_samples(case: &Path, made: &BTreeMap<String, Vec<u8>>, count: usize) {
    let (latents, images) = (array(made, "samples/", "latent"), array(made, "samples/", "image"));
    let encoders = Encoders::open(case, None).unwrap();
    let truth = encoders.autoencoder.decode(&latents, 8, 8).unwrap();
    assert_eq!(bits(&images), bits(&truth));
    assert_eq!(images.len(), count * 16 * 16 * 3);
    let picture = image::load_from_memory(&made["samples/000000.png"]).unwrap().to_rgb8();
    for (byte, value) in picture.as_raw().iter().zip(&images) {
        let shown = (value.clamp(-1.0, 1.0) + 1.0) * 127.5;
        assert!((f32::from(*byte) - shown).abs() <= 0.5001, "{byte} for {shown}");
    }
}

/// Each caption is kept once, as PyTorch's text encoder leaves it.
pub fn check_texts(case: &Path, made: &BTreeMap<String, Vec<u8>>, numbers: &str) {
    let (hidden, shape) = golden(case, "text.hidden");
    let length = shape[1] * shape[2];
    let mut seen = Vec::new();
    for number in golden(case, numbers).0 {
        if !seen.contains(&number) {
            seen.push(number);
        }
    }
    let truth: Vec<f32> =
        seen.iter().flat_map(|&number| hidden[number as usize * length..][..length].to_vec()).collect();
    // One object is that of the captions, another that of the prompts of samples.
    let states = made.iter().filter(|(name, _)| name.starts_with("texts/"));
    let states = states.map(|(name, bytes)| ArrayReader::new(bytes, name).unwrap().f32("states").unwrap());
    let found = states.into_iter().find(|states| states.len() == truth.len()).expect("the captions");
    let largest = truth.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (found, truth) in found.iter().zip(&truth) {
        assert!((found - truth).abs() <= 2e-5 * largest, "{found} instead of {truth}");
    }
}
