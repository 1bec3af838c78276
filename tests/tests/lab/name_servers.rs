//! What a container's resolver is told that was told nothing: the host's name servers, and the container's own name.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

use ocinet_tests::lab::{Finished, INTERNET4, Lab, Runtime, Sandbox, command, finish};

use crate::resolver::{Rooted, seen};

const BRIDGE: [(&str, &str); 1] = [("net.driver", "bridge")];
/// What the host's resolver asks, behind a stub of its own.
const HOSTS_OWN: &str = "nameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver 203.0.113.1\noptions edns0\nsearch corp.example\n";
const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// A name server that knows one address, and remembers what it was asked.
struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    fn new(lab: &Lab) -> Self {
        let address = SocketAddr::new(INTERNET4, 53);
        let socket = lab.wan.within(|| UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (names, end) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = spawn(move || {
            let mut buffer = [0; 512];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
                let (name, answer) = answer(&buffer[..length]);
                names.lock().unwrap().push(name);
                let _ = socket.send_to(&answer, client);
            }
        });
        Self { asked, stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The name that a question is about, and its answer (RFC 1035): an address, or nothing where another type is asked for.
fn answer(question: &[u8]) -> (String, Vec<u8>) {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] > 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).into_owned());
        at += length + 1;
    }
    let end = at + 5;
    let is_address = question[at + 2] == 1;
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ANSWER.octets());
    }
    (labels.join("."), answer)
}

/// A program in a container, with its root, network and names.
fn inside(pid: u32, arguments: &[&str]) -> Finished {
    let mut nsenter = command("nsenter");
    let pid = pid.to_string();
    nsenter.args(["--target", &pid, "--mount", "--uts", "--net", "--root", "--wd=/"]).args(arguments);
    nsenter.stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(nsenter.spawn().expect("nsenter"), &[])
}

fn resolv_conf(lab: &Lab, text: &str) {
    let file = lab.dir().join("hosts-own.conf");
    fs::write(&file, text).unwrap();
    lab.configure(&format!("resolv-conf = \"{}\"\n", file.display()));
}

/// README's first example, with each runtime: no resolv.conf is given, and a name is looked up all the same.
#[test]
#[ignore = "needs root"]
fn a_container_of_every_runtime_asks_the_hosts_name_servers() {
    for runtime in Runtime::ALL {
        let lab = Lab::new();
        resolv_conf(&lab, HOSTS_OWN);
        let server = NameServer::new(&lab);
        let container = runtime.start(&lab, "web", &BRIDGE).unwrap_or_else(|said| panic!("{}", said.stderr));
        let text = seen(container.pid, "etc/resolv.conf");
        let block = "# ocinet begins\nsearch corp.example\nnameserver 203.0.113.1\n# ocinet ends\n";
        assert_eq!(text, block, "{runtime:?}");
        let looked_up = inside(container.pid, &["/bin/busybox", "nslookup", "-type=a", "db.example.org"]);
        assert!(
            looked_up.stdout.contains("192.0.2.77"),
            "{runtime:?}: {}{}",
            looked_up.stdout,
            looked_up.stderr
        );
        assert!(server.asked.lock().unwrap().contains(&"db.example.org".to_owned()));
        let short = inside(container.pid, &["/bin/busybox", "ping", "-c1", "-W1", "db"]);
        assert!(short.stdout.contains("192.0.2.77"), "{runtime:?}: {short:?}");
        assert!(server.asked.lock().unwrap().contains(&"db.corp.example".to_owned()), "a search domain");
        // The container's own name is its address, once.
        let name = inside(container.pid, &["/bin/busybox", "hostname"]).ok();
        let hosts = seen(container.pid, "etc/hosts");
        let lines: Vec<&str> =
            hosts.lines().filter(|line| line.split_whitespace().any(|word| word == name.trim())).collect();
        assert!(lines.len() == 1 && lines[0].starts_with("10.90."), "{runtime:?}: {hosts}");
        let pinged = inside(container.pid, &["/bin/busybox", "ping", "-c1", "-W1", name.trim()]);
        assert_eq!(pinged.code, 0, "{runtime:?}: {}", pinged.stderr);
        container.stop();
    }
}

/// What a container is told in a file of its root; nothing where there is none.
fn told(rooted: &Rooted, annotations: &[(&str, &str)], path: &str) -> Option<String> {
    let created = rooted.create_with(annotations);
    let others = created.stderr.lines().filter(|line| !line.contains(" has no name server: ")).count();
    assert_eq!((created.code, others), (0, 0), "{annotations:?}: {}", created.stderr);
    let file = format!("/proc/{}/root{}/{path}", rooted.sandbox.pid(), rooted.root.display());
    let is_file = fs::symlink_metadata(&file).is_ok_and(|found| found.is_file());
    let text = is_file.then(|| fs::read_to_string(file).unwrap());
    assert_eq!(rooted.lab.poststop("web").code, 0);
    text
}

#[test]
#[ignore = "needs root"]
fn who_has_a_name_server_keeps_it() {
    for given in
        ["nameserver 192.0.2.1\n", "nameserver fe80::1%eth0\n", "search lan\nnameserver 2001:db8::1\n"]
    {
        let rooted = Rooted::new(|root| fs::write(root.join("etc/resolv.conf"), given).unwrap(), "true");
        resolv_conf(&rooted.lab, HOSTS_OWN);
        assert_eq!(told(&rooted, &BRIDGE, "etc/resolv.conf").as_deref(), Some(given));
    }
    for useless in ["", "nameserver 127.0.0.1\n", "options ndots:2\nnameserver ::1\n"] {
        let rooted = Rooted::new(|root| fs::write(root.join("etc/resolv.conf"), useless).unwrap(), "true");
        resolv_conf(&rooted.lab, HOSTS_OWN);
        for _ in 0..2 {
            let text = told(&rooted, &BRIDGE, "etc/resolv.conf").unwrap();
            assert_eq!(text.matches("nameserver").count(), 1, "{text}");
            assert!(text.contains("nameserver 203.0.113.1\n"), "{text}");
        }
    }
}

/// Who reaches no name server of the host's is told none: a look-up fails at once then, and does not wait.
#[test]
#[ignore = "needs root"]
fn who_reaches_no_name_server_is_told_none() {
    let host = "nameserver 127.0.0.53\n";
    let is_told = |host: &str, asked: &[(&str, &str)]| {
        let rooted = Rooted::new(|_| {}, "true");
        resolv_conf(&rooted.lab, host);
        told(&rooted, asked, "etc/resolv.conf").is_some()
    };
    assert!(is_told(HOSTS_OWN, &BRIDGE));
    assert!(is_told(HOSTS_OWN, &[("net.driver", "veth"), ("net.network", "direct")]));
    assert!(is_told(HOSTS_OWN, &[("net.driver", "macvlan"), ("net.ip", "198.51.100.90")]));
    assert!(!is_told(host, &BRIDGE), "the host has its own loopback alone");
    assert!(!is_told("nameserver 2001:db8::53\n", &BRIDGE), "the network default has no IPv6");
    assert!(!is_told(HOSTS_OWN, &[("net.network", "closed"), ("net.internal", "true")]));
    assert!(!is_told(HOSTS_OWN, &[("net.driver", "none")]));
    assert!(!is_told(HOSTS_OWN, &[("net.driver", "host")]));
    let both = [("net.network", "closed"), ("net.internal", "true"), ("net.eth1.driver", "bridge")];
    assert!(is_told(HOSTS_OWN, &both), "its second network leads out");
    let rooted = Rooted::new(|_| {}, "true");
    rooted.lab.configure("resolv-conf = \"\"\n");
    assert_eq!(told(&rooted, &BRIDGE, "etc/resolv.conf"), None, "the administrator wants none");
}

/// A start says so in one line.
#[test]
#[ignore = "needs root"]
fn who_has_no_name_server_is_named() {
    let says = |host: &str, asked: &[(&str, &str)], prepare: &dyn Fn(&Path)| {
        let rooted = Rooted::new(prepare, "true");
        resolv_conf(&rooted.lab, host);
        let started = rooted.create_with(asked);
        assert_eq!(started.code, 0, "{}", started.stderr);
        let lines: Vec<&str> = started.stderr.lines().collect();
        match lines[..] {
            [] => false,
            [one] => one.contains("container web has no name server: ") && one.contains("; hint: "),
            _ => panic!("{}", started.stderr),
        }
    };
    let ipv6 = [("net.network", "six"), ("net.subnet", "fd00:96::/64")];
    let closed = [("net.network", "closed"), ("net.internal", "true")];
    assert!(says("nameserver 127.0.0.1\n", &BRIDGE, &|_| {}));
    assert!(says("nameserver 2001:db8::53\n", &BRIDGE, &|_| {}));
    assert!(says("nameserver 192.0.2.53\n", &ipv6, &|_| {}));
    assert!(!says(HOSTS_OWN, &BRIDGE, &|_| {}));
    assert!(!says("nameserver 2001:db8::53\n", &ipv6, &|_| {}));
    assert!(!says("nameserver 127.0.0.1\n", &closed, &|_| {}));
    assert!(!says("nameserver 127.0.0.1\n", &[("net.driver", "none")], &|_| {}));
    assert!(!says("nameserver 127.0.0.1\n", &[BRIDGE[0], ("net.dns", "192.0.2.53")], &|_| {}));
    let has_own = |root: &Path| fs::write(root.join("etc/resolv.conf"), "nameserver 192.0.2.7\n").unwrap();
    assert!(!says("nameserver 127.0.0.1\n", &BRIDGE, &has_own));
}

/// What cannot be read is not said to name none.
#[test]
#[ignore = "needs root"]
fn a_file_that_cannot_be_read_is_not_said_to_name_no_server() {
    let rooted = Rooted::new(|root| fs::write(root.join("etc/resolv.conf"), [0xff]).unwrap(), "true");
    resolv_conf(&rooted.lab, "nameserver 127.0.0.1\n");
    let started = rooted.create_with(&BRIDGE);
    assert_eq!((started.code, started.stderr.lines().count()), (0, 1), "{}", started.stderr);
    assert!(started.stderr.contains("container web may have no name server: "), "{}", started.stderr);
    assert!(started.stderr.contains("its etc/resolv.conf cannot be read ("), "{}", started.stderr);
    assert!(started.stderr.contains("; hint: "), "{}", started.stderr);
}

/// Doctor looks into the roots of containers that run.
#[test]
#[ignore = "needs root"]
fn a_running_container_of_every_runtime_without_a_name_server_is_named() {
    for runtime in Runtime::ALL {
        let lab = Lab::new();
        resolv_conf(&lab, "nameserver 127.0.0.1\n");
        let container = runtime.start(&lab, "web", &BRIDGE).unwrap_or_else(|said| panic!("{}", said.stderr));
        let doctor = lab.run(&["doctor"], "");
        let says = format!("container {} has no name server", container.id);
        assert!(doctor.code == 1 && doctor.stdout.contains(&says), "{runtime:?}: {}", doctor.stdout);
        resolv_conf(&lab, HOSTS_OWN);
        assert_eq!(lab.run(&["doctor"], "").code, 0, "{runtime:?}: the host has one now");
        container.stop();
        resolv_conf(&lab, "nameserver 127.0.0.1\n");
        let closed = [("net.network", "closed"), ("net.internal", "true")];
        for (id, asked) in [
            ("asks", &[BRIDGE[0], ("net.dns", "192.0.2.53")][..]),
            ("closed", &closed),
            ("none", &[("net.driver", "none")]),
        ] {
            let needs_none = runtime.start(&lab, id, asked).unwrap_or_else(|said| panic!("{}", said.stderr));
            let doctor = lab.run(&["doctor"], "");
            assert!(!doctor.stdout.contains("no name server"), "{runtime:?}, {id}: {}", doctor.stdout);
            needs_none.stop();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_named_file_that_is_none_is_refused() {
    let rooted = Rooted::new(|_| {}, "true");
    for path in ["/nonexistent/resolv.conf", "/usr", "/dev/zero"] {
        rooted.lab.configure(&format!("resolv-conf = \"{path}\"\n"));
        let refused = rooted.create_with(&BRIDGE);
        assert_eq!((refused.code, refused.stderr.lines().count()), (2, 1), "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("cannot read the host's name servers in {path}: ")));
        assert!(rooted.lab.record("web").is_none());
    }
}

/// What nobody asked for keeps no container from starting, wherever the image's files lead.
#[test]
#[ignore = "needs root"]
fn a_root_without_a_place_for_names_starts_all_the_same() {
    let hosts = |root: &Path| fs::write(root.join("etc/hosts"), "127.0.0.1\tlocalhost\n").unwrap();
    let link =
        |root: &Path| symlink("/proc/sys/net/ipv4/ip_default_ttl", root.join("etc/resolv.conf")).unwrap();
    let dangling =
        |root: &Path| symlink("../run/systemd/resolve/stub.conf", root.join("etc/resolv.conf")).unwrap();
    let folder = |root: &Path| fs::create_dir(root.join("etc/resolv.conf")).unwrap();
    let none = |_: &Path| {};
    let read_only = "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"";
    let proc = "mkdir -p \"$1/proc\"; mount -t proc none \"$1/proc\"";
    let cases = [
        ("link", &link as &dyn Fn(&Path), proc),
        ("dangling", &dangling, "true"),
        ("folder", &folder, "true"),
        ("read-only", &none, read_only),
    ];
    for (name, prepare, mounts) in cases {
        let rooted = Rooted::new(
            |root| {
                hosts(root);
                prepare(root)
            },
            mounts,
        );
        resolv_conf(&rooted.lab, HOSTS_OWN);
        assert_eq!(told(&rooted, &BRIDGE, "etc/resolv.conf"), None, "{name}");
        // What is asked for, the container must have.
        let refused = rooted.create_with(&[("net.driver", "bridge"), ("net.dns", "192.0.2.1")]);
        assert_eq!((refused.code, refused.stderr.lines().count()), (5, 1), "{name}: {}", refused.stderr);
    }
}

/// A bundle that cannot be read says nothing of a root; a container without wishes about names starts without.
#[test]
#[ignore = "needs root"]
fn without_a_bundle_nothing_is_told() {
    let lab = Lab::new();
    let sandbox = Sandbox::new("web");
    let created = lab.create(&sandbox, &BRIDGE);
    assert_eq!((created.code, created.stderr.as_str()), (0, ""));
    let asked = lab.create(&Sandbox::new("db"), &[("net.driver", "bridge"), ("net.dns", "192.0.2.1")]);
    assert_eq!(asked.code, 2, "{}", asked.stderr);
}

#[test]
#[ignore = "needs root"]
fn the_own_name_stands_beside_those_that_are_asked_for() {
    let rooted = Rooted::new(
        |root| fs::write(root.join("etc/hosts"), "127.0.0.1\tlocalhost web-1 alias\n").unwrap(),
        "true",
    );
    resolv_conf(&rooted.lab, HOSTS_OWN);
    let asked = [("net.driver", "bridge"), ("net.ip", "10.90.0.9"), ("net.hosts", "db:10.90.0.7")];
    let block =
        "127.0.0.1\tlocalhost\n# ocinet begins\n10.90.0.9\tweb-1 alias\n10.90.0.7\tdb\n# ocinet ends\n";
    assert_eq!(told(&rooted, &asked, "etc/hosts").as_deref(), Some(block));
    let asked = [("net.driver", "bridge"), ("net.hosts", "web-1:10.90.0.7")];
    let text = told(&rooted, &asked, "etc/hosts").unwrap();
    assert!(text.contains("10.90.0.7\tweb-1\n") && text.matches("web-1").count() == 1, "{text}");
}

#[test]
#[ignore = "needs root"]
fn a_pods_containers_ask_the_hosts_name_servers() {
    for runtime in [Runtime::Runc, Runtime::PodmanRunc] {
        let lab = Lab::new();
        resolv_conf(&lab, HOSTS_OWN);
        let pod = runtime.pod(&lab, "pod");
        for name in ["first", "second"] {
            let container = pod.start(name, &BRIDGE);
            let text = seen(container.pid, "etc/resolv.conf");
            assert_eq!(text.matches("nameserver 203.0.113.1").count(), 1, "{runtime:?}: {text}");
            container.stop();
        }
        pod.stop();
    }
}
