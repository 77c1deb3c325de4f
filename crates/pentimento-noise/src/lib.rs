//! The one source of randomness of the project.
//!
//! A random value is *addressed*, never drawn from a shared state: element `k` of a [`Stream`] depends on the seed, on
//! what the value is for ([`Purpose`]), on an id (a member, an image, a sample), on a step (of training, of sampling)
//! and on `k`, and on nothing else. So the same noise comes back for every batch size, thread count, shard and restart,
//! and a run stores seeds instead of tensors.
//!
//! # How an address becomes a value
//!
//! The generator is Philox 4x32 with 10 rounds (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as
//! 1, 2, 3*, SC 2011), a bijection of a 128-bit counter under a 64-bit key:
//!
//! | | word 0 | word 1 | word 2 | word 3 |
//! | --- | --- | --- | --- | --- |
//! | key | low half of the seed | high half of the seed | | |
//! | counter | block | step | id | purpose |
//!
//! Each counter gives one block of four 32-bit words; the words of blocks 0, 1, 2, … are the stream. Two addresses that
//! differ in anything have different counters or keys, so streams never overlap. A stream has 2^32 blocks; block numbers
//! wrap after that.
//!
//! - **Normal `k`** is made from words `2 ⌊k/2⌋` and `2 ⌊k/2⌋ + 1` by the transform of Box and Muller in f64 with
//!   `libm`, so that the bits are the same on every platform. The f32 form is the f64 form rounded.
//! - **64-bit integer `k`** is made from words `2k` (low half) and `2k + 1` (high half). Uniform `k` is its top 53 bits
//!   (f64) or top 24 bits (f32) as a fraction; bounded integers are its product with the bound, shifted down by 64 bits.
//!
//! ```
//! use pentimento_noise::{Purpose, Stream};
//!
//! let stream = Stream::new(7, Purpose::SampleNoise, 3, 999);
//! let mut whole = [0.0_f32; 6];
//! stream.fill_normal(&mut whole);
//!
//! let mut tail = [0.0_f32; 2];
//! stream.fill_normal_at(4, &mut tail);
//! assert_eq!(whole[4..], tail);
//! ```

mod cursor;
mod philox;
mod purpose;
mod stream;

pub use cursor::Cursor;
pub use philox::philox4x32_10;
pub use purpose::Purpose;
pub use stream::Stream;
