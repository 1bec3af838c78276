//! `make bench`: a container's set-up and take-back by ocinet, by the floor (the same kernel calls and nothing else), by
//! netavark and by the CNI plugins, side by side in one run, with other containers already attached.
//!
//! Every figure is a whole process, or the row of processes that a runtime would start, timed from outside; every set-up
//! is proved by a connection through the published port. Rounds are interleaved: each tool once, then each tool again.
//!
//! `bench path …` is `make bench-path`: what a packet costs once a container is attached.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot measure panics")]
#![allow(clippy::print_stderr, reason = "it says what takes so long")]

mod cni;
mod figures;
mod floor;
mod netavark;
mod ocinet;
mod path;
mod phases;
mod tool;

use std::path::PathBuf;
use std::time::Duration;

use ocinet_tests::lab::{Server, ask_tcp};

use figures::{Figures, Row};
use phases::Phases;
use tool::{Bench, Container, Tool};

/// The host's own address, on its loopback: published ports are reached by it.
const HOST: &str = "198.51.100.10";

/// The kernel ends what a container left by itself; it must not be counted in the next figure.
const QUIET: Duration = Duration::from_millis(120);

struct Options {
    /// Where the table is written to.
    out: Option<PathBuf>,
    rounds: usize,
    /// How many containers are attached already.
    sizes: Vec<usize>,
    tools: Option<Vec<String>>,
}

fn options() -> Options {
    let mut options = Options { out: None, rounds: 15, sizes: vec![0, 1, 100, 900, 5000], tools: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--out" => options.out = Some(value.into()),
            "--rounds" => options.rounds = value.parse().expect("a number of rounds"),
            "--sizes" => options.sizes = value.split(',').map(|size| size.parse().expect("a size")).collect(),
            "--tools" => options.tools = Some(value.split(',').map(str::to_owned).collect()),
            other => panic!("{other} is none of --out --rounds --sizes --tools"),
        }
    }
    options
}

fn main() {
    // State folders are on a tmpfs, as /run is.
    let folder = std::path::Path::new("/dev/shm").join(format!("ocinet-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("make a folder");
    if std::env::args().nth(1).is_some_and(|word| word == "path") {
        path::main(std::env::args().skip(2), &folder);
    } else {
        starts(&options(), &folder);
    }
    std::fs::remove_dir_all(folder).expect("remove the folder");
}

fn starts(options: &Options, folder: &std::path::Path) {
    let mut tools: Vec<Box<dyn Tool>> = Vec::new();
    tools.extend(ocinet::drivers().map(|tool| Box::new(tool) as Box<dyn Tool>));
    tools.push(Box::new(floor::Floor::new(folder)));
    tools.extend(netavark::found().into_iter().map(|tool| Box::new(tool) as Box<dyn Tool>));
    tools.extend(cni::found().map(|tool| Box::new(tool) as Box<dyn Tool>));
    if let Some(wanted) = &options.tools {
        tools.retain(|tool| {
            wanted.iter().any(|name| {
                tool.name() == *name
                    || tool.name().starts_with(&format!("{name}, "))
                    || tool.name().starts_with(&format!("{name} "))
            })
        });
    }
    let mut benches: Vec<Bench> = tools.into_iter().map(|tool| Bench::new(tool, folder)).collect();
    let mut rows: Vec<Row> = Vec::new();
    for &size in &options.sizes {
        // By size, tools are measured only as far as they go.
        let mut benches: Vec<&mut Bench> =
            benches.iter_mut().filter(|bench| size <= bench.tool.most()).collect();
        for bench in &mut benches {
            eprintln!("{}: attaching up to {size} containers", bench.tool.name());
            bench.attach_up_to(size);
        }
        let mut figures: Vec<Figures> = benches.iter().map(|_| Figures::default()).collect();
        for round in 0..=options.rounds {
            for turn in 0..benches.len() {
                // Each tool is first in its turn: what one leaves to the kernel would else fall on always the same next.
                let index = (round + turn) % benches.len();
                let (up, down) = one_life(benches[index]);
                let figures = &mut figures[index];
                // The first round warms caches up and is not counted.
                if round > 0 {
                    figures.up.push(up);
                    figures.down.push(down);
                }
            }
        }
        rows.extend(benches.iter().zip(figures).map(|(bench, figures)| Row {
            tool: bench.tool.name(),
            size,
            figures,
        }));
    }
    let costs: Vec<_> = benches.iter_mut().map(|bench| (bench.tool.name(), bench.costs())).collect();
    let mut text = figures::markdown(&rows, &costs, options.rounds);
    if let Some(bench) = benches.iter_mut().find(|bench| bench.tool.name() == "ocinet") {
        text.push_str(&Phases::of(bench, options.rounds).markdown());
    }
    println!("{text}");
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out.parent().expect("a folder")).expect("make its folder");
        std::fs::write(out, text).expect("write the result");
    }
}

/// One container's life: attached, proved by a connection, detached in the state in which its runtime would do it.
fn one_life(bench: &mut Bench) -> (Duration, Duration) {
    let mut container = bench.next_container();
    let up = bench.up(&container);
    prove(bench, &container);
    if bench.tool.takes_back_the_dead() {
        // The kernel frees a closed listener, and with it its hold on the namespace, after RCU's grace period. A
        // runtime takes longer than that from its container's end to the hook.
        std::thread::sleep(Duration::from_millis(30));
        container.sandbox.end();
    }
    let down = bench.down(&container);
    std::thread::sleep(QUIET);
    (up, down)
}

fn prove(bench: &Bench, container: &Container) {
    let net = container.sandbox.net();
    let _server = Server::tcp(&net, 80, &container.sandbox.id);
    let (from, address) = bench.tool.reached_from(&bench.host, container);
    let answer = ask_tcp(from, address, Duration::from_secs(5));
    let answer = answer.unwrap_or_else(|| {
        panic!("{}: {}: no answer from {address}", bench.tool.name(), container.sandbox.id)
    });
    assert_eq!(answer.from, container.sandbox.id);
}
