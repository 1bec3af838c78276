//! `net.driver=ipvlan`: on a kernel that has it, packets; on one that lacks it, the refusal.

use std::net::SocketAddr;

use ocinet_tests::lab::{Lab, Netns, PEER4, PEER6, Sandbox, Server, Snapshot, ask_tcp, link_address, ping};

use crate::PATIENCE;
use crate::life::used;

const ADDRESSES: &str = "198.51.100.130,2001:db8:1::130";

/// Whether this kernel has ipvlan, asked of the kernel and not of ocinet.
pub(crate) fn kernel_has_ipvlan() -> bool {
    let net = Netns::new();
    net.batch("link add under0 type veth peer name under1\n");
    net.run(&["ip", "link", "add", "ipv0", "link", "under0", "type", "ipvlan"]).code == 0
}

#[test]
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
