//! Adapters of low rank: what they compute against merged weights, and their files.

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
use pentimento_diffusion::arrays::ArrayWriter;
use pentimento_diffusion::checkpoint::{
    AdapterFiles, AdapterForm, DIFFUSERS_ADAPTER, ReadAdapter, TextEncoder, adapter_as_diffusers,
    adapter_files, network_files,
};
use pentimento_diffusion::checkup::check;
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::unet::{
    AdapterModule, Architecture, BatchCondition, Dual, Parameters, UnetConfig, to_disk_layout,
    to_memory_layout,
};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A part for every layer, of different ranks and scales.
fn parts_of_all_layers(network: &Architecture) -> Vec<AdapterModule> {
    let part = |(place, (name, _)): (usize, (&str, _))| AdapterModule {
        name: name.into(),
        rank: 1 + place % 3,
        alpha: 0.5 + (place % 4) as f64,
    };
    network.adaptable().enumerate().map(part).collect()
}

fn networks() -> Vec<(Architecture, Vec<Condition>)> {
    let config = |changes: Value| {
        let mut keys = json!({
            "sample_size": 8, "in_channels": 2, "out_channels": 2, "layers_per_block": 1, "norm_num_groups": 2,
            "block_out_channels": [4, 8], "attention_head_dim": 4,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        });
        keys.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let (config, _) = UnetConfig::from_json(&keys.to_string(), "config.json").unwrap();
        Architecture::new(&config).unwrap()
    };
    let over_text = |linear: bool| {
        config(json!({
            "_class_name": "UNet2DConditionModel", "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "attention_head_dim": [1, 2],
            "cross_attention_dim": 6, "use_linear_projection": linear,
        }))
    };
    let text = |number| {
        let states = normals(number, 5 * 6);
        Condition::Text(TextEmbedding::new(states, 6))
    };
    vec![
        (config(json!({})), vec![]),
        (config(json!({"resnet_time_scale_shift": "scale_shift", "downsample_padding": 0})), vec![]),
        (config(json!({"num_class_embeds": 5})), [4, 0].map(Condition::Class).to_vec()),
        (over_text(false), vec![text(50), text(51)]),
        (over_text(true), vec![text(50)]),
    ]
}

/// Where a value of A or B lies in the layout on disk, whatever the kernel.
fn product(down: &[f64], up: &[f64], rank: usize, inputs: usize) -> Vec<f64> {
    let outputs = up.len() / rank;
    let mut product = vec![0.0; outputs * inputs];
    for output in 0..outputs {
        for r in 0..rank {
            for input in 0..inputs {
                product[output * inputs + input] += up[output * rank + r] * down[r * inputs + input];
            }
        }
    }
    product
}

fn disk(architecture: &Architecture, values: &[Vec<f64>]) -> BTreeMap<String, Vec<f64>> {
    let specs = architecture.parameters().iter().zip(values);
    specs.map(|(spec, values)| (spec.name.clone(), to_disk_layout(spec, values))).collect()
}

/// `y = W x + s B (A x)` is the network with `W + s B A` in place of W, for every kind of layer, with its derivatives along
/// directions; and the gradients of A and B follow from that of W.
#[test]
fn an_adapter_is_a_sum_of_weights() {
    for (network, conditions) in networks() {
        let parts = parts_of_all_layers(&network);
        let base = random_values(&network, 1);
        let adapted = network.with_adapter(&parts, base.clone()).unwrap();
        assert_eq!(adapted.adapter_modules(), parts);
        assert_eq!(adapted.parameters().len(), 2 * parts.len());
        let values: Vec<Vec<f64>> = random_values(&adapted, 2).iter().map(|values| wide(values)).collect();
        let low_rank = disk(&adapted, &values);
        let mut merged: Vec<Vec<f64>> = base.iter().map(|values| wide(values)).collect();
        for part in &parts {
            let place =
                network.parameters().iter().position(|spec| spec.name == format!("{}.weight", part.name));
            let (spec, place) = (&network.parameters()[place.unwrap()], place.unwrap());
            let [down, up] =
                ["A", "B"].map(|matrix| &low_rank[&format!("{}.lora_{matrix}.weight", part.name)]);
            let sum = product(down, up, part.rank, down.len() / part.rank);
            let sum = to_memory_layout(spec, &sum);
            merged[place]
                .iter_mut()
                .zip(sum)
                .for_each(|(value, by)| *value += part.alpha / part.rank as f64 * by);
        }
        let with_adapter = Parameters::from_memory::<f64>(&adapted, values.clone());
        let with_sum = Parameters::from_memory::<f64>(&network, merged);

        let (images, shape) = (wide(&normals(9, 2 * 128)), [2, 8, 8, 2]);
        let told = BatchCondition::new::<f64>(&network, &[3, 700], &conditions);
        let input = || {
            Dual::new(tensor::<f64>(&images, shape), tensor::<f64>(&wide(&normals(10, 512)), [4, 8, 8, 2]))
        };
        let [found, truth] =
            [(&adapted, &with_adapter), (&network, &with_sum)].map(|(network, parameters)| {
                let (output, tangents) = network.forward(parameters, input(), &told).into_parts(2);
                [output, tangents].map(values_of::<f64>)
            });
        for (found, truth) in found.iter().zip(&truth) {
            assert_close("outputs and derivatives", found, truth, 1e-10);
        }

        let [found, of_weights] =
            [(&adapted, &with_adapter), (&network, &with_sum)].map(|(network, parameters)| {
                let tracked = parameters.tracked();
                let output = network.forward(&tracked, tensor::<f64>(&images, shape), &told);
                let cotangent: Tensor<4> = tensor::<f64>(&wide(&normals(11, 256)), shape);
                let mut gradients = (output * cotangent.autodiff()).sum().backward();
                let gradients = tracked.take_gradients::<f64>(network, &mut gradients);
                let gradients: Vec<Vec<f64>> =
                    gradients.iter().map(|gradient| wide(gradient.as_ref())).collect();
                disk(network, &gradients)
            });
        for part in &parts {
            let name = |matrix: &str| format!("{}.lora_{matrix}.weight", part.name);
            let (down, up) = (&low_rank[&name("A")], &low_rank[&name("B")]);
            let of_weight = &of_weights[&format!("{}.weight", part.name)];
            let (rank, inputs) = (part.rank, down.len() / part.rank);
            let scale = part.alpha / rank as f64;
            let (mut of_down, mut of_up) = (vec![0.0; down.len()], vec![0.0; up.len()]);
            for (output, of_row) in of_weight.chunks_exact(inputs).enumerate() {
                for r in 0..rank {
                    for (input, gradient) in of_row.iter().enumerate() {
                        of_down[r * inputs + input] += scale * up[output * rank + r] * gradient;
                        of_up[output * rank + r] += scale * down[r * inputs + input] * gradient;
                    }
                }
            }
            for (matrix, truth) in [("A", &of_down), ("B", &of_up)] {
                if largest(truth) > 0.0 {
                    assert_close(&name(matrix), &found[&name(matrix)], truth, 1e-8);
                }
            }
        }
    }
}

/// What holds of a network by itself holds of one beneath an adapter.
#[test]
fn adapted_networks_pass_the_checkup() {
    for (network, _) in networks() {
        let parts = parts_of_all_layers(&network);
        let adapted = network.with_adapter(&parts, random_values(&network, 1)).unwrap();
        let found = check(&adapted, &random_values(&adapted, 2), [8, 8], 1000);
        assert!(found.same_in_any_batch && found.finite, "{found:?}");
        // Networks of random values are too curved for differences; both ways of differentiating agree all the same.
        assert!(found.adjoint_error < 1e-5, "{found:?}");
        assert_eq!(found.unreached, Vec::<String>::new());
    }
}

/// A fresh adapter changes no bit of what its network gives.
#[test]
fn a_fresh_adapter_adds_nothing() {
    let network = tiny();
    let base = random_values(&network, 3);
    let parts: Vec<AdapterModule> = parts_of_all_layers(&network)
        .into_iter()
        .map(|part| AdapterModule { rank: 5, alpha: 5.0, ..part })
        .collect();
    let adapted = network.with_adapter(&parts, base.clone()).unwrap();
    let fresh = Parameters::initial(&adapted, 7, 2);
    let mut squares = 0.0;
    let mut count = 0;
    for (spec, values) in adapted.parameters().iter().zip(&fresh) {
        if spec.name.ends_with(".lora_B.weight") {
            assert!(values.iter().all(|value| *value == 0.0), "{}", spec.name);
        } else {
            count += values.len();
            squares += wide(values).iter().map(|value| value * value).sum::<f64>();
        }
    }
    let deviation = (squares / f64::from(count as u32)).sqrt();
    assert!((deviation * 5.0 - 1.0).abs() < 0.05, "A has standard deviation {deviation}, wanted is 1/5");
    assert_ne!(Parameters::initial(&adapted, 7, 3), fresh, "another stream");
    let told = BatchCondition::new::<f32>(&network, &[400], &[]);
    let run = |architecture: &Architecture, values: Vec<Vec<f32>>| {
        let parameters = Parameters::from_memory(architecture, values);
        architecture.forward(&parameters, tensor::<f32>(&wide(&normals(1, 32)), [2, 4, 4, 1]), &told)
    };
    let outputs = [run(&adapted, fresh), run(&network, base)];
    let [found, truth] = outputs.map(|output| output.into_data().try_into_vec::<f32>().unwrap());
    assert_eq!(found, truth);
}

#[test]
fn parts_that_fit_no_layer_are_named() {
    let network = tiny();
    let values = random_values(&network, 1);
    let part = |name: &str, rank, alpha| AdapterModule { name: name.into(), rank, alpha };
    let cases = [
        (vec![], "modules"),
        (vec![part("conv_in", 2, 1.0), part("conv_up", 2, 1.0)], "`conv_up` is adapted: the network has no"),
        (vec![part("conv_norm_out", 2, 1.0)], "`conv_norm_out`"),
        (vec![part("conv_in", 2, 1.0), part("conv_in", 3, 1.0)], "`conv_in` is there twice"),
        (vec![part("conv_in", 0, 1.0)], "`conv_in` is of rank 0"),
        (vec![part("conv_in", 2, f64::NAN)], "`conv_in` is scaled by NaN"),
    ];
    for (parts, expected) in cases {
        let error = network.with_adapter(&parts, values.clone()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // Whatever the order in which they are given, their parameters follow each other as the layers do.
    let parts =
        vec![part("conv_out", 1, 1.0), part("time_embedding.linear_2", 2, 1.0), part("conv_in", 3, 1.0)];
    let adapted = network.with_adapter(&parts, values.clone()).unwrap();
    let names: Vec<&str> = adapted.parameters().iter().map(|spec| spec.name.as_str()).collect();
    let layers = ["conv_in", "time_embedding.linear_2", "conv_out"];
    let expected: Vec<String> = layers
        .iter()
        .flat_map(|layer| ["A", "B"].map(|matrix| format!("{layer}.lora_{matrix}.weight")))
        .collect();
    assert_eq!(names, expected);
    let again = adapted.with_adapter(&parts, values).unwrap_err().to_string();
    assert!(again.contains("an adapter already"), "{again}");
    assert!(network_files(&adapted, random_values(&adapted, 1)).is_err());
}

/// The tensors of a file, by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors_of(file: &Path) -> Tensors {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: &TensorView<'_>| -> Vec<f32> {
        view.data().as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
    };
    tensors
        .tensors()
        .iter()
        .map(|(name, view)| (name.clone(), (view.shape().to_vec(), values(view))))
        .collect()
}

fn write(folder: &Path, name: &str, tensors: &Tensors, metadata: Option<(&str, &str)>) -> PathBuf {
    let mut arrays = ArrayWriter::default();
    for (name, (shape, values)) in tensors {
        arrays.put_f32(name, shape, values);
    }
    std::fs::write(folder.join(name), arrays.to_bytes(name, metadata).unwrap()).unwrap();
    folder.join(name)
}

/// The adapter of a golden case whose file has names of a form.
fn golden(form: AdapterForm, of_text: bool) -> (Architecture, PathBuf, ReadAdapter) {
    let found = adapter_cases().into_iter().find_map(|case| {
        let architecture = case.base.checkpoint.architecture;
        let files = AdapterFiles::find(&case.path).unwrap();
        let read = files.read(&architecture).unwrap();
        let is_wanted = read.form == form && read.text_encoders.is_empty() != of_text;
        is_wanted.then_some((architecture, files.weights, read))
    });
    found.unwrap_or_else(|| panic!("no golden adapter as {form:?}"))
}

#[test]
fn every_form_is_among_the_golden_cases() {
    use AdapterForm::*;
    for form in [Peft, Diffusers, DiffusersOlder, AttentionProcessors, Kohya] {
        golden(form, false);
    }
}

/// What is written is read back, value by value, and with other ranks and scales in some layers too.
#[test]
fn written_adapters_are_read_back() {
    let mut adapters: Vec<(Architecture, ReadAdapter)> = Vec::new();
    for case in adapter_cases() {
        let architecture = case.base.checkpoint.architecture;
        let read = AdapterFiles::find(&case.path).unwrap().read(&architecture).unwrap();
        adapters.push((architecture, read));
    }
    for (network, _) in networks() {
        let mut modules = parts_of_all_layers(&network);
        modules[0].alpha = 1.0 / 3.0;
        let adapted = network.with_adapter(&modules, random_values(&network, 1)).unwrap();
        let values = random_values(&adapted, 2);
        let form = AdapterForm::Peft;
        adapters.push((network, ReadAdapter { form, modules, values, text_encoders: Vec::new() }));
    }
    for (network, adapter) in adapters {
        let base = random_values(&network, 1);
        let adapted = network.with_adapter(&adapter.modules, base.clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in adapter_files(&adapted, &adapter.values).unwrap() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let read = |path: &Path| AdapterFiles::find(path).unwrap().read(&network).unwrap();
        let as_read = |form| ReadAdapter { form, text_encoders: Vec::new(), ..adapter.clone() };
        assert_eq!(read(folder.path()), as_read(AdapterForm::Peft));
        let file = folder.path().join(DIFFUSERS_ADAPTER);
        std::fs::write(&file, adapter_as_diffusers(&adapted, &adapter.values).unwrap()).unwrap();
        assert_eq!(read(&file), as_read(AdapterForm::Diffusers));
        assert!(adapter_files(&network, &base).unwrap_err().to_string().contains("has no adapter"));
    }
}

#[test]
fn halves_are_read() {
    let (network, file, whole) = golden(AdapterForm::Kohya, false);
    let tensors = tensors_of(&file);
    let folder = tempfile::tempdir().unwrap();
    type Half = (Dtype, fn(f32) -> u16, fn(f32) -> f32);
    let cases: [Half; 2] = [
        (Dtype::F16, |value| f16::from_f32(value).to_bits(), |value| f16::from_f32(value).to_f32()),
        (Dtype::BF16, |value| bf16::from_f32(value).to_bits(), |value| bf16::from_f32(value).to_f32()),
    ];
    for (dtype, bits, rounded) in cases {
        let halved: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, (shape, values))| {
                (name, shape, values.iter().flat_map(|value| bits(*value).to_le_bytes()).collect())
            })
            .collect();
        let views = halved.iter().map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(dtype, (*shape).clone(), bytes).unwrap())
        });
        let path = folder.path().join("halved.safetensors");
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let read = AdapterFiles::find(folder.path()).unwrap().read(&network).unwrap();
        let expected: Vec<Vec<f32>> =
            whole.values.iter().map(|values| values.iter().map(|value| rounded(*value)).collect()).collect();
        assert_eq!((read.modules, read.values), (whole.modules.clone(), expected));
    }
}

#[test]
fn parts_of_text_encoders_are_given_back() {
    let (_, file, read) = golden(AdapterForm::Kohya, true);
    let tensors = tensors_of(&file);
    let of_text = tensors.keys().filter(|name| name.starts_with("lora_te_")).count();
    assert!(of_text > 0);
    assert_eq!(read.text_encoders.len() * 3, of_text);
    for part in &read.text_encoders {
        assert_eq!(part.encoder, TextEncoder::First);
        let tensor = |half: &str| &tensors[&format!("lora_te_{}.{half}", part.module)];
        assert_eq!(
            tensor("lora_down.weight"),
            &(vec![part.rank, part.down.len() / part.rank], part.down.clone())
        );
        assert_eq!(tensor("lora_up.weight"), &(vec![part.up.len() / part.rank, part.rank], part.up.clone()));
        assert_eq!(tensor("alpha").1, [part.alpha as f32]);
    }
    // The second encoder of SDXL, and nothing for a U-Net.
    let folder = tempfile::tempdir().unwrap();
    let second: Tensors = tensors
        .iter()
        .filter(|(name, _)| name.starts_with("lora_te_"))
        .map(|(name, tensor)| (name.replace("lora_te_", "lora_te2_"), tensor.clone()))
        .collect();
    let (network, ..) = golden(AdapterForm::Kohya, true);
    let path = write(folder.path(), "a.safetensors", &second, None);
    let error = AdapterFiles::find(&path).unwrap().read(&network).unwrap_err().to_string();
    assert!(error.contains("has nothing for a U-Net, only for text encoders"), "{error}");
    let both = tensors.into_iter().chain(second).collect();
    let path = write(folder.path(), "b.safetensors", &both, None);
    let found = AdapterFiles::find(&path).unwrap().read(&network).unwrap().text_encoders;
    assert_eq!(found.len(), 2 * read.text_encoders.len());
    assert_eq!(found[found.len() - 1].encoder, TextEncoder::Second);
}

/// Every change of a good file is refused, and the error names what it is about.
#[test]
fn what_is_not_this_networks_lora_is_named() {
    type Change = fn(&mut Tensors);
    fn first(tensors: &Tensors, ending: &str) -> String {
        tensors.keys().find(|name| name.ends_with(ending)).unwrap().clone()
    }
    fn put(tensors: &mut Tensors, name: &str) {
        tensors.insert(name.into(), (vec![1, 1], vec![1.0]));
    }
    let cases: [(&str, Change); 16] = [
        ("dora_scale", |tensors| put(tensors, "lora_unet_conv_in.dora_scale")),
        ("lora_magnitude_vector", |tensors| put(tensors, "unet.conv_in.lora_magnitude_vector")),
        ("lokr_", |tensors| put(tensors, "lora_unet_conv_in.lokr_w1")),
        ("hada_", |tensors| put(tensors, "lora_unet_conv_in.hada_w1_a")),
        ("lora_mid", |tensors| put(tensors, "lora_unet_conv_in.lora_mid.weight")),
        ("lora_B.bias", |tensors| put(tensors, "unet.conv_in.lora_B.bias")),
        ("SDXL", |tensors| put(tensors, "lora_unet_input_blocks_1_1_proj_in.lora_down.weight")),
        ("diffusion transformer", |tensors| put(tensors, "transformer.x.lora_A.weight")),
        ("`a_b_c.diff`: is no part of an adapter", |tensors| put(tensors, "a_b_c.diff")),
        ("another form", |tensors| put(tensors, "unet.conv_in.lora_A.weight")),
        ("is A of a layer without its B", |tensors| {
            tensors.remove(&first(tensors, ".lora_up.weight"));
        }),
        ("is B of a layer without its A", |tensors| {
            tensors.remove(&first(tensors, ".lora_down.weight"));
        }),
        ("the network has no layer `down_blocks_7_x`", |tensors| {
            put(tensors, "lora_unet_down_blocks_7_x.lora_down.weight");
            put(tensors, "lora_unet_down_blocks_7_x.lora_up.weight");
        }),
        ("value 1 is NaN", |tensors| {
            tensors.get_mut(&first(tensors, ".lora_up.weight")).unwrap().1[1] = f32::NAN;
        }),
        ("its alpha is 0", |tensors| {
            tensors.get_mut(&first(tensors, ".alpha")).unwrap().1[0] = 0.0;
        }),
        ("this network it must be", |tensors| {
            let (shape, values) = tensors.get_mut(&first(tensors, ".lora_down.weight")).unwrap();
            *shape = vec![shape[0] * 2, shape[1] / 2];
            assert_eq!(values.len(), shape[0] * shape[1]);
        }),
    ];
    let (network, file, _) = golden(AdapterForm::Kohya, false);
    let folder = tempfile::tempdir().unwrap();
    for (expected, change) in cases {
        let mut tensors = tensors_of(&file);
        change(&mut tensors);
        let path = write(folder.path(), "changed.safetensors", &tensors, None);
        let error = AdapterFiles::find(&path).unwrap().read(&network).unwrap_err().to_string();
        assert!(error.contains("changed.safetensors") && error.contains(expected), "{expected}: {error}");
    }
}

/// The same scale wherever it is said: in a tensor, in PEFT's configuration, in a header with and without the network's name.
#[test]
fn scales_are_read_from_where_they_are_said() {
    let (network, file, _) = golden(AdapterForm::DiffusersOlder, false);
    let tensors = tensors_of(&file);
    let folder = tempfile::tempdir().unwrap();
    let scales = |metadata: Option<&str>| -> Result<Vec<f64>, String> {
        let metadata = metadata.map(|text| ("lora_adapter_metadata", text));
        let path = write(folder.path(), "a.safetensors", &tensors, metadata);
        let read = AdapterFiles::find(&path).unwrap().read(&network).map_err(|error| error.to_string())?;
        Ok(read.modules.iter().map(AdapterModule::scale).collect())
    };
    let rank = tensors.values().map(|(shape, _)| shape[0]).min().unwrap();
    assert!(scales(None).unwrap().iter().all(|scale| *scale == 1.0));
    for prefix in ["unet.", ""] {
        let keys = json!({format!("{prefix}r"): rank, format!("{prefix}lora_alpha"): 3 * rank});
        assert!(scales(Some(&keys.to_string())).unwrap().iter().all(|scale| *scale == 3.0));
    }
    let of_text = json!({"text_encoder.r": 77, "text_encoder.lora_alpha": 1}).to_string();
    assert!(scales(Some(&of_text)).unwrap().iter().all(|scale| *scale == 1.0));
    let of_other_rank = json!({"unet.r": rank + 1, "unet.lora_alpha": 1}).to_string();
    assert!(scales(Some(&of_other_rank)).unwrap_err().contains("`unet.r`"));
    assert!(scales(Some("no JSON")).unwrap_err().contains("lora_adapter_metadata"));

    // Without its configuration, peft's file does not say by how much it is scaled.
    let (network, file, _) = golden(AdapterForm::Peft, false);
    std::fs::copy(&file, folder.path().join("adapter_model.safetensors")).unwrap();
    let error = AdapterFiles::find(folder.path()).unwrap().read(&network).unwrap_err().to_string();
    assert!(error.contains("adapter_config.json"), "{error}");
}

#[test]
fn which_file_is_the_adapter() {
    let (_, file, _) = golden(AdapterForm::Kohya, false);
    let folder = tempfile::tempdir().unwrap();
    let find =
        || AdapterFiles::find(folder.path()).map(|files| files.weights).map_err(|error| error.to_string());
    assert!(find().unwrap_err().contains("has no adapter"));
    std::fs::write(folder.path().join("pytorch_lora_weights.bin"), b"PK\x03\x04").unwrap();
    let error = find().unwrap_err();
    assert!(error.contains("pickle") && error.contains("pytorch_lora_weights.safetensors"), "{error}");
    let pickle = AdapterFiles::find(&folder.path().join("pytorch_lora_weights.bin")).unwrap_err().to_string();
    assert!(pickle.contains("pickle"), "{pickle}");
    for name in ["b.safetensors", "a.safetensors"] {
        std::fs::copy(&file, folder.path().join(name)).unwrap();
    }
    assert!(find().unwrap_err().contains("a.safetensors, b.safetensors"));
    std::fs::copy(&file, folder.path().join(DIFFUSERS_ADAPTER)).unwrap();
    assert_eq!(find().unwrap(), folder.path().join(DIFFUSERS_ADAPTER));
    let missing = AdapterFiles::find(&folder.path().join("nothing")).unwrap_err().to_string();
    assert!(missing.contains("does not exist"), "{missing}");
    std::fs::write(folder.path().join("a.safetensors"), b"PK\x03\x04 and more").unwrap();
    let (network, ..) = golden(AdapterForm::Kohya, false);
    let named_otherwise = AdapterFiles::find(&folder.path().join("a.safetensors")).unwrap().read(&network);
    assert!(named_otherwise.unwrap_err().to_string().contains("a pickle"));
}
