//! Scores by several networks, with all draws and without each block of them in turn, and by timestep.

use super::block::FeatureBlock;
use super::comparison::{Compared, Queries};
use super::feature_source::{FeatureSource, QueryTimesteps};
use super::kernel::ImageRows;
use super::method::Comparison;
use crate::scores::{Scores, add_rows, top};
use std::ops::Range;

/// Training images of each query whose scores are told by timestep.
const IN_STRIPS: usize = 20;

/// Reads the features of a range of one network's training images.
pub type ImageReader<'a, E> = Box<dyn Fn(Range<usize>) -> Result<FeatureBlock, E> + Sync + 'a>;

/// Scores of the first images by the timestep of the query's draws.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strips {
    /// The timesteps, rising.
    pub timesteps: Vec<usize>,
    /// For each query its first images, and their scores at each timestep, whose mean is the score.
    pub of_queries: Vec<Vec<(usize, Vec<f64>)>>,
}

/// What reads the training images of each network with all draws.
pub fn image_readers<S: FeatureSource>(networks: &[S]) -> Vec<ImageReader<'_, S::Error>> {
    networks.iter().map(image_reader).collect()
}

fn image_reader<S: FeatureSource>(network: &S) -> ImageReader<'_, S::Error> {
    Box::new(|images| network.image_block(images, None))
}

/// Makes what the comparison needs of each network's training images, with all draws. A damping that is not given is chosen
/// from the features.
///
/// # Errors
///
/// As [`Compared::new`]; whatever `go_on` returns, which is called before each network.
pub fn compare_networks<'a, S: FeatureSource>(
    networks: &[S],
    readers: &'a [ImageReader<'a, S::Error>],
    comparison: Comparison,
    damping: Option<f64>,
    go_on: impl Fn() -> Result<(), S::Error>,
) -> Result<Vec<Compared<'a, S::Error>>, S::Error> {
    let mut compared = Vec::new();
    for (network, read) in networks.iter().zip(readers) {
        go_on()?;
        compared.push(Compared::new(comparison, rows(network, read), damping)?);
    }
    Ok(compared)
}

/// Scores all training images for all queries: the sum over networks, each times its factor. `compared` is from
/// [`compare_networks`]; replicates, without each of the `blocks` of draws in turn, are made at the same damping.
///
/// # Errors
///
/// As reading features; whatever `go_on` returns, which is called before each replicate.
pub fn jackknife<S: FeatureSource>(
    networks: &[S],
    compared: &[Compared<'_, S::Error>],
    comparison: Comparison,
    blocks: usize,
    parts: QueryTimesteps<'_>,
    go_on: impl Fn() -> Result<(), S::Error>,
) -> Result<Scores, S::Error> {
    let mut all = Scores::default();
    for (network, compared) in networks.iter().zip(compared) {
        let (prepared, factors) = prepare(compared, network, &|_| true)?;
        let scores = compared.scores(&prepared, 0..network.images())?;
        add_rows(&mut all.scores, network.factor(), &scaled(scores, &factors));
    }
    let mut of_themselves = Vec::new();
    for (network, compared) in networks.iter().zip(compared) {
        add_rows(&mut of_themselves, network.factor(), &[compared.self_influence()?]);
    }
    all.self_influence = of_themselves.concat();

    // A journey of fewer steps than blocks leaves blocks without a part of the query: then there is no spread.
    let all_take_part = (0..blocks).all(|block| parts.blocks.contains(&block));
    for left_out in (0..blocks).filter(|_| blocks > 1 && all_take_part) {
        go_on()?;
        let mut replicate = Vec::new();
        for (network, all) in networks.iter().zip(compared) {
            let read = |images: Range<usize>| network.image_block(images, Some(left_out));
            let damping = all.kernel().map(|(_, damping)| damping);
            let compared = Compared::new(comparison, rows(network, &read), damping)?;
            let (prepared, factors) = prepare(&compared, network, &|part| parts.blocks[part] != left_out)?;
            let scores = compared.scores(&prepared, 0..network.images())?;
            add_rows(&mut replicate, network.factor(), &scaled(scores, &factors));
        }
        all.replicates.push(replicate);
    }
    Ok(all)
}

/// The scores of each query's first images by the timestep of the query's draws. Their mean is the score.
///
/// # Errors
///
/// As reading features.
pub fn strips<S: FeatureSource>(
    networks: &[S],
    compared: &[Compared<'_, S::Error>],
    parts: QueryTimesteps<'_>,
    scores: &[Vec<f64>],
) -> Result<Strips, S::Error> {
    let mut order: Vec<usize> = (0..parts.timesteps.len()).collect();
    order.sort_by_key(|&part| parts.timesteps[part]);
    let timesteps = order.iter().map(|&part| parts.timesteps[part]).collect();
    let mut of_queries = Vec::new();
    for (query, scores) in scores.iter().enumerate() {
        let first = top(scores, IN_STRIPS);
        let mut table = Vec::new();
        for (network, compared) in networks.iter().zip(compared) {
            let dimension = network.dimension();
            let by_part = network.query_parts(query)?;
            let whole = network.query_features(query..query + 1, &|_| true)?;
            let factor = compared.query_factor(&whole);
            let sorted: Vec<f32> = order
                .iter()
                .flat_map(|&part| by_part[part * dimension..(part + 1) * dimension].iter().copied())
                .collect();
            let prepared = compared.queries(sorted)?;
            let of_image = |&image: &usize| -> Result<Vec<f64>, S::Error> {
                let column = compared.scores(&prepared, image..image + 1)?;
                Ok(column.into_iter().flatten().map(|score| factor * score).collect())
            };
            let of_network: Vec<Vec<f64>> = first.iter().map(of_image).collect::<Result<_, _>>()?;
            add_rows(&mut table, network.factor(), &of_network);
        }
        of_queries.push(first.into_iter().zip(table).collect());
    }
    Ok(Strips { timesteps, of_queries })
}

impl Strips {
    /// Takes in those of further queries, whose images are given by their positions among `images`.
    pub fn append(&mut self, other: Self, images: &[usize]) {
        self.timesteps = other.timesteps;
        let of_query = |of_images: Vec<(usize, Vec<f64>)>| {
            of_images.into_iter().map(|(place, values)| (images[place], values)).collect()
        };
        self.of_queries.extend(other.of_queries.into_iter().map(of_query));
    }

    /// The scores of an image for a query at each timestep, if it is among the query's first.
    pub fn of(&self, query: usize, image: usize) -> Option<&[f64]> {
        let of_query = self.of_queries.get(query)?;
        of_query.iter().find(|(first, _)| *first == image).map(|(_, values)| values.as_slice())
    }
}

fn rows<'a, S: FeatureSource>(
    network: &S,
    read: &'a (dyn Fn(Range<usize>) -> Result<FeatureBlock, S::Error> + Sync),
) -> ImageRows<'a, S::Error> {
    ImageRows { images: network.images(), dimension: network.dimension(), read }
}

/// Queries ready to be scored, and the factor of each.
fn prepare<S: FeatureSource>(
    compared: &Compared<'_, S::Error>,
    network: &S,
    keep: &dyn Fn(usize) -> bool,
) -> Result<(Queries, Vec<f64>), S::Error> {
    let features = network.query_features(0..network.queries(), keep)?;
    let factors = features.chunks_exact(network.dimension()).map(|row| compared.query_factor(row)).collect();
    Ok((compared.queries(features)?, factors))
}

fn scaled(mut scores: Vec<Vec<f64>>, factors: &[f64]) -> Vec<Vec<f64>> {
    for (scores, factor) in scores.iter_mut().zip(factors) {
        scores.iter_mut().for_each(|score| *score *= factor);
    }
    scores
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::method::Divisor;
    use super::*;
    use pentimento_noise::{Purpose, Stream};
    use pentimento_statistics::StatisticsError;

    /// Features in memory: two groups of draws, queries with three parts of which the last belongs to the second group.
    pub struct InMemory {
        pub factor: f64,
        /// `[images][groups][feature]`.
        pub images: Vec<Vec<Vec<f32>>>,
        /// `[queries][parts][feature]`.
        pub queries: Vec<Vec<Vec<f32>>>,
    }

    #[derive(Debug, PartialEq)]
    pub enum Trouble {
        Kernel(super::super::kernel::KernelError),
        Statistics(StatisticsError),
        Stopped,
    }

    impl From<super::super::kernel::KernelError> for Trouble {
        fn from(error: super::super::kernel::KernelError) -> Self {
            Self::Kernel(error)
        }
    }

    impl From<StatisticsError> for Trouble {
        fn from(error: StatisticsError) -> Self {
            Self::Statistics(error)
        }
    }

    pub const PARTS: QueryTimesteps<'_> = QueryTimesteps { timesteps: &[700, 100, 400], blocks: &[0, 0, 1] };
    const GROUPS: usize = 2;

    fn mean<'a>(rows: impl Iterator<Item = &'a Vec<f32>>) -> Vec<f32> {
        let rows: Vec<&Vec<f32>> = rows.collect();
        (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at]).sum::<f32>() / rows.len() as f32).collect()
    }

    impl FeatureSource for InMemory {
        type Error = Trouble;

        fn images(&self) -> usize {
            self.images.len()
        }

        fn queries(&self) -> usize {
            self.queries.len()
        }

        fn dimension(&self) -> usize {
            self.images[0][0].len()
        }

        fn factor(&self) -> f64 {
            self.factor
        }

        fn image_block(
            &self,
            images: Range<usize>,
            left_out: Option<usize>,
        ) -> Result<FeatureBlock, Trouble> {
            let feature = |image: &Vec<Vec<f32>>| {
                let kept = image.iter().enumerate().filter(|(group, _)| Some(*group) != left_out);
                mean(kept.map(|(_, row)| row))
            };
            Ok(self.images[images].iter().flat_map(feature).collect::<Vec<f32>>().into())
        }

        fn query_features(
            &self,
            queries: Range<usize>,
            keep: &dyn Fn(usize) -> bool,
        ) -> Result<Vec<f32>, Trouble> {
            let feature = |parts: &Vec<Vec<f32>>| {
                let kept = parts.iter().enumerate().filter(|(part, _)| keep(*part));
                mean(kept.map(|(_, row)| row))
            };
            Ok(self.queries[queries].iter().flat_map(feature).collect())
        }

        fn query_parts(&self, query: usize) -> Result<Vec<f32>, Trouble> {
            Ok(self.queries[query].concat())
        }
    }

    /// Features of small whole numbers, so that sums of products are exact.
    pub fn network(factor: f64, seed: u64) -> InMemory {
        let rows = |kind: u32, count: usize, parts: usize| -> Vec<Vec<Vec<f32>>> {
            let row = |at: usize| -> Vec<f32> {
                let mut values = vec![0.0f32; 4];
                Stream::new(seed, Purpose::Test, kind, at as u32).fill_normal(&mut values);
                values.iter().map(|value| (4.0 * value).round()).collect()
            };
            (0..count).map(|one| (0..parts).map(|part| row(one * parts + part)).collect()).collect()
        };
        InMemory { factor, images: rows(0, 7, GROUPS), queries: rows(1, 3, 3) }
    }

    fn scored(networks: &[InMemory], comparison: Comparison, parts: QueryTimesteps<'_>) -> (Scores, Strips) {
        let readers = image_readers(networks);
        let go_on = || Ok(());
        let compared = compare_networks(networks, &readers, comparison, Some(2.0), go_on).unwrap();
        let scores = jackknife(networks, &compared, comparison, GROUPS, parts, go_on).unwrap();
        let strips = strips(networks, &compared, parts, &scores.scores).unwrap();
        (scores, strips)
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// Inner products, written out: the sum over networks of factor times mean feature times mean feature.
    #[test]
    fn scores_are_sums_over_networks_with_and_without_each_group() {
        let networks = [network(0.5, 1), network(2.0, 2)];
        let (scores, _) = scored(&networks, Comparison::Dot, PARTS);
        assert_eq!((scores.scores.len(), scores.replicates.len()), (3, 2));
        for left_out in [None, Some(0), Some(1)] {
            let found = left_out.map_or(&scores.scores, |group| &scores.replicates[group]);
            for (query, row) in found.iter().enumerate() {
                for (image, score) in row.iter().enumerate() {
                    let of_network = |network: &InMemory| {
                        let groups = (0..GROUPS).filter(|group| Some(*group) != left_out);
                        let parts = (0..3).filter(|part| Some(PARTS.blocks[*part]) != left_out);
                        let image = mean(groups.map(|group| &network.images[image][group]));
                        let query = mean(parts.map(|part| &network.queries[query][part]));
                        network.factor * dot(&image, &query)
                    };
                    let truth: f64 = networks.iter().map(of_network).sum();
                    // Thirds are rounded in f32, in another order here.
                    assert!((score - truth).abs() < 1e-4, "{left_out:?}: {score} instead of {truth}");
                }
            }
        }
        for (image, own) in scores.self_influence.iter().enumerate() {
            let of_network = |network: &InMemory| {
                let feature = mean(network.images[image].iter());
                network.factor * dot(&feature, &feature)
            };
            assert!((own - networks.iter().map(of_network).sum::<f64>()).abs() < 1e-4);
        }
    }

    /// The mean over timesteps is the score, for each comparison that is linear in the query, and for cosines too.
    #[test]
    fn the_mean_of_a_strip_is_the_score() {
        let networks = [network(0.5, 3), network(1.5, 4)];
        for comparison in [Comparison::Dot, Comparison::Cosine, Comparison::InverseKernel(Divisor::Length)] {
            let (scores, strips) = scored(&networks, comparison, PARTS);
            assert_eq!(strips.timesteps, [100, 400, 700]);
            for (query, scores) in scores.scores.iter().enumerate() {
                assert_eq!(
                    strips.of_queries[query].iter().map(|(image, _)| *image).collect::<Vec<_>>(),
                    top(scores, IN_STRIPS)
                );
                for (image, score) in scores.iter().enumerate() {
                    let strip = strips.of(query, image).unwrap();
                    let mean = strip.iter().sum::<f64>() / strip.len() as f64;
                    assert!((mean - score).abs() < 1e-4, "{comparison:?}: {mean} instead of {score}");
                }
                assert_eq!(strips.of(query, 99), None);
            }
        }
    }

    #[test]
    fn a_group_without_a_part_of_the_query_leaves_no_spread() {
        let parts = QueryTimesteps { timesteps: PARTS.timesteps, blocks: &[0, 0, 0] };
        let (scores, _) = scored(&[network(1.0, 5)], Comparison::Dot, parts);
        assert!(scores.replicates.is_empty());
    }

    #[test]
    fn who_is_asked_to_stop_stops() {
        let networks = [network(1.0, 6)];
        let readers = image_readers(&networks);
        let stop = || Err(Trouble::Stopped);
        let found = compare_networks(&networks, &readers, Comparison::Dot, None, stop);
        assert!(matches!(found, Err(Trouble::Stopped)));
        let compared = compare_networks(&networks, &readers, Comparison::Dot, None, || Ok(())).unwrap();
        let found = jackknife(&networks, &compared, Comparison::Dot, GROUPS, PARTS, stop);
        assert_eq!(found, Err(Trouble::Stopped));
    }

    #[test]
    fn strips_of_candidates_stand_at_their_images() {
        let of_query = |values: f64| Strips {
            timesteps: vec![5, 9],
            of_queries: vec![vec![(1, vec![values, 0.0]), (0, vec![0.5, 0.5])]],
        };
        let mut all = Strips::default();
        all.append(of_query(1.0), &[3, 8]);
        all.append(of_query(2.0), &[0, 2]);
        assert_eq!(all.timesteps, [5, 9]);
        assert_eq!((all.of(0, 8), all.of(0, 3)), (Some(&[1.0, 0.0][..]), Some(&[0.5, 0.5][..])));
        assert_eq!((all.of(1, 2), all.of(1, 8)), (Some(&[2.0, 0.0][..]), None));
    }
}
