//! The exporters as whole programs, by HTTP: ocinet's, and node_exporter, which counts the host's own links.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{Background, Netns, command, exporter_path, http_get, until};

use crate::row;

struct Program {
    name: &'static str,
    address: SocketAddr,
    process: Background,
    times: Vec<Duration>,
    bytes: usize,
}

impl Program {
    fn start(host: &Netns, state: &Path, index: u16) -> Option<Self> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9477 + index);
        let (name, mut program) = if index == 0 {
            ("ocinet-exporter", command(exporter_path()))
        } else {
            ("node_exporter", command("prometheus-node-exporter"))
        };
        program.arg(format!("--web.listen-address={address}")).env("OCINET_STATE_DIR", state);
        let log = File::create(state.join(format!("{name}.log"))).expect("a log file");
        program.stderr(log.try_clone().expect("a descriptor")).stdout(log);
        if index == 1 && !Path::new("/usr/bin/prometheus-node-exporter").exists() {
            eprintln!("node_exporter is not installed");
            return None;
        }
        let process = Background(host.spawn(program));
        let answers = || http_get(host, address, "/metrics").is_some_and(|(status, _)| status == 200);
        assert!((0..5).any(|_| until(answers)), "{name} answers");
        Some(Self { name, address, process, times: Vec::new(), bytes: 0 })
    }

    fn scrape(&mut self, host: &Netns) {
        let started = Instant::now();
        let (status, body) = http_get(host, self.address, "/metrics").expect("an answer");
        self.times.push(started.elapsed());
        assert_eq!(status, 200);
        self.bytes = body.len();
    }

    /// Resident memory in KiB, and descriptors that are open.
    fn takes(&self) -> [u64; 2] {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.process.0.id())).expect("read /proc");
        [self.process.resident() / 1024, descriptors.count() as u64]
    }
}

/// Scrapes both by turns, and then ocinet's many times.
pub fn measure(host: &Netns, state: &Path, rounds: usize, scrapes: usize) {
    let mut programs: Vec<Program> = (0..2).filter_map(|index| Program::start(host, state, index)).collect();
    for round in 0..rounds {
        for turn in 0..programs.len() {
            let index = (round + turn) % programs.len();
            programs[index].scrape(host);
        }
    }
    println!(
        "| whole programs, by HTTP | min ms | median ms | max ms | / ocinet-exporter |\n|---|---|---|---|---|"
    );
    programs.iter().for_each(|program| row(program.name, &program.times, &programs[0].times));
    println!();
    for program in &programs {
        let [resident, descriptors] = program.takes();
        println!(
            "{}: {} bytes, {resident} KiB resident, {descriptors} descriptors",
            program.name, program.bytes
        );
    }
    println!("\n| scrapes of ocinet-exporter | resident KiB | descriptors |\n|---|---|---|");
    for scrape in 1..=scrapes {
        programs[0].scrape(host);
        if scrape == 1 || scrape == 10 || scrape % 100 == 0 {
            let [resident, descriptors] = programs[0].takes();
            println!("| {scrape} | {resident} | {descriptors} |");
        }
    }
}
