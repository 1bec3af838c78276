//! What a scrape costs beside the bare netlink dumps that it needs, with many containers attached: the same requests, of
//! whose answers nothing is read but where they end. All are measured in one run, by turns.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot measure panics")]
#![allow(clippy::print_stderr, reason = "it says what takes so long")]

mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ocinet_exporter::render::metrics::{Format, write};
use ocinet_exporter::scrape::collector::{Collector, Options, default_sources};
use ocinet_shared::kernel::counters;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::nft::listing;
use ocinet_shared::model::element::{Set, Table};
use ocinet_tests::figures::spread;
use ocinet_tests::lab::{Netns, Sandbox, command, finish, ocinet_path};
use serde_json::{Value, json};

/// `NETLINK_ROUTE` and `NETLINK_NETFILTER` of linux/netlink.h.
const PROTOCOLS: [isize; 2] = [0, 12];

#[derive(Clone, Copy)]
struct Settings {
    containers: usize,
    rounds: usize,
    scrapes: usize,
    dual: bool,
}

fn settings() -> Settings {
    let mut settings = Settings { containers: 1000, rounds: 31, scrapes: 1000, dual: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|value| value.parse().ok()).expect("a number");
        match word.as_str() {
            "--containers" => settings.containers = number(),
            "--rounds" => settings.rounds = number(),
            "--scrapes" => settings.scrapes = number(),
            "--dual" => settings.dual = true,
            other => panic!("{other} is none of --containers --rounds --scrapes --dual"),
        }
    }
    settings
}

fn main() {
    let settings = settings();
    // The state folder is on a tmpfs, as /run is.
    let folder = Path::new("/dev/shm").join(format!("ocinet-scrape-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("make a folder");
    let host = Netns::new();
    host.sysctl("ipv4/ip_forward", "1");
    eprintln!("attaching {} containers with 2 ports each", settings.containers);
    let sandboxes: Vec<Sandbox> =
        (0..settings.containers).map(|number| attach(&host, &folder, number, settings.dual)).collect();
    let options = Options { state: folder.clone(), enabled: default_sources(), cadvisor: false };
    let mut bench =
        Bench { settings, collector: Collector::new(options.clone()), options, page: String::new() };
    host.within(|| bench.measure("nothing else"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| churn(&host, &folder, settings, &over));
        host.within(|| bench.measure("starts and stops"));
        over.store(true, Ordering::Relaxed);
    });
    programs::measure(&host, &folder, settings.rounds, settings.scrapes);
    drop(sandboxes);
    fs::remove_dir_all(folder).expect("remove the folder");
}

/// Containers that come and go, one after the other, as quickly as they can.
fn churn(host: &Netns, state: &Path, settings: Settings, over: &AtomicBool) {
    let mut lives = 0;
    while !over.load(Ordering::Relaxed) {
        let mut sandbox = attach(host, state, settings.containers + lives % 7, settings.dual);
        sandbox.end();
        hook(host, state, "poststop", &json!({"ociVersion": "1.0.2", "id": sandbox.id, "status": "stopped"}));
        lives += 1;
    }
    println!("{lives} containers came and went meanwhile\n");
}

fn attach(host: &Netns, state: &Path, number: usize, dual: bool) -> Sandbox {
    let part = |part: usize| ocinet_shared::model::mac::fnv1a(format!("{number} {part}").as_bytes());
    let sandbox = Sandbox::new(&(0..4).map(|index| format!("{:016x}", part(index))).collect::<String>());
    let port = 10_000 + 2 * number;
    let mut annotations = json!({
        "net.ports": format!("{port}:80,{}:5353/udp", port + 1),
        "ocinet.name": format!("service-{number}"),
    });
    if dual {
        annotations["net.subnet"] = json!("10.90.0.0/16,fd00:90::/64");
    }
    let container = json!({
        "ociVersion": "1.0.2", "id": sandbox.id, "status": "creating", "pid": sandbox.pid(), "bundle": "/bundle",
        "annotations": annotations,
    });
    hook(host, state, "createRuntime", &container);
    sandbox
}

fn hook(host: &Netns, state: &Path, stage: &str, container: &Value) {
    let mut hook = command(ocinet_path());
    hook.arg(stage).env_clear().env("OCINET_STATE_DIR", state);
    hook.stdin(Stdio::piped()).stderr(Stdio::piped());
    let finished = finish(host.spawn(hook), container.to_string().as_bytes());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

/// What is measured, by turns.
const SUBJECTS: [&str; 3] = ["bare dumps", "snapshot", "snapshot and page"];

/// How long each round took, and how much of that on a processor.
#[derive(Default)]
struct Times {
    wall: Vec<Duration>,
    processor: Vec<Duration>,
}

/// An exporter under measurement.
struct Bench {
    settings: Settings,
    options: Options,
    collector: Collector,
    page: String,
}

impl Bench {
    fn measure(&mut self, beside: &str) {
        let mut bare = PROTOCOLS.map(|protocol| NetlinkSocket::open(protocol).expect("a socket"));
        let mut subjects: [Times; 3] = Default::default();
        let mut sources: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for round in 0..=self.settings.rounds {
            for turn in 0..SUBJECTS.len() {
                // Each is first in its turn: what one leaves to the kernel would else fall on always the same next.
                let which = (round + turn) % SUBJECTS.len();
                let (started, before) = (Instant::now(), processor_time());
                let snapshot = match which {
                    0 => {
                        dump(&mut bare, self.settings.dual);
                        None
                    }
                    1 => Some(self.collector.snapshot()),
                    _ => {
                        self.scrape();
                        None
                    }
                };
                let (wall, processor) = (started.elapsed(), processor_time() - before);
                // The first round warms caches up and is not counted.
                if round == 0 {
                    continue;
                }
                subjects[which].wall.push(wall);
                subjects[which].processor.push(processor);
                for source in snapshot.iter().flat_map(|snapshot| &snapshot.sources) {
                    assert!(source.success, "{}", source.name);
                    sources.entry(source.name).or_default().push(source.duration);
                }
                assert!(
                    snapshot.is_none_or(|snapshot| snapshot.containers.len() >= self.settings.containers)
                );
            }
        }
        println!(
            "| {} containers, beside {beside} | min ms | median ms | max ms | / dumps |",
            self.settings.containers
        );
        println!("|---|---|---|---|---|");
        let [base, ..] = &subjects;
        for (name, times) in SUBJECTS.iter().zip(&subjects) {
            row(name, &times.wall, &base.wall);
            row(&format!("{name}, on a processor"), &times.processor, &base.processor);
        }
        sources.iter().for_each(|(name, times)| row(&format!("source {name}"), times, &base.wall));
        let series = self.page.lines().filter(|line| !line.starts_with('#')).count();
        println!("\n{series} series, {} bytes\n", self.page.len());
    }

    fn scrape(&mut self) {
        self.page.clear();
        write(&self.collector.snapshot(), &self.options, Format::Text, &mut self.page);
    }
}

fn row(name: &str, times: &[Duration], base: &[Duration]) {
    let [min, median, max] = spread(times);
    println!("| {name} | {min:.2} | {median:.2} | {max:.2} | {:.2} |", median / spread(base)[1]);
}

/// The dumps that a scrape of these containers needs.
fn dump(channels: &mut [NetlinkSocket; 2], dual: bool) {
    let [route, netfilter] = channels;
    route.stream(&counters::host_request(), "dump links", &mut |_| {}).expect("dump links");
    let ipv4 = [Set::Masquerade4, Set::Sent4, Set::Received4, Set::Publish4, Set::PortIn4, Set::PortOut4];
    let ipv6 = [Set::Masquerade6, Set::Sent6, Set::Received6, Set::Publish6, Set::PortIn6, Set::PortOut6];
    listing::table(netfilter, Table::Inet).expect("look for the table");
    for set in ipv4.into_iter().chain(ipv6.into_iter().filter(|_| dual)) {
        netfilter
            .stream(&listing::elements_request(set), "dump elements", &mut |_| {})
            .expect("dump elements");
    }
}

/// How long this thread was on a processor: what other processes take does not count (Documentation/scheduler/sched-stats).
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("read /proc");
    Duration::from_nanos(text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number"))
}
