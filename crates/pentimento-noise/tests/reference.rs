//! The stream against values that `make_normals.py` computed without this crate.

use pentimento_noise::{Purpose, Stream};

const REFERENCE: &str = include_str!("reference_values.txt");

/// The reference is exact; ours rounds the angle (up to 2 pi) to f64 once, and libm's functions are good to one unit in
/// the last place, each scaled by a radius below 6.8: 6.8 * (2^-51 + 2 * 2^-53) < 5e-15.
const NORMAL_TOLERANCE: f64 = 5e-15;

/// The purposes that the script uses.
fn purpose(number: u64) -> Option<Purpose> {
    match number {
        1 => Some(Purpose::WeightInitialisation),
        4 => Some(Purpose::TrainingNoise),
        6 => Some(Purpose::SampleNoise),
        11 => Some(Purpose::Test),
        _ => None,
    }
}

#[test]
fn every_kind_of_value_is_what_the_script_computed() {
    let mut checked = 0;
    for line in REFERENCE.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        let numbers: Vec<u64> = rest.split(' ').map(|number| number.parse().unwrap()).collect();
        let stream =
            Stream::new(numbers[0], purpose(numbers[1]).unwrap(), numbers[2] as u32, numbers[3] as u32);
        let (index, expected) = (numbers[4], numbers[5]);
        match kind {
            "word" => {
                let word = stream.words((index / 4) as u32)[(index % 4) as usize];
                assert_eq!(u64::from(word), expected, "{line}");
            }
            "normal64" => {
                let mut normal = [0.0_f64];
                stream.fill_normal_f64_at(index, &mut normal);
                let difference = (normal[0] - f64::from_bits(expected)).abs();
                assert!(difference <= NORMAL_TOLERANCE, "{line}: off by {difference:e}");
            }
            "normal32" => {
                let mut normal = [0.0_f32];
                stream.fill_normal_at(index, &mut normal);
                assert_eq!(u64::from(normal[0].to_bits()), expected, "{line}");
            }
            "uniform64" => {
                let mut uniforms = vec![0.0_f64; index as usize + 1];
                stream.fill_uniform_f64(&mut uniforms);
                assert_eq!(uniforms[index as usize].to_bits(), expected, "{line}");
            }
            "uniform32" => {
                let mut uniforms = vec![0.0_f32; index as usize + 1];
                stream.fill_uniform(&mut uniforms);
                assert_eq!(u64::from(uniforms[index as usize].to_bits()), expected, "{line}");
            }
            "below" => assert_eq!(stream.below(index, expected), numbers[6], "{line}"),
            other => panic!("unknown kind {other}"),
        }
        checked += 1;
    }
    assert_eq!(checked, 4 * (12 * 3 + 9 * 3), "the reference file is cut");
}

/// The numbers are part of every result that was ever made.
#[test]
fn purposes_keep_their_numbers() {
    let numbers = [
        (Purpose::WeightInitialisation, 1),
        (Purpose::BatchOrder, 2),
        (Purpose::TrainingTimestep, 3),
        (Purpose::TrainingNoise, 4),
        (Purpose::HorizontalFlip, 5),
        (Purpose::SampleNoise, 6),
        (Purpose::CodeDraw, 7),
        (Purpose::CounterfactualChoice, 8),
        (Purpose::Bootstrap, 9),
        (Purpose::ClassifierTraining, 10),
        (Purpose::Test, 11),
    ];
    for (purpose, number) in numbers {
        assert_eq!(purpose as u32, number, "{purpose:?}");
    }
}
