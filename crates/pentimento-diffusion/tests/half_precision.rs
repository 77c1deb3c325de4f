//! Networks beneath adapters whose weights came in 16 bits: they stay so, and everything has the bytes of the same values in f32.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use burn::tensor::Tensor;
use common::*;
use half::{bf16, f16};
use pentimento_diffusion::checkpoint::{AdapterForm, Checkpoint, CheckpointFiles, ReadAdapter, Selection};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::training::{Trainer, TrainingConditions, TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::{AdapterModule, BatchCondition, Dual, Parameters, StoredValues};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs;
use std::path::Path;

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const SIDES: [usize; 4] = [2, 8, 8, 4];

/// The number of 16 bits that is nearest to a value: its bits, and the number itself.
fn rounded(value: f32, dtype: Dtype) -> (u16, f32) {
    match dtype {
        Dtype::F16 => (f16::from_f32(value).to_bits(), f16::from_f32(value).to_f32()),
        _ => (bf16::from_f32(value).to_bits(), bf16::from_f32(value).to_f32()),
    }
}

/// A golden pipeline whose weights are rounded to a type of 16 bits and written in it, or as the same numbers in f32. `change` may change
/// the bits of a tensor.
fn pipeline(
    case: &LatentCase,
    dtype: Dtype,
    in_f32: bool,
    change: impl Fn(&str, &mut [u16]),
) -> tempfile::TempDir {
    let (from, folder) = (Path::new(&case.name), tempfile::tempdir().unwrap());
    let to = folder.path();
    for file in ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"] {
        fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        fs::write(to.join(file), fs::read(from.join(file)).unwrap()).unwrap();
    }
    let bytes = fs::read(from.join(WEIGHTS)).unwrap();
    let tensor = |(name, view): (String, TensorView<'_>)| {
        let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let bytes: Vec<u8> = if in_f32 {
            values.flat_map(|value| rounded(value, dtype).1.to_le_bytes()).collect()
        } else {
            let mut bits: Vec<u16> = values.map(|value| rounded(value, dtype).0).collect();
            change(&name, &mut bits);
            bits.into_iter().flat_map(u16::to_le_bytes).collect()
        };
        (name, view.shape().to_vec(), bytes)
    };
    let tensors: Vec<_> =
        SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(tensor).collect();
    let dtype = if in_f32 { Dtype::F32 } else { dtype };
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    fs::write(to.join(WEIGHTS), safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

fn opened(folder: &Path) -> Checkpoint {
    CheckpointFiles::find_denoiser(folder, &Selection::default()).unwrap().open().unwrap()
}

/// The pipelines over texts.
fn cases() -> Vec<LatentCase> {
    let mut cases = latent_cases();
    cases.retain(|case| case.golden.has("text.hidden"));
    assert!(cases.len() >= 2, "two pipelines over texts");
    cases
}

/// With a part for every layer.
fn with_adapter(checkpoint: Checkpoint) -> Checkpoint {
    let part = |(name, _): (&str, _)| AdapterModule { name: name.into(), rank: 2, alpha: 3.0 };
    let modules: Vec<AdapterModule> = checkpoint.architecture.adaptable().map(part).collect();
    let zeros = checkpoint.architecture.parameters().iter().map(|spec| vec![0.0; spec.len()]);
    let layout = checkpoint.architecture.with_adapter(&modules, zeros).unwrap();
    let values = random_values(&layout, 3);
    checkpoint
        .with_adapter(ReadAdapter { form: AdapterForm::Peft, modules, values, text_encoders: Vec::new() })
        .unwrap()
}

/// Everything that a network is asked for: outputs, tangents, gradients in image and adapter, what its layers saw, and an adapter that was
/// trained for two steps.
fn asked(checkpoint: &Checkpoint, told: &[Condition]) -> Vec<(String, Vec<u32>)> {
    let architecture = &checkpoint.architecture;
    let parameters = Parameters::from_memory::<f32>(architecture, checkpoint.values_in_f32());
    let condition = BatchCondition::new::<f32>(architecture, &[3, 700], told);
    let length = SIDES.iter().product();
    let input = || tensor::<f32>(&wide(&normals(1, length)), SIDES);
    let directions =
        tensor::<f32>(&wide(&normals(2, 3 * length)), [3 * SIDES[0], SIDES[1], SIDES[2], SIDES[3]]);
    let f32_of = |tensor: Tensor<4>| bits(&tensor.into_data().try_into_vec::<f32>().unwrap());

    let (output, tangents) =
        architecture.forward(&parameters, Dual::new(input(), directions), &condition).into_parts(3);
    let mut found = vec![("output".into(), f32_of(output)), ("tangents".into(), f32_of(tangents))];

    let (tracked, image) = (parameters.tracked(), input().autodiff().require_grad());
    let output = architecture.forward(&tracked, image.clone(), &condition);
    let mut gradients = output.square().sum().backward();
    found.push(("gradient in the image".into(), f32_of(image.grad(&gradients).unwrap())));
    let of_adapter = tracked.take_gradients::<f32>(architecture, &mut gradients);
    for (spec, gradient) in architecture.parameters().iter().zip(&of_adapter) {
        found.push((format!("gradient in {}", spec.name), bits(gradient.as_ref())));
    }

    let records = architecture.observe::<f32>(&parameters, input(), &condition, <[f32]>::to_vec);
    for record in records {
        let seen = [record.input.values(), record.output_gradient.values()].concat();
        found.push((format!("what layer {} saw", record.at), bits(&seen)));
    }

    let config = TrainingConfig { steps: 2, batch: 2, ..TrainingConfig::default() };
    let conditions = TrainingConditions::new(told.iter().map(|one| vec![one.clone()]).collect());
    let mut trainer =
        Trainer::conditional(architecture.clone(), &ten_timesteps(), config, conditions, 7, 0).unwrap();
    let images = normals(4, length);
    let read =
        |index: usize, image: &mut [f32]| image.copy_from_slice(&images[index * length / 2..][..length / 2]);
    let set = TrainingImages { count: 2, shape: [SIDES[1], SIDES[2], SIDES[3]], read: &read };
    for _ in 0..2 {
        trainer.train_step(&set).unwrap();
    }
    let trained = trainer.member().iter().flat_map(|values| bits(values)).collect();
    found.push(("trained adapter".into(), trained));
    found
}

#[test]
fn values_of_16_bits_stay_so_and_give_the_same_bytes() {
    for case in cases() {
        let told = [case.text(0), case.text(1)];
        for dtype in [Dtype::F16, Dtype::BF16] {
            let (short, long) =
                (pipeline(&case, dtype, false, |_, _| ()), pipeline(&case, dtype, true, |_, _| ()));
            let (short, long) = (opened(short.path()), opened(long.path()));
            for (values, same) in short.values.iter().zip(&long.values) {
                let has_16 = match dtype {
                    Dtype::F16 => matches!(values, StoredValues::F16(_)),
                    _ => matches!(values, StoredValues::Bf16(_)),
                };
                assert!(has_16 && matches!(same, StoredValues::F32(_)), "{}: types of values", case.name);
                assert_eq!(2 * values.bytes(), same.bytes());
                assert_eq!(bits(&values.to_f32()), bits(&same.to_f32()), "{}", case.name);
            }
            let (short, long) = (with_adapter(short), with_adapter(long));
            assert_eq!(short.architecture.base_digest(), long.architecture.base_digest(), "{}", case.name);
            for ((what, a), (_, b)) in asked(&short, &told).into_iter().zip(asked(&long, &told)) {
                assert!(!a.is_empty() && a == b, "{} in {dtype:?}: {what}", case.name);
            }
        }
    }
}

/// In f64, and by operations that Burn composes, whatever came in 16 bits is widened first.
#[test]
fn proofs_take_the_same_values() {
    let case = &cases()[0];
    let told = [case.text(0), case.text(1)];
    let outputs = [true, false].map(|in_f32| {
        let folder = pipeline(case, Dtype::F16, in_f32, |_, _| ());
        let Checkpoint { architecture, values, .. } = with_adapter(opened(folder.path()));
        let values = values.iter().map(|values| wide(&values.to_f32())).collect();
        let parameters = Parameters::from_memory::<f64>(&architecture, values);
        let condition = BatchCondition::new::<f64>(&architecture, &[3, 700], &told);
        let input = tensor::<f64>(&wide(&normals(1, SIDES.iter().product())), SIDES);
        values_of::<f64>(architecture.forward(&parameters, input, &condition))
    });
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn what_is_no_finite_number_is_refused_by_name() {
    let case = &cases()[0];
    let name = "mid_block.resnets.0.conv1.weight";
    let (infinity, nan) = ([0x7c00, 0x7f80], [0xfe00, 0xffc0]);
    for (place, dtype) in [Dtype::F16, Dtype::BF16].into_iter().enumerate() {
        for (bits, said) in
            [(infinity[place], "inf"), (infinity[place] | 0x8000, "-inf"), (nan[place], "NaN")]
        {
            let folder = pipeline(case, dtype, false, |tensor, values| {
                if tensor == name {
                    values[1500] = bits;
                    values[2000] = bits;
                }
            });
            let files = CheckpointFiles::find_denoiser(folder.path(), &Selection::default()).unwrap();
            let error = files.open().unwrap_err().to_string();
            let told = format!("tensor `{name}`: value 1500 is {said}, not a finite number");
            assert!(error.contains(WEIGHTS) && error.ends_with(&told), "{error}");
        }
    }
    // The largest numbers and the smallest are finite.
    let folder = pipeline(case, Dtype::F16, false, |_, values| {
        values[..4].copy_from_slice(&[0x7bff, 0xfbff, 1, 0x8000])
    });
    let values = opened(folder.path()).values;
    assert!(values.iter().any(|values| values.to_f32().contains(&65504.0)));
}
