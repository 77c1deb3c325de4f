//! The golden cases again with what is composed of Burn's own operations, which is what other devices run.

#![allow(clippy::duplicate_mod, reason = "each brings the helpers that it is written with")]

#[path = "configurations.rs"]
mod configurations;
#[path = "goldens.rs"]
mod goldens;
#[path = "goldens_latent.rs"]
mod goldens_latent;

/// The switch is one for the process, so the cases follow each other here. (They also run as tests of their own beside
/// it, with either body.)
#[test]
fn every_case_with_portable_bodies() {
    pentimento_kernels::extension::use_portable_bodies(true);
    goldens::outputs();
    goldens::derivatives_along_directions();
    goldens::schedule();
    goldens::gradients_in_all_parameters();
    goldens::samples_along_recorded_noise();
    goldens::ensembles_and_ablations();
    goldens::old_names_are_the_same_network();
    configurations::networks();
    goldens_latent::outputs();
    goldens_latent::derivatives_along_directions();
    goldens_latent::gradients_in_all_parameters();
    goldens_latent::adapters();
}
