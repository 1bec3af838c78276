//! The phases of ocinet's starts, as its log has them.

use std::time::Duration;

use ocinet_tests::figures::spread;

use crate::tool::Bench;

/// The phases of so many starts, each with how long it took in each of them.
pub struct Phases {
    /// Beside how many containers.
    pub size: usize,
    /// In the order of a start; the first is all of it.
    pub all: Vec<(String, Vec<Duration>)>,
}

impl Phases {
    /// Starts containers one after the other.
    pub fn of(bench: &mut Bench, rounds: usize) -> Self {
        let mut all: Vec<(String, Vec<Duration>)> = Vec::new();
        for round in 0..=rounds {
            let said = bench.said_at_start();
            std::thread::sleep(crate::QUIET);
            // The first warms caches up and is not counted.
            for (name, took) in read(&said).into_iter().filter(|_| round > 0) {
                match all.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, before)) => before.push(took),
                    None => all.push((name, vec![took])),
                }
            }
        }
        Self { size: bench.attached(), all }
    }

    /// A table of the medians, in microseconds.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "\n## The phases of a start\n\nOf ocinet on a bridge beside {} containers, as `OCINET_LOG=debug` shows them: medians in \
             microseconds, from `main` on. What the kernel\ntakes to start and to end the process is not in it.\n\n| phase | µs |\n|---|---|\n",
            self.size
        );
        for (name, took) in &self.all {
            text.push_str(&format!("| {name} | {:.0} |\n", spread(took)[1] * 1000.0));
        }
        text
    }
}

/// Reads `... took 1234 µs: read 56, plan 78 …`.
fn read(said: &str) -> Vec<(String, Duration)> {
    let line = said.lines().find_map(|line| line.split_once(" took "));
    let (total, phases) =
        line.and_then(|(_, took)| took.split_once(" µs: ")).expect("the log has the phases of a start");
    let micros = |number: &str| Duration::from_micros(number.parse().expect("a number of microseconds"));
    let phases = phases.split(", ").filter_map(|phase| phase.rsplit_once(' '));
    let phases = phases.map(|(name, took)| (name.to_owned(), micros(took)));
    std::iter::once(("all".to_owned(), micros(total))).chain(phases).collect()
}
