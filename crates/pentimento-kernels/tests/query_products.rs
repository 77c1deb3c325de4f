//! Inner products of rows that are read piece by piece, and numbers of 16 bits, against their definitions.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::values;
use pentimento_kernels::{Instructions, PackedQueries, widen_bf16, widen_f16};

/// What is promised: a chain of fused multiply-adds in f32 for each 4096 numbers, and these added in f64.
fn chain(row: &[f32], query: &[f32]) -> f64 {
    let parts = row
        .chunks(4096)
        .zip(query.chunks(4096))
        .map(|(row, query)| f64::from(row.iter().zip(query).fold(0.0f32, |sum, (a, b)| b.mul_add(*a, sum))));
    parts.sum()
}

#[test]
fn each_product_is_one_chain_whatever_is_beside_it() {
    // Rests of vectors, tiles, groups of rows and pieces of numbers; several sums in f32; nothing to do.
    for (rows, count, numbers) in [
        (1, 1, 1),
        (33, 29, 17),
        (32, 14, 128),
        (70, 100, 333),
        (17, 3, 2048),
        (5, 15, 4096),
        (3, 2, 8500),
        (0, 3, 40),
    ] {
        let (images, queries) = (values(1, rows * numbers), values(2, count * numbers));
        for instructions in Instructions::available() {
            let packed = PackedQueries::on(instructions, &queries, numbers);
            let mut products = vec![vec![f64::NAN; rows]; count];
            let mut parts: Vec<&mut [f64]> = products.iter_mut().map(Vec::as_mut_slice).collect();
            let read = |row: usize, first: usize, target: &mut [f32]| {
                target.copy_from_slice(&images[row * numbers + first..][..target.len()]);
            };
            packed.products(read, &mut parts);
            for (products, query) in products.iter().zip(queries.chunks(numbers)) {
                for (product, row) in products.iter().zip(images.chunks(numbers)) {
                    let expected = chain(row, query);
                    let case = format!("{rows} rows, {count} queries, {numbers} numbers on {instructions:?}");
                    assert_eq!(product.to_bits(), expected.to_bits(), "{case}: {product} and {expected}");
                }
            }
        }
    }
}

/// What a row has that is no number does not spread to other rows.
#[test]
fn an_infinite_row_shows_in_its_own_products_only() {
    let (rows, count, numbers) = (40, 15, 200);
    let mut images = values(3, rows * numbers);
    images[7 * numbers + 150] = f32::INFINITY;
    images[35 * numbers + 3] = f32::NAN;
    let mut queries = values(4, count * numbers);
    queries[150] = 0.0;
    let mut products = vec![vec![0.0; rows]; count];
    let mut parts: Vec<&mut [f64]> = products.iter_mut().map(Vec::as_mut_slice).collect();
    let read = |row: usize, first: usize, target: &mut [f32]| {
        target.copy_from_slice(&images[row * numbers + first..][..target.len()]);
    };
    PackedQueries::new(&queries, numbers).products(read, &mut parts);
    for products in products {
        for (row, product) in products.into_iter().enumerate() {
            assert_eq!(product.is_finite(), row != 7 && row != 35, "row {row}: {product}");
        }
    }
}

#[test]
fn every_number_of_16_bits_is_widened_exactly() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let mut wide = vec![0.0; all.len()];
    // (bits of the mantissa, bias of the exponent), as IEEE 754 and the definition of bf16 have them.
    for (widen, mantissa_bits, bias) in
        [(widen_f16 as fn(&[u16], f32, &mut [f32]), 10, 15), (widen_bf16, 7, 127)]
    {
        // In vectors, and in the rests that are shorter than one.
        for (scale, length) in [(1.0f32, all.len()), (0.75, all.len()), (0.75, 15)] {
            for (source, target) in all.chunks(length).zip(wide.chunks_mut(length)) {
                widen(source, scale, target);
            }
            for (&bits, &value) in all.iter().zip(&wide) {
                let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
                let exponent = i32::from((bits & 0x7fff) >> mantissa_bits);
                let mantissa = bits & ((1 << mantissa_bits) - 1);
                if exponent == 2 * bias + 1 {
                    let infinite = value == sign as f32 * f32::INFINITY;
                    assert!(if mantissa == 0 { infinite } else { value.is_nan() }, "{bits:#x}: {value}");
                    continue;
                }
                let fraction = f64::from(mantissa) / f64::from(1u32 << mantissa_bits);
                let magnitude = match exponent {
                    0 => fraction * 2f64.powi(1 - bias),
                    _ => (1.0 + fraction) * 2f64.powi(exponent - bias),
                };
                let expected = (sign * magnitude * f64::from(scale)) as f32;
                assert_eq!(value.to_bits(), expected.to_bits(), "{bits:#x}: {value:e} and {expected:e}");
            }
        }
    }
}
