//! Memory of the kernels: whole cache lines, and used again.
//!
//! A training step asks for the same few hundred buffers as the step before. Fresh ones would cost page faults and
//! zeroing (together 14 % of a step of a network of 1.2 million parameters at 64 images of 28x28, by `perf`), and as the
//! system's allocator places large ones sixteen bytes behind a page, every vector load would touch two cache lines.

#![allow(unsafe_code, reason = "hands memory to Burn's tensors")]

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A cache line, and one AVX-512 register.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

const FLOATS_OF_A_LINE: usize = 16;

/// How many times larger than asked for a buffer may be.
const WASTE: usize = 2;

/// Buffers that no tensor uses, and how much memory all of them have.
struct Pool {
    /// By their number of lines.
    free: BTreeMap<usize, Vec<Vec<Line>>>,
    /// Lines in `free`.
    free_lines: usize,
    /// Lines that tensors use now, and the most that they ever used at once.
    used_lines: usize,
    most_used_lines: usize,
}

/// Buffers that came from the system.
static BUFFERS_MADE: AtomicU64 = AtomicU64::new(0);

/// How many buffers were taken from the system so far: the first training step or network call takes what it needs, and
/// later ones of the same sizes use it again (the second step may lack a few).
pub fn buffers_made() -> u64 {
    BUFFERS_MADE.load(Ordering::Relaxed)
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

impl Pool {
    const fn new() -> Self {
        Self { free: BTreeMap::new(), free_lines: 0, used_lines: 0, most_used_lines: 0 }
    }

    /// A buffer of so many lines or up to `WASTE` times as many, the smallest that there is.
    ///
    /// If there is none, unused ones are given back to the system first, the largest first, as far as a new one would
    /// bring all memory above twice of what was in use at once. (With one and a half times, sampling frees what the next
    /// call asks for: 64 images of 28x28 through seven networks took about 110 buffers from the system in every step.)
    fn take(&mut self, lines: usize) -> Option<Vec<Line>> {
        let found = self.free.range(lines..=lines * WASTE).next().map(|(&size, _)| size);
        let buffer = found.and_then(|size| self.remove(size));
        self.used_lines += buffer.as_ref().map_or(lines, Vec::len);
        self.most_used_lines = self.most_used_lines.max(self.used_lines);
        if buffer.is_none() {
            while self.used_lines + self.free_lines > 2 * self.most_used_lines
                && let Some((&largest, _)) = self.free.last_key_value()
            {
                self.remove(largest);
            }
        }
        buffer
    }

    fn remove(&mut self, lines: usize) -> Option<Vec<Line>> {
        let of_this_size = self.free.get_mut(&lines)?;
        let buffer = of_this_size.pop();
        if of_this_size.is_empty() {
            self.free.remove(&lines);
        }
        self.free_lines -= buffer.as_ref().map_or(0, Vec::len);
        buffer
    }

    fn give_back(&mut self, buffer: Vec<Line>) {
        self.used_lines -= buffer.len();
        self.free_lines += buffer.len();
        self.free.entry(buffer.len()).or_default().push(buffer);
    }
}

/// Values of an `f32` tensor in the making; what they were before is not defined, but they are values.
pub(crate) struct Buffer {
    lines: Vec<Line>,
    length: usize,
}

impl Buffer {
    /// Takes memory that was given back, if there is some of a fitting size, else asks the system.
    pub(crate) fn new(length: usize) -> Self {
        let count = length.div_ceil(FLOATS_OF_A_LINE);
        let kept = POOL.lock().unwrap_or_else(PoisonError::into_inner).take(count);
        let lines = kept.unwrap_or_else(|| {
            BUFFERS_MADE.fetch_add(1, Ordering::Relaxed);
            vec![Line([0.0; FLOATS_OF_A_LINE]); count]
        });
        Self { lines, length }
    }

    pub(crate) fn values(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }

    /// As memory of a tensor, without a copy.
    pub(crate) fn into_bytes(self) -> Bytes {
        let length = self.length * size_of::<f32>();
        // SAFETY: the buffer has at least `length` bytes, all initialised.
        unsafe { Bytes::from_controller(Box::new(self), length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if !lines.is_empty() {
            POOL.lock().unwrap_or_else(PoisonError::into_inner).give_back(lines);
        }
    }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<Line>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    /// A copy with the same alignment: Burn's own copies have that of `u128`, which it checks in debug builds.
    fn duplicate(&self) -> Option<Box<dyn AllocationController>> {
        let mut copy = Self::new(self.length);
        copy.values().copy_from_slice(self.as_slice());
        Some(Box::new(copy))
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        // SAFETY: the same bytes; the caller promises to write initialised ones only.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        // SAFETY: initialised bytes are valid as bytes that may not be.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }
}

thread_local! {
    static KEPT: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `length` values of whatever was there before, from memory that this thread keeps.
///
/// A call inside another one gets memory of its own.
pub(crate) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut kept = KEPT.with(RefCell::take);
    let count = length.div_ceil(FLOATS_OF_A_LINE);
    if kept.len() < count {
        kept.resize(count, Line([0.0; FLOATS_OF_A_LINE]));
    }
    let result = work(&mut bytemuck::cast_slice_mut(&mut kept)[..length]);
    KEPT.with(|place| {
        let mut place = place.borrow_mut();
        if place.len() < kept.len() {
            *place = kept;
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_calls_do_not_share_scratch() {
        with_scratch(10, |outer| {
            outer.fill(1.0);
            with_scratch(20, |inner| inner.fill(2.0));
            assert!(outer.iter().all(|&value| value == 1.0));
        });
        // The longer one is kept.
        KEPT.with(|kept| assert_eq!(kept.borrow().len(), 2));
    }

    #[test]
    fn a_dropped_tensor_gives_its_buffer_to_the_next_one() {
        // A length that no other test asks for.
        let length = 123_457;
        let mut buffer = Buffer::new(length);
        buffer.values().fill(7.0);
        let place = buffer.values().as_ptr();
        assert!(place.addr().is_multiple_of(64));
        let bytes = buffer.into_bytes();
        assert_eq!(bytes.len(), 4 * length);
        let copy = bytes.clone();
        drop(bytes);
        let mut next = Buffer::new(length);
        assert_eq!(next.values().as_ptr(), place);
        next.values().fill(8.0);
        // The copy is not touched by it, and lies as well as what it was copied from.
        assert!(copy.as_ptr().addr().is_multiple_of(64));
        assert!(bytemuck::cast_slice::<u8, f32>(&copy).iter().all(|&value| value == 7.0));
    }

    #[test]
    fn unused_memory_stays_within_what_was_used() {
        let mut pool = Pool::new();
        let fresh = |pool: &mut Pool, lines: usize| {
            let kept = pool.take(lines);
            (kept.is_some(), kept.unwrap_or_else(|| vec![Line([0.0; 16]); lines]))
        };
        // Sixty lines in use at once, all given back.
        let buffers: Vec<_> = [10, 20, 30].map(|lines| fresh(&mut pool, lines)).into();
        assert!(buffers.iter().all(|(kept, _)| !kept));
        buffers.into_iter().for_each(|(_, buffer)| pool.give_back(buffer));
        assert_eq!((pool.used_lines, pool.free_lines, pool.most_used_lines), (0, 60, 60));
        // The smallest that is large enough, and not more than twice as large.
        let (kept, fifteen) = fresh(&mut pool, 15);
        assert!(kept);
        assert_eq!((fifteen.len(), pool.used_lines, pool.free_lines), (20, 20, 40));
        let (kept, large) = fresh(&mut pool, 61);
        assert!(!kept);
        assert_eq!((pool.used_lines, pool.free_lines, pool.most_used_lines), (81, 40, 81));
        let (kept, more) = fresh(&mut pool, 35);
        assert!(!kept);
        assert_eq!((pool.used_lines, pool.free_lines, pool.most_used_lines), (116, 40, 116));
        let (kept, most) = fresh(&mut pool, 120);
        assert!(!kept);
        assert_eq!((pool.used_lines, pool.free_lines, pool.most_used_lines), (236, 40, 236));
        [fifteen, large, more, most].into_iter().for_each(|buffer| pool.give_back(buffer));
        assert_eq!((pool.used_lines, pool.free_lines), (0, 276));
        let (kept, least) = fresh(&mut pool, 4);
        assert!(!kept, "ten lines are more than twice four");
        assert_eq!((least.len(), pool.used_lines, pool.free_lines), (4, 4, 276));
        let (kept, beyond) = fresh(&mut pool, 200);
        assert!(!kept);
        // 204 used and 276 unused are more than 472: the largest, of 120, went.
        assert_eq!((pool.used_lines, pool.free_lines), (204, 156));
        [least, beyond].into_iter().for_each(|buffer| pool.give_back(buffer));
    }
}
