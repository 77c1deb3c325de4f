//! What layers see in a pass, held against the gradients that automatic differentiation gives of their parameters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use burn::tensor::{Tensor, TensorData};
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::unet::{
    AdapterModule, Architecture, BatchCondition, Gradient, LayerRecord, Parameters, Precision, UnetConfig,
};
use pentimento_kernels::extension::device_for;
use pentimento_kernels::{ConvShape, reference};
use pentimento_noise::{Purpose, Stream};
use std::collections::BTreeMap;

const IMAGES: usize = 3;
const SIDE: usize = 8;

fn normals(number: u32, length: usize) -> Vec<f64> {
    let mut values = vec![0.0f32; length];
    Stream::new(11, Purpose::Test, number, 0).fill_normal(&mut values);
    values.into_iter().map(f64::from).collect()
}

/// A configuration in which every kind of layer is at work.
fn config(changes: &[(&str, serde_json::Value)]) -> UnetConfig {
    let mut config = serde_json::json!({
        "sample_size": SIDE, "in_channels": 2, "out_channels": 2, "layers_per_block": 1, "norm_num_groups": 2,
        "block_out_channels": [4, 8], "attention_head_dim": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    });
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    UnetConfig::from_json(&config.to_string(), "config.json").unwrap().0
}

fn values<T: Precision>(architecture: &Architecture, first: u32) -> Vec<Vec<T>> {
    let values = architecture.parameters().iter().enumerate().map(|(place, spec)| {
        let scale = 0.5 / (spec.len() as f64 / spec.disk_shape[0] as f64).sqrt();
        normals(first + place as u32, spec.len())
            .into_iter()
            .map(|value| T::of(scale * value + 0.1))
            .collect()
    });
    values.collect()
}

/// The network beneath an adapter of all its layers.
fn adapted(network: &Architecture) -> Architecture {
    let part = |(place, (name, _)): (usize, (&str, _))| AdapterModule {
        name: name.into(),
        rank: 1 + place % 3,
        alpha: 0.5 + (place % 4) as f64,
    };
    let parts: Vec<AdapterModule> = network.adaptable().enumerate().map(part).collect();
    network.with_adapter(&parts, values(network, 0)).unwrap()
}

/// Gradients in all parameters of the inner product of the output with some values, from what layers saw, and from
/// automatic differentiation.
fn check<T: Precision>(architecture: &Architecture, conditions: &[Condition], bound: f64) {
    let parameters = Parameters::from_memory::<T>(architecture, values(architecture, 0));
    let shape = [IMAGES, SIDE, SIDE, architecture.config().in_channels];
    let length = shape.iter().product();
    let tensor = |number: u32| -> Tensor<4> {
        let values: Vec<T> = normals(number, length).into_iter().map(T::of).collect();
        Tensor::from_data(TensorData::new(values, shape), (&device_for(T::dtype()), T::dtype()))
    };
    let condition = BatchCondition::new::<T>(architecture, &[5, 500, 999], conditions);
    let tracked = parameters.tracked();
    let output = architecture.forward(&tracked, tensor(1000), &condition);
    let mut gradients = (output.clone() * tensor(1001)).sum().backward();
    let truth: Vec<Gradient<T>> = tracked.take_gradients(architecture, &mut gradients);

    let expected: Vec<f64> = output.inner().into_data().iter::<f64>().collect();
    let records = architecture.observe::<T>(&parameters, tensor(1000), &condition, |found| {
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found.wide() - expected).abs() < bound,
                "the pass itself: {} instead of {expected}",
                found.wide()
            );
        }
        normals(1001, length).into_iter().map(T::of).collect()
    });
    let mut found = BTreeMap::new();
    for record in &records {
        let (first, second) = parameter_gradients(record);
        assert!(found.insert(record.at, first).is_none(), "a layer is seen once");
        // A table has no second parameter, and not every linear layer has a bias.
        let [own, next] = [0, 1].map(|place| architecture.parameters().get(record.at + place));
        if next.is_some_and(|next| own.is_some_and(|own| next.is_added_by(own))) {
            found.insert(record.at + 1, second);
        }
    }
    for (place, (spec, truth)) in architecture.parameters().iter().zip(&truth).enumerate() {
        let found = found.get(&place).unwrap_or_else(|| panic!("{} was not seen", spec.name));
        let truth: Vec<f64> = truth.as_ref().iter().map(|value| value.wide()).collect();
        let scale = truth.iter().fold(1e-3f64, |scale, value| scale.max(value.abs()));
        assert_eq!(found.len(), truth.len(), "{}", spec.name);
        for (found, truth) in found.iter().zip(&truth) {
            assert!((found - truth).abs() < bound * scale, "{}: {found} instead of {truth}", spec.name);
        }
    }
}

/// The gradients of a layer's two parameters, from their definition.
fn parameter_gradients<T: Precision>(record: &LayerRecord<T>) -> (Vec<f64>, Vec<f64>) {
    let channels = record.output_gradient.sides[3];
    let wide = |values: &[T]| values.iter().map(|value| value.wide()).collect::<Vec<f64>>();
    let (input, gradient) = (wide(record.input.values()), wide(record.output_gradient.values()));
    let mut second = vec![0.0; channels];
    gradient.iter().enumerate().for_each(|(place, value)| second[place % channels] += value);
    let first = match record.geometry {
        Some(geometry) => {
            let shape = ConvShape::new(record.input.sides, channels, geometry).unwrap();
            reference::conv2d_backward_weight(&shape, &input, &gradient)
        }
        None => {
            let mut first = vec![0.0; channels];
            for (place, (x, g)) in input.iter().zip(&gradient).enumerate() {
                first[place % channels] += x * g;
            }
            first
        }
    };
    (first, second)
}

#[test]
fn what_layers_see_gives_the_gradients_of_their_parameters() {
    let classes = || [4, 0, 4].map(Condition::Class).to_vec();
    let over_text = |linear: bool| {
        config(&[
            ("_class_name", "UNet2DConditionModel".into()),
            ("down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D"].into()),
            ("up_block_types", ["CrossAttnUpBlock2D", "UpBlock2D"].into()),
            ("attention_head_dim", [1, 2].into()),
            ("cross_attention_dim", 6.into()),
            ("use_linear_projection", linear.into()),
        ])
    };
    let texts = || -> Vec<Condition> {
        let text = |number| normals(number, 5 * 6).into_iter().map(|value| value as f32).collect();
        [2000, 2001, 2000].map(|number| Condition::Text(TextEmbedding::new(text(number), 6))).to_vec()
    };
    let cases = [
        (config(&[]), vec![]),
        (config(&[("resnet_time_scale_shift", "scale_shift".into())]), vec![]),
        (config(&[("num_class_embeds", 5.into())]), classes()),
        (config(&[("class_embed_type", "timestep".into())]), classes()),
        (over_text(false), texts()),
        (over_text(true), texts()),
    ];
    for (config, conditions) in cases {
        let network = Architecture::new(&config).unwrap();
        for architecture in [adapted(&network), network] {
            check::<f64>(&architecture, &conditions, 1e-10);
            check::<f32>(&architecture, &conditions, 2e-4);
        }
    }
}
