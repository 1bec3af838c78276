//! `net.driver=ipvlan`: on a kernel that has it, packets; on one that lacks it, the refusal.

use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{
    Lab, Netns, PEER4, PEER6, Sandbox, Server, Snapshot, ask_tcp, link_address, ping, until,
};

use crate::PATIENCE;
use crate::life::used;
use crate::macvlan::{second_link, text};

const ADDRESSES: &str = "198.51.100.130,2001:db8:1::130";

/// Whether this kernel has ipvlan, asked of the kernel and not of ocinet.
pub(crate) fn kernel_has_ipvlan() -> bool {
    let net = Netns::new();
    net.batch("link add under0 type veth peer name under1\n");
    net.run(&["ip", "link", "add", "ipv0", "link", "under0", "type", "ipvlan"]).code == 0
}

#[test]
#[ignore = "needs root"]
fn ipvlan_containers_are_on_the_lan_or_the_kernel_lacks_it() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    if !kernel_has_ipvlan() {
        println!("this kernel has no ipvlan: the refusal is tested instead");
        let sandbox = Sandbox::new("web");
        let refused = lab.create(&sandbox, &[("net.driver", "ipvlan"), ("net.ip", ADDRESSES)]);
        assert_eq!(refused.code, 5, "{}", refused.stderr);
        let says =
            "make the ipvlan link eth0: this kernel does not have it; hint: load its module with `modprobe`";
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        before.assert_is_back(&lab, "a refusal");
        return;
    }
    for mode in ["l2", "l3", "l3s"] {
        let web = lab.attach("web", &[("net.driver", "ipvlan"), ("net.mode", mode), ("net.ip", ADDRESSES)]);
        assert_eq!(link_address(&web.net, "eth0"), link_address(&lab.host, "eth0"));
        let _server = Server::tcp(&web.net, 80, "web");
        for (ipv6, peer) in [(false, PEER4), (true, PEER6)] {
            if mode != "l2" {
                // Nobody answers for an address above Ethernet: the neighbour is told the way.
                let host = lab.address(ipv6);
                lab.peer.batch(&format!("route replace {} via {host}\n", web.address(ipv6)));
            }
            assert!(ping(&web.net, peer, PATIENCE), "{mode}, IPv6 {ipv6}");
            let answer = ask_tcp(&lab.peer, SocketAddr::new(web.address(ipv6), 80), PATIENCE);
            assert_eq!(answer.map(|answer| answer.from).as_deref(), Some("web"), "{mode}, IPv6 {ipv6}");
        }
        drop(_server);
        let pinned = web.net.pin();
        lab.detach(web);
        drop(pinned);
        before.assert_is_back(&lab, mode);
    }
}

/// What the peer knows of an address: the Ethernet address that it sends to.
fn known(lab: &Lab, address: IpAddr) -> String {
    let neighbours = lab.peer.ok(&["ip", "neighbour", "show", &address.to_string()]);
    let mut words = neighbours.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

/// Nobody asks for an address that he knows: who knew it elsewhere has to be told.
#[test]
#[ignore = "needs root"]
fn the_address_of_a_stopped_container_belongs_at_once_to_an_ipvlan() {
    if !kernel_has_ipvlan() {
        println!("this kernel has no ipvlan: nothing is tested");
        return;
    }
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &[]);
    for parent in ["eth0", "eth1"] {
        let before = lab.attach("before", &[("net.driver", "macvlan"), ("net.ip", ADDRESSES)]);
        let addresses = [false, true].map(|ipv6| before.address(ipv6));
        for address in addresses {
            assert!(ping(&lab.peer, address, PATIENCE), "{address}");
            assert_eq!(known(&lab, address), text(link_address(&before.net, "eth0")));
        }
        lab.detach(before);
        let lan = [
            ("net.subnet", "198.51.100.0/24,2001:db8:1::/64"),
            ("net.gateway", "198.51.100.1,2001:db8:1::1"),
        ];
        let own = [("net.driver", "ipvlan"), ("net.parent", parent), ("net.ip", ADDRESSES)];
        let web = lab.attach("web", &[&own[..], &lan].concat());
        for address in addresses {
            let is_known = || known(&lab, address) == text(link_address(&lab.host, parent));
            assert!(until(is_known), "{parent}, {address}: {}", known(&lab, address));
            assert!(ping(&lab.peer, address, PATIENCE), "{parent}, {address}");
        }
        lab.detach(web);
    }
}

/// The kernel gives an address to one ipvlan of a parent at a time, and keeps those of a namespace that has ended for some
/// milliseconds. Nobody is asked for addresses on a dummy, so that nothing waits before.
#[test]
#[ignore = "needs root"]
fn an_ipvlans_address_belongs_at_once_to_the_next() {
    if !kernel_has_ipvlan() {
        println!("this kernel has no ipvlan: nothing is tested");
        return;
    }
    let lab = Lab::new();
    used(&lab);
    lab.host.batch("link add under0 type dummy\nlink set under0 up\n");
    let own =
        [("net.driver", "ipvlan"), ("net.parent", "under0"), ("net.ip", "198.51.100.130,2001:db8:2::130")];
    let lan = [("net.subnet", "198.51.100.0/24,2001:db8:2::/64"), ("net.network", "below")];
    for round in 0..10 {
        let web = lab.attach(&format!("web{round}"), &[&own[..], &lan].concat());
        lab.detach(web);
    }
    let _web = lab.attach("web", &[&own[..], &lan].concat());
    let other = Sandbox::new("other");
    let refused = lab.create(&other, &[&own[..], &lan].concat());
    assert_eq!(refused.code, 4, "{}", refused.stderr);
}
