//! Factors of the Gauss-Newton matrix and products with its inverse, as PyTorch computed them in float64.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;

use golden_cases::{Golden, golden_cases, goldens};
use pentimento_attribution::curvature::{
    Block, BlockKind, Curvature, CurvatureDraw, CurvaturePass, EigenvalueSums, FactorSums, WeightSharing,
    bases, blocks,
};
use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::unet::Parameters;

/// Relative to the largest entry.
const BOUND: f64 = 5e-4;

#[track_caller]
fn assert_close(what: &str, found: impl IntoIterator<Item = f64>, truth: &[f64]) {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), truth.len(), "{what}");
    let largest = truth.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what}: nothing to compare with");
    for (place, (a, b)) in found.iter().zip(truth).enumerate() {
        let error = (a - b).abs() / largest;
        assert!(error < BOUND, "{what}[{place}]: {a} instead of {b}, relative error {error:e}");
    }
}

/// Positions in PyTorch's order of what goes into a layer (channel, then pixel of the kernel) of the entries in ours.
fn in_their_order(block: &Block, channels: usize) -> Vec<usize> {
    let pixels = block.inputs / channels;
    (0..block.inputs).map(|at| (at % pixels) * channels + at / pixels).collect()
}

fn check(case: &str) {
    let golden = Golden::read(case);
    let checkpoint =
        CheckpointFiles::find(&goldens().join(case), &Selection::default()).unwrap().open().unwrap();
    let architecture = &checkpoint.architecture;
    let side = architecture.config().sample_size.unwrap().height;
    let parameters = Parameters::from_memory::<f32>(architecture, checkpoint.values_in_f32());
    let pass = CurvaturePass::new(architecture, parameters, &checkpoint.scheduler.schedule, [side, side]);
    let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
    let (timesteps, noises) = (golden.whole_numbers("features.t"), golden.image_rows("features.eps"));
    let (images, directions) = (golden.image_rows("features.images"), golden.image_rows("kfac.eta"));
    let records: Vec<_> = images
        .iter()
        .zip(&directions)
        .enumerate()
        .map(|(index, (image, direction))| {
            let at = index % timesteps.len();
            let draw = Draw { timestep: timesteps[at], noise: narrow(&noises[at]) };
            let draw = CurvatureDraw { draw, direction: narrow(direction) };
            pass.records(&narrow(image), None, &[draw], "an image").unwrap()
        })
        .collect();
    let damping = golden.values("kfac.damping")[0];
    let all = blocks(architecture);
    let mut of_sharing = Vec::new();
    for (sharing, label) in [(WeightSharing::Expand, "expand"), (WeightSharing::Reduce, "reduce")] {
        let mut sums = FactorSums::new(architecture, sharing);
        sums.add(&records).unwrap();
        of_sharing.push((sums, label));
    }
    let bases = bases(of_sharing[0].0.clone()).unwrap();
    let mut eigenvalues = EigenvalueSums::new(&bases, 0);
    eigenvalues.add(&bases, &records).unwrap();
    let kronecker = Curvature::kronecker(bases.clone());
    let corrected = Curvature::corrected(bases, &eigenvalues).unwrap();
    let dampings = vec![damping; all.len()];
    let mut layers = 0;
    for (index, block) in all.iter().enumerate().filter(|(_, block)| block.kind == BlockKind::Weight) {
        let layer = block.name.trim_end_matches(".weight");
        let name = |what: &str| format!("kfac.{layer}.{what}");
        if !golden.has(&name("A_expand")) {
            continue;
        }
        layers += 1;
        let channels = architecture.parameters()[block.layer].disk_shape[1];
        let order = in_their_order(block, channels);
        for (sums, label) in &of_sharing {
            let (inputs, outputs) = sums.factors(index).unwrap();
            let inputs = inputs.unwrap();
            let reordered = order.iter().flat_map(|&row| order.iter().map(move |&column| (row, column)));
            let of = |label| (name(label), golden.values(&name(label)));
            let (a, b) = (of(&format!("A_{label}")), of(&format!("B_{label}")));
            assert_close(&a.0, reordered.map(|at| inputs[at]), a.1);
            let rows = (0..block.outputs).flat_map(|row| (0..block.outputs).map(move |column| (row, column)));
            assert_close(&b.0, rows.map(|at| outputs[at]), b.1);
        }
        // A vector of the layer, `[outputs, inputs]` there and `[inputs, outputs]` here.
        let vector = golden.values(&name("vector"));
        let mut gradient = vec![0.0f32; architecture.parameter_count()];
        for (place, &row) in order.iter().enumerate() {
            for column in 0..block.outputs {
                gradient[block.first + row * block.outputs + column] =
                    vector[column * block.inputs + place] as f32;
            }
        }
        for (curvature, what) in [(&kronecker, "kfac_inverse_product"), (&corrected, "ekfac_inverse_product")]
        {
            let solved = curvature.solve(&gradient, &dampings).unwrap();
            let own = &solved[block.first..][..block.count()];
            let found = (0..block.outputs).flat_map(|column| {
                order.iter().map(move |&row| f64::from(own[row * block.outputs + column]))
            });
            assert_close(&name(what), found, golden.values(&name(what)));
            let others = solved
                .iter()
                .enumerate()
                .filter(|(at, _)| *at < block.first || *at >= block.first + block.count());
            assert!(others.into_iter().all(|(_, value)| *value == 0.0), "{what}: blocks are independent");
        }
    }
    assert!(layers >= 5, "{case}: {layers} layers");
}

#[test]
fn factors_and_inverse_products_are_those_of_pytorch() {
    for case in golden_cases() {
        check(&case);
    }
}
