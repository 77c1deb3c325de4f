//! Sizes that do not fit together are an error with a text, never a panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::cases;
use pentimento_kernels::*;
use proptest::prelude::*;

fn refused(input: [usize; 4], output: usize, geometry: ConvGeometry) -> String {
    match ConvShape::new(input, output, geometry) {
        Err(error) => error.to_string(),
        Ok(shape) => panic!("accepted as {shape:?}"),
    }
}

#[test]
fn convolutions_that_do_not_fit() {
    let unpadded = ConvGeometry { kernel: 3, stride: 1, padding_before: 0, padding_after: 0 };
    let text = refused([1, 2, 9, 4], 4, unpadded);
    assert!(text.contains("kernel does not fit") && text.contains("[1, 2, 9, 4]"), "{text}");
    assert!(refused([1, 9, 2, 4], 4, unpadded).contains("kernel does not fit"));
    for geometry in [
        ConvGeometry { kernel: 0, ..ConvGeometry::SAME_3X3 },
        ConvGeometry { stride: 0, ..ConvGeometry::SAME_3X3 },
    ] {
        refused([1, 4, 4, 4], 4, geometry);
    }
    for (input, output) in [([1, 0, 4, 4], 4), ([1, 4, 0, 4], 4), ([1, 4, 4, 0], 4), ([1, 4, 4, 4], 0)] {
        assert!(refused(input, output, ConvGeometry::SAME_3X3).contains("size is zero"));
    }
    assert!(refused([1, 4, 4, 16_385], 4, ConvGeometry::POINTWISE).contains("16384 channels"));
    assert!(refused([1, 4, 4, 4], 16_385, ConvGeometry::POINTWISE).contains("16384 channels"));
    assert!(refused([1, 65_536, 65_536, 1], 1, ConvGeometry::POINTWISE).contains("2^32"));
    assert!(refused([1, 65_536, 32_768, 1], 2, ConvGeometry::POINTWISE).contains("2^32"));
}

#[test]
fn sizes_of_outputs() {
    for (side, geometry, expected) in [
        (7, ConvGeometry::SAME_3X3, 7),
        (1, ConvGeometry::SAME_3X3, 1),
        (8, ConvGeometry { kernel: 3, stride: 2, padding_before: 1, padding_after: 1 }, 4),
        (8, ConvGeometry { kernel: 3, stride: 2, padding_before: 0, padding_after: 1 }, 4),
        (7, ConvGeometry { kernel: 3, stride: 2, padding_before: 1, padding_after: 1 }, 4),
    ] {
        assert_eq!(geometry.output_side(side), Some(expected), "{geometry:?}");
    }
}

#[test]
fn norms_and_attentions_that_do_not_fit() {
    let norm = GroupNormShape { images: 1, pixels: 4, channels: 6, groups: 3, epsilon: 1e-5, silu: true };
    assert!(norm.checked().is_ok());
    let text = GroupNormShape { groups: 4, ..norm }.checked().unwrap_err().to_string();
    assert!(text.contains("4 groups") && text.contains("6 channels"), "{text}");
    for wrong in [
        GroupNormShape { groups: 0, ..norm },
        GroupNormShape { pixels: 0, ..norm },
        GroupNormShape { channels: 0, ..norm },
    ] {
        assert!(wrong.checked().is_err(), "{wrong:?}");
    }
    let heads = AttentionShape { images: 1, queries: 4, keys: 5, channels: 6, heads: 3 };
    assert!(heads.checked().is_ok());
    let text = AttentionShape { heads: 4, ..heads }.checked().unwrap_err().to_string();
    assert!(text.contains("4 heads") && text.contains("6 channels"), "{text}");
    let text = AttentionShape { keys: 0, ..heads }.checked().unwrap_err().to_string();
    assert!(text.contains("0 keys"), "{text}");
    assert!(LayerNormShape { tokens: 3, channels: 0, epsilon: 1e-5 }.checked().is_err());
    for wrong in [
        AttentionShape { heads: 0, ..heads },
        AttentionShape { queries: 0, ..heads },
        AttentionShape { keys: 0, ..heads },
        AttentionShape { queries: 16_385, ..heads },
        AttentionShape { channels: 0, ..heads },
        AttentionShape { keys: 16_385, ..heads },
        AttentionShape { channels: 3 * 16_384, ..heads },
    ] {
        assert!(wrong.checked().is_err(), "{wrong:?}");
    }
}

/// No image, or no tangent, is nothing to do.
#[test]
fn empty_batches() {
    // Few channels go directly, many by Winograd, and very many by points.
    for (input, output) in [(2, 3), (32, 32), (256, 256)] {
        let shape = ConvShape::new([0, 4, 4, input], output, ConvGeometry::SAME_3X3).unwrap();
        let weight = vec![1.0f32; 9 * input * output];
        conv2d(&shape, &[], &weight, None, &mut []);
        conv2d_backward_input(&shape, &[], &weight, &mut []);
        let mut gradient = vec![f32::NAN; weight.len()];
        conv2d_backward_weight(&shape, &[], &[], &mut gradient);
        assert!(gradient.iter().all(|&value| value == 0.0));
    }
    let mut bias = [f32::NAN; 3];
    bias_backward(0, &[], &mut bias);
    assert_eq!(bias, [0.0; 3]);

    let norm = GroupNormShape { images: 1, pixels: 2, channels: 2, groups: 1, epsilon: 1e-5, silu: false };
    let statistics = [0.0, 0.0, 1.0, 1.0];
    group_norm_tangent(&norm, &[1.0; 4], &[1.0; 2], &[0.0; 2], &statistics, &[], &mut []);
    let heads = AttentionShape { images: 1, queries: 2, keys: 2, channels: 2, heads: 1 };
    attention_tangent(&heads, &[1.0; 4], &[1.0; 4], &[1.0; 4], &[], &[], &[], &mut []);
    attention_query_tangent(&heads, &[1.0; 4], &[1.0; 4], &[1.0; 4], &[], &mut []);
    let norm = LayerNormShape { tokens: 0, channels: 2, epsilon: 1e-5 };
    let (mut of_scale, mut of_shift) = ([f32::NAN; 2], [f32::NAN; 2]);
    layer_norm(&norm, &[], &[1.0; 2], &[0.0; 2], &mut []);
    layer_norm_backward(&norm, &[], &[1.0; 2], &[], &mut [], &mut of_scale, &mut of_shift);
    assert_eq!([of_scale, of_shift], [[0.0; 2]; 2]);
    geglu(3, &[], &mut []);
}

/// Sizes of any magnitude: what overflows is refused like everything else that is too large.
fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![
        0usize..6,
        Just(16_384usize),
        Just(1usize << 16),
        Just(1 << 32),
        Just((1 << 63) - 1),
        Just(usize::MAX),
        any::<usize>(),
    ]
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn no_size_panics(sizes in prop::array::uniform9(any_size())) {
        let [images, height, width, input, output, kernel, stride, before, after] = sizes;
        let geometry = ConvGeometry { kernel, stride, padding_before: before, padding_after: after };
        if let Ok(shape) = ConvShape::new([images, height, width, input], output, geometry) {
            // What is accepted is small enough for 32-bit offsets.
            let values = |height: usize, width: usize, channels: usize| {
                height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels))
            };
            let of_output = values(shape.output_height(), shape.output_width(), output);
            prop_assert!(of_output.is_some_and(|values| values < 1 << 32));
            prop_assert!(values(shape.height, shape.width, input).is_some_and(|values| values < 1 << 32));
        }
        let _ = GroupNormShape { images, pixels: height, channels: width, groups: input, epsilon: 1e-5, silu: true }.checked();
        let _ = AttentionShape { images, queries: height, keys: kernel, channels: width, heads: input }.checked();
    }
}
