use crate::Stream;
use crate::stream::{bounded_from_integer, integer_from_words, uniform_from_integer};

/// A cursor over the words of a [`Stream`], for algorithms that use one value after another.
///
/// A cursor from which only [`below`](Self::below) is called hands out what [`Stream::below`] gives for the indices
/// 0, 1, 2, …
#[derive(Clone, Debug)]
pub struct Cursor {
    stream: Stream,
    block: [u32; 4],
    next_block: u32,
    /// How many words of `block` are used up; 4 means that the next word begins a new block.
    used: usize,
}

impl Cursor {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, block: [0; 4], next_block: 0, used: 4 }
    }

    /// The next 32-bit word.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == self.block.len() {
            self.block = self.stream.words(self.next_block);
            self.next_block = self.next_block.wrapping_add(1);
            self.used = 0;
        }
        let word = self.block[self.used];
        self.used += 1;
        word
    }

    /// The next two words as one integer, low half first.
    pub fn next_u64(&mut self) -> u64 {
        let low = self.next_u32();
        let high = self.next_u32();
        integer_from_words(low, high)
    }

    /// The next two words as a uniform value in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        uniform_from_integer(self.next_u64())
    }

    /// The next two words as a uniform integer of `0..bound`; 0 if `bound` is 0. Its bias is as in [`Stream::below`].
    pub fn below(&mut self, bound: u64) -> u64 {
        bounded_from_integer(self.next_u64(), bound)
    }
}
