//! `ocinet check`: what differs between the records and the kernel is said, each difference in a line.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use ocinet_tests::lab::{Attached, DUAL, Lab, link_address};

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

type Change<'a> = (String, Box<dyn Fn() + 'a>, Box<dyn Fn() + 'a>);

/// A container on a bridge and one on a link of its own.
struct Stage {
    lab: Lab,
    web: Attached,
    routed: Attached,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let web = lab.attach("web", &PUBLISHED);
        let subnet = "10.97.0.0/24,fd00:97::/64";
        let routed = lab.attach("routed", &[("net.driver", "veth"), ("net.subnet", subnet)]);
        assert_eq!(said(&lab, &[]), [""; 0]);
        Self { lab, web, routed }
    }

    fn host(&self, command: &str) {
        self.lab.host.ok(&command.split(' ').collect::<Vec<_>>());
    }

    fn inside(&self, command: &str) {
        self.web.net.ok(&command.split(' ').collect::<Vec<_>>());
    }

    fn reload(&self) {
        assert_eq!(self.lab.run(&["reload"], "").code, 0);
    }

    /// Each change is said, of the container as well where it is about that, and not any more once it is fixed.
    #[track_caller]
    fn each_is_said(&self, changes: Vec<Change<'_>>) {
        for (expected, break_it, fix_it) in changes {
            break_it();
            let all = said(&self.lab, &[]);
            assert!(all.contains(&expected), "{expected}: {all:?}");
            let of_web = said(&self.lab, &["web"]).contains(&expected);
            assert_eq!(of_web, !expected.starts_with("container routed"), "{expected}");
            fix_it();
            assert_eq!(said(&self.lab, &[]), [""; 0], "after {expected}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn whatever_is_changed_of_a_network_is_said_by_its_name() {
    let stage = Stage::new();
    stage.each_is_said(vec![
        (
            "network default: the address 10.90.0.1 of ocinet0 is missing".to_owned(),
            Box::new(|| stage.host("ip address del 10.90.0.1/16 dev ocinet0")),
            Box::new(|| stage.host("ip address add 10.90.0.1/16 dev ocinet0")),
        ),
        (
            "network default: the sysctl net/ipv4/conf/ocinet0/rp_filter is 0 instead of 1".to_owned(),
            Box::new(|| stage.lab.host.sysctl("ipv4/conf/ocinet0/rp_filter", "0")),
            Box::new(|| stage.lab.host.sysctl("ipv4/conf/ocinet0/rp_filter", "1")),
        ),
        (
            "this host: the table inet ocinet is missing: `ocinet reload` puts it back".to_owned(),
            Box::new(|| stage.host("nft delete table inet ocinet")),
            Box::new(|| stage.reload()),
        ),
    ]);
}

#[test]
#[ignore = "needs root"]
fn whatever_is_changed_of_a_container_is_said_by_its_name() {
    let stage = Stage::new();
    let link = stage.web.record["attachments"][0]["host_interface"].as_str().unwrap();
    let its = stage.routed.record["attachments"][0]["host_interface"].as_str().unwrap();
    let (own, routed) = (stage.web.address(false), stage.routed.address(false));
    let (lease, away) =
        (stage.lab.state_dir().join(format!("leases/default/{own}")), stage.lab.dir().join("lease"));
    let element = format!("inet ocinet sent4 {{ {own} }}");
    let mac = stage.web.record["attachments"][0]["mac"].as_str().unwrap();
    let bridge = link_address(&stage.lab.host, "ocinet0").map(|byte| format!("{byte:02x}")).join(":");
    stage.each_is_said(vec![
        (
            format!("container web: the link {link} is not on the bridge ocinet0"),
            Box::new(|| stage.host(&format!("ip link set {link} nomaster"))),
            Box::new(|| {
                stage.host(&format!("ip link set {link} master ocinet0"));
                stage.reload();
            }),
        ),
        (
            format!("container web: the link {link} does not have the Ethernet address {bridge}"),
            Box::new(|| stage.host(&format!("ip link set {link} address 02:00:00:00:00:01"))),
            Box::new(|| stage.host(&format!("ip link set {link} address {bridge}"))),
        ),
        (
            format!("container web: the bridge ocinet0 has no entry for {mac} on {link}"),
            Box::new(|| stage.host(&format!("bridge fdb del {mac} dev {link} master"))),
            Box::new(|| stage.reload()),
        ),
        (
            "container web: its default route by 10.90.0.1 is missing".to_owned(),
            Box::new(|| stage.inside("ip route del default")),
            Box::new(|| stage.inside("ip route add default via 10.90.0.1")),
        ),
        (
            format!("container web: the element {element} is missing"),
            Box::new(|| stage.host(&format!("nft delete element {element}"))),
            Box::new(|| stage.reload()),
        ),
        (
            format!("container web: the filter of what it sends on {link} is missing"),
            Box::new(|| stage.host(&format!("tc filter del dev {link} ingress"))),
            Box::new(|| stage.reload()),
        ),
        (
            format!("container routed: the host's route to {routed} by {its} is missing"),
            Box::new(|| stage.host(&format!("ip route del {routed} dev {its}"))),
            Box::new(|| stage.host(&format!("ip route add {routed} dev {its} scope link proto 111"))),
        ),
        (
            format!("container web: the lease of {own} from network default is missing"),
            Box::new(|| fs::rename(&lease, &away).unwrap()),
            Box::new(|| fs::rename(&away, &lease).unwrap()),
        ),
    ]);
}

#[test]
#[ignore = "needs root"]
fn a_container_that_nobody_knows_is_an_error() {
    let lab = Lab::new();
    let finished = lab.run(&["check", "nobody"], "");
    assert_eq!((finished.code, finished.stderr.lines().count()), (2, 1), "{}", finished.stderr);
}

#[test]
#[ignore = "needs root"]
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

/// Every file and folder of the state folder, with its mode, when it was changed, and its content.
fn all(folder: &Path) -> Vec<String> {
    let Ok(metadata) = fs::metadata(folder) else { return Vec::new() };
    let content = String::from_utf8(fs::read(folder).unwrap_or_default()).unwrap();
    let (mode, at) = (metadata.mode(), (metadata.mtime(), metadata.mtime_nsec()));
    let mut found = vec![format!("{} {mode:o} {at:?} {content:?}", folder.display())];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.extend(all(&entry.path()));
    }
    found.sort();
    found
}

/// Also where they find that something is missing, and look again while nobody changes it.
#[test]
#[ignore = "needs root"]
fn who_only_looks_leaves_the_state_folder_as_it_is() {
    let looks: [&[&str]; 6] =
        [&["check"], &["check", "web"], &["doctor"], &["doctor", "web"], &["list"], &["gc", "--dry-run"]];
    let lab = Lab::new();
    let state = lab.state_dir();
    let _web = lab.attach("web", &PUBLISHED);
    let look = |when: &str| {
        let before = all(&state);
        for arguments in looks {
            let said = lab.run(arguments, "");
            assert_eq!(before, all(&state), "{arguments:?} {when}: {said:?}");
        }
    };
    look("beside a container");
    for set in ["no_transit", "uplinks"] {
        lab.host.ok(&["nft", "flush", "set", "inet", "ocinet", set]);
    }
    assert!(said(&lab, &[]).iter().any(|line| line.starts_with("this host: ")));
    look("where the host's elements are missing");
    // As an earlier ocinet or another user left it.
    fs::remove_file(state.join("lock")).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(state.join("leases"), Permissions::from_mode(0o775)).unwrap();
    look("where nobody has locked anything yet");
    fs::remove_dir_all(state.join("networks")).unwrap();
    look("where no network is known");
    fs::remove_dir_all(&state).unwrap();
    look("where there is none");
    assert!(!state.exists());
}

/// What the hooks of a runtime hint at says nothing to who runs a command by hand.
#[test]
#[ignore = "needs root"]
fn an_ordinary_user_is_told_to_be_root() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    for arguments in [
        &["check"][..],
        &["check", "web"],
        &["doctor"],
        &["gc"],
        &["inspect", "web"],
        &["reload"],
        &["reload", "--if-missing"],
    ] {
        let said = lab.run_under(&user, arguments, "");
        assert!([5, 6, 7].contains(&said.code), "{arguments:?}: {} {}", said.code, said.stderr);
        assert!(said.stderr.ends_with("; hint: run it as root\n"), "{arguments:?}: {}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    }
    assert_eq!(lab.run_under(&user, &["list"], "").code, 0, "what everybody may read");
}

/// Who only looks changes nothing, so that a state folder that cannot be changed is looked at as well.
#[test]
#[ignore = "needs root"]
fn a_read_only_state_folder_is_looked_at() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let folder = lab.state_dir();
    let as_read_only =
        "mount --bind $0 $0 && mount -o remount,bind,ro $0 && ! touch $0/lock 2>/dev/null && exec \"$@\"";
    let under = ["unshare", "--mount", "sh", "-c", as_read_only, folder.to_str().unwrap()];
    let read_only = format!("the file system of the state folder {} is read-only", folder.display());
    for (arguments, code, said) in [
        (&["check"][..], 0, "everything is as recorded\n"),
        (&["gc", "--dry-run"], 0, ""),
        (&["doctor"], 1, &read_only),
    ] {
        let finished = lab.run_under(&under, arguments, "");
        assert_eq!((finished.code, finished.stderr.as_str()), (code, ""), "{arguments:?}");
        assert!(finished.stdout.contains(said), "{arguments:?}: {}", finished.stdout);
    }
}
