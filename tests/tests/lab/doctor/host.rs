//! The host: forwarding, ocinet's own tables, ports, ways out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Stdio;

use ocinet_tests::lab::{Background, INTERNET4, Lab, Netns, ask_tcp, command, reaches_nobody, until};

use super::Ward;
use crate::PATIENCE;

#[test]
#[ignore = "needs root"]
fn a_host_that_does_not_forward() {
    for (ipv6, setting) in [(false, "ipv4/ip_forward"), (true, "ipv6/conf/all/forwarding")] {
        let ward = Ward::new("bridge");
        ward.lab.host.sysctl(setting, "0");
        ward.is_silent(ipv6);
        let fix = ward.finds(if ipv6 { "does not forward IPv6" } else { "does not forward IPv4" });
        ward.fix(&fix);
    }
}

/// IPv4 asks the link that a packet came in by; IPv6 asks the host alone.
#[test]
#[ignore = "needs root"]
fn a_link_that_does_not_forward() {
    for driver in ["bridge", "veth"] {
        let ward = Ward::new(driver);
        let link = if driver == "bridge" {
            "ocinet0"
        } else {
            ward.web.record["attachments"][0]["host_interface"].as_str().unwrap()
        };
        for link in [link, "eth0"] {
            ward.lab.host.sysctl(&format!("ipv6/conf/{link}/forwarding"), "0");
            assert!(ward.answers(true));
            ward.is_sound();
            ward.lab.host.sysctl(&format!("ipv4/conf/{link}/forwarding"), "0");
            ward.is_silent(false);
            let fix = ward.finds(&format!("{link} does not forward IPv4"));
            assert_eq!(fix, [format!("sysctl -w net/ipv4/conf/{link}/forwarding=1")]);
            ward.fix(&fix);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_gateway_that_does_not_answer_arp() {
    for of in ["all", "ocinet0"] {
        let ward = Ward::new("bridge");
        ward.lab.host.sysctl(&format!("ipv4/conf/{of}/arp_ignore"), "8");
        ward.web.net.ok(&["ip", "neigh", "flush", "all"]);
        ward.is_silent(false);
        let fix = ward.finds("the host answers no ARP on ocinet0");
        assert_eq!(fix, [format!("sysctl -w net/ipv4/conf/{of}/arp_ignore=2")]);
        ward.fix(&fix);
    }
}

/// Where new links do not forward, ocinet's do.
#[test]
#[ignore = "needs root"]
fn new_links_forward_also_where_others_do_not() {
    for driver in ["bridge", "veth"] {
        let lab = Lab::new();
        for (family, key) in [("ipv4", "ipv4/ip_forward"), ("ipv6", "ipv6/conf/all/forwarding")] {
            lab.host.sysctl(key, "1");
            lab.host.sysctl(&format!("{family}/conf/default/forwarding"), "0");
        }
        let ward = Ward::on(lab, driver);
        assert!(ward.answers(false) && ward.answers(true));
    }
}

#[test]
#[ignore = "needs root"]
fn tables_that_were_flushed() {
    for rules in ["flush ruleset", "delete table inet ocinet"] {
        let ward = Ward::new("bridge");
        ward.lab.host.ok(&["nft", rules]);
        ward.is_silent(false);
        ward.is_silent(true);
        let fix = ward.finds("table inet ocinet is gone");
        assert!(fix.iter().all(|command| command == "ocinet reload"), "{fix:?}");
        ward.fix(&fix);
    }
}

#[test]
#[ignore = "needs root"]
fn rules_that_were_flushed() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["nft", "flush table inet ocinet"]);
    ward.is_silent(false);
    let fix = ward.finds(" of table inet ocinet lacks rules");
    assert_eq!(fix, ["ocinet reload"]);
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn elements_that_were_deleted() {
    let ward = Ward::new("bridge");
    ward.lab.host.ok(&["nft", "flush map inet ocinet publish4"]);
    ward.is_silent(false);
    let fix = ward.finds("1 elements of ocinet's tables are gone");
    assert_eq!(fix, ["ocinet reload"]);
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn filters_that_were_deleted() {
    let ward = Ward::new("bridge");
    let link = ward.web.record["attachments"][0]["host_interface"].as_str().unwrap().to_owned();
    ward.lab.host.ok(&["tc", "qdisc", "del", "dev", &link, "clsact"]);
    let fix = ward.finds("does not have its filters");
    assert_eq!(fix, ["ocinet reload"]);
    ward.fix(&fix);
}

/// The host takes a frame for its own by the link's Ethernet address alone.
#[test]
#[ignore = "needs root"]
fn a_hosts_end_with_another_ethernet_address() {
    let ward = Ward::new("bridge");
    let link = ward.web.record["attachments"][0]["host_interface"].as_str().unwrap().to_owned();
    ward.lab.host.ok(&["ip", "link", "set", &link, "address", "02:00:00:00:00:01"]);
    ward.is_silent(false);
    let fix = ward.finds("has another Ethernet address than its bridge");
    assert!(fix[0].starts_with(&format!("ip link set dev {link} address ")), "{fix:?}");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_bridges_entry_of_a_container_that_was_deleted() {
    let ward = Ward::new("bridge");
    let attachment = &ward.web.record["attachments"][0];
    let (link, mac) = (attachment["host_interface"].as_str().unwrap(), attachment["mac"].as_str().unwrap());
    ward.lab.host.ok(&["bridge", "fdb", "del", mac, "dev", link, "master"]);
    let fix = ward.finds(&format!("has no entry for {mac} on its bridge"));
    assert_eq!(fix, ["ocinet reload"]);
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_process_of_the_host_on_a_published_port() {
    let ward = Ward::new("bridge");
    let mut listener = command("busybox");
    listener.args(["nc", "-l", "-p", "8080"]).stdout(Stdio::null());
    let mut listener = Background(ward.lab.host.spawn(listener));
    assert!(until(|| ward.lab.run(&["doctor"], "").code == 1), "doctor sees the listener");
    let fix = ward.finds("listens on port 8080/tcp, which container web publishes");
    assert_eq!(fix, [format!("kill {}", listener.0.id())]);
    // What is killed stays a process until it is waited for, and listens no more.
    ward.lab.host.ok(&["sh", "-c", &fix[0]]);
    let _ = listener.0.wait();
    ward.is_sound();
}

/// Docker's own rules lead to its container, whatever becomes of the process that holds the port.
#[test]
#[ignore = "needs root"]
fn docker_on_a_published_port() {
    let ward = Ward::new("bridge");
    let proxy = ward.lab.dir().join("docker-proxy");
    std::fs::copy(ward.lab.host.ok(&["sh", "-c", "command -v busybox"]).trim(), &proxy).unwrap();
    let mut listener = command("bash");
    listener
        .args(["-c", &format!("exec -a busybox {} nc -l -p 8080", proxy.display())])
        .stdout(Stdio::null());
    let _listener = Background(ward.lab.host.spawn(listener));
    assert!(until(|| ward.lab.run(&["doctor"], "").code == 1), "doctor sees the listener");
    let fix = ward.finds("process docker-proxy (pid ");
    assert_eq!(fix, ["docker ps --filter publish=8080/tcp"]);
}

/// The limit is of all namespaces, and only the machine's own first one may change it: the table is filled instead.
#[test]
#[ignore = "needs root"]
fn a_connection_table_that_is_full() {
    let ward = Ward::new("bridge");
    let most: u32 =
        std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap().trim().parse().unwrap();
    // Each datagram to another address of the loopback is a connection.
    ward.lab.host.within(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..most / 100 * 97 {
            let to = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + number);
            let _ = socket.send_to(b"", (to, 9));
        }
    });
    let fix = ward.finds("connection tracking is full");
    assert_eq!(fix, [format!("sysctl -w net.netfilter.nf_conntrack_max={}", 2 * most)]);
}

/// A host with two ways out, of which the second takes only what it would send to.
#[test]
#[ignore = "needs root"]
fn a_second_way_out_that_filters_by_the_reverse_path() {
    let ward = Ward::new("bridge");
    let (host, wan): (&Netns, &Netns) = (&ward.lab.host, &ward.lab.wan);
    host.batch(&format!(
        "link add eth1 type veth peer name back netns {}\naddr add 192.0.2.10/24 dev eth1\nlink set eth1 up\n\
         route add default via 192.0.2.1 dev eth1 metric 100\n",
        wan.path()
    ));
    wan.batch("addr add 192.0.2.1/24 dev back\nlink set back up\n");
    let second: IpAddr = [192, 0, 2, 10].into();
    let route_back = || {
        // From the internet's address, which the host's first default route leads to.
        wan.ok(&["ip", "route", "replace", "192.0.2.0/24", "dev", "back", "src", &INTERNET4.to_string()]);
    };
    let asks = || {
        route_back();
        ask_tcp(wan, SocketAddr::new(second, 8080), PATIENCE).is_some()
    };
    assert!(asks());
    let fix = ward.finds("the rules do not know \"eth1\" of the host's uplinks");
    ward.fix(&fix);
    host.sysctl("ipv4/conf/eth1/rp_filter", "1");
    route_back();
    reaches_nobody(wan, SocketAddr::new(second, 8080));
    let fix = ward.finds("eth1 drops packets from where another link leads to");
    ward.fix(&fix);
    assert!(asks());
}
