//! K-FAC and EK-FAC beside the whole Gauss-Newton matrix, on a trained network that is small enough for it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;

use burn::tensor::{DType, Tensor, TensorData};
use faer::prelude::Solve;
use faer::{Mat, Side};
use golden_cases::{Golden, golden_cases};
use pentimento_attribution::curvature::{
    Block, BlockKind, Curvature, CurvatureDraw, CurvatureError, CurvaturePass, EigenvalueSums, FactorSums,
    ImageRecords, WeightSharing, bases, blocks,
};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::{Trainer, TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::{Architecture, BatchCondition, Parameters, UnetConfig};
use pentimento_kernels::extension::device_for;

const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
const TIMESTEPS: [usize; 2] = [100, 700];

struct Network {
    architecture: Architecture,
    schedule: ScheduleConfig,
    values: Vec<Vec<f32>>,
    images: Vec<Vec<f32>>,
    noises: Vec<Vec<f32>>,
}

/// A few hundred steps on the images of a golden case.
fn trained() -> Network {
    let config = serde_json::json!({
        "sample_size": SIDE, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 2,
        "block_out_channels": [4, 4], "attention_head_dim": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    });
    let architecture =
        Architecture::new(&UnetConfig::from_json(&config.to_string(), "config.json").unwrap().0).unwrap();
    let case = golden_cases().into_iter().find(|case| case.ends_with("plain")).unwrap();
    let golden = Golden::read(&case);
    let narrow = |rows: Vec<Vec<f64>>| -> Vec<Vec<f32>> {
        rows.into_iter().map(|row| row.into_iter().map(|value| value as f32).collect()).collect()
    };
    let images: Vec<Vec<f32>> = narrow(golden.image_rows("features.images")).into_iter().take(4).collect();
    let noises = narrow(golden.image_rows("kfac.eta"));
    let schedule = ScheduleConfig::default();
    let training = TrainingConfig { steps: 300, batch: 8, learning_rate: 3e-3, ..TrainingConfig::default() };
    let mut trainer = Trainer::new(architecture.clone(), &schedule, training, 4, 0).unwrap();
    let read = |index: usize, image: &mut [f32]| image.copy_from_slice(&images[index]);
    let set = TrainingImages { count: images.len(), shape: [SIDE, SIDE, 1], read: &read };
    for _ in 0..training.steps {
        trainer.train_step(&set).unwrap();
    }
    let losses = trainer.losses();
    let mean = |range: &[f32]| range.iter().sum::<f32>() / range.len() as f32;
    assert!(mean(&losses[250..]) < 0.7 * mean(&losses[..20]), "the network has learned");
    let values = trainer.member().to_vec();
    Network { architecture, schedule, values, images, noises }
}

/// The gradient in all parameters of the inner product of the output with a direction, in f64 by automatic differentiation.
fn gradients(network: &Network, image: usize, timestep: usize, directions: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let Network { architecture, schedule, .. } = network;
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let values = network.values.iter().map(|values| wide(values)).collect();
    let parameters = Parameters::from_memory::<f64>(architecture, values);
    let bar = schedule.alphas_cumprod()[timestep];
    let noisy: Vec<f64> = wide(&network.images[image])
        .iter()
        .zip(wide(&network.noises[image]))
        // Rounded as the pass in f32 rounds it.
        .map(|(x, eps)| f64::from((bar.sqrt() * x + (1.0 - bar).sqrt() * eps) as f32))
        .collect();
    let tensor = |values: Vec<f64>| -> Tensor<4> {
        let data = TensorData::new(values, [1, SIDE, SIDE, 1]);
        Tensor::from_data(data, (&device_for(DType::F64), DType::F64))
    };
    let condition = BatchCondition::new::<f64>(architecture, &[timestep], &[]);
    let of = |direction: &Vec<f64>| {
        let tracked = parameters.tracked();
        let output = architecture.forward(&tracked, tensor(noisy.clone()), &condition);
        let mut gradients = (output * tensor(direction.clone())).sum().backward();
        let gradients = tracked.take_gradients::<f64>(architecture, &mut gradients);
        gradients.iter().flat_map(|gradient| gradient.as_ref().to_vec()).collect()
    };
    directions.iter().map(of).collect()
}

/// Directions whose mean outer product is exactly the identity: sqrt(D) times each unit vector.
fn all_directions() -> Vec<Vec<f64>> {
    let of = |place: usize| {
        let mut direction = vec![0.0; PIXELS];
        direction[place] = (PIXELS as f64).sqrt();
        direction
    };
    (0..PIXELS).map(of).collect()
}

#[test]
fn corrected_eigenvalues_are_the_best_and_inverses_come_near() {
    let network = trained();
    let Network { architecture, schedule, values, images, noises } = &network;
    let count = architecture.parameter_count();
    let directions = all_directions();

    // The whole matrix, from its definition.
    let scale = (2.0 / PIXELS as f64).sqrt();
    let draws = images.len() * TIMESTEPS.len();
    let samples = draws * PIXELS;
    let mut rows = Vec::with_capacity(samples * count);
    for image in 0..images.len() {
        for timestep in TIMESTEPS {
            for gradient in gradients(&network, image, timestep, &directions) {
                rows.extend(gradient.into_iter().map(|value| scale * value));
            }
        }
    }
    let rows = Mat::from_fn(samples, count, |row, column| rows[row * count + column]);
    let exact = rows.transpose() * &rows * faer::Scale(1.0 / samples as f64);

    // The approximations, of the same draws.
    let parameters = Parameters::from_memory::<f32>(architecture, values.clone());
    let pass = CurvaturePass::new(architecture, parameters, schedule, [SIDE, SIDE]);
    let mut records: Vec<ImageRecords> = Vec::new();
    for (image, noise) in images.iter().zip(noises) {
        for timestep in TIMESTEPS {
            let draw = |direction: &Vec<f64>| CurvatureDraw {
                draw: Draw { timestep, noise: noise.clone() },
                direction: direction.iter().map(|&value| value as f32).collect(),
            };
            let draws = directions.iter().map(draw);
            records.extend(draws.map(|draw| pass.records(image, None, &[draw], "an image").unwrap()));
        }
    }
    let mut factors = FactorSums::new(architecture, WeightSharing::Expand);
    factors.add(&records).unwrap();
    let bases = bases(factors).unwrap();
    let mut squares = EigenvalueSums::new(&bases, 0);
    squares.add(&bases, &records).unwrap();
    let kronecker = Curvature::kronecker(bases.clone());
    let corrected = Curvature::corrected(bases, &squares).unwrap();

    let all = blocks(architecture);
    assert_eq!(all.iter().map(Block::count).sum::<usize>(), count, "every parameter is in a block");
    let matrices = [dense(&kronecker), dense(&corrected)];
    let (mut of_kronecker, mut of_corrected) = (0.0, 0.0);
    for (index, block) in all.iter().enumerate() {
        let range = block.first..block.first + block.count();
        let truth = exact.submatrix(range.start, range.start, range.len(), range.len());
        // The softmax does not change if all keys move alike, so the bias of keys has no gradient and its block is zero.
        let is_zero = block.name.ends_with("to_k.bias");
        let norm = if is_zero { 1e-6 * exact.norm_l2() } else { truth.norm_l2() };
        assert_eq!(is_zero, truth.norm_l2() < 1e-14 * exact.norm_l2(), "{}", block.name);
        let distance = |matrices: &Vec<Mat<f64>>| (&matrices[index] - truth).norm_l2() / norm;
        let [kronecker, corrected] = matrices.each_ref().map(distance);
        println!("{}: K-FAC {kronecker:.3}, EK-FAC {corrected:.3} of the norm", block.name);
        assert!(corrected <= kronecker * 1.000_1 + 1e-4, "{}: {corrected} against {kronecker}", block.name);
        if block.kind == BlockKind::Weight {
            of_kronecker += kronecker;
            of_corrected += corrected;
            assert!(corrected < 0.9, "{}: the matrix is not this one: {corrected}", block.name);
        } else {
            assert!(kronecker < 1e-4 && corrected < 1e-4, "{}: blocks of one row are exact", block.name);
        }
    }
    // Without a damping the keys' bias has no inverse, and it is named.
    let error = corrected.check(&vec![0.0; all.len()]).unwrap_err();
    assert!(matches!(&error, CurvatureError::Singular { .. }), "{error}");
    let keys = all.iter().position(|block| block.name.ends_with("to_k.bias")).unwrap();
    let largest = corrected.mean_eigenvalues().into_iter().fold(0.0, f64::max);
    println!(
        "the keys' bias has {:.1e} of the largest mean eigenvalue",
        corrected.mean_eigenvalues()[keys] / largest
    );
    let mut dampings = vec![1e-3; all.len()];
    dampings[keys] = 0.0;
    let error = corrected.check(&dampings).unwrap_err().to_string();
    assert!(error.contains("down_blocks.1.attentions.0.to_k.bias"), "{error}");
    for damping in [-1.0, f64::NAN, f64::INFINITY] {
        let error = corrected.check(&vec![damping; all.len()]).unwrap_err();
        assert!(matches!(error, CurvatureError::Damping { .. }), "{error}");
    }
    assert!(of_corrected < 0.95 * of_kronecker, "EK-FAC {of_corrected}, K-FAC {of_kronecker}");

    // Products of the inverse with the gradient of another image, with the mean eigenvalue as damping.
    let mean = (0..count).map(|place| exact[(place, place)]).sum::<f64>() / count as f64;
    let vector = gradients(&network, 0, 500, &directions[27..28]).concat();
    let narrow: Vec<f32> = vector.iter().map(|&value| value as f32).collect();
    let solve = |of: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        let damped = Mat::from_fn(count, count, |row, column| {
            of(row, column) + if row == column { mean } else { 0.0 }
        });
        let solved = damped.llt(Side::Lower).unwrap().solve(Mat::from_fn(count, 1, |row, _| vector[row]));
        solved.col(0).iter().copied().collect()
    };
    let block_of: Vec<usize> =
        all.iter().enumerate().flat_map(|(index, block)| vec![index; block.count()]).collect();
    let whole = solve(&|row, column| exact[(row, column)]);
    let in_blocks =
        solve(&|row, column| if block_of[row] == block_of[column] { exact[(row, column)] } else { 0.0 });
    let cosine = |found: &[f64], truth: &[f64]| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(found, truth) / (dot(found, found) * dot(truth, truth)).sqrt()
    };
    let product = |curvature: &Curvature| -> Vec<f64> {
        let solved = curvature.solve(&narrow, &vec![mean; all.len()]).unwrap();
        solved.into_iter().map(f64::from).collect()
    };
    let products = [vector.clone(), product(&kronecker), product(&corrected)];
    let with_whole = products.each_ref().map(|product| cosine(product, &whole));
    let with_blocks = products.each_ref().map(|product| cosine(product, &in_blocks));
    println!("cosines of the gradient, K-FAC and EK-FAC with the exact inverse product: {with_whole:.3?}");
    println!(
        "and with that of exact blocks, whose own is {:.3}: {with_blocks:.3?}",
        cosine(&in_blocks, &whole)
    );
    for [gradient, kronecker, corrected] in [with_whole, with_blocks] {
        assert!(kronecker > gradient && corrected > gradient, "{gradient}, {kronecker}, {corrected}");
        assert!(corrected > kronecker, "{kronecker}, {corrected}");
    }
}

/// The matrices that the approximations of all blocks stand for, from products with them: `(G + damping I)^-1` inverted. Blocks
/// do not know of each other, so a column of each comes from one product.
fn dense(curvature: &Curvature) -> Vec<Mat<f64>> {
    let all: Vec<&Block> = curvature.bases().iter().map(|basis| basis.block()).collect();
    let total = all.iter().map(|block| block.count()).sum();
    let dampings: Vec<f64> = curvature.mean_eigenvalues().iter().map(|mean| mean.max(1e-12)).collect();
    let mut inverses: Vec<Mat<f64>> =
        all.iter().map(|block| Mat::zeros(block.count(), block.count())).collect();
    for column in 0..all.iter().map(|block| block.count()).max().unwrap() {
        let mut units = vec![0.0f32; total];
        for block in all.iter().filter(|block| column < block.count()) {
            units[block.first + column] = 1.0;
        }
        let solved = curvature.solve(&units, &dampings).unwrap();
        for (inverse, block) in inverses.iter_mut().zip(&all).filter(|(_, block)| column < block.count()) {
            for row in 0..block.count() {
                inverse[(row, column)] = f64::from(solved[block.first + row]);
            }
        }
    }
    let matrix = |(inverse, damping): (&Mat<f64>, &f64)| {
        let side = inverse.nrows();
        let mut matrix = inverse.partial_piv_lu().solve(Mat::<f64>::identity(side, side));
        (0..side).for_each(|place| matrix[(place, place)] -= damping);
        matrix
    };
    inverses.iter().zip(&dampings).map(matrix).collect()
}
