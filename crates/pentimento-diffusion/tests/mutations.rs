//! The files of a checkpoint with random damage: they open or are refused, and nothing panics. A substitute for fuzzing
//! where there is no nightly compiler; `PENTIMENTO_MUTATION_SECONDS=600` damages each file for so long.

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
use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection, network_files, scheduler_files};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::schedule::ScheduleConfig;
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

/// A safetensors file begins with the length of its header, in eight bytes.
fn header_end(weights: &[u8]) -> usize {
    8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize
}

#[test]
fn damaged_files_of_a_checkpoint_give_errors_and_never_panic() {
    let seconds = std::env::var("PENTIMENTO_MUTATION_SECONDS").ok();
    let seconds = seconds.map(|text| Duration::from_secs(text.parse().unwrap()));
    let architecture = tiny();
    let [(_, config), (_, weights)] = network_files(&architecture, &random_values(&architecture, 7)).unwrap();
    let [_, (_, scheduler)] = scheduler_files(&ScheduleConfig::default(), &SamplingConfig::default());
    let names = architecture.parameters().iter().map(|spec| (spec.name.clone(), SHARD.into()));
    let index = serde_json::json!({"metadata": {}, "weight_map": serde_json::Map::from_iter(names)});
    let index = index.to_string().into_bytes();
    let header = header_end(&weights);

    // Each file as a whole, and the header of the weights alone, which is little beside the values.
    for (name, sound, damaged_to) in [
        (CONFIG, &config, config.len()),
        (SCHEDULER, &scheduler, scheduler.len()),
        (INDEX, &index, index.len()),
        (WEIGHTS, &weights, header),
        (WEIGHTS, &weights, weights.len()),
    ] {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write(CONFIG, &config);
        write(SCHEDULER, &scheduler);
        write(if name == INDEX { SHARD } else { WEIGHTS }, &weights);
        write(name, sound);
        let open = || {
            let files = CheckpointFiles::find(folder.path(), &Selection::default())?;
            files.open()
        };
        open().unwrap();
        let mut random = Random::new();
        let (started, mut runs, mut opened) = (Instant::now(), 0, 0);
        while seconds.map_or(runs < RUNS, |seconds| started.elapsed() < seconds) {
            let mut bytes = sound[..damaged_to].to_vec();
            damage(&mut bytes, &mut random);
            bytes.extend_from_slice(&sound[damaged_to..]);
            write(name, &bytes);
            match catch_unwind(AssertUnwindSafe(open)) {
                Ok(Ok(checkpoint)) => {
                    // What opens is whole.
                    let lengths = checkpoint.architecture.parameters().iter().map(|spec| spec.len());
                    assert!(lengths.eq(checkpoint.values.iter().map(Vec::len)), "{name}");
                    assert!(checkpoint.values.iter().flatten().all(|value| value.is_finite()), "{name}");
                    opened += 1;
                }
                Ok(Err(error)) => assert!(!error.to_string().is_empty()),
                Err(_) => {
                    let kept = std::env::temp_dir().join(format!("pentimento-crash-{name}"));
                    fs::write(&kept, &bytes).unwrap();
                    panic!("{name}: a panic after {runs} runs; its file is {}", kept.display());
                }
            }
            runs += 1;
        }
        eprintln!("{name}, {damaged_to} of {} bytes: {runs} runs, {opened} opened", sound.len());
        assert!(opened < runs, "{name}: no damage was seen");
    }
}
