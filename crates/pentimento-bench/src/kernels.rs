//! The kernels one by one, in the shapes that the networks of the benchmarks give them.

use crate::Result;
use crate::timing::Timing;
use pentimento_kernels::{
    AttentionShape, ConvGeometry, ConvShape, GroupNormShape, attention, attention_backward,
    attention_tangent, conv2d, conv2d_backward_input, conv2d_backward_weight, group_norm,
    group_norm_backward, group_norm_tangent,
};
use pentimento_noise::{Purpose, Stream};
use pentimento_run::Stop;
use std::time::Duration;

/// Time for one kernel.
const BUDGET: Duration = Duration::from_millis(150);
/// Directions of the tangents: those of an ensemble of seven members.
const DIRECTIONS: usize = 7;

/// What a kernel is measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Floating-point operations, where the processor decides.
    Operations(f64),
    /// Bytes read and written once each, where the memory decides. What fits the caches can go beyond its bandwidth.
    Bytes(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// What was measured; the parts of one subject follow each other.
    pub subject: String,
    /// Which part of it; empty if it has only one.
    pub part: String,
    /// How long it took.
    pub timing: Timing,
    /// How much it was.
    pub amount: Amount,
    /// What a user counts, and how many.
    pub counted: Option<(&'static str, f64)>,
}

impl Measurement {
    fn new(subject: &str, part: &str, timing: Timing, amount: Amount) -> Self {
        Self { subject: subject.into(), part: part.into(), timing, amount, counted: None }
    }
}

fn normals(length: usize) -> Vec<f32> {
    let mut values = vec![0.0; length];
    Stream::new(crate::network::SEED, Purpose::Test, 0, 2).fill_normal(&mut values);
    values
}

/// Measures every kernel; `say` gets the name of what comes next.
///
/// # Errors
///
/// If the user stops it.
pub fn measure(stop: &Stop, say: &mut dyn FnMut(&str)) -> Result<Vec<Measurement>> {
    let mut all = Vec::new();
    for (images, side, channels, geometry) in [
        (64, 28, 32, ConvGeometry::SAME_3X3),
        (64, 14, 64, ConvGeometry::SAME_3X3),
        (64, 7, 64, ConvGeometry::SAME_3X3),
        (8, 32, 128, ConvGeometry::SAME_3X3),
        (8, 16, 256, ConvGeometry::SAME_3X3),
        (64, 14, 64, ConvGeometry::POINTWISE),
    ] {
        let kind = if geometry.kernel == 1 { "linear" } else { "conv 3x3" };
        let name = format!("{kind}, {images} images {side}x{side}, {channels} channels");
        say(&name);
        all.extend(convolution(stop, &name, [images, side, side, channels], geometry)?);
    }
    say("group norm");
    all.extend(normalisation(stop)?);
    say("attention");
    all.extend(attentions(stop)?);
    Ok(all)
}

fn convolution(
    stop: &Stop,
    name: &str,
    input: [usize; 4],
    geometry: ConvGeometry,
) -> Result<Vec<Measurement>> {
    let channels = input[3];
    let shape = ConvShape::new(input, channels, geometry)?;
    let length: usize = input.iter().product();
    let (x, weight) = (normals(length), normals(geometry.kernel * geometry.kernel * channels * channels));
    let bias = normals(channels);
    let (mut y, mut of_weight) = (vec![0.0; length], vec![0.0; weight.len()]);
    let amount = Amount::Operations(2.0 * (length * geometry.kernel * geometry.kernel * channels) as f64);
    let line = |what: &str, work: &mut dyn FnMut()| -> Result<Measurement> {
        let timing = Timing::of(stop, BUDGET, || {
            work();
            Ok(())
        })?;
        Ok(Measurement::new(name, what, timing, amount))
    };
    Ok(vec![
        line("forward", &mut || conv2d(&shape, &x, &weight, Some(&bias), &mut y))?,
        // The same product without a bias; a tangent is one more image.
        line("tangent", &mut || conv2d(&shape, &x, &weight, None, &mut y))?,
        line("gradient of input", &mut || conv2d_backward_input(&shape, &x, &weight, &mut y))?,
        line("gradient of weight", &mut || conv2d_backward_weight(&shape, &x, &x, &mut of_weight))?,
    ])
}

fn normalisation(stop: &Stop) -> Result<Vec<Measurement>> {
    let (images, pixels, channels) = (64, 28 * 28, 32);
    let shape =
        GroupNormShape { images, pixels, channels, groups: 8, epsilon: 1e-5, silu: true }.checked()?;
    let length = images * pixels * channels;
    let (x, scale, shift) = (normals(length), normals(channels), normals(channels));
    let (mut y, mut statistics) = (vec![0.0; length], vec![0.0; shape.statistics_length()]);
    let bytes = |values: usize| Amount::Bytes((values * size_of::<f32>()) as f64);
    let name = "group norm with SiLU, 64 images 28x28, 32 channels";
    let forward = Timing::of(stop, BUDGET, || {
        group_norm(&shape, &x, &scale, &shift, &mut y, &mut statistics);
        Ok(())
    })?;
    let (mut of_x, mut of_scale, mut of_shift) = (y.clone(), scale.clone(), shift.clone());
    let backward = Timing::of(stop, BUDGET, || {
        let (of_scale, of_shift) = (&mut of_scale, &mut of_shift);
        group_norm_backward(&shape, &x, &scale, &shift, &statistics, &y, &mut of_x, of_scale, of_shift);
        Ok(())
    })?;
    let few = GroupNormShape { images: 8, ..shape };
    let length_of_few = 8 * pixels * channels;
    let statistics = &statistics[..few.statistics_length()];
    let tangents = normals(DIRECTIONS * length_of_few);
    let mut along = vec![0.0; tangents.len()];
    let tangent = Timing::of(stop, BUDGET, || {
        group_norm_tangent(&few, &x[..length_of_few], &scale, &shift, statistics, &tangents, &mut along);
        Ok(())
    })?;
    Ok(vec![
        Measurement::new(name, "forward", forward, bytes(2 * length)),
        Measurement::new(name, "backward", backward, bytes(3 * length)),
        Measurement::new(
            name,
            &format!("{DIRECTIONS} tangents of 8 images"),
            tangent,
            bytes((2 * DIRECTIONS + 1) * length_of_few),
        ),
    ])
}

fn attentions(stop: &Stop) -> Result<Vec<Measurement>> {
    let (images, tokens, channels) = (64, 14 * 14, 64);
    let shape = AttentionShape { images, queries: tokens, keys: tokens, channels, heads: 1 }.checked()?;
    let length = images * tokens * channels;
    let x = normals(length);
    let [mut y, mut of_q, mut of_k, mut of_v] = [0; 4].map(|_| vec![0.0; length]);
    let name = "attention, 64 images 14x14, 64 channels";
    // Scores and their use: two products of tokens x tokens x channels.
    let product = 2.0 * (images * tokens * tokens * channels) as f64;
    let forward = Timing::of(stop, BUDGET, || {
        attention(&shape, &x, &x, &x, &mut y);
        Ok(())
    })?;
    let backward = Timing::of(stop, BUDGET, || {
        attention_backward(&shape, &x, &x, &x, &y, &mut of_q, &mut of_k, &mut of_v);
        Ok(())
    })?;
    let few = AttentionShape { images: 8, ..shape };
    let one = 8 * tokens * channels;
    let tangents = normals(DIRECTIONS * one);
    let mut along = vec![0.0; tangents.len()];
    let tangent = Timing::of(stop, BUDGET, || {
        let point = &x[..one];
        attention_tangent(&few, point, point, point, &tangents, &tangents, &tangents, &mut along);
        Ok(())
    })?;
    let tangent_products = (4 * DIRECTIONS + 2) as f64 / 8.0;
    Ok(vec![
        Measurement::new(name, "forward", forward, Amount::Operations(2.0 * product)),
        // Gradients of both products in both factors; computing the weights again is not counted.
        Measurement::new(name, "backward", backward, Amount::Operations(4.0 * product)),
        Measurement::new(
            name,
            &format!("{DIRECTIONS} tangents of 8 images"),
            tangent,
            Amount::Operations(tangent_products * product),
        ),
    ])
}
