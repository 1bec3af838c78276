//! `make bench-path`: what a packet costs between a container and others, by ocinet, by the rivals, and without any rule, side
//! by side in one run. Turns are interleaved: each tool once, then each tool again.

mod load;
mod plain;
mod site;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::cni;
use super::figures::kernel;
use super::netavark;
use super::ocinet;
use super::tool::Tool;
use load::{Load, Unit};
use plain::Plain;
use site::Site;

struct Options {
    out: Option<PathBuf>,
    turns: usize,
    /// How many ports are published.
    ports: Vec<u16>,
}

fn options(mut words: impl Iterator<Item = String>) -> Options {
    let mut options = Options { out: None, turns: 9, ports: vec![1, 1000] };
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--out" => options.out = Some(value.into()),
            "--turns" => options.turns = value.parse().expect("a number of turns"),
            "--ports" => {
                options.ports = value.split(',').map(|ports| ports.parse().expect("a number")).collect();
            }
            other => panic!("{other} is none of --out --turns --ports"),
        }
    }
    options
}

/// The tools that are compared: ocinet's drivers but macvlan, whose packets the host does not route, and the rivals on a bridge. Docker
/// is not among them: it makes the namespaces of its containers itself.
fn tools() -> Vec<Box<dyn Tool>> {
    let mut tools: Vec<Box<dyn Tool>> = vec![Box::new(Plain)];
    let on_host = ocinet::drivers().filter(|tool| tool.name() != "ocinet, macvlan");
    tools.extend(on_host.map(|tool| Box::new(tool) as Box<dyn Tool>));
    tools.extend(netavark::found().into_iter().map(|tool| Box::new(tool) as Box<dyn Tool>));
    tools.extend(cni::found().map(|tool| Box::new(tool) as Box<dyn Tool>));
    tools
}

/// Measures, prints the tables, and writes them where that is asked for.
pub fn main(words: impl Iterator<Item = String>, folder: &Path) {
    let options = options(words);
    let mut text = head(options.turns);
    for &ports in &options.ports {
        let mut sites: Vec<Site> = tools().into_iter().map(|tool| Site::new(tool, folder, ports)).collect();
        let docker = std::env::var_os("DOCKER").map(PathBuf::from);
        sites.extend(docker.iter().map(|programs| Site::of_docker(programs, folder, ports)));
        for ipv6 in [false, true] {
            let family = if ipv6 { "IPv6" } else { "IPv4" };
            let _ = write!(
                text,
                "\n## {family}, {ports} published port{}\n\n",
                if ports == 1 { "" } else { "s" }
            );
            table(&mut text, &sites, ipv6, options.turns);
        }
    }
    println!("{text}");
    if let Some(out) = options.out {
        std::fs::create_dir_all(out.parent().expect("a folder")).expect("make its folder");
        std::fs::write(out, text).expect("write the result");
    }
}

fn table(text: &mut String, sites: &[Site], ipv6: bool, turns: usize) {
    let names: Vec<String> = sites.iter().map(|site| site.name.clone()).collect();
    let _ = writeln!(
        text,
        "| least, **median**, most | {} |\n|---|{}",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for load in Load::ALL {
        eprintln!("{}", load.name());
        let mut figures: Vec<Vec<f64>> = vec![Vec::new(); sites.len()];
        for turn in 0..=turns {
            for step in 0..sites.len() {
                let index = (turn + step) % sites.len();
                let measured = load.measure(&sites[index], ipv6);
                // The first turn warms caches up and is not counted.
                if turn > 0 {
                    figures[index].push(measured);
                }
            }
        }
        let cells: Vec<String> = figures.into_iter().map(|figures| cell(figures, load.unit())).collect();
        let _ = writeln!(text, "| {} | {} |", load.name(), cells.join(" | "));
    }
}

fn cell(mut figures: Vec<f64>, unit: Unit) -> String {
    figures.sort_by(f64::total_cmp);
    let last = figures.len() - 1;
    let [least, median, most] = [figures[0], figures[last / 2], figures[last]].map(|figure| match unit {
        Unit::Microseconds | Unit::Thousands => format!("{figure:.1}"),
        Unit::PerSecond => format!("{figure:.0}"),
        Unit::Gigabits => format!("{figure:.2}"),
    });
    format!("{least}, **{median}**, {most}")
}

fn head(turns: usize) -> String {
    format!(
        "# Benchmark of a packet's path\n\nWritten by `make bench-path`; {turns} turns, interleaved, on {} with {} cores. Two containers, a LAN neighbour one \
         veth away. \"plain\" is a bridge\nwith forwarding, without a rule and without connection tracking, where the container itself is asked instead of a \
         published port. The others run with their\ndefaults. UDP packets have 64 bytes with IPv4 and 84 with IPv6, Ethernet's header included, and are counted where \
         they arrive. Compare within a\ntable only: the machine is shared.\n",
        kernel(),
        std::thread::available_parallelism().map_or(0, usize::from),
    )
}
