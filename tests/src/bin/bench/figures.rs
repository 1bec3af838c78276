//! Figures and the table of them.

use std::fmt::Write as _;
use std::time::Duration;

use ocinet_tests::figures::spread;

/// What was measured for one tool beside one number of containers.
#[derive(Debug, Default)]
pub struct Figures {
    /// Set-ups.
    pub up: Vec<Duration>,
    /// Take-backs.
    pub down: Vec<Duration>,
}

/// A line of the table.
pub struct Row {
    /// The tool.
    pub tool: String,
    /// How many containers were attached already.
    pub size: usize,
    /// What was measured.
    pub figures: Figures,
}

/// The result as it stands in docs/benchmark.md.
pub fn markdown(rows: &[Row], costs: &[(String, [usize; 5])], rounds: usize) -> String {
    let mut text = format!(
        "# Benchmark\n\nWritten by `make bench`; {rounds} rounds, interleaved, on {} with {} cores. One IPv4 container on a \
         bridge with one published port (`ocinet, DRIVER`: by that driver, macvlan without a port, and with the 25 ms that its LAN has to say that it has the address); whole\nprocesses timed from outside, in milliseconds; every set-up proved by a \
         connection. `floor` is a static C program with the same kernel\ncalls, the links' filters included, and nothing else \
         (`tests/src/bin/bench/floor.c`). ocinet and the floor detach a container that has ended, as poststop finds \
         it; the others\nare called before, as their runtimes call them. State folders are on a tmpfs, as /run is. \
         Compare within this table only: the\nmachine is \
         shared. Beside more than {} containers only ocinet on a bridge, ocinet with veth and the floor are measured: rivals take minutes to \
         attach more. A bridge\nhas room for some {}.\n",
        kernel(),
        std::thread::available_parallelism().map_or(0, usize::from),
        crate::tool::OTHERS_UP_TO,
        crate::tool::BRIDGE_UP_TO,
    );
    for (title, pick) in [("Set-up", 0), ("Take-back", 1)] {
        let of = |row: &Row| spread(if pick == 0 { &row.figures.up } else { &row.figures.down });
        let _ = write!(
            text,
            "\n## {title}\n\n| containers attached | tool | min | median | max | median / floor | median / ocinet |\n|---|---|---|---|---|---|---|\n"
        );
        for row in rows {
            let [min, median, max] = of(row);
            let ratio = |name: &str| {
                let base = rows.iter().find(|other| other.size == row.size && other.tool == name);
                base.map_or_else(String::new, |base| format!("{:.2}", median / of(base)[1]))
            };
            let _ = writeln!(
                text,
                "| {} | {} | {min:.2} | {median:.2} | {max:.2} | {} | {} |",
                row.size,
                row.tool,
                ratio("floor"),
                ratio("ocinet")
            );
        }
    }
    text.push_str(
        "\n## Processes, system calls, memory\n\nOf one set-up and one take-back beside all those containers; programs \
         executed, system calls of all of them, peak memory of the largest.\n\n| tool | programs, set-up | system calls | \
         programs, take-back | system calls | peak memory, KiB |\n|---|---|---|---|---|---|\n",
    );
    for (tool, [up, up_calls, down, down_calls, memory]) in costs {
        let _ = writeln!(text, "| {tool} | {up} | {up_calls} | {down} | {down_calls} | {memory} |");
    }
    text
}

/// The kernel's version.
pub fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim().split('-').next().unwrap_or_default())
}
