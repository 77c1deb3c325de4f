//! Memory of layers is used again: what the first steps or calls took from the system is enough for later ones.
//!
//! In a process of its own, as the count is one of the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use pentimento_diffusion::mixture::Mixture;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::{Trainer, TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::Parameters;
use pentimento_kernels::buffers_made;

#[test]
fn later_steps_and_calls_take_no_memory() {
    // On one thread, as how many buffers are in use at once otherwise depends on who is faster.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let config = TrainingConfig { steps: 10, batch: 4, ..TrainingConfig::default() };
        let mut trainer = Trainer::new(tiny(), &ScheduleConfig::default(), config, 1, 0).unwrap();
        let read = |index: usize, image: &mut [f32]| image.fill(index as f32 / 10.0);
        let images = TrainingImages { count: 10, shape: [4, 4, 1], read: &read };
        let before = buffers_made();
        // The first step begins with nothing to use again and so finds other buffers than the second, which may lack a
        // few (here 5 of 173).
        trainer.train_step(&images).unwrap();
        trainer.train_step(&images).unwrap();
        let first = buffers_made();
        assert!(first > before, "layers count their buffers");
        for _ in 0..5 {
            trainer.train_step(&images).unwrap();
        }
        assert_eq!(buffers_made(), first, "buffers after two training steps");

        let parameters = Parameters::from_memory(&tiny(), trainer.member().to_vec());
        let mixture = Mixture::new(tiny(), vec![parameters], 4, 4, 8).unwrap();
        let (x, tangents) = (vec![0.5f32; 8 * 16], vec![0.25f32; 8 * 3 * 16]);
        let call = || {
            mixture.predict(0, &x, 5);
            mixture.predict_with_tangents(0, &x, &tangents, 3, 5);
        };
        call();
        let first = buffers_made();
        for _ in 0..5 {
            call();
        }
        assert_eq!(buffers_made(), first, "buffers after the first calls of a network");
    });
}
