//! What an attention reads its heads from, and the memory it works on.

use crate::lanes::LANES;
use std::cell::RefCell;

/// Rows of channels are padded to a multiple of this many, so that pairs of them fill vectors.
pub(super) const PIECE: usize = LANES / 2;

/// Number of channels with padding.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(PIECE)
}

/// Sixteen values on one cache line.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Vector(pub(super) [f32; LANES]);

impl Vector {
    pub(super) const ZERO: Self = Self([0.0; LANES]);
}

/// Lends pieces of `lengths` vectors each. Every thread keeps its memory for the next call; the contents are arbitrary.
pub(super) fn with_scratch<const PIECES: usize, R>(
    lengths: [usize; PIECES],
    work: impl FnOnce([&mut [Vector]; PIECES]) -> R,
) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<Vector>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|memory| {
        let total = lengths.iter().sum();
        if memory.len() < total {
            memory.resize(total, Vector::ZERO);
        }
        let mut rest = &mut memory[..];
        work(lengths.map(|length| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(length);
            rest = after;
            piece
        }))
    })
}

/// One head of one image, read where it lies: token `t` has its channels at `t * stride`.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) tokens: usize,
    pub(super) channels: usize,
}

impl Head<'_> {
    pub(super) fn padded_channels(&self) -> usize {
        padded(self.channels)
    }

    pub(super) fn assert_inside(&self) {
        assert!((self.tokens - 1) * self.stride + self.channels <= self.values.len(), "a token lies outside");
    }
}
