//! The networks of the latent golden cases, and what PyTorch computed with them in `f64`. `tests/goldens_latent/README.md`
//! has the tolerances of `f32`, and what mistakes hide above them. In `f64` what is left is the rounding of the stored answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use burn::tensor::Tensor;
use common::*;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::{Denoising, Draw, NoisyBatch};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplerKind, SamplingConfig};
use pentimento_diffusion::unet::{BatchCondition, Dual, Precision, to_disk_layout};

const IN_F64: f64 = 1e-6;
const OUTPUTS: f64 = 2e-5;
const GRADIENTS: f64 = 1e-4;

fn forward<T: Precision>(case: &LatentCase, kind: &str, relative: f64) {
    let architecture = &case.checkpoint.architecture;
    let (timesteps, conditions) =
        (case.golden.whole_numbers("forward.t"), case.conditions("forward.condition"));
    // Other sizes are given for one image.
    let (timesteps, conditions) = match kind {
        "forward" => (&timesteps[..], &conditions[..]),
        _ => (&timesteps[2..3], &conditions[2..3]),
    };
    let sides = case.sides(&format!("{kind}.x"));
    architecture.config().check_image(sides[1], sides[2], sides[3]).unwrap();
    let input = tensor::<T>(&case.golden.images(&format!("{kind}.x")), sides);
    let condition = BatchCondition::new::<T>(architecture, timesteps, conditions);
    let parameters = parameters::<T>(architecture, &case.checkpoint.values_in_f32());
    let output = architecture.forward(&parameters, input, &condition);
    assert_eq!(output.dims(), sides);
    let expected = case.golden.images(&format!("{kind}.out"));
    assert_close(&format!("{kind} of {}", case.name), &values_of::<T>(output), &expected, relative);
}

#[test]
pub(crate) fn outputs() {
    for case in &latent_cases() {
        for kind in ["forward", "forward_wide", "forward_odd"] {
            if case.golden.has(&format!("{kind}.x")) {
                forward::<f64>(case, kind, IN_F64);
                forward::<f32>(case, kind, OUTPUTS);
            }
        }
    }
}

fn directional<T: Precision>(case: &LatentCase, relative: f64) {
    let architecture = &case.checkpoint.architecture;
    let [_, height, width, channels] = case.sides("forward.x");
    let length = height * width * channels;
    let condition = BatchCondition::new::<T>(
        architecture,
        &case.golden.whole_numbers("forward.t")[2..3],
        &case.conditions("forward.condition")[2..3],
    );
    let image = &case.golden.images("forward.x")[2 * length..3 * length];
    let tangents = tensor::<T>(&case.golden.images("jvp.tangent"), case.sides("jvp.tangent"));
    let [directions, ..] = tangents.dims();
    let input = Dual::new(tensor::<T>(image, [1, height, width, channels]), tangents);
    let parameters = parameters::<T>(architecture, &case.checkpoint.values_in_f32());
    let (output, derivatives) = architecture.forward(&parameters, input, &condition).into_parts(directions);
    let what = format!("derivative of {}", case.name);
    let expected = &case.golden.images("forward.out")[2 * length..3 * length];
    assert_close(&what, &values_of::<T>(output), expected, relative);
    assert_close(&what, &values_of::<T>(derivatives), &case.golden.images("jvp.out"), relative);
}

#[test]
pub(crate) fn derivatives_along_directions() {
    for case in &latent_cases() {
        directional::<f64>(case, IN_F64);
        directional::<f32>(case, OUTPUTS);
    }
}

#[test]
pub(crate) fn schedules() {
    for case in &latent_cases() {
        let schedule = &case.checkpoint.scheduler.schedule;
        let expected = case.golden.values("schedule.alphas_cumprod");
        // What is left is the rounding of the stored values, and of those that diffusers multiplied in `f32`.
        assert_close(&case.name, &schedule.alphas_cumprod(), expected, IN_F64);
    }
}

/// A scalar function of the output and of what it should be.
type Function = fn(Tensor<4>, Tensor<4>) -> Tensor<1>;

const FUNCTIONS: [(&str, Function); 3] = [
    ("loss", |output, target| (output - target).square().mean()),
    ("square", |output, _| output.square().mean()),
    ("mean", |output, _| output.mean()),
];

/// A function of the output for one noised sample, and its gradients in all parameters.
fn gradients<T: Precision>(case: &LatentCase, sample: usize, function: Function) -> (f64, Vec<Vec<f64>>) {
    let architecture = &case.checkpoint.architecture;
    let [_, height, width, channels] = case.sides("gradient.x0");
    let length = height * width * channels;
    let of_sample = |name: &str| -> Vec<f32> {
        let values = case.golden.images(name);
        values[sample * length..(sample + 1) * length].iter().map(|&value| value as f32).collect()
    };
    let timestep = case.golden.whole_numbers("gradient.t")[sample];
    let condition = case.conditions("gradient.condition")[sample].clone();
    let draw = Draw { timestep, noise: of_sample("gradient.eps") };
    let denoising = Denoising::<f64>::new(&case.checkpoint.scheduler.schedule);
    let NoisyBatch { input, condition, target } =
        denoising.batch::<T>(architecture, &of_sample("gradient.x0"), [height, width], [&draw], &[condition]);
    let tracked = parameters::<T>(architecture, &case.checkpoint.values_in_f32()).tracked();
    let output = architecture.forward(&tracked, input, &condition);
    let value = function(output, tensor::<T>(&target, [1, height, width, channels]).autodiff());
    let number = value.clone().inner().into_data().iter::<f64>().next().unwrap();
    let found = tracked.take_gradients::<T>(architecture, &mut value.backward());
    (number, found.iter().map(|gradient| wide(gradient.as_ref())).collect())
}

/// Compares all gradients that are there, those in some parameters times a factor; gives how many functions of samples.
fn compare_gradients<T: Precision>(case: &LatentCase, factor: impl Fn(&str) -> f64, relative: f64) -> usize {
    let specs = case.checkpoint.architecture.parameters();
    let samples = case.golden.shape("gradient.t")[0];
    let mut compared = 0;
    for (name, function) in FUNCTIONS {
        for sample in 0..samples {
            let of = |parameter: &str| format!("gradient.{name}.{sample}.{parameter}");
            if !case.golden.has(&of(&specs[0].name)) {
                continue;
            }
            compared += 1;
            let (_, found) = gradients::<T>(case, sample, function);
            assert_eq!(found.len(), specs.len());
            let expected = |spec_name: &str| -> Vec<f64> {
                let values = case.golden.values(&of(spec_name)).iter();
                values.map(|value| factor(spec_name) * value).collect()
            };
            let overall = specs.iter().map(|spec| largest(&expected(&spec.name))).fold(0.0, f64::max);
            for (spec, found) in specs.iter().zip(&found) {
                let what = format!("gradient of {name} in {} of {}", spec.name, case.name);
                // The softmax does not see a bias of its keys.
                if spec.name.ends_with("to_k.bias") {
                    assert!(largest(found) < relative * overall, "{what}");
                } else {
                    assert_close(&what, &to_disk_layout(spec, found), &expected(&spec.name), relative);
                }
            }
        }
    }
    compared
}

fn check_gradients<T: Precision>(case: &LatentCase, relative: f64) {
    let compared = compare_gradients::<T>(case, |_| 1.0, relative);
    assert!(compared >= 3, "{}: {compared} gradients", case.name);
    let samples = case.golden.shape("gradient.t")[0];
    let losses: Vec<f64> =
        (0..samples).map(|sample| gradients::<T>(case, sample, FUNCTIONS[0].1).0).collect();
    assert_close(
        &format!("losses of {}", case.name),
        &losses,
        case.golden.values("gradient.loss_value"),
        relative,
    );
}

#[test]
pub(crate) fn gradients_in_all_parameters() {
    for case in &latent_cases() {
        check_gradients::<f64>(case, IN_F64);
        check_gradients::<f32>(case, GRADIENTS);
    }
}

/// Recorded noise becomes the latents that diffusers makes of it, at any guidance against the empty prompt.
#[test]
pub(crate) fn sampling() {
    const GUIDED: f64 = 1e-4;
    let (mut plain, mut guided, mut guided_adapters) = (0, 0, 0);
    let adapted = adapter_cases().into_iter().map(|case| case.adapted);
    let adapted = adapted.filter(|case| case.golden.has("sampling.noise"));
    for case in &latent_cases().into_iter().chain(adapted).collect::<Vec<_>>() {
        let [_, height, width, _] = case.sides("sampling.noise");
        let steps = case.golden.whole_numbers("sampling.ddim_5_timesteps");
        let config = SamplingConfig {
            steps: steps.len(),
            sampler: SamplerKind::Ddim,
            clip: false,
            ..case.checkpoint.scheduler.sampling
        };
        let sampler = Sampler::new(&case.checkpoint.scheduler.schedule, config).unwrap();
        assert_eq!((0..sampler.len()).map(|step| sampler.timestep(step)).collect::<Vec<_>>(), steps);
        let architecture = &case.checkpoint.architecture;
        let parameters = vec![parameters::<f32>(architecture, &case.checkpoint.values_in_f32())];
        let mixture = Mixture::new(architecture.clone(), parameters, height, width, 4).unwrap();
        let sample = |mixture: &Mixture, condition: Condition| {
            let trajectory = Trajectory { sample: 0, weights: vec![1.0], condition: Some(condition) };
            let mut x: Vec<f32> = of(&case.golden.images("sampling.noise"));
            for step in 0..sampler.len() {
                let timestep = sampler.timestep(step);
                let predicted = mixture.predict_trajectories(std::slice::from_ref(&trajectory), &x, timestep);
                mixture.advance(&sampler, step, 0, &[0], &mut x, &predicted);
            }
            wide(&x)
        };
        if case.golden.has("sampling.ddim_5") {
            plain += 1;
            let expected = case.golden.images("sampling.ddim_5");
            assert_close(&case.name, &sample(&mixture, Condition::None), &expected, OUTPUTS);
        }
        for scale in ["1", "7.5"] {
            let name = format!("sampling.ddim_5.guidance_{scale}");
            if !case.golden.has(&name) {
                continue;
            }
            guided += 1;
            guided_adapters += usize::from(!architecture.adapter_modules().is_empty());
            // Of the prompts the first was sampled, and the fourth is empty.
            let scale = scale.parse().unwrap();
            let mixture = mixture.clone().guided(scale, case.text(3)).unwrap();
            let found = sample(&mixture, case.text(0));
            assert_close(&format!("{name} of {}", case.name), &found, &case.golden.images(&name), GUIDED);
        }
    }
    assert!(plain > 0, "nothing was sampled without guidance");
    let guided_networks = guided - guided_adapters;
    assert!(guided_networks >= 4 && guided_adapters >= 2, "{guided_networks} {guided_adapters}");
}

/// Adapters in every form: outputs with and without them, derivatives along directions, and gradients in their parameters.
#[test]
pub(crate) fn adapters() {
    let mut with_gradients = 0;
    for case in &adapter_cases() {
        let AdapterCase { adapted, base, scale_over_golden, .. } = case;
        // The same function with a part of the scale in B has other gradients in B.
        let factor = |name: &str| if name.ends_with(".lora_B.weight") { *scale_over_golden } else { 1.0 };
        for (network, is_adapted) in [(base, false), (adapted, true)] {
            forward::<f64>(network, "forward", IN_F64);
            forward::<f32>(network, "forward", OUTPUTS);
            assert_eq!(network.checkpoint.architecture.adapter_modules().is_empty(), !is_adapted);
        }
        if adapted.golden.has("jvp.out") {
            directional::<f64>(adapted, IN_F64);
            directional::<f32>(adapted, OUTPUTS);
        }
        with_gradients += compare_gradients::<f64>(adapted, factor, IN_F64);
        compare_gradients::<f32>(adapted, factor, GRADIENTS);
    }
    assert!(with_gradients >= 4, "{with_gradients} gradients");
}

/// Images that are made under different conditions have the bytes that each has by itself, whatever the batch.
#[test]
pub(crate) fn conditions_mix_in_a_batch() {
    let adapted = adapter_cases().into_iter().map(|case| case.adapted);
    let cases = latent_cases().into_iter().chain(adapted);
    for case in cases.filter(|case| case.golden.has("text.hidden")) {
        let architecture = &case.checkpoint.architecture;
        let [_, height, width, channels] = case.sides("forward.x");
        let length = height * width * channels;
        let images: Vec<f32> = of(&case.golden.images("forward.x"));
        let parameters = parameters::<f32>(architecture, &case.checkpoint.values_in_f32());
        let conditions = case.conditions("forward.condition");
        let run = |images: &[f32], conditions: &[Condition]| -> Vec<f32> {
            let count = images.len() / length;
            let input = tensor::<f32>(&wide(images), [count, height, width, channels]);
            let condition = BatchCondition::new::<f32>(architecture, &[500], conditions);
            architecture.forward(&parameters, input, &condition).into_data().try_into_vec().unwrap()
        };
        let together = run(&images, &conditions);
        let pairs = images.chunks_exact(length).zip(&conditions);
        let alone: Vec<f32> =
            pairs.flat_map(|(image, condition)| run(image, std::slice::from_ref(condition))).collect();
        assert_eq!(bits(&together), bits(&alone), "{}", case.name);
        let same = run(&images, &conditions[..1]);
        assert_eq!(bits(&same), bits(&run(&images, &vec![conditions[0].clone(); 4])), "{}", case.name);
        assert_ne!(bits(&same), bits(&together), "{}: the text decides nothing", case.name);

        // Trajectories of a mixture, of which one takes the mixture's own condition.
        let sampler =
            SamplingConfig { steps: 2, sampler: SamplerKind::Ddim, clip: false, ..SamplingConfig::default() };
        let sampler = Sampler::new(&case.checkpoint.scheduler.schedule, sampler).unwrap();
        let sample = |batch: usize, threads: usize, conditions: &[Option<Condition>]| -> Vec<f32> {
            let members = vec![parameters.clone(), parameters.clone()];
            let mixture = Mixture::new(architecture.clone(), members, height, width, batch).unwrap();
            let mixture = mixture.under(case.text(1)).unwrap();
            let trajectories: Vec<Trajectory> = conditions
                .iter()
                .map(|condition| Trajectory {
                    sample: 3,
                    weights: vec![0.25, 0.75],
                    condition: condition.clone(),
                })
                .collect();
            let go_on = |_| Ok::<(), std::convert::Infallible>(());
            with_threads(threads, || mixture.sample(&sampler, 1, &trajectories, go_on).unwrap())
        };
        let told = [Some(case.text(0)), None, Some(case.text(3)), Some(case.text(1))];
        let together = sample(7, 1, &told);
        let alone: Vec<f32> =
            told.iter().flat_map(|condition| sample(1, 2, std::slice::from_ref(condition))).collect();
        assert_eq!(bits(&together), bits(&alone), "{}: trajectories", case.name);
        let image_length = together.len() / told.len();
        let image = |place: usize| bits(&together[place * image_length..][..image_length]);
        assert_eq!(image(1), image(3), "the mixture's condition");
        assert_ne!(image(0), image(2), "another condition");
    }
}
