//! Whole pieces of work side by side, each on a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What `work` gives for 0 to `count`, in order, as many at a time as the current pool has threads.
///
/// Each call runs in a pool of one thread: what it computes is then not cut into tasks that wait for each other, which for
/// the gradient of one image costs more than it gains, and automatic differentiation of one call never runs on the thread
/// of another. After an error no further call begins.
///
/// # Errors
///
/// The error of the first call, in order, of those that failed.
///
/// # Panics
///
/// If a thread cannot be started, or a call panics.
pub fn side_by_side<R: Send, E: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = rayon::current_num_threads().min(count);
    if threads <= 1 {
        return (0..count).map(work).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<Result<R, E>>>> = Mutex::new((0..count).map(|_| None).collect());
    let take_calls = || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        // Without a pool of its own a thread does nothing, and the others do its share.
        let Ok(pool) = pool else { return false };
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || failed.load(Ordering::Relaxed) {
                return true;
            }
            let result = pool.install(|| work(index));
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
        }
    };
    let worked = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(take_calls)).collect();
        // The scope waits for those that this does not.
        threads
            .into_iter()
            .any(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    assert!(worked, "no thread could be started");
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Calls that did not begin come after one that failed.
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_is_told() {
        let squares: Result<Vec<usize>, ()> = side_by_side(100, |index| Ok(index * index));
        assert_eq!(squares.unwrap(), (0..100).map(|index| index * index).collect::<Vec<_>>());
        let refused = side_by_side(100, |index| if index % 7 == 3 { Err(index) } else { Ok(()) });
        assert_eq!(refused.unwrap_err(), 3);
        assert_eq!(side_by_side(0, |_| Err::<(), _>("never called")).unwrap().len(), 0);
        // Within a call there is one thread.
        let threads: Result<Vec<usize>, ()> = side_by_side(4, |_| Ok(rayon::current_num_threads()));
        if rayon::current_num_threads() > 1 {
            assert_eq!(threads.unwrap(), [1; 4]);
        }
    }
}
