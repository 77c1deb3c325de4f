//! The first codes of a ranking, kept while codes come in any order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::codes::Code;

/// A code that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundCode {
    /// Which code of those searched, from 0.
    pub position: u64,
    /// The code.
    pub code: Code,
    /// The Euclidean length of the approximate displacement, in the units of the images of the Gram matrix.
    pub distance: f64,
}

/// Orders as a ranking does: the greater one comes first.
#[derive(Clone, Copy, Debug)]
struct Candidate(FoundCode);

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = self.0.distance.total_cmp(&other.0.distance);
        by_distance.then_with(|| other.0.position.cmp(&self.0.position))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// The `count` codes with the largest distances, of equal distances those with the lowest positions. As no two candidates
/// are equal, they are the same ones in whatever order and in however many parts they come.
pub(super) struct Best {
    count: usize,
    /// The least of the kept candidates on top.
    kept: BinaryHeap<Reverse<Candidate>>,
}

impl Best {
    pub(super) fn new(count: usize) -> Self {
        Self { count, kept: BinaryHeap::new() }
    }

    #[inline]
    pub(super) fn offer(&mut self, found: FoundCode) {
        let candidate = Candidate(found);
        if self.kept.len() < self.count {
            self.kept.push(Reverse(candidate));
        } else if let Some(mut least) = self.kept.peek_mut()
            && candidate > least.0
        {
            *least = Reverse(candidate);
        }
    }

    /// The distance below which nothing enters any more: that of the last one, once there are as many as are wanted.
    #[inline]
    pub(super) fn least_distance(&self) -> Option<f64> {
        let least = self.kept.peek().filter(|_| self.kept.len() == self.count)?;
        Some(least.0.0.distance)
    }

    pub(super) fn merged(mut self, other: Self) -> Self {
        for Reverse(Candidate(found)) in other.kept {
            self.offer(found);
        }
        self
    }

    /// The largest distance first.
    pub(super) fn into_ranking(self) -> Vec<FoundCode> {
        // Ascending in `Reverse`, so the greatest candidate first.
        self.kept.into_sorted_vec().into_iter().map(|Reverse(Candidate(found))| found).collect()
    }
}
