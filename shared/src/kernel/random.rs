//! Numbers that nobody can guess, drawn from the kernel.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// 64 bits. The standard library draws the keys of its hashes from the kernel (getrandom(2)) once for each thread, and changes them
/// for each hash: a forked child would repeat its parent's.
#[must_use]
pub fn draw() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_are_the_same() {
        let drawn: std::collections::BTreeSet<u64> = (0..10_000).map(|_| draw()).collect();
        assert_eq!(drawn.len(), 10_000);
    }
}
