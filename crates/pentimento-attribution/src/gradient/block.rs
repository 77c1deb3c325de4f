//! Features of some images, in memory or as they are kept.

use super::rows::{FeatureFile, all_finite};

/// Features of some images.
pub struct FeatureBlock(Source);

enum Source {
    /// One after another.
    InMemory(Vec<f32>),
    /// In files, each image the mean over some of its parts.
    Kept {
        files: Vec<FeatureFile>,
        /// File and place in it of each image.
        places: Vec<(usize, usize)>,
        parts: Vec<usize>,
    },
    /// The mean of features of the same images, each with its share.
    Mean(Vec<(f32, FeatureBlock)>),
}

impl From<Vec<f32>> for FeatureBlock {
    /// Features that follow each other.
    fn from(values: Vec<f32>) -> Self {
        Self(Source::InMemory(values))
    }
}

impl FeatureBlock {
    /// Features as files have them: of each image the number of its file and its place in it, the mean over `parts`.
    ///
    /// # Panics
    ///
    /// If there is no such file, place or part, `parts` is empty, or the files have features of different lengths.
    pub fn kept(files: Vec<FeatureFile>, places: Vec<(usize, usize)>, parts: Vec<usize>) -> Self {
        assert!(places.iter().all(|&(file, place)| place < files[file].images().len()), "places in files");
        assert!(!parts.is_empty(), "a mean is over one part at the least");
        assert!(files.iter().all(|file| parts.iter().all(|&part| part < file.parts())), "parts of an image");
        assert!(
            files.windows(2).all(|two| two[0].dimension() == two[1].dimension()),
            "features of one length"
        );
        Self(Source::Kept { files, places, parts })
    }

    /// The sum of features of the same images, each times its share, such as means over batches of draws.
    ///
    /// # Panics
    ///
    /// If there are none, or they have different lengths.
    pub fn mean(mut blocks: Vec<(f32, Self)>) -> Self {
        assert!(!blocks.is_empty(), "a mean of something");
        assert!(blocks.windows(2).all(|two| two[0].1.len() == two[1].1.len()), "features of the same images");
        if blocks.len() == 1 && blocks[0].0 == 1.0 {
            return blocks.remove(0).1;
        }
        Self(Source::Mean(blocks))
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Source::InMemory(values) => values.len(),
            Source::Kept { files, places, .. } => {
                places.len() * files.first().map_or(0, FeatureFile::dimension)
            }
            Source::Mean(blocks) => blocks.first().map_or(0, |(_, block)| block.len()),
        }
    }

    /// Writes the numbers of an image's feature from `first` on, as many as there is room for.
    pub(super) fn read(&self, image: usize, dimension: usize, first: usize, target: &mut [f32]) {
        match &self.0 {
            Source::InMemory(values) => {
                target.copy_from_slice(&values[image * dimension + first..][..target.len()]);
            }
            Source::Kept { files, places, parts } => {
                let (file, place) = places[image];
                files[file].read_mean(place, parts, first, target);
            }
            Source::Mean(blocks) => {
                let mut of_block = vec![0.0; target.len()];
                target.fill(0.0);
                for (share, block) in blocks {
                    block.read(image, dimension, first, &mut of_block);
                    target.iter_mut().zip(&of_block).for_each(|(sum, value)| *sum += share * value);
                }
            }
        }
    }

    /// All values, one after another.
    pub fn into_values(self) -> Vec<f32> {
        match self.0 {
            Source::InMemory(values) => values,
            Source::Kept { files, places, parts } => {
                let dimension = files.first().map_or(0, FeatureFile::dimension);
                let mut values = vec![0.0; places.len() * dimension];
                for (&(file, place), target) in places.iter().zip(values.chunks_exact_mut(dimension.max(1))) {
                    files[file].read_mean(place, &parts, 0, target);
                }
                values
            }
            Source::Mean(blocks) => {
                let mut values = Vec::new();
                for (share, block) in blocks {
                    let of_block = block.into_values();
                    values.resize(of_block.len(), 0.0f32);
                    values.iter_mut().zip(of_block).for_each(|(sum, value)| *sum += share * value);
                }
                values
            }
        }
    }

    /// The first image whose feature has a value that is not finite.
    pub(super) fn not_finite(&self, images: usize, dimension: usize) -> Option<usize> {
        let mut values = vec![0.0; dimension];
        (0..images).find(|&image| {
            self.read(image, dimension, 0, &mut values);
            !all_finite(&values)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{FeatureRows, ImageRows, KernelError, RowPrecision, products};
    use pentimento_noise::{Purpose, Stream};
    use std::ops::Range;

    const DIMENSION: usize = 300;
    const PARTS: usize = 3;

    fn file(number: u32, images: usize, precision: RowPrecision) -> (FeatureRows, FeatureFile) {
        let mut values = vec![0.0; images * PARTS * DIMENSION];
        Stream::new(6, Purpose::Test, number, 0).fill_normal(&mut values);
        let images = (0..images).map(|image| [image as u8; 32]).collect();
        let rows = FeatureRows { images, parts: PARTS, dimension: DIMENSION, values };
        let bytes = rows.to_arrow(precision, "a network").unwrap();
        let kept = FeatureRows::from_arrow(bytes.clone(), "file", "a network", PARTS, DIMENSION).unwrap();
        (kept, FeatureFile::open(bytes.into(), "file", "a network", PARTS, DIMENSION).unwrap())
    }

    /// Scores from features where they are kept have the bytes of those from the same features in memory.
    #[test]
    fn products_of_kept_features_are_those_of_their_means() {
        let mut queries = vec![0.0; 5 * DIMENSION];
        Stream::new(6, Purpose::Test, 9, 0).fill_normal(&mut queries);
        for precision in [RowPrecision::F32, RowPrecision::F16, RowPrecision::Bf16] {
            for parts in [vec![1], vec![0, 2], vec![0, 1, 2]] {
                // 700 images in an order of their own, in two files.
                let places: Vec<(usize, usize)> =
                    (0..700).map(|image| (image % 2, (image * 37) % 40)).collect();
                let rows = [file(1, 40, precision).0, file(2, 40, precision).0];
                let mean = |&(file, place): &(usize, usize)| {
                    let of_image = rows[file].parts_of(place);
                    let sum = |number: usize| {
                        parts.iter().fold(0.0f32, |sum, part| sum + of_image[part * DIMENSION + number])
                    };
                    (0..DIMENSION).map(|number| sum(number) * (1.0 / parts.len() as f32)).collect::<Vec<_>>()
                };
                let values: Vec<f32> = places.iter().flat_map(mean).collect();
                let block = |images: Range<usize>| {
                    let files = vec![file(1, 40, precision).1, file(2, 40, precision).1];
                    FeatureBlock::kept(files, places[images].to_vec(), parts.clone())
                };
                assert_eq!(block(0..700).into_values(), values, "{precision:?}, parts {parts:?}");
                let of = |read: &(dyn Fn(Range<usize>) -> Result<FeatureBlock, KernelError> + Sync)| {
                    products(&ImageRows { images: 700, dimension: DIMENSION, read }, 3..699, &queries)
                        .unwrap()
                };
                let kept = of(&|images| Ok(block(images)));
                let in_memory = of(&|images: Range<usize>| {
                    Ok(values[images.start * DIMENSION..images.end * DIMENSION].to_vec().into())
                });
                assert_eq!(kept, in_memory, "{precision:?}, parts {parts:?}");
                // The definition, in f64: 300 roundings of f32 at the most.
                for (query, scores) in queries.chunks(DIMENSION).zip(&kept) {
                    for (row, score) in values.chunks(DIMENSION).skip(3).zip(scores) {
                        let terms = || row.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        let bound = 300.0 * 2f64.powi(-24) * terms().map(f64::abs).sum::<f64>();
                        assert!((score - terms().sum::<f64>()).abs() <= bound);
                    }
                }
            }
        }
    }

    /// Means over batches of draws, put together, have the bytes of the same done by hand, wherever the batches are.
    #[test]
    fn a_mean_of_blocks_is_the_sum_of_their_shares() {
        let places = || vec![(0, 3), (0, 0)];
        let kept = |number| {
            let files = vec![file(number, 4, RowPrecision::F32).1];
            FeatureBlock::kept(files, places(), vec![0, 1, 2])
        };
        let [first, second] = [1, 2].map(|number| kept(number).into_values());
        let by_hand: Vec<f32> = first.iter().zip(&second).map(|(a, b)| 0.0 + 0.25 * a + 0.75 * b).collect();
        let mean = || FeatureBlock::mean(vec![(0.25, kept(1)), (0.75, second.clone().into())]);
        assert_eq!(mean().into_values(), by_hand);
        assert_eq!(mean().len(), 2 * DIMENSION);
        let mut some = vec![9.0; 7];
        mean().read(1, DIMENSION, 40, &mut some);
        assert_eq!(some, by_hand[DIMENSION + 40..][..7]);
        assert_eq!(FeatureBlock::mean(vec![(1.0, kept(1))]).into_values(), first);
    }

    #[test]
    fn a_feature_that_is_not_finite_is_named() {
        let mut values = vec![1.0; 600 * DIMENSION];
        values[431 * DIMENSION + 5] = f32::NEG_INFINITY;
        let mut queries = vec![1.0; 2 * DIMENSION];
        // Not even a query that has zero there hides it.
        queries[5] = 0.0;
        let read = |images: Range<usize>| {
            Ok(values[images.start * DIMENSION..images.end * DIMENSION].to_vec().into())
        };
        let rows = ImageRows { images: 600, dimension: DIMENSION, read: &read };
        let found: Result<_, KernelError> = products(&rows, 100..600, &queries);
        assert_eq!(found, Err(KernelError::NotFinite { image: 431 }));
        // A product that overflows is no fault of the feature.
        let large: Vec<f32> = values.iter().map(|&value| if value > 0.0 { 1e20 } else { 0.0 }).collect();
        let read = |images: Range<usize>| {
            Ok(large[images.start * DIMENSION..images.end * DIMENSION].to_vec().into())
        };
        let rows = ImageRows { images: 600, dimension: DIMENSION, read: &read };
        let found: Result<_, KernelError> = products(&rows, 0..600, &vec![1e30; DIMENSION]);
        assert!(found.unwrap()[0].iter().all(|product| product.is_infinite()));
    }
}
