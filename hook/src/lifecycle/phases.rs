//! What a start spends its time on, for the log: the phases in order, each with its microseconds.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Instant;

/// The phases of one start. Each lasts from the end of the one before it; those of one name that follow each other are one.
#[derive(Debug)]
pub struct Phases {
    started: Instant,
    last: Cell<Instant>,
    all: RefCell<Vec<(&'static str, u128)>>,
}

impl Phases {
    /// Begins the first phase.
    #[must_use]
    pub fn since(started: Instant) -> Self {
        Self { started, last: Cell::new(started), all: RefCell::default() }
    }

    /// When the first phase began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Ends a phase.
    pub fn end(&self, name: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.last.replace(now)).as_nanos();
        let mut all = self.all.borrow_mut();
        match all.last_mut() {
            Some((last, before)) if *last == name => *before += took,
            _ => all.push((name, took)),
        }
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.borrow();
        let micros = |nanos: u128| (nanos + 500) / 1000;
        write!(f, "{} µs", micros(all.iter().map(|(_, took)| took).sum()))?;
        for (index, (name, took)) in all.iter().enumerate() {
            write!(f, "{}{name} {}", if index == 0 { ": " } else { ", " }, micros(*took))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_of_one_name_in_a_row_are_one() {
        let phases = Phases::since(Instant::now());
        for name in ["read", "plan", "links", "links", "plan"] {
            phases.end(name);
        }
        let text = phases.to_string();
        let (total, rest) = text.split_once(" µs: ").unwrap();
        let (names, took): (Vec<&str>, Vec<u64>) = rest
            .split(", ")
            .map(|phase| phase.split_once(' ').unwrap())
            .map(|(name, took)| (name, took.parse::<u64>().unwrap()))
            .unzip();
        assert_eq!(names, ["read", "plan", "links", "plan"]);
        assert!(total.parse::<u64>().unwrap().abs_diff(took.iter().sum()) <= 4, "{text}");
        assert_eq!(Phases::since(Instant::now()).to_string(), "0 µs");
    }
}
