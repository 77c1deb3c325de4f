//! The files of a checkpoint with damage: they open or are refused, and nothing panics. A substitute for fuzzing where there
//! is no nightly compiler; `PENTIMENTO_MUTATION_SECONDS=600` damages each file for so long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;
#[path = "../../pentimento-data/tests/common/damage.rs"]
mod damage;

use common::*;
use damage::{Random, damage};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{
    Checkpoint, CheckpointFiles, Selection, network_files, scheduler_files,
};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::StoredValues;
use serde_json::{Value, json};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often each file is damaged if no time is named.
const RUNS: u64 = 300;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler_config.json";
const SHARD: &str = "diffusion_pytorch_model-00001-of-00001.safetensors";
const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

/// The files of a sound checkpoint: each with its name and bytes.
fn sound_files() -> [(&'static str, Vec<u8>); 4] {
    let architecture = tiny();
    let [(_, config), (_, weights)] = network_files(&architecture, random_values(&architecture, 7)).unwrap();
    let [_, (_, scheduler)] = scheduler_files(&ScheduleConfig::default(), &SamplingConfig::default());
    let names = architecture.parameters().iter().map(|spec| (spec.name.clone(), SHARD.into()));
    let index = json!({"metadata": {}, "weight_map": serde_json::Map::from_iter(names)}).to_string();
    [(CONFIG, config), (SCHEDULER, scheduler), (INDEX, index.into_bytes()), (WEIGHTS, weights)]
}

/// A safetensors file begins with the length of its header in eight bytes, and the header.
fn header_end(weights: &[u8]) -> usize {
    8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize
}

/// A folder with a checkpoint of which one file, `name`, is damaged.
struct Damaged {
    folder: TempDir,
    name: &'static str,
}

impl Damaged {
    fn new(name: &'static str) -> Self {
        let folder = TempDir::new().unwrap();
        for (file, bytes) in sound_files() {
            // An index is beside shards, and never beside weights in one file.
            let file = match (file, name) {
                (WEIGHTS, INDEX) => SHARD,
                (INDEX, INDEX) => INDEX,
                (INDEX, _) => continue,
                (file, _) => file,
            };
            fs::write(folder.path().join(file), bytes).unwrap();
        }
        let damaged = Self { folder, name };
        damaged.open().unwrap();
        damaged
    }

    fn open(&self) -> Result<Checkpoint, DiffusionError> {
        CheckpointFiles::find(self.folder.path(), &Selection::default())?.open()
    }

    /// Whether the file opens with these bytes. What opens is whole, and nothing panics.
    fn opens(&self, bytes: &[u8]) -> bool {
        fs::write(self.folder.path().join(self.name), bytes).unwrap();
        match catch_unwind(AssertUnwindSafe(|| self.open())) {
            Ok(Ok(checkpoint)) => {
                let lengths = checkpoint.architecture.parameters().iter().map(|spec| spec.len());
                assert!(lengths.eq(checkpoint.values.iter().map(StoredValues::len)), "{}", self.name);
                assert!(
                    checkpoint.values_in_f32().iter().flatten().all(|value| value.is_finite()),
                    "{}",
                    self.name
                );
                true
            }
            Ok(Err(_)) => false,
            Err(_) => {
                let kept = std::env::temp_dir().join(format!("pentimento-crash-{}", self.name));
                fs::write(&kept, bytes).unwrap();
                panic!("a panic; its file is {}", kept.display());
            }
        }
    }
}

#[test]
fn random_damage() {
    let seconds = std::env::var("PENTIMENTO_MUTATION_SECONDS").ok();
    let seconds = seconds.map(|text| Duration::from_secs(text.parse().unwrap()));
    for (name, sound) in sound_files() {
        // Of the weights also the header alone, which is little beside the values.
        let header = (name == WEIGHTS).then(|| header_end(&sound));
        for length in [sound.len()].into_iter().chain(header) {
            let damaged = Damaged::new(name);
            let mut random = Random::new();
            let (started, mut runs, mut opened) = (Instant::now(), 0, 0);
            while seconds.map_or(runs < RUNS, |seconds| started.elapsed() < seconds) {
                let mut bytes = sound[..length].to_vec();
                damage(&mut bytes, &mut random);
                bytes.extend_from_slice(&sound[length..]);
                opened += u64::from(damaged.opens(&bytes));
                runs += 1;
            }
            eprintln!("{name}, {length} of {} bytes: {runs} runs, {opened} opened", sound.len());
            assert!(opened < runs, "{name}: no damage was seen");
        }
    }
}

/// The place of every value in a JSON text, as JSON pointers.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    let mut below = |key: &str, value: &Value| {
        let place = format!("{here}/{key}");
        found.push(place.clone());
        places(value, &place, found);
    };
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, value)| below(key, value)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| below(&index.to_string(), value));
        }
        _ => {}
    }
}

/// The JSON with what nobody wrote in each of its places: left out, and of every kind and size.
fn odd_forms(sound: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let mut found = Vec::new();
    places(sound, "", &mut found);
    for place in &found {
        let (parent, key) = place.rsplit_once('/').unwrap();
        let mut without = sound.clone();
        match without.pointer_mut(parent).unwrap() {
            Value::Object(entries) => entries.remove(key),
            Value::Array(list) => Some(list.remove(key.parse().unwrap())),
            _ => None,
        };
        all.push(without);
        for odd in [
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("\u{1b}/../x"),
            json!([]),
            json!([0, -1, u64::MAX]),
            json!({"": null}),
        ] {
            let mut changed = sound.clone();
            *changed.pointer_mut(place).unwrap() = odd;
            all.push(changed);
        }
    }
    all
}

#[test]
fn odd_values_in_every_place() {
    for (name, sound) in sound_files() {
        let damaged = Damaged::new(name);
        let (text, values) = match name {
            WEIGHTS => sound.split_at(header_end(&sound)),
            _ => sound.split_at(sound.len()),
        };
        let mut value: Value =
            serde_json::from_slice(if name == WEIGHTS { &text[8..] } else { text }).unwrap();
        // The tensors are alike: of each list of them, a few.
        let list = if name == INDEX { &mut value["weight_map"] } else { &mut value };
        let kept = if name == WEIGHTS || name == INDEX { 3 } else { usize::MAX };
        let others: serde_json::Map<String, Value> =
            list.as_object().unwrap().clone().into_iter().skip(kept).collect();
        list.as_object_mut().unwrap().retain(|key, _| !others.contains_key(key));
        let (mut forms, mut opened) = (0, 0);
        for mut form in odd_forms(&value) {
            let list = if name == INDEX { form.get_mut("weight_map") } else { Some(&mut form) };
            if let Some(Value::Object(list)) = list {
                list.extend(others.clone());
            }
            let text = form.to_string().into_bytes();
            let length =
                if name == WEIGHTS { (text.len() as u64).to_le_bytes().to_vec() } else { Vec::new() };
            opened += u64::from(damaged.opens(&[&length, text.as_slice(), values].concat()));
            forms += 1;
        }
        eprintln!("{name}: {forms} forms, {opened} opened");
        assert!(opened < forms, "{name}: nothing was refused");
    }
}
