//! A trained ensemble is asked by functions alone: what a sample is without a group, and which groups it rests on.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::idx;
use pentimento_attribution::ensemble::CodeDistance;
use pentimento_attribution::ensemble::approximation::clamped_distance;
use pentimento_attribution::methods::Method;
use pentimento_run::ablate::{AblationMethod, ablate};
use pentimento_run::analyse::{attribute, read_analysis};
use pentimento_run::code_scores::code_scores;
use pentimento_run::code_search::search_codes;
use pentimento_run::data::coded_data;
use pentimento_run::train::train;
use pentimento_run::{Networks, Recipe, RunError, RunOptions, Workspace};
use std::fs;
use std::path::Path;
use std::slice::from_ref;

/// Images of 8 x 8 pixels, one for each of the groups.
const IMAGES: usize = 12;

/// Six members, each trained for a few steps on half of the images.
fn trained(folder: &Path) -> Workspace {
    let (images, labels) = (folder.join("images"), folder.join("labels"));
    let pixels: Vec<u8> = (0..64 * IMAGES).map(|at| ((at * at * 7 + at * 31) % 251) as u8).collect();
    fs::write(&images, idx(0x803, &[IMAGES, 8, 8], &pixels)).unwrap();
    fs::write(&labels, idx(0x801, &[IMAGES], &[0; IMAGES])).unwrap();
    let recipe = format!(
        r#"
        name = "small"
        data = {{ images = {images:?}, labels = {labels:?} }}
        codes = {{ members = 6, weight = 3 }}
        training = {{ steps = 4, batch = 2 }}
        sampling = {{ steps = 3 }}
        samples = {{ count = 2 }}
        attribution = {{ counterfactuals = 12, fidelity_samples = 1, candidates = 12 }}
        [model]
        block_out_channels = [8]
        down_block_types = ["DownBlock2D"]
        up_block_types = ["UpBlock2D"]
        layers_per_block = 1
        norm_num_groups = 4
        "#
    );
    let recipe = Recipe::parse(&recipe, "small.toml", &[]).unwrap();
    let workspace = Workspace::for_recipe(&folder.join("run"), recipe, RunOptions::default()).unwrap();
    train(&workspace, &coded_data(&workspace).unwrap(), None).unwrap();
    workspace
}

#[test]
fn an_ensemble_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = trained(folder.path());
    let data = coded_data(&workspace).unwrap();
    let networks = Networks::trained(&workspace, &data).unwrap();
    attribute(&workspace, &data, &networks).unwrap();
    let (samples, _) = read_analysis(&workspace, &data, &networks).unwrap();

    // The attribution made all of these in one batch, by requests of its own.
    let sample = &samples[1];
    for (group, without) in [(0, &sample.exact[0]), (7, &sample.exact[7])] {
        let name = data.groups.names()[group as usize].clone();
        let found = ablate(&workspace, 1, from_ref(&name), &[], AblationMethod::Exact).unwrap();
        assert!(found.image == sample.image && found.without == *without, "group {group}");
        assert_eq!(found.distance, clamped_distance(&sample.image, without));
        let code = data.codes.code(group).unwrap();
        let left: Vec<u32> = (0..6).filter(|&member| !code.trains(member)).collect();
        assert_eq!((found.members_left, found.members), (left, 6));
        assert_eq!((found.removed, found.groups, found.image_shape), (vec![name], 12, [8, 8, 1]));
        assert!(workspace.run.get(&found.file).unwrap().starts_with(b"\x89PNG"));
    }
    // An image stands for its group, which is named once.
    let name = data.groups.names()[7].clone();
    let twice =
        ablate(&workspace, 1, from_ref(&name), &["7".into()], AblationMethod::ControlVariate).unwrap();
    assert_eq!(twice.removed, [name]);
    assert!(twice.method.is_approximate() && twice.without != sample.exact[7]);
    let all = ablate(&workspace, 1, data.groups.names(), &[], AblationMethod::Exact);
    assert!(matches!(all, Err(RunError::NoMemberRemains { removed: 12, members: 6, .. })), "{all:?}");
    let absent = ablate(&workspace, 2, &[], &["0".into()], AblationMethod::Exact);
    assert!(matches!(absent, Err(RunError::NoSuch { .. })), "{absent:?}");

    // The paper's Jacobian was kept for the first sample only.
    let method = Method::named("jacobian").unwrap();
    let jacobian = code_scores(&workspace, &data, &networks, method, 3).unwrap();
    assert_eq!((jacobian.samples.len(), jacobian.all_samples), (1, 2));
    assert!(matches!(jacobian.left_out, Some(RunError::Missing { .. })), "{:?}", jacobian.left_out);
    let of_sample = &jacobian.samples[0];
    let largest = of_sample.distances.iter().copied().fold(0.0, f32::max);
    assert_eq!(of_sample.first[0].distance as f32, largest);

    // The search goes another way over the codes: through a file, with bounds.
    let found = search_codes(&workspace, &data, &[0], None, 3, CodeDistance::Jacobian).unwrap();
    let ranked: Vec<_> =
        found.rankings[0].codes.iter().map(|found| (found.group.clone().unwrap(), found.distance)).collect();
    let first: Vec<_> = of_sample.first.iter().map(|first| (first.group.clone(), first.distance)).collect();
    assert_eq!((ranked, found.codes), (first, 12));
}
