//! The golden cases on a Vulkan device, which may be a driver in software. Only in builds with the feature `vulkan`; what is
//! in `f64` runs on the CPU all the same.

#![cfg(feature = "vulkan")]
#![allow(clippy::duplicate_mod, reason = "each brings the helpers that it is written with")]

#[path = "configurations.rs"]
mod configurations;
#[path = "goldens.rs"]
mod goldens;

use pentimento_diffusion::device::{DeviceKind, choose_device};

/// The choice is one for the process, so the cases follow each other here; run this test alone.
#[test]
fn every_case_on_vulkan() {
    choose_device(DeviceKind::Vulkan).expect("a Vulkan device that nothing else was computed before");
    goldens::outputs();
    goldens::derivatives_along_directions();
    goldens::gradients_in_all_parameters();
    goldens::samples_along_recorded_noise();
    goldens::ensembles_and_ablations();
    configurations::networks();
}
