//! Nearest patches: which training images a denoiser without any network would build a noisy query from, patch by patch.
//!
//! The denoiser that is optimal for a set of images, if it sees only the patch around each pixel, averages the middles of
//! all training patches with the posterior weights `softmax(-|u - sqrt(abar) v|^2 / (2 (1 - abar)))`, over the patches v of
//! all images, for the noisy patch u. What an image adds up to in these weights is its score (Zhao, Du, Zheng, Pang and
//! Lin 2025, *Nonparametric data attribution*, arXiv 2510.14269; at a single scale).
//!
//! # How it is computed
//!
//! Of each training image only three numbers are kept per position of the query: the largest logit, the sum of all weights
//! and that of the k largest, both in units of the largest. The sums over all images are put together from these.
//!
//! Logits come from a matrix product of patches, as |u - w|^2 = |u|^2 + |w|^2 - 2 <u, w> and |u|^2 is the same for all w.
//! Entries outside the image are [`OUTSIDE`] on both sides. Their products with each other would drown the rest of a sum in
//! f32, so they are not in it: outside entries are 0 in the query's rows, and each *outline* (which entries of a patch lie
//! outside) has a row of its own, ones at these entries. Where both patches have the same outline, all this cancels exactly.

use std::collections::BTreeMap;

use pentimento_kernels::{ConvGeometry, ConvShape, ShapeError, SoftmaxPart, conv2d, softmax_part};
use pentimento_noise::{Purpose, Stream};
use rayon::prelude::*;

use super::{IMAGES, LARGEST_VALUE, LikenessError, NOISES, QUERIES, check_lengths};

/// The value of entries outside the image, in noisy patches and in scaled training patches alike: so far from that of
/// pixels that outside entries only match outside entries. (The value of the authors' published settings.)
const OUTSIDE: f32 = 10.0;

/// Positions of a query whose products are made and used up at once: their products with 28x28 positions fit the second
/// cache, and packing the training patches anew for each block costs less than a tenth of the product.
const POSITIONS_PER_BLOCK: usize = 256;

/// How patches are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearestPatches {
    /// Height, width and channels of all images, in values `[height, width, channels]`.
    pub image: [usize; 3],
    /// abar_t of the one timestep to which queries are noised. The paper takes timesteps 100 to 500 of 1000.
    pub abar: f64,
    /// Side p of the square patches, odd, in pixels.
    pub side: usize,
    /// How many of an image's largest weights count, k, for each position of a query.
    pub largest: usize,
}

/// The noise of a query at a timestep, `length` standard normal values that follow from the seed and the query's number.
pub fn patch_noise(seed: u64, timestep: u32, query: u32, length: usize) -> Vec<f32> {
    let mut noise = vec![0.0; length];
    Stream::new(seed, Purpose::AttributionNoise, query, timestep).fill_normal(&mut noise);
    noise
}

impl NearestPatches {
    /// The paper's patches of 7 x 7 pixels, of which the 100 largest weights of an image count.
    pub fn new(image: [usize; 3], abar: f64) -> Self {
        Self { image, abar, side: 7, largest: 100 }
    }

    /// The weights of every image, summed over the positions of a query: `[queries][images]`, from 0 to the number of
    /// positions. If k is at least that number, the scores of a query sum to it.
    ///
    /// `queries`, `images` and `noises` are in values `[height, width, channels]`: pixels in [-1, 1], and a standard normal
    /// noise for each query.
    /// Logits are in f32: their error is about 10^-7 p^2 channels / (1 - abar).
    ///
    /// Takes 12 bytes per position and image, whatever the number of queries, and
    /// positions^2 * images * p^2 * channels multiply-adds per query.
    ///
    /// # Errors
    ///
    /// [`LikenessError`] if sizes do not fit together, nothing is given, or a value is out of its bounds.
    pub fn scores(
        &self,
        queries: &[Vec<f32>],
        noises: &[Vec<f32>],
        images: &[Vec<f32>],
    ) -> Result<Vec<Vec<f64>>, LikenessError> {
        self.check(queries, noises, images)?;
        let grid = Grid::new(self.image, self.side);
        let mut scores = Vec::with_capacity(queries.len());
        for (query, noise) in queries.iter().zip(noises) {
            let rows = self.query_rows(&grid, query, noise);
            let parts: Result<Vec<_>, ShapeError> =
                images.par_iter().map(|image| self.parts(&grid, &rows, image)).collect();
            scores.push(shares(grid.positions(), &parts?));
        }
        Ok(scores)
    }

    fn check(
        &self,
        queries: &[Vec<f32>],
        noises: &[Vec<f32>],
        images: &[Vec<f32>],
    ) -> Result<(), LikenessError> {
        let Self { image: [height, width, channels], abar, side, largest } = *self;
        let values = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
        let length = match values {
            Some(length) if length > 0 => length,
            _ => return Err(LikenessError::ImageShape { height, width, channels }),
        };
        // A number that is not one is refused too.
        if !(abar > 0.0 && abar < 1.0) {
            return Err(LikenessError::Abar { abar });
        }
        let most = height.min(width);
        if side % 2 == 0 || side > most {
            return Err(LikenessError::PatchSide { side, most });
        }
        if largest == 0 {
            return Err(LikenessError::NoWeights);
        }
        // Before memory is taken for patches: a product refuses more positions or entries than it can take.
        product_shape(1, side * side * channels, height * width)?;
        check_lengths(QUERIES, queries, length)?;
        check_lengths(IMAGES, images, length)?;
        if noises.len() != queries.len() {
            return Err(LikenessError::Noises { noises: noises.len(), queries: queries.len() });
        }
        check_lengths(NOISES, noises, length)?;
        for ([what, _], rows) in [(QUERIES, queries), (NOISES, noises), (IMAGES, images)] {
            for (index, row) in rows.iter().enumerate() {
                let bounded = |value: &f32| value.abs() <= LARGEST_VALUE;
                if let Some(&value) = row.iter().find(|value| !bounded(value)) {
                    return Err(LikenessError::Value { what, index, value });
                }
            }
        }
        Ok(())
    }

    /// The noisy query's patches over 1 - abar, `[positions][entries]`: products with them are logits.
    fn query_rows(&self, grid: &Grid, query: &[f32], noise: &[f32]) -> Vec<f32> {
        let (signal, variance) = (self.abar.sqrt(), 1.0 - self.abar);
        let noisy = |(&value, &noise): (&f32, &f32)| {
            let value = signal * f64::from(value) + variance.sqrt() * f64::from(noise);
            (value / variance) as f32
        };
        let mut values: Vec<f32> = query.iter().zip(noise).map(noisy).collect();
        values.push(0.0);
        let columns = grid.columns(&values);
        let (positions, entries) = (grid.positions(), grid.entries);
        let row = |position: usize| (0..entries).map(move |entry| entry * positions + position);
        (0..positions).flat_map(row).map(|place| columns[place]).collect()
    }

    /// What one image adds to the softmax of every position of the query.
    fn parts(&self, grid: &Grid, query_rows: &[f32], image: &[f32]) -> Result<Vec<SoftmaxPart>, ShapeError> {
        let positions = grid.positions();
        let signal = self.abar.sqrt();
        let mut values: Vec<f32> = image.iter().map(|&value| (signal * f64::from(value)) as f32).collect();
        values.push(OUTSIDE);
        let columns = grid.columns(&values);
        let offsets = self.offsets(grid, &columns)?;
        let mut parts = vec![SoftmaxPart::default(); positions];
        let blocks = query_rows.chunks(POSITIONS_PER_BLOCK * grid.entries);
        let outlines = grid.outline_of.chunks(POSITIONS_PER_BLOCK);
        for ((rows, outlines), parts) in blocks.zip(outlines).zip(parts.chunks_mut(POSITIONS_PER_BLOCK)) {
            let mut products = grid.multiply(rows, &columns)?;
            let logits = products.chunks_exact_mut(positions);
            for ((logits, outline), part) in logits.zip(outlines).zip(parts) {
                softmax_part(logits, &offsets[outline * positions..][..positions], self.largest, part);
            }
        }
        Ok(parts)
    }

    /// What is taken from the products to make logits, for a query's patch of each outline: half of
    /// `|w|^2 + |outside|^2 - 2 <outside, w>` over 1 - abar, `[outlines][positions]`. The middle term is the same for all w
    /// and changes no weight, but without it the others would be rounded where patches reach outside.
    fn offsets(&self, grid: &Grid, columns: &[f32]) -> Result<Vec<f32>, ShapeError> {
        let positions = grid.positions();
        let mut squares = vec![0.0f64; positions];
        for row in columns.chunks_exact(positions) {
            for (square, &value) in squares.iter_mut().zip(row) {
                *square += f64::from(value) * f64::from(value);
            }
        }
        let outside = f64::from(OUTSIDE);
        let mut offsets = grid.multiply(&grid.outlines, columns)?;
        for (row, outline) in offsets.chunks_exact_mut(positions).zip(grid.outlines.chunks(grid.entries)) {
            let of_outline = outside * outside * outline.iter().map(|&one| f64::from(one)).sum::<f64>();
            for (offset, square) in row.iter_mut().zip(&squares) {
                let products = 2.0 * outside * f64::from(*offset);
                *offset = ((square + of_outline - products) / (2.0 * (1.0 - self.abar))) as f32;
            }
        }
        Ok(offsets)
    }
}

/// Where the entries of the patches around all positions of an image lie.
struct Grid {
    /// Values of a patch, `[row, column, channel]`.
    entries: usize,
    /// `[entries][positions]`, places in the image's values; one behind the last stands for what is outside.
    sources: Vec<usize>,
    /// Which outline the patch around each position has.
    outline_of: Vec<usize>,
    /// `[outlines][entries]`, 1 at entries outside the image and 0 at the others.
    outlines: Vec<f32>,
}

impl Grid {
    fn new([height, width, channels]: [usize; 3], side: usize) -> Self {
        let (entries, positions, reach) = (side * side * channels, height * width, side / 2);
        let outside = positions * channels;
        // The row or column `step` of the patch around `middle`.
        let inside = |middle: usize, step: usize, length: usize| {
            (middle + step).checked_sub(reach).filter(|&place| place < length)
        };
        let mut sources = Vec::with_capacity(entries * positions);
        for entry in 0..entries {
            let (pixel, channel) = (entry / channels, entry % channels);
            for position in 0..positions {
                let y = inside(position / width, pixel / side, height);
                let x = inside(position % width, pixel % side, width);
                sources.push(match (y, x) {
                    (Some(y), Some(x)) => (y * width + x) * channels + channel,
                    _ => outside,
                });
            }
        }
        // Patches that are cut by as many rows and columns on each side have the same outline.
        let cuts = |middle: usize, length: usize| {
            [reach.saturating_sub(middle), (middle + reach + 1).saturating_sub(length)]
        };
        let mut numbers = BTreeMap::new();
        let (mut outline_of, mut outlines) = (Vec::with_capacity(positions), Vec::new());
        for position in 0..positions {
            let next = numbers.len();
            let outline = [cuts(position / width, height), cuts(position % width, width)];
            let number = *numbers.entry(outline).or_insert(next);
            if number == next {
                let is_outside = |entry: usize| sources[entry * positions + position] == outside;
                outlines.extend((0..entries).map(|entry| if is_outside(entry) { 1.0 } else { 0.0 }));
            }
            outline_of.push(number);
        }
        Self { entries, sources, outline_of, outlines }
    }

    fn positions(&self) -> usize {
        self.outline_of.len()
    }

    /// All patches of an image, `[entries][positions]`; the last of its values is that of entries outside.
    fn columns(&self, values: &[f32]) -> Vec<f32> {
        self.sources.iter().map(|&place| values[place]).collect()
    }

    /// `rows [n][entries]` times `columns [entries][positions]`.
    fn multiply(&self, rows: &[f32], columns: &[f32]) -> Result<Vec<f32>, ShapeError> {
        let (count, positions) = (rows.len() / self.entries, self.positions());
        let shape = product_shape(count, self.entries, positions)?;
        let mut products = vec![0.0; count * positions];
        conv2d(&shape, rows, columns, None, &mut products);
        Ok(products)
    }
}

/// `[rows][entries]` times `[entries][positions]`.
fn product_shape(rows: usize, entries: usize, positions: usize) -> Result<ConvShape, ShapeError> {
    ConvShape::new([rows, 1, 1, entries], positions, ConvGeometry::POINTWISE)
}

/// The shares of all images in the softmax of each position, summed over positions; `parts` is `[images][positions]`.
fn shares(positions: usize, parts: &[Vec<SoftmaxPart>]) -> Vec<f64> {
    let weight =
        |part: &SoftmaxPart, largest: f32| libm::exp(f64::from(part.largest_logit) - f64::from(largest));
    let of_position = |position: usize| {
        let here = || parts.iter().map(move |of_image| &of_image[position]);
        let largest = here().map(|part| part.largest_logit).fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = here().map(|part| weight(part, largest) * f64::from(part.sum)).sum();
        (largest, sum)
    };
    let totals: Vec<(f32, f64)> = (0..positions).into_par_iter().map(of_position).collect();
    let of_image = |of_image: &Vec<SoftmaxPart>| {
        let share = |(part, &(largest, sum)): (&SoftmaxPart, &(f32, f64))| {
            weight(part, largest) * f64::from(part.sum_of_largest) / sum
        };
        of_image.iter().zip(&totals).map(share).sum()
    };
    parts.par_iter().map(of_image).collect()
}
