//! `make attacks`: the same attacks on containers of ocinet's, of netavark's, which podman calls, and of Docker's, while the rules are
//! there and after `nft flush ruleset`. Prints how many of each class succeeded.
//!
//! `NETAVARK=/one/netavark:/another/netavark` names the programs to compare with; without it, Debian's is taken. `DOCKER=/folder` names
//! the folder with docker, dockerd and containerd; without it, Docker is not tried.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for people, which fails by panicking"
)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ocinet_tests::lab::{
    Docker, HOST4, Lab, Netns, Outcome, Sandbox, Stage, Station, command, finish, until,
};
use serde_json::json;

/// How often each frame is sent.
const ROUNDS: usize = 20;
/// Where tools find the programs that they start.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Where Debian has netavark.
const NETAVARK: &str = "/usr/lib/podman/netavark";

/// A container: its name, its network, the last byte of its addresses.
const CAST: [(&str, &str, u8); 5] = [
    ("victim", "red", 7),
    ("mate", "red", 8),
    ("third", "red", 9),
    ("stranger", "blue", 7),
    ("inside", "inner", 7),
];

/// What attaches the containers of the cast.
enum Tool {
    Ocinet,
    Netavark { program: PathBuf, version: String, firewall: &'static str },
    Docker { programs: PathBuf },
}

/// The cast as a tool has attached it, for as long as this value lives.
struct Attached {
    /// Who did it, with its version.
    by: String,
    nets: Vec<Netns>,
    _sandboxes: Vec<Sandbox>,
    _docker: Option<Docker>,
}

fn number(network: &str) -> u8 {
    match network {
        "red" => 1,
        "blue" => 2,
        _ => 3,
    }
}

fn addresses(network: &str, last: u8) -> Vec<IpAddr> {
    let number = number(network);
    vec![
        IpAddr::from([10, 99, number, last]),
        format!("fd00:99:{number}::{last:x}").parse().expect("an address"),
    ]
}

fn main() {
    let named = std::env::var("NETAVARK").unwrap_or_else(|_| NETAVARK.to_owned());
    let netavarks = std::env::split_paths(&named).filter(|path| path.is_absolute()).map(Tool::netavark);
    let docker = std::env::var("DOCKER").ok().map(|programs| Tool::Docker { programs: programs.into() });
    let mut columns: Vec<(String, Vec<Outcome>)> = Vec::new();
    for tool in std::iter::once(Tool::Ocinet).chain(netavarks).chain(docker) {
        let lab = Lab::new();
        lab.obey_source_routes();
        let attached = tool.attach_all(&lab);
        // A gateway's address that is still being looked for elsewhere (RFC 4862) is nobody's.
        let is_tentative = || lab.host.all_addresses().iter().any(|address| address.is_tentative);
        assert!((0..5).any(|_| until(|| !is_tentative())), "the gateways have their addresses");
        let stage = stage(&lab, &attached.nets);
        let by = &attached.by;
        columns.push((format!("{by}, with its rules"), stage.attack(|round| round < ROUNDS)));
        lab.host.ok(&["nft", "flush", "ruleset"]);
        columns.push((format!("{by}, after a flush"), stage.attack(|round| round < ROUNDS)));
    }
    let heads: Vec<&str> = columns.iter().map(|(head, _)| head.as_str()).collect();
    println!("| attack | {} |\n|---|{}", heads.join(" | "), "---|".repeat(columns.len()));
    for (index, outcome) in columns[0].1.iter().enumerate() {
        let cells = columns.iter().map(|(_, outcomes)| {
            let Outcome { hits, sent, .. } = outcomes[index];
            format!("{hits} of {sent}")
        });
        println!("| {} | {} |", outcome.class, cells.collect::<Vec<_>>().join(" | "));
    }
}

impl Tool {
    /// By what it says of its version, `netavark 1.4.0`. From 1.10 on it can write nftables, and 2 can nothing else.
    fn netavark(program: PathBuf) -> Self {
        let said =
            command(&program).arg("--version").stdout(Stdio::piped()).output().expect("start netavark");
        let said = String::from_utf8(said.stdout).expect("a version");
        let version = said.split_whitespace().nth(1).expect("a version").to_owned();
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let (major, minor) = (numbers.next(), numbers.next());
        let firewall = if (major, minor) < (Some(1), Some(10)) { "iptables" } else { "nftables" };
        Self::Netavark { program, version, firewall }
    }

    fn attach_all(&self, lab: &Lab) -> Attached {
        if let Self::Docker { programs } = self {
            let docker = Docker::start(&lab.host, lab.dir(), programs);
            let nets = by_docker(&docker);
            let by = format!("Docker {}", docker.version());
            return Attached { by, nets, _sandboxes: Vec::new(), _docker: Some(docker) };
        }
        let sandboxes: Vec<Sandbox> = CAST.iter().map(|(id, ..)| Sandbox::new(id)).collect();
        for (index, sandbox) in sandboxes.iter().enumerate() {
            match self {
                Self::Netavark { program, firewall, .. } => {
                    let mut netavark = command(program);
                    netavark.env_clear().env("PATH", PATH).env("NETAVARK_FW", firewall);
                    by_netavark(netavark, lab, sandbox, index);
                }
                _ => by_ocinet(lab, sandbox, index),
            }
        }
        let nets = sandboxes.iter().map(Sandbox::net).collect();
        let by = match self {
            Self::Netavark { version, firewall, .. } => format!("netavark {version} ({firewall})"),
            _ => "ocinet".to_owned(),
        };
        Attached { by, nets, _sandboxes: sandboxes, _docker: None }
    }
}

/// Docker gives the first address of a subnet to the gateway, as the others do.
fn by_docker(docker: &Docker) -> Vec<Netns> {
    for network in ["red", "blue", "inner"] {
        let number = number(network);
        let subnets = [format!("10.99.{number}.0/24"), format!("fd00:99:{number}::/64")];
        docker.network(network, &subnets, network == "inner");
    }
    let attach = |(id, network, last): &(&str, &str, u8)| {
        let ports = if *id == "victim" { &["8080:80", "127.0.0.1:8081:81"][..] } else { &[] };
        docker.run(id, network, &addresses(network, *last), ports)
    };
    CAST.iter().map(attach).collect()
}

fn stage(lab: &Lab, nets: &[Netns]) -> Stage {
    let station = |index: usize| {
        let net = nets[index].again();
        let (_, network, last) = CAST[index];
        Station {
            gateway: gateway(&net, network),
            net,
            interface: "eth0".to_owned(),
            addresses: addresses(network, last),
            gateways: addresses(network, 1),
        }
    };
    Stage {
        host: lab.host.again(),
        host_address: HOST4,
        wan: lab.wan.again(),
        peer: Station::lan_neighbour(lab),
        victim: station(0),
        mate: station(1),
        third: station(2),
        stranger: station(3),
        inside: station(4),
        vni: None,
    }
}

/// The gateway's Ethernet address, as the container itself learns it.
fn gateway(net: &Netns, network: &str) -> [u8; 6] {
    let address = addresses(network, 1)[0].to_string();
    let _ = net.run(&["busybox", "ping", "-c", "1", "-W", "1", &address]);
    let neighbours = net.ok(&["ip", "neigh", "show", &address]);
    let mac = neighbours.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).expect("a neighbour");
    let bytes: Vec<u8> =
        mac.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a hexadecimal byte")).collect();
    bytes.try_into().expect("six bytes")
}

fn by_ocinet(lab: &Lab, sandbox: &Sandbox, index: usize) {
    let (id, network, last) = CAST[index];
    let number = number(network);
    let subnet = format!("10.99.{number}.0/24,fd00:99:{number}::/64");
    let ip: Vec<String> = addresses(network, last).iter().map(ToString::to_string).collect();
    let internal = (network == "inner").to_string();
    let mut annotations =
        vec![("net.network", network), ("net.subnet", subnet.as_str()), ("net.internal", internal.as_str())];
    let ip = ip.join(",");
    annotations.push(("net.ip", &ip));
    if id == "victim" {
        annotations.push(("net.ports", "8080:80,127.0.0.1:8081:81"));
    }
    let created = lab.create(sandbox, &annotations);
    assert_eq!((created.code, created.stderr.as_str()), (0, ""), "{id}");
}

fn by_netavark(mut netavark: Command, lab: &Lab, sandbox: &Sandbox, index: usize) {
    let (id, network, last) = CAST[index];
    let number = number(network);
    let port = |host_ip: &str, host_port: u16, container_port: u16| json!({"container_port": container_port, "host_ip": host_ip, "host_port": host_port, "protocol": "tcp", "range": 1});
    let ports =
        if id == "victim" { vec![port("", 8080, 80), port("127.0.0.1", 8081, 81)] } else { Vec::new() };
    let options = json!({
        "container_id": id, "container_name": id, "port_mappings": ports,
        "networks": {network: {"static_ips": addresses(network, last), "interface_name": "eth0"}},
        "network_info": {network: {
            "name": network, "id": format!("{number}").repeat(64), "driver": "bridge",
            "network_interface": format!("podman{number}"), "created": "2026-01-01T00:00:00Z",
            "subnets": [
                {"subnet": format!("10.99.{number}.0/24"), "gateway": format!("10.99.{number}.1")},
                {"subnet": format!("fd00:99:{number}::/64"), "gateway": format!("fd00:99:{number}::1")},
            ],
            "ipv6_enabled": true, "internal": network == "inner", "dns_enabled": false,
            "options": {"isolate": "true"},
            "ipam_options": {"driver": "host-local"},
        }},
    });
    let folder = lab.dir().join("netavark");
    std::fs::create_dir_all(&folder).expect("make a folder");
    netavark.arg("--config").arg(&folder).arg("setup").arg(format!("/proc/{}/ns/net", sandbox.pid()));
    netavark.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let _ = finish(lab.host.spawn(netavark), options.to_string().as_bytes()).ok();
}
