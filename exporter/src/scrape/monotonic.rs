//! Counters that never fall while a container lives, although the kernel's start again at 0 when somebody flushes a table
//! and ocinet restores it.

/// Counters that are reset together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonotonicCounter<const N: usize> {
    /// The kernel's last values, and the number of their table.
    last: Option<([u64; N], u64)>,
    /// What was counted before the last reset.
    before: [u64; N],
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading<const N: usize> {
    /// The counters, never less than at the reading before.
    pub values: [u64; N],
    /// Whether the kernel's answer can be about a living container: nothing was missing, and nothing fell while the table
    /// stayed the same.
    pub is_sound: bool,
}

impl<const N: usize> Default for MonotonicCounter<N> {
    fn default() -> Self {
        Self { last: None, before: [0; N] }
    }
}

impl<const N: usize> MonotonicCounter<N> {
    /// Takes the kernel's values, `None` if one is missing, and the number of their table.
    pub fn read(&mut self, raw: Option<[u64; N]>, table: u64) -> Reading<N> {
        let Some(raw) = raw else {
            let last = self.last.map_or([0; N], |(last, _)| last);
            return Reading { values: sum(self.before, last), is_sound: false };
        };
        let mut is_sound = true;
        if let Some((last, of)) = self.last {
            let fell = raw.iter().zip(last).any(|(now, last)| *now < last);
            if fell || of != table {
                self.before = sum(self.before, last);
            }
            is_sound = !fell || of != table;
        }
        self.last = Some((raw, table));
        Reading { values: sum(self.before, raw), is_sound }
    }
}

fn sum<const N: usize>(a: [u64; N], b: [u64; N]) -> [u64; N] {
    std::array::from_fn(|index| a[index].wrapping_add(b[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(counter: &mut MonotonicCounter<2>, raw: Option<[u64; 2]>, table: u64) -> [u64; 2] {
        counter.read(raw, table).values
    }

    #[test]
    fn a_flush_and_its_restore_take_nothing_away() {
        let mut counter = MonotonicCounter::<2>::default();
        assert_eq!(values(&mut counter, Some([100, 2]), 7), [100, 2]);
        // Flushed; not yet put back; put back, and counting from 0.
        assert_eq!(values(&mut counter, None, 7), [100, 2]);
        assert_eq!(values(&mut counter, None, 8), [100, 2]);
        assert_eq!(values(&mut counter, Some([10, 1]), 8), [110, 3]);
        assert_eq!(values(&mut counter, Some([30, 2]), 8), [130, 4]);
        assert_eq!(values(&mut counter, Some([0, 0]), 9), [130, 4]);
    }

    #[test]
    fn a_new_table_that_has_counted_more_already_is_a_new_one_all_the_same() {
        let mut counter = MonotonicCounter::<2>::default();
        assert_eq!(values(&mut counter, Some([100, 2]), 7), [100, 2]);
        assert_eq!(values(&mut counter, Some([150, 3]), 8), [250, 5]);
    }

    #[test]
    fn counters_that_fall_in_one_table_begin_anew_together() {
        let mut counter = MonotonicCounter::<2>::default();
        assert!(counter.read(Some([100, 2]), 7).is_sound);
        let reading = counter.read(Some([120, 1]), 7);
        assert_eq!(reading, Reading { values: [220, 3], is_sound: false });
        assert!(counter.read(Some([120, 1]), 7).is_sound);
        assert!(!counter.read(None, 7).is_sound);
    }
}
