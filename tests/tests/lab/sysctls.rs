//! Hosts whose sysctls are set as administrators set them.

use std::net::SocketAddr;

use ocinet_tests::lab::{DUAL, INTERNET4, INTERNET6, Lab, Sandbox, Server, ask_tcp};

use crate::PATIENCE;
use crate::reach::reaches;

/// Runs a program that finds /proc/sys read-only.
const READ_ONLY: [&str; 5] =
    ["unshare", "--mount", "sh", "-c", "mount --bind -o ro /proc/sys /proc/sys && exec \"$0\" \"$@\""];

/// What is so already is not written: each setting is what ocinet wants, and nothing can be written.
#[test]
#[ignore = "needs root"]
fn sysctls_that_are_right_are_not_written() {
    for driver in ["bridge", "veth"] {
        let lab = Lab::new();
        let annotations = [("net.driver", driver), ("net.subnet", DUAL), ("net.ports", "8080:80")];
        let host = [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/default/route_localnet", "1"),
            ("ipv4/conf/default/rp_filter", "1"),
            ("ipv4/conf/default/send_redirects", "0"),
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
        ];
        host.iter().for_each(|(key, value)| lab.host.sysctl(key, value));
        let mut web = Sandbox::new("web");
        let state = lab.state_of(&web, &annotations);
        // The container's own are not right yet.
        let refused = lab.run_under(&READ_ONLY, &["createRuntime"], &state);
        assert_eq!(refused.code, 5, "{}", refused.stderr);
        assert!(refused.stderr.contains("Read-only file system"), "{}", refused.stderr);
        for key in ["ipv6/conf/default/accept_ra", "ipv6/conf/default/accept_dad"] {
            web.net().sysctl(key, "0");
        }
        let started = lab.run_under(&READ_ONLY, &["createRuntime"], &state);
        assert_eq!((started.code, started.stderr.as_str()), (0, ""));
        let _internet = Server::tcp(&lab.wan, 80, "internet");
        for internet in [INTERNET4, INTERNET6] {
            reaches(&web.net(), internet, 80, "internet");
        }
        web.end();
        let stopped = lab.run_under(
            &READ_ONLY,
            &["poststop"],
            r#"{"ociVersion":"1.0.2","id":"web","status":"stopped","bundle":"/"}"#,
        );
        assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
    }
}

/// Who answers ARP, and with which address one asks, is no matter for a container and its gateway.
#[test]
#[ignore = "needs root"]
fn arp_settings_of_the_host_cut_no_container_off() {
    for (setting, values) in [
        ("arp_ignore", &["1", "2", "3"][..]),
        ("arp_announce", &["1", "2"]),
        ("arp_filter", &["1"]),
        ("rp_filter", &["1", "2"]),
        ("accept_local", &["1"]),
        ("proxy_arp", &["1"]),
    ] {
        for value in values {
            for driver in ["bridge", "veth"] {
                let lab = Lab::new();
                for of in ["all", "default"] {
                    lab.host.sysctl(&format!("ipv4/conf/{of}/{setting}"), value);
                }
                let web = lab
                    .attach("web", &[("net.driver", driver), ("net.subnet", DUAL), ("net.ports", "8080:80")]);
                let _server = Server::tcp(&web.net, 80, "web");
                let _internet = Server::tcp(&lab.wan, 80, "internet");
                for (host, internet) in [(lab.address(false), INTERNET4), (lab.address(true), INTERNET6)] {
                    let what = format!("{driver}, {setting}={value}: {internet}");
                    let out = ask_tcp(&web.net, SocketAddr::new(internet, 80), PATIENCE);
                    let inward = ask_tcp(&lab.peer, SocketAddr::new(host, 8080), PATIENCE);
                    assert!(out.is_some() && inward.is_some(), "{what}: {out:?} {inward:?}");
                }
                let said = lab.run(&["doctor"], "");
                assert_eq!(said.code, 0, "{setting}={value}: {}", said.stdout);
            }
        }
    }
}
