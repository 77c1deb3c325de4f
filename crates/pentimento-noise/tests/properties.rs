//! What holds for every address: values do not depend on how they are asked for, and single parts of it matter.

use pentimento_noise::{Purpose, Stream};
use proptest::prelude::*;

fn any_stream() -> impl Strategy<Value = Stream> {
    (any::<u64>(), any::<u32>(), any::<u32>())
        .prop_map(|(seed, id, step)| Stream::new(seed, Purpose::Test, id, step))
}

proptest! {
    #[test]
    fn normals_do_not_depend_on_how_the_buffer_is_cut(
        stream in any_stream(),
        offset in 0..1_u64 << 34,
        lengths in prop::collection::vec(0_usize..11, 0..9),
    ) {
        let total: usize = lengths.iter().sum();
        let mut whole = vec![0.0_f32; total];
        stream.fill_normal_at(offset, &mut whole);
        let mut whole_f64 = vec![0.0_f64; total];
        stream.fill_normal_f64_at(offset, &mut whole_f64);

        let mut start = 0;
        for length in lengths {
            let mut part = vec![0.0_f32; length];
            stream.fill_normal_at(offset + start as u64, &mut part);
            prop_assert_eq!(&part[..], &whole[start..start + length]);
            start += length;
        }
        for (narrow, wide) in whole.iter().zip(&whole_f64) {
            prop_assert_eq!(*narrow, *wide as f32);
        }
    }

    #[test]
    fn filling_from_the_start_is_filling_at_offset_zero(stream in any_stream(), length in 0_usize..70) {
        let (mut from_start, mut at_zero) = (vec![0.0_f32; length], vec![1.0_f32; length]);
        stream.fill_normal(&mut from_start);
        stream.fill_normal_at(0, &mut at_zero);
        prop_assert_eq!(from_start, at_zero);
    }

    #[test]
    fn the_f32_uniform_is_the_f64_uniform_cut_to_24_bits(stream in any_stream(), length in 1_usize..70) {
        let (mut narrow, mut wide) = (vec![0.0_f32; length], vec![0.0_f64; length]);
        stream.fill_uniform(&mut narrow);
        stream.fill_uniform_f64(&mut wide);
        for (index, (narrow, wide)) in narrow.into_iter().zip(wide).enumerate() {
            prop_assert_eq!(stream.uniform_f64_at(index as u64), wide);
            prop_assert!((0.0..1.0).contains(&narrow) && (0.0..1.0).contains(&wide));
            let cut = (wide * f64::from(1_u32 << 24)).floor() / f64::from(1_u32 << 24);
            prop_assert_eq!(f64::from(narrow), cut);
        }
    }

    #[test]
    fn a_cursor_hands_out_what_the_stream_gives_by_index(
        stream in any_stream(),
        bounds in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let mut cursor = stream.cursor();
        for (index, bound) in bounds.iter().enumerate() {
            let value = stream.below(index as u64, *bound);
            prop_assert_eq!(cursor.below(*bound), value);
            prop_assert!(value < *bound || *bound == 0 && value == 0);
        }
        let mut words = stream.cursor();
        for block in 0..5 {
            prop_assert_eq!([words.next_u32(), words.next_u32(), words.next_u32(), words.next_u32()], stream.words(block));
        }
        let mut expected = vec![0.0_f64; 9];
        stream.fill_uniform_f64(&mut expected);
        let mut uniforms = stream.cursor();
        for uniform in expected {
            prop_assert_eq!(uniforms.uniform(), uniform);
        }
    }

    #[test]
    fn a_permutation_holds_every_number_once(stream in any_stream(), length in 0_u32..300) {
        let order = stream.permutation(length);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..length).collect::<Vec<_>>());
        prop_assert_eq!(order, stream.permutation(length));
    }

    #[test]
    fn each_part_of_the_address_changes_the_values(stream in any_stream(), bit in 0_u32..32) {
        let neighbours = [
            Stream { seed: stream.seed ^ 1 << bit, ..stream },
            Stream { seed: stream.seed ^ 1 << (bit + 32), ..stream },
            Stream { id: stream.id ^ 1 << bit, ..stream },
            Stream { step: stream.step ^ 1 << bit, ..stream },
            Stream { purpose: Purpose::SampleNoise, ..stream },
        ];
        for neighbour in neighbours {
            // Two independent blocks agree in a given word once in 2^32; in two words at once never in practice.
            let equal_words = stream.words(0).iter().zip(neighbour.words(0)).filter(|(a, b)| **a == *b).count();
            prop_assert!(equal_words < 2, "{:?} and {:?}", stream, neighbour);
        }
    }
}

#[test]
fn blocks_wrap_after_the_last_one() {
    let stream = Stream::new(1, Purpose::Test, 2, 3);
    let mut across_the_end = [0.0_f32; 4];
    stream.fill_normal_at((1 << 34) - 2, &mut across_the_end);
    let mut first = [0.0_f32; 2];
    stream.fill_normal(&mut first);
    assert_eq!(across_the_end[2..], first);
}
