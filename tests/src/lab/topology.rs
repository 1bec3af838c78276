//! The namespaces of one test, and the folder that belongs to it.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

use tempfile::TempDir;

use super::host::Host;
use super::netns::Netns;
use super::process::command;
use super::traffic::until;

/// The host's address on the LAN.
pub const HOST4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));
/// The host's address on the LAN.
pub const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));
/// A second address of the host.
pub const HOST_SECOND4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 12));
/// A second address of the host.
pub const HOST_SECOND6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x12));
/// The LAN neighbour.
pub const PEER4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20));
/// The LAN neighbour.
pub const PEER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x20));
/// The router's address on the LAN.
pub const WAN4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
/// The router's address on the LAN.
pub const WAN6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));
/// Somewhere beyond the router.
pub const INTERNET4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// Somewhere beyond the router.
pub const INTERNET6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xcafe, 0, 0, 0, 0, 1));
/// The value of `net.subnet` that gives the default network both families.
pub const DUAL: &str = "10.90.0.0/16,fd00:90::/64";

/// What nearly every test needs; a test that needs more, as Prometheus, fails by its name.
const TOOLS: [&str; 9] = ["ip", "nft", "runc", "crun", "podman", "busybox", "strace", "unshare", "iperf3"];
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One test's machine, LAN and internet. Dropping it removes them.
///
/// What a test does on the lab itself, it does on the lab's first host.
#[derive(Debug)]
pub struct Lab {
    /// The machine: the namespace of the first host.
    pub host: Netns,
    /// The router.
    pub wan: Netns,
    /// The machine's neighbour on the LAN.
    pub peer: Netns,
    /// The LAN itself.
    pub switch: Netns,
    first: Host,
    dir: TempDir,
    serial: u32,
    rootfs: OnceLock<PathBuf>,
    read_only: AtomicBool,
}

/// Whether the machine forwards before ocinet does anything, and how it judges senders (`rp_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// It does not forward.
    Off,
    /// It forwards both families, whoever sends.
    Unchecked,
    /// It forwards both families, from senders to whom any link leads.
    Loose,
}

impl Forwarding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Unchecked, Self::Loose];
}

impl Lab {
    /// A fresh lab whose machine does not forward.
    ///
    /// # Panics
    /// Without root, without a tool that the tests need, or without a built ocinet.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Forwarding::Off)
    }

    /// A fresh lab.
    ///
    /// # Panics
    /// As [`Lab::new`].
    #[must_use]
    pub fn with(forwarding: Forwarding) -> Self {
        static CHECKED: Once = Once::new();
        CHECKED.call_once(require_tools);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        // Whoever is in a user namespace, or no root, comes through it.
        let open = Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new().prefix("ocinet-lab-").permissions(open).tempdir();
        let dir = dir.expect("make the lab's folder");
        let ocinet = dir.path().join("ocinet");
        // A name of its own: a process of this file is this lab's, whatever other tests run at the same time.
        let built = ocinet_path();
        assert!(built.exists(), "{}: run `make build` first, or set OCINET_BIN", built.display());
        fs::hard_link(&built, &ocinet).unwrap_or_else(|_| copy(&built, &ocinet));
        let first = Host::new([HOST4, HOST6], dir.path().join("state"), ocinet);
        let (host, wan, peer, switch) = (first.net.again(), Netns::new(), Netns::new(), Netns::new());
        let lab = Self {
            host,
            wan,
            peer,
            switch,
            first,
            dir,
            serial,
            rootfs: OnceLock::new(),
            read_only: AtomicBool::new(false),
        };
        lab.wire();
        lab.forward(forwarding);
        lab
    }

    fn forward(&self, forwarding: Forwarding) {
        let rp_filter = match forwarding {
            Forwarding::Off => return,
            Forwarding::Unchecked => "0",
            Forwarding::Loose => "2",
        };
        for link in ["all", "default", "eth0"] {
            self.host.sysctl(&format!("ipv4/conf/{link}/rp_filter"), rp_filter);
        }
        self.host.sysctl("ipv4/ip_forward", "1");
        self.host.sysctl("ipv6/conf/all/forwarding", "1");
    }

    /// Lets the host send packets on to whom they say: old and odd configurations do. Links that are new do the same.
    pub fn obey_source_routes(&self) {
        self.host.ok(&[
            "sh",
            "-c",
            "cd /proc/sys/net && for setting in ipv4/conf/*/accept_source_route ipv6/conf/*/seg6_enabled \
             ipv6/conf/*/rpl_seg_enabled; do echo 1 >$setting; done",
        ]);
    }

    fn wire(&self) {
        let mut lines = String::from("link add lan type bridge mcast_snooping 0\nlink set lan up\n");
        for (name, namespace) in [("wan", &self.wan), ("host", &self.host), ("peer", &self.peer)] {
            lines += &port(name, namespace);
        }
        self.switch.batch(&lines);
        address(&self.wan, &[WAN4, WAN6]);
        self.wan.batch(&format!("addr add {INTERNET4}/32 dev lo\naddr add {INTERNET6}/128 dev lo nodad\n"));
        address(&self.host, &[HOST4, HOST6, HOST_SECOND4, HOST_SECOND6]);
        address(&self.peer, &[PEER4, PEER6]);
        for namespace in [&self.host, &self.peer] {
            route_by_wan(namespace);
        }
        for namespace in [&self.wan, &self.host, &self.peer] {
            settle(namespace);
        }
    }

    /// A further machine on the LAN, with ocinet and a state folder of its own. By its number, 1 to 9, it is at
    /// 198.51.100.31 to .39 and 2001:db8:1::31 to ::39; the MTU of its eth0 is 1500, and its default routes lead to wan.
    ///
    /// # Panics
    /// When the number is another, or a host of this lab has it.
    #[must_use]
    #[track_caller]
    pub fn another_host(&self, number: u8) -> Host {
        assert!((1..=9).contains(&number), "no address is set aside for host {number}");
        let addresses = [
            Ipv4Addr::new(198, 51, 100, 30 + number).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x30 + u16::from(number)).into(),
        ];
        let name = format!("host{number}");
        let state = self.dir().join(format!("state-{name}"));
        let host = Host::new(addresses, state, self.ocinet_path().to_owned());
        self.switch.batch(&port(&name, &host.net));
        address(&host.net, &addresses);
        route_by_wan(&host.net);
        settle(&host.net);
        host
    }

    /// The folder of this lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A container id that no other test on this machine uses: runtimes make cgroups by it.
    #[must_use]
    pub fn unique(&self, name: &str) -> String {
        format!("{name}-{}-{}", std::process::id(), self.serial)
    }

    /// A folder with busybox, to be a container's root.
    ///
    /// # Panics
    /// When the disk is full.
    pub fn rootfs(&self) -> &Path {
        self.rootfs.get_or_init(|| make_rootfs(&self.dir().join("rootfs")))
    }

    /// Lets runc's and crun's containers have their root read-only from now on.
    pub fn make_root_read_only(&self) {
        self.read_only.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_read_only_root(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Processes of the program under test that are alive on this lab's hosts.
    ///
    /// # Panics
    /// Without /proc.
    #[must_use]
    pub fn ocinet_processes(&self) -> Vec<u32> {
        let pids = fs::read_dir("/proc").expect("read /proc").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.ocinet_path())
        })
        .collect()
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Lab {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.first
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What podman leaves running after a container cleans up behind it in there, too.
        let gone = until(|| fs::remove_dir_all(self.dir()).is_ok() || !self.dir().exists());
        assert!(gone || std::thread::panicking(), "{} is still there", self.dir().display());
    }
}

/// Lines of `ip -batch` that join a namespace's new eth0 to the LAN.
fn port(name: &str, namespace: &Netns) -> String {
    let path = namespace.path();
    format!("link add {name} type veth peer name eth0 netns {path}\nlink set {name} master lan up\n")
}

fn route_by_wan(namespace: &Netns) {
    namespace.batch(&format!("route add default via {WAN4}\nroute add default via {WAN6}\n"));
}

/// The interface has been up for long on a real machine: its link-local address, too, is past its detection of duplicates.
fn address(namespace: &Netns, addresses: &[IpAddr]) {
    namespace.sysctl("ipv6/conf/eth0/accept_dad", "0");
    let mut lines = String::new();
    for address in addresses {
        let (length, flag) = if address.is_ipv4() { (24, "") } else { (64, "nodad") };
        lines += &format!("addr add {address}/{length} dev eth0 {flag}\n");
    }
    namespace.batch(&(lines + "link set eth0 up\n"));
}

/// Waits until the kernel has finished with a new eth0: its carrier, and the routes of its own IPv6 addresses.
#[track_caller]
fn settle(namespace: &Netns) {
    assert!(until(|| namespace.is_settled("eth0")), "the lab's eth0 is not ready");
}

/// The hook under test: `target/bin/ocinet`, or OCINET_BIN.
#[must_use]
pub fn ocinet_path() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bin/ocinet");
    std::env::var_os("OCINET_BIN").map_or_else(|| PathBuf::from(built), PathBuf::from)
}

fn require_tools() {
    let path = std::env::var("PATH").unwrap_or_default();
    let missing = TOOLS.iter().filter(|tool| !path.split(':').any(|dir| Path::new(dir).join(tool).exists()));
    let missing: Vec<_> = missing.collect();
    assert!(
        missing.is_empty(),
        "the lab needs {missing:?}: apt-get install iproute2 nftables runc crun podman busybox-static strace iperf3"
    );
}

fn make_rootfs(root: &Path) -> PathBuf {
    for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"] {
        fs::create_dir_all(root.join(folder)).expect("make a root folder");
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    copy(Path::new(busybox.expect("busybox-static")), &root.join("bin/busybox"));
    let applets =
        command(root.join("bin/busybox")).arg("--list").stdout(std::process::Stdio::piped()).output();
    let applets = String::from_utf8(applets.expect("list busybox's applets").stdout).expect("names in ASCII");
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link an applet");
    }
    fs::write(root.join("www/index.html"), "from the container\n").expect("write a page");
    root.to_path_buf()
}

/// By a program: a file that this process has open for writing cannot be executed, and any other thread's fork keeps it open.
fn copy(from: &Path, to: &Path) {
    let copied = command("cp").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp {} {}", from.display(), to.display());
}
