//! `ocinet check`: what differs between the records and the kernel is said, each difference in a line.

use std::fs;

use ocinet_tests::lab::{DUAL, Lab};

const PUBLISHED: [(&str, &str); 2] = [("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81")];

#[track_caller]
fn said(lab: &Lab, arguments: &[&str]) -> Vec<String> {
    let finished = lab.run(&[&["check"], arguments].concat(), "");
    let lines: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    match finished.code {
        0 => {
            assert_eq!(lines, ["everything is as recorded"]);
            Vec::new()
        }
        1 => lines,
        code => panic!("{code}: {}", finished.stderr),
    }
}

#[test]
fn whatever_is_changed_is_said_by_its_name() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let routed = lab.attach("routed", &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")]);
    assert_eq!(said(&lab, &[]), [""; 0]);
    let link = web.record["attachments"][0]["host_interface"].as_str().unwrap();
    let its = routed.record["attachments"][0]["host_interface"].as_str().unwrap();
    let own = web.address(false);
    let lease = lab.state_dir().join(format!("leases/default/{own}"));
    let host = |command: &str| lab.host.ok(&command.split(' ').collect::<Vec<_>>());
    let inside = |command: &str| web.net.ok(&command.split(' ').collect::<Vec<_>>());
    type Change<'a> = (&'a str, Box<dyn Fn() + 'a>, Box<dyn Fn() + 'a>);
    let element = format!("inet ocinet sent4 {{ {own} }}");
    let changes: [Change<'_>; 9] = [
        (
            "network default: the address 10.90.0.1 of ocinet0 is missing",
            Box::new(|| drop(host("ip address del 10.90.0.1/16 dev ocinet0"))),
            Box::new(|| drop(host("ip address add 10.90.0.1/16 dev ocinet0"))),
        ),
        (
            "network default: the sysctl net/ipv4/conf/ocinet0/rp_filter is 0 instead of 1",
            Box::new(|| lab.host.sysctl("ipv4/conf/ocinet0/rp_filter", "0")),
            Box::new(|| lab.host.sysctl("ipv4/conf/ocinet0/rp_filter", "1")),
        ),
        (
            "container web: the link LINK is not on the bridge ocinet0",
            Box::new(|| drop(host(&format!("ip link set {link} nomaster")))),
            Box::new(|| drop(host(&format!("ip link set {link} master ocinet0")))),
        ),
        (
            "container web: its default route by 10.90.0.1 is missing",
            Box::new(|| drop(inside("ip route del default"))),
            Box::new(|| drop(inside("ip route add default via 10.90.0.1"))),
        ),
        (
            "container web: the element ELEMENT is missing",
            Box::new(|| drop(host(&format!("nft delete element {element}")))),
            Box::new(|| assert_eq!(lab.run(&["reload"], "").code, 0)),
        ),
        (
            "container web: the filter of what it sends on LINK is missing",
            Box::new(|| drop(host(&format!("tc filter del dev {link} ingress")))),
            Box::new(|| assert_eq!(lab.run(&["reload"], "").code, 0)),
        ),
        (
            "container routed: the host's route to ROUTED by ITS is missing",
            Box::new(|| drop(host(&format!("ip route del {} dev {its}", routed.address(false))))),
            Box::new(|| {
                drop(host(&format!("ip route add {} dev {its} scope link proto 111", routed.address(false))))
            }),
        ),
        (
            "container web: the lease of OWN from network default is missing",
            Box::new(|| fs::rename(&lease, lab.dir().join("lease")).unwrap()),
            Box::new(|| fs::rename(lab.dir().join("lease"), &lease).unwrap()),
        ),
        (
            "this host: the table inet ocinet is missing: `ocinet reload` puts it back",
            Box::new(|| drop(host("nft delete table inet ocinet"))),
            Box::new(|| assert_eq!(lab.run(&["reload"], "").code, 0)),
        ),
    ];
    for (expected, break_it, mend_it) in changes {
        let expected = expected
            .replace("LINK", link)
            .replace("ELEMENT", &element)
            .replace("ROUTED", &routed.address(false).to_string())
            .replace("ITS", its)
            .replace("OWN", &own.to_string());
        break_it();
        assert!(said(&lab, &[]).contains(&expected), "{expected}: {:?}", said(&lab, &[]));
        let of_web = said(&lab, &["web"]).contains(&expected);
        assert_eq!(of_web, !expected.starts_with("container routed"), "{expected}");
        mend_it();
        assert_eq!(said(&lab, &[]), [""; 0], "after {expected}");
    }
}

#[test]
fn a_container_that_nobody_knows_is_an_error() {
    let lab = Lab::new();
    let finished = lab.run(&["check", "nobody"], "");
    assert_eq!((finished.code, finished.stderr.lines().count()), (2, 1), "{}", finished.stderr);
}

#[test]
fn every_driver_is_as_recorded() {
    let lab = Lab::new();
    let _all = [
        lab.attach("bridge", &PUBLISHED),
        lab.attach("veth", &[("net.driver", "veth"), ("net.subnet", "10.97.0.0/24,fd00:97::/64")]),
        lab.attach(
            "macvlan",
            &[("net.driver", "macvlan"), ("net.parent", "eth0"), ("net.ip", "198.51.100.77")],
        ),
        lab.attach(
            "vxlan",
            &[
                ("net.driver", "vxlan"),
                ("net.vni", "7"),
                ("net.subnet", "10.98.0.0/24"),
                ("net.ip", "10.98.0.7"),
            ],
        ),
        lab.attach("inner", &[("net.network", "inner"), ("net.internal", "true")]),
        lab.attach(
            "two",
            &[("net.subnet", DUAL), ("net.eth1.network", "second"), ("net.eth1.subnet", "10.99.0.0/24")],
        ),
        lab.attach("none", &[("net.driver", "none")]),
    ];
    assert_eq!(said(&lab, &[]), [""; 0]);
}
