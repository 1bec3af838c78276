//! What holds for every plan, whatever is asked for: tests only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::record::Owned;
use ocinet_shared::state::StateDir;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::error::Error;
use crate::input::config::Config;
use crate::lifecycle::planner::Planner;
use crate::plan::Plan;
use crate::plan::step::{LimitRates, RouteFromHost, Step};
use crate::policy::rules;
use crate::policy::rules::Rules;
use crate::state::leases;

type Annotations = BTreeMap<String, String>;

/// Networks that are there, so that no plan depends on the machine. The small one makes containers meet.
const NETWORKS: [(&str, &str); 5] = [
    (
        "dual",
        r#"{"name":"dual","driver":"bridge","settings":{"bridge":"oc-dual"},"subnets":[{"range":"10.91.0.0/24","gateway":"10.91.0.1"},{"range":"fd00:91::/64","gateway":"fd00:91::1"}],"internal":false,"isolate":true,"mtu":null,"group":1862270978,"links":[{"name":"oc-dual","mac":"02:6e:00:00:00:02","kind":"bridge"}]}"#,
    ),
    (
        "small",
        r#"{"name":"small","driver":"bridge","settings":{"bridge":"oc-small"},"subnets":[{"range":"10.91.2.0/29","gateway":"10.91.2.1"}],"internal":false,"isolate":false,"mtu":null,"group":1862270980,"links":[{"name":"oc-small","mac":"02:6e:00:00:00:04","kind":"bridge"}]}"#,
    ),
    (
        "veth",
        r#"{"name":"veth","driver":"veth","settings":{},"subnets":[{"range":"10.91.3.0/29","gateway":"10.91.3.1"},{"range":"fd00:94::/126","gateway":"fd00:94::1"}],"internal":true,"isolate":true,"mtu":null,"group":1862270981}"#,
    ),
    (
        "lan",
        r#"{"name":"lan","driver":"macvlan","settings":{"parent":"eth7","mode":"bridge","host-access":"true"},"subnets":[{"range":"198.18.7.0/24","gateway":"198.18.7.1"}],"ip_ranges":["198.18.7.64/29"],"reserved":["198.18.7.2","198.18.7.254"],"internal":false,"isolate":false,"mtu":null,"group":0,"links":[{"name":"oc-0123456789ab","mac":"02:6e:00:00:00:07","kind":"macvlan","parent":"eth7","addresses":["198.18.7.254"]}]}"#,
    ),
    (
        "overlay",
        r#"{"name":"overlay","driver":"vxlan","settings":{"bridge":"oc-overlay","vni":"7","port":"4789","local":"192.0.2.1","peers":"192.0.2.2,192.0.2.3"},"subnets":[{"range":"10.96.0.0/16","gateway":"10.96.0.1"}],"ip_ranges":["10.96.1.0/29"],"internal":false,"isolate":true,"mtu":1450,"group":1862270982,"links":[{"name":"oc-overlay","mac":"02:6e:00:00:00:08","kind":"bridge"},{"name":"oc-vni7","mac":"02:6e:00:00:00:09","kind":"vxlan","bridge":"oc-overlay","vni":7,"port":4789,"local":"192.0.2.1","parent":null,"group":null,"peers":["192.0.2.2","192.0.2.3"]}]}"#,
    ),
];

/// A state folder of a test's own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let made = tempfile::tempdir().unwrap();
        let path = made.path();
        fs::create_dir_all(path.join("networks")).unwrap();
        for (name, text) in NETWORKS {
            fs::write(path.join(format!("networks/{name}.json")), text).unwrap();
        }
        Self(made)
    }
}

/// A port as `net.ports` has it; few enough numbers that two containers want the same.
fn port() -> impl Strategy<Value = String> {
    let address = select(vec!["", "127.0.0.1:", "192.0.2.1:", "0.0.0.0:"]);
    (address, 8000..8006_u16, 1..9_u16, select(vec!["", "/udp", "/sctp"]))
        .prop_map(|(address, host, own, protocol)| format!("{address}{host}:{own}{protocol}"))
}

fn of_a_routed_one() -> impl Strategy<Value = Annotations> {
    let option = |key: &'static str, values: &'static [&'static str]| {
        proptest::option::of(select(values).prop_map(move |value| (key.to_owned(), value.to_owned())))
    };
    let ports = vec(port(), 0..4)
        .prop_map(|ports| (!ports.is_empty()).then(|| ("ports".to_owned(), ports.join(","))));
    (
        ports,
        option("masquerade", &["true", "false"]),
        option("snat", &["192.0.2.1"]),
        option("allow-inbound", &["true"]),
        option("rate-in", &["1mbit"]),
        option("rate-out", &["1mbit", "1gbit"]),
        option("mtu", &["1300"]),
    )
        .prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].into_iter().flatten().collect())
}

/// A container on some of the networks.
fn container() -> impl Strategy<Value = (ContainerId, Annotations)> {
    let names: Vec<&str> = NETWORKS.iter().map(|(name, _)| *name).collect();
    let whole = btree_map(
        select(vec!["net.sysctl", "net.dns", "net.hosts", "org.example"]),
        select(vec!["net.core.somaxconn=512"]),
        0..2,
    );
    (subsequence(names, 1..=3), vec(of_a_routed_one(), 3), whole, "[a-z]{1,8}").prop_map(
        |(networks, options, whole, id)| {
            let value = |key: &str, value: &str| match key {
                "net.dns" => "192.0.2.53".to_owned(),
                "net.hosts" => "db:192.0.2.7".to_owned(),
                _ => value.to_owned(),
            };
            let mut all: Annotations =
                whole.into_iter().map(|(key, text)| (key.to_owned(), value(key, text))).collect();
            for (index, (network, options)) in networks.into_iter().zip(options).enumerate() {
                all.insert(format!("net.eth{index}.network"), network.to_owned());
                let useful = |key: &str| network != "lan" || key == "mtu";
                let options = options.into_iter().filter(|(key, _)| useful(key));
                all.extend(options.map(|(key, value)| (format!("net.eth{index}.{key}"), value)));
            }
            (id.parse().unwrap(), all)
        },
    )
}

fn plan(folder: &Path, id: &ContainerId, annotations: &Annotations) -> Result<Plan, Error> {
    let state = StateDir::new(folder);
    let config = Config::default();
    let driver_of = |network: &ContainerId| crate::host::facts::driver_of(&state, network);
    let request = rules::admit(annotations, &config, &driver_of)?.expect("there are net. annotations");
    let planner = Planner {
        state: &state,
        config: &config,
        rules: &Rules::of(&config, annotations),
        id,
        bundle: None,
        is_gone: &|_| Ok(false),
        living: &BTreeSet::new(),
        asks_host: false,
        has_default_route: false,
    };
    planner.plan(&request)
}

/// What a step leaves on the host, or in a namespace that may live on, by name.
fn made(state: &StateDir, step: &Step) -> Vec<String> {
    match step {
        Step::JoinNetwork(network) => vec![format!("network {}", network.name)],
        Step::TakeLease { network, address } => vec![format!("lease {network} {address}")],
        Step::ClaimPort(port) => vec![format!("claim {:?}", state.port_claim_path(port))],
        Step::AddElements(elements) => elements.iter().map(|element| format!("element {element}")).collect(),
        Step::ClaimMac { on, mac } => vec![format!("mac {mac} on {on}")],
        Step::MakeVeth(veth) => vec![format!("link {}", veth.host_interface)],
        Step::MakeChild(child) => vec![format!("inside {}", child.interface)],
        Step::LimitRates(LimitRates { send: Some(_), shaper, .. }) => vec![format!("shaper {shaper}")],
        Step::RouteFromHost(RouteFromHost { link, addresses, .. }) => {
            addresses.iter().map(|address| format!("route {link} {address}")).collect()
        }
        _ => Vec::new(),
    }
}

/// What a container has by its record, by the same names.
fn taken(state: &StateDir, owned: &Owned) -> Vec<String> {
    match owned {
        Owned::Membership { network } => vec![format!("network {network}")],
        Owned::Lease { network, address } => vec![format!("lease {network} {address}")],
        Owned::PortClaim(port) => vec![format!("claim {:?}", state.port_claim_path(port))],
        Owned::MacClaim { on, mac } => vec![format!("mac {mac} on {on}")],
        Owned::Elements { elements } => elements.iter().map(|element| format!("element {element}")).collect(),
        Owned::Link { name } => vec![format!("link {name}")],
        Owned::InnerLink { interface } => vec![format!("inside {interface}")],
        Owned::Shaper { name } => vec![format!("shaper {name}")],
        Owned::Routes { link, addresses } => {
            addresses.iter().map(|address| format!("route {link} {address}")).collect()
        }
        Owned::Share { owner } => vec![format!("share {owner}")],
    }
}

/// Elements by their sets and keys: of one set, the kernel takes a key once.
fn keys(plan: &Plan) -> BTreeSet<(&'static str, Vec<u8>)> {
    let elements = plan.steps.iter().filter_map(|step| match step {
        Step::AddElements(elements) => Some(elements),
        _ => None,
    });
    elements.flatten().map(|element| (element.set.place().1, element.key_bytes())).collect()
}

/// What the first start would have taken by the time that the second is planned.
fn take(folder: &Path, id: &ContainerId, plan: &Plan) {
    let state = StateDir::new(folder);
    for step in &plan.steps {
        let path = match step {
            Step::TakeLease { network, address } => state.lease_path(network, *address),
            Step::ClaimPort(port) => state.port_claim_path(port).expect("a port of one address"),
            _ => continue,
        };
        assert!(leases::take(&state, &path, id).unwrap(), "{} was somebody's", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_planned_is_what_undo_takes_back((id, annotations) in container()) {
        let folder = Folder::new();
        let planned = plan(folder.0.path(), &id, &annotations);
        prop_assume!(planned.is_ok());
        let planned = planned.unwrap();
        let state = StateDir::new(folder.0.path());
        let made: Vec<String> = planned.steps.iter().flat_map(|step| made(&state, step)).collect();
        let taken: Vec<String> = planned.owned().iter().flat_map(|owned| taken(&state, owned)).collect();
        prop_assert_eq!(&made, &taken);
        let once: BTreeSet<&String> = made.iter().collect();
        prop_assert_eq!(once.len(), made.len(), "something is made twice: {:?}", made);
        let leased = made.iter().filter(|name| name.starts_with("lease ")).count();
        let addresses: usize = planned.attachments.iter().map(|attachment| attachment.addresses.len()).sum();
        prop_assert_eq!(leased, addresses);
    }

    #[test]
    fn two_containers_never_share_an_address_or_a_port(
        (first, asked) in container(), (second, asks) in container(),
    ) {
        prop_assume!(first != second);
        let folder = Folder::new();
        let planned = plan(folder.0.path(), &first, &asked);
        prop_assume!(planned.is_ok());
        let one = planned.unwrap();
        take(folder.0.path(), &first, &one);
        let planned = plan(folder.0.path(), &second, &asks);
        prop_assume!(planned.is_ok());
        let two = planned.unwrap();
        let addresses = |plan: &Plan| -> BTreeSet<_> {
            plan.attachments.iter().flat_map(|own| own.addresses.iter().map(ocinet_shared::model::cidr::Cidr::address)).collect()
        };
        prop_assert!(addresses(&one).is_disjoint(&addresses(&two)));
        let macs = |plan: &Plan| -> BTreeSet<_> {
            plan.attachments.iter().filter_map(|own| own.mac.map(|mac| mac.to_string())).collect()
        };
        prop_assert!(macs(&one).is_disjoint(&macs(&two)));
        // Who has a port, the kernel decides by the keys of elements; one of all addresses and one of a single address
        // meet at the claim.
        let (keys_one, keys_two) = (keys(&one), keys(&two));
        let ports = |plan: &Plan| -> Vec<_> { plan.attachments.iter().flat_map(|own| own.ports.clone()).collect() };
        let (ports_one, ports_two) = (ports(&one), ports(&two));
        let meet = |bound: bool| ports_one.iter().any(|a| {
            ports_two.iter().any(|b| a.overlaps(b) && (a.is_bound() == b.is_bound()) == bound)
        });
        // A port is published only for the families that the container has.
        if !keys_one.is_disjoint(&keys_two) {
            prop_assert!(meet(true), "they share {:?}", keys_one.intersection(&keys_two).collect::<Vec<_>>());
        }
        let state = StateDir::new(folder.0.path());
        for (a, b) in ports_one.iter().flat_map(|a| ports_two.iter().map(move |b| (a, b))) {
            if a.overlaps(b) && a.is_bound() != b.is_bound() {
                prop_assert_eq!(state.port_claim_folder(a), state.port_claim_folder(b));
            }
            if a.overlaps(b) && a.is_bound() && b.is_bound() {
                prop_assert_eq!(state.port_claim_path(a), state.port_claim_path(b));
            }
        }
        // Both have IPv4 on every network, and publish on it unless it is an IPv6 address.
        prop_assert_eq!(!keys_one.is_disjoint(&keys_two), meet(true));
    }
}
