//! What bridges of others carry, also where they ask the rules (`br_netfilter`).

use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns, Server, ask_tcp, until};

use super::{dual, internet};
use crate::reach::reaches;
use crate::{PATIENCE, SILENCE};

/// A virtual machine on the bridge that the host's own address is on is a neighbour on the LAN; with br_netfilter on, what the
/// bridge carries for it passes the rules.
#[test]
#[ignore = "needs root"]
fn what_the_uplinks_own_bridge_carries_is_not_cut_off() {
    let lab = Lab::new();
    let _internet = internet(&lab);
    let machine = Netns::new();
    lab.host.batch(&format!(
        "link add br0 type bridge\nlink set br0 up\nlink set eth0 master br0\naddr flush dev eth0\n\
         addr add {HOST4}/24 dev br0\naddr add {HOST6}/64 dev br0 nodad\n\
         route replace default via 198.51.100.1 dev br0\nroute replace default via 2001:db8:1::1 dev br0\n\
         link add tap0 type veth peer name eth0 netns {}\nlink set tap0 master br0 up\n",
        machine.path()
    ));
    machine.batch(
        "addr add 198.51.100.77/24 dev eth0\naddr add 2001:db8:1::77/64 dev eth0 nodad\nlink set eth0 up\n\
         route add default via 198.51.100.1\nroute add default via 2001:db8:1::1\n",
    );
    for family in ["iptables", "ip6tables"] {
        lab.host.sysctl(&format!("bridge/bridge-nf-call-{family}"), "1");
    }
    let web = dual(&lab, "web");
    let _server = Server::tcp(&machine, 80, "machine");
    for (own, internet) in [("198.51.100.77", INTERNET4), ("2001:db8:1::77", INTERNET6)] {
        assert!(until(|| ask_tcp(&machine, SocketAddr::new(internet, 80), SILENCE).is_some()), "{internet}");
        reaches(&lab.peer, own.parse().unwrap(), 80, "machine");
        reaches(&web.net, internet, 80, "internet");
    }
}

/// The rules cannot tell a machine that has a living container's address from one that sends as the container. Where bridges
/// do not ask the rules, it is left alone.
#[test]
#[ignore = "needs root"]
fn a_machine_with_a_living_containers_address_is_cut_off_where_bridges_ask_the_rules() {
    let lab = Lab::new();
    let web = dual(&lab, "web");
    let [same, other] = [(); 2].map(|()| Netns::new());
    lab.host.batch("link add virbr0 type bridge\nlink set virbr0 up\n");
    for (tap, machine) in [("tap0", &same), ("tap1", &other)] {
        lab.host.batch(&format!(
            "link add {tap} type veth peer name eth0 netns {}\nlink set {tap} master virbr0 up\n",
            machine.path()
        ));
    }
    let others = ["10.90.255.77", "fd00:90::ff77"].map(|address| address.parse::<IpAddr>().unwrap());
    for (machine, [ipv4, ipv6]) in [(&same, [web.address(false), web.address(true)]), (&other, others)] {
        machine.batch(&format!(
            "addr add {ipv4}/16 dev eth0\naddr add {ipv6}/64 dev eth0 nodad\nlink set eth0 up\n"
        ));
    }
    let server = Server::tcp(&other, 80, "other");
    for calls in ["0", "1"] {
        for family in ["iptables", "ip6tables"] {
            lab.host.sysctl(&format!("bridge/bridge-nf-call-{family}"), calls);
        }
        for to in others {
            let before = server.all_clients().len();
            let is_left_alone = calls == "0";
            let patience = if is_left_alone { PATIENCE } else { SILENCE };
            assert_eq!(ask_tcp(&same, SocketAddr::new(to, 80), patience).is_some(), is_left_alone, "{to}");
            assert_eq!(server.all_clients().len() > before, is_left_alone, "{to}");
        }
    }
}
