//! The blocks of a network over texts, whose linear layers often have no bias and whose keys come from the text, against
//! gradients that automatic differentiation gives in f64.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use burn::tensor::{DType, Tensor, TensorData};
use pentimento_attribution::curvature::{
    Block, BlockKind, Curvature, CurvatureDraw, CurvaturePass, EigenvalueSums, FactorSums, WeightSharing,
    bases, blocks,
};
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::denoising::{Denoising, Draw, NoisyBatch};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{AdapterModule, Architecture, Parameters, UnetConfig};
use pentimento_kernels::extension::device_for;
use pentimento_noise::{Purpose, Stream};

const SIDE: usize = 4;
const LENGTH: usize = SIDE * SIDE * 2;
const TIMESTEPS: [usize; 2] = [150, 600];

fn normals(number: u32, length: usize) -> Vec<f32> {
    let mut values = vec![0.0; length];
    Stream::new(8, Purpose::Test, number, 0).fill_normal(&mut values);
    values
}

fn network(linear_projection: bool) -> (Architecture, Vec<Vec<f32>>) {
    let config = serde_json::json!({
        "_class_name": "UNet2DConditionModel", "sample_size": SIDE, "in_channels": 2, "out_channels": 2,
        "layers_per_block": 1, "norm_num_groups": 2, "block_out_channels": [4, 8], "attention_head_dim": [1, 2],
        "cross_attention_dim": 6, "use_linear_projection": linear_projection,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    });
    let (config, _) = UnetConfig::from_json(&config.to_string(), "config.json").unwrap();
    let architecture = Architecture::new(&config).unwrap();
    let values = values(&architecture);
    (architecture, values)
}

/// Zero nowhere, as at the start of training, which would hide layers.
fn values(architecture: &Architecture) -> Vec<Vec<f32>> {
    let values = architecture.parameters().iter().enumerate().map(|(place, spec)| {
        let inputs = spec.len() as f32 / spec.disk_shape[0] as f32;
        normals(place as u32, spec.len()).into_iter().map(|value| 0.1 + 0.7 * value / inputs.sqrt()).collect()
    });
    values.collect()
}

/// The network beneath an adapter of its attentions and of one convolution with a larger kernel.
fn adapted(linear_projection: bool) -> (Architecture, Vec<Vec<f32>>) {
    let (network, base) = network(linear_projection);
    let is_adapted = |name: &str| name.contains(".attentions.") || name == "up_blocks.1.resnets.0.conv1";
    let part = |(name, _): (&str, _)| AdapterModule { name: name.into(), rank: 2, alpha: 3.0 };
    let parts: Vec<AdapterModule> =
        network.adaptable().filter(|(name, _)| is_adapted(name)).map(part).collect();
    let architecture = network.with_adapter(&parts, base).unwrap();
    let values = values(&architecture);
    (architecture, values)
}

/// An image, its text, and what is drawn for it.
struct Example {
    image: Vec<f32>,
    condition: Condition,
    draws: Vec<CurvatureDraw>,
}

fn examples() -> Vec<Example> {
    let example = |number: u32| {
        let draw = |(place, timestep)| CurvatureDraw {
            draw: Draw { timestep, noise: normals(2000 + 10 * number + place, LENGTH) },
            direction: normals(3000 + 10 * number + place, LENGTH),
        };
        Example {
            image: normals(1000 + number, LENGTH),
            condition: Condition::Text(TextEmbedding::new(normals(1500 + number, 5 * 6), 6)),
            draws: (0..).zip(TIMESTEPS).map(draw).collect(),
        }
    };
    (0..3).map(example).collect()
}

/// The pseudo-gradient of one draw in all parameters.
fn gradient(
    architecture: &Architecture,
    values: &[Vec<f32>],
    example: &Example,
    draw: &CurvatureDraw,
) -> Vec<f64> {
    let wide = values.iter().map(|values| values.iter().copied().map(f64::from).collect()).collect();
    let tracked = Parameters::from_memory::<f64>(architecture, wide).tracked();
    let NoisyBatch { input, condition, .. } = Denoising::<f64>::new(&ScheduleConfig::default()).batch::<f64>(
        architecture,
        &example.image,
        [SIDE, SIDE],
        [&draw.draw],
        std::slice::from_ref(&example.condition),
    );
    let output = architecture.forward(&tracked, input, &condition);
    let scale = (2.0 / LENGTH as f64).sqrt();
    let direction: Vec<f64> = draw.direction.iter().map(|&value| scale * f64::from(value)).collect();
    let direction = TensorData::new(direction, [1, SIDE, SIDE, 2]);
    let direction = Tensor::<4>::from_data(direction, (&device_for(DType::F64), DType::F64));
    let mut gradients = (output * direction.autodiff()).sum().backward();
    let gradients = tracked.take_gradients::<f64>(architecture, &mut gradients);
    gradients.iter().flat_map(|gradient| gradient.as_ref().to_vec()).collect()
}

/// The mean square of what arrives in a block does not depend on the axes in which it is measured. So corrected eigenvalues
/// must give it back, and those of K-FAC too where a block is one row.
#[test]
fn blocks_hold_the_gradients_of_their_layers() {
    for (linear_projection, is_adapted) in [(false, false), (true, false), (false, true), (true, true)] {
        let (architecture, values) =
            if is_adapted { adapted(linear_projection) } else { network(linear_projection) };
        let parameters = Parameters::from_memory::<f32>(&architecture, values.clone());
        let pass = CurvaturePass::new(&architecture, parameters, &ScheduleConfig::default(), [SIDE, SIDE]);
        let examples = examples();
        let mut factors = FactorSums::new(&architecture, WeightSharing::Expand);
        let mut reduced = FactorSums::new(&architecture, WeightSharing::Reduce);
        let mut single = Vec::new();
        let mut exact = vec![0.0f64; architecture.parameter_count()];
        for example in &examples {
            let Example { image, condition, draws } = example;
            factors.add(&[pass.records(image, condition, draws, "an image").unwrap()]).unwrap();
            reduced.add(&[pass.records(image, condition, draws, "an image").unwrap()]).unwrap();
            for draw in draws {
                single.push(pass.records(image, condition, std::slice::from_ref(draw), "an image").unwrap());
                let gradient = gradient(&architecture, &values, example, draw);
                exact.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value * value);
            }
        }
        let reduced = bases(reduced).unwrap();
        let bases = bases(factors).unwrap();
        let mut squares = EigenvalueSums::new(&bases, 0);
        squares.add(&bases, &single).unwrap();
        let kronecker = Curvature::kronecker(bases.clone());
        let corrected = Curvature::corrected(bases, &squares).unwrap();

        let all = blocks(&architecture);
        // Gradients of keys sum to zero over positions, so they are never summed, those of an adapter's parts neither.
        let reduced = Curvature::kronecker(reduced);
        let means = kronecker.mean_eigenvalues().into_iter().zip(reduced.mean_eigenvalues());
        let of_keys = all.iter().zip(means).filter(|(block, _)| block.name.contains(".to_k."));
        assert_eq!(of_keys.clone().count(), if is_adapted { 16 } else { 8 });
        for (block, (expanded, reduced)) in of_keys {
            assert_eq!(expanded, reduced, "{}", block.name);
        }
        assert_eq!(all.iter().map(Block::count).sum::<usize>(), architecture.parameter_count());
        let found = all.iter().zip(corrected.mean_eigenvalues()).zip(kronecker.mean_eigenvalues());
        let (mut without_bias, mut norms) = (0, 0);
        for ((block, corrected), kronecker) in found {
            let own = &exact[block.first..block.first + block.count()];
            let truth = own.iter().sum::<f64>() / (own.len() * single.len()) as f64;
            let error = |found: f64| (found / truth - 1.0).abs();
            assert!(error(corrected) < 1e-3, "{}: {corrected:e} instead of {truth:e}", block.name);
            match block.kind {
                BlockKind::Weight => {}
                BlockKind::Bias | BlockKind::Norm => {
                    assert!(error(kronecker) < 1e-3, "{}: {kronecker:e} instead of {truth:e}", block.name);
                }
            }
            let name = &architecture.parameters()[block.layer].name;
            assert!(name.starts_with(block.name.trim_end_matches(".bias")), "{name}, {}", block.name);
            norms += usize::from(block.kind == BlockKind::Norm && block.name.contains("transformer_blocks"));
            let bias = block.name.replace(".weight", ".bias");
            let is_alone = block.kind == BlockKind::Weight && !all.iter().any(|other| other.name == bias);
            without_bias += usize::from(is_alone);
        }
        let expected = match is_adapted {
            // Four transformers of one block each: three norms, and six of eight layers of its two attentions.
            false => (4 * 3, 4 * 6),
            // Two parts of each of its twelve layers, and of the convolution.
            true => (0, 2 * (4 * 12 + 1)),
        };
        assert_eq!((norms, without_bias), expected);
    }
}
