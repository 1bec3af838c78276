//! `net.dns`, `net.dns-search`, `net.hosts`: what the container reads in its own root.

use std::fs;
use std::os::unix::fs::symlink;

use ocinet_tests::lab::{Lab, Runtime};

const TOLD: [(&str, &str); 4] = [
    ("net.driver", "bridge"),
    ("net.dns", "192.0.2.53,2001:db8::53"),
    ("net.dns-search", "example.org,lan"),
    ("net.hosts", "db:10.90.0.7,host.docker.internal:host-gateway"),
];

/// A file as the container's own processes see it.
fn seen(pid: u32, path: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/root/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn a_container_of_every_runtime_reads_its_resolver_and_hosts() {
    for runtime in Runtime::ALL {
        let lab = Lab::new();
        let container = runtime.start(&lab, "web", &TOLD).unwrap_or_else(|said| panic!("{}", said.stderr));
        let resolver = seen(container.pid, "etc/resolv.conf");
        for line in ["nameserver 192.0.2.53", "nameserver 2001:db8::53", "search example.org lan"] {
            assert!(resolver.lines().any(|told| told == line), "{runtime:?}: {resolver}");
        }
        assert_eq!(resolver.lines().filter(|line| line.starts_with("nameserver")).count(), 2, "{resolver}");
        let hosts = seen(container.pid, "etc/hosts");
        for line in ["10.90.0.7\tdb", "10.90.0.1\thost.docker.internal"] {
            assert!(hosts.lines().any(|told| told == line), "{runtime:?}: {hosts}");
        }
        container.stop();
    }
}

#[test]
fn a_hostile_images_links_lead_nowhere() {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let lab = Lab::new();
        let outside = lab.dir().join("outside");
        fs::write(&outside, "the host's").unwrap();
        symlink(&outside, lab.rootfs().join("etc/resolv.conf")).unwrap();
        symlink("../../../../../../../../etc/ocinet-lab-escape", lab.rootfs().join("etc/hosts")).unwrap();
        let started = runtime.start(&lab, "hostile", &TOLD);
        let refused = started.err().map(|said| said.stderr);
        assert!(refused.is_some(), "{runtime:?}: the link's folder is not in the container's root");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "the host's");
        fs::remove_file(lab.rootfs().join("etc/resolv.conf")).unwrap();
        let container = runtime.start(&lab, "web", &TOLD).unwrap_or_else(|said| panic!("{}", said.stderr));
        assert!(seen(container.pid, "etc/ocinet-lab-escape").contains("10.90.0.7\tdb"));
        assert!(!fs::exists("/etc/ocinet-lab-escape").unwrap());
        container.stop();
    }
}

#[test]
fn a_root_that_starts_again_has_the_names_once() {
    let lab = Lab::new();
    for name in ["first", "second"] {
        let container =
            Runtime::Runc.start(&lab, name, &TOLD).unwrap_or_else(|said| panic!("{}", said.stderr));
        let hosts = seen(container.pid, "etc/hosts");
        assert_eq!(hosts.matches("\tdb").count(), 1, "{hosts}");
        container.stop();
    }
}

#[test]
fn a_fifo_is_refused_at_once() {
    let lab = Lab::new();
    nix::unistd::mkfifo(&lab.rootfs().join("etc/hosts"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let refused = Runtime::Runc.start(&lab, "web", &TOLD).expect_err("a refusal");
    assert!(
        refused.stderr.contains("cannot write etc/hosts in the container's root: it is not an ordinary file"),
        "{}",
        refused.stderr
    );
}
