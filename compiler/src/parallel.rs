//! Variants side by side: what is done to each alone is done on a thread of its own.
//!
//! A kernel's variants differ in how they reach memory and share nothing but what they are made of, so a machine of several cores lowers
//! them at once. Results come in the order of the input and depend on it alone; with one core, or no threads to be had, the caller's
//! thread does all.
//!
//! ```
//! let squares = tilewright_compiler::parallel::each(vec![1, 2, 3], |n| n * n);
//! assert_eq!(squares, [1, 4, 9]);
//! ```

use std::sync::{Mutex, PoisonError};

/// As much as the thread of the command line has: lowering recurses as deep as a program nests. Only what is touched is ever memory.
const STACK_BYTES: usize = 256 << 20;

/// `work` of each, in order.
///
/// # Panics
/// Where `work` does.
pub fn each<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let count = items.len();
    let left = Mutex::new(items.into_iter().enumerate());
    let take = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut done = Vec::new();
        while let Some((n, item)) = take() {
            done.push((n, work(item)));
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let helper = |_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run).ok();
        let helpers: Vec<_> = (1..count).filter_map(helper).collect();
        let mut all = run();
        for helper in helpers {
            match helper.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn results_are_in_the_order_of_the_input() {
        let slow = |n: u64| {
            std::thread::sleep(std::time::Duration::from_millis(5 * (4 - n)));
            n
        };
        assert_eq!(each(vec![0, 1, 2, 3], slow), [0, 1, 2, 3]);
        assert!(each(Vec::<u8>::new(), |x| x).is_empty());
    }

    #[test]
    #[should_panic(expected = "of the second")]
    fn a_panic_is_the_callers() {
        each(vec![1, 2], |n| assert_eq!(n, 1, "of the second"));
    }
}
