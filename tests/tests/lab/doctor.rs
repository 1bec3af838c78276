//! `ocinet doctor`: silent on a sound host; says what is broken, and the command that it prints fixes it.

mod firewalls;
mod host;
mod links;
mod routes;
mod selectors;
mod tables;

use std::net::{IpAddr, SocketAddr};

use ocinet_tests::lab::{Attached, DUAL, HOST4, HOST6, Lab, Sandbox, Server, ask_tcp, reaches_nobody, until};

use crate::PATIENCE;
use crate::ipvlan::kernel_has_ipvlan;

/// A link's name that a shell would read as commands.
const EVIL: &str = "e;touch${IFS}P";

/// The commands that name a link do nothing else.
#[track_caller]
fn does_nothing_else() {
    let made = std::path::Path::new("P");
    let is_made = made.exists();
    let _ = std::fs::remove_file(made);
    assert!(!is_made, "a shell ran what a link's name says");
}

/// A container with a published port, on a sound host.
struct Ward {
    lab: Lab,
    web: Attached,
    _server: Server,
}

impl Ward {
    fn new(driver: &str) -> Self {
        Self::on(Lab::new(), driver)
    }

    fn on(lab: Lab, driver: &str) -> Self {
        let mut annotations = vec![("net.driver", driver), ("net.subnet", DUAL), ("net.ports", "8080:80")];
        if driver == "vxlan" {
            annotations.extend([("net.vni", "7"), ("net.ip-range", "10.90.1.0/24,fd00:90::100/120")]);
        }
        let web = lab.attach("web", &annotations);
        let server = Server::tcp(&web.net, 80, "web");
        let ward = Self { lab, web, _server: server };
        ward.is_sound();
        ward
    }

    /// The published port answers the neighbour.
    fn answers(&self, ipv6: bool) -> bool {
        let host: IpAddr = if ipv6 { HOST6 } else { HOST4 };
        ask_tcp(&self.lab.peer, SocketAddr::new(host, 8080), PATIENCE).is_some()
    }

    /// The published port does not answer the neighbour.
    #[track_caller]
    fn is_silent(&self, ipv6: bool) {
        let host: IpAddr = if ipv6 { HOST6 } else { HOST4 };
        reaches_nobody(&self.lab.peer, SocketAddr::new(host, 8080));
    }

    #[track_caller]
    fn is_sound(&self) {
        for arguments in [&["doctor"][..], &["doctor", "web"]] {
            let said = self.lab.run(arguments, "");
            assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{}", said.stdout);
            assert!(said.stdout.ends_with("nothing is wrong\n"), "{}", said.stdout);
        }
        assert!(self.answers(false) && self.answers(true), "the published port");
    }

    /// What doctor finds, which contains `says`: the commands that fix it.
    #[track_caller]
    fn finds(&self, says: &str) -> Vec<String> {
        let said = self.lab.run(&["doctor"], "");
        assert_eq!((said.code, said.stderr.as_str()), (1, ""), "{}", said.stdout);
        assert!(said.stdout.contains(says), "{says:?} is not in {}", said.stdout);
        let one = self.lab.run(&["doctor", "web"], "");
        assert!(one.code == 1 && one.stdout.contains(says), "doctor web: {}", one.stdout);
        println!("{}", said.stdout);
        said.stdout.lines().filter_map(|line| line.strip_prefix("  $ ")).map(str::to_owned).collect()
    }

    /// Runs the commands as an administrator does, and sees that everything is well.
    #[track_caller]
    fn fix(&self, commands: &[String]) {
        assert!(!commands.is_empty());
        for command in commands {
            match command.strip_prefix("ocinet ") {
                Some(arguments) => drop(self.lab.run(&[arguments], "").ok()),
                None => drop(self.lab.host.ok(&["sh", "-c", command])),
            }
        }
        // A neighbour or a route is used once the kernel has looked for it anew.
        until(|| self.answers(false) && self.answers(true));
        self.is_sound();
    }
}

#[test]
#[ignore = "needs root"]
fn a_host_without_containers_is_sound() {
    let lab = Lab::new();
    let said = lab.run(&["doctor"], "");
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let unknown = lab.run(&["doctor", "nobody"], "");
    assert_eq!(unknown.code, 2, "{}{}", unknown.stdout, unknown.stderr);
}

#[test]
#[ignore = "needs root"]
fn every_driver_is_sound() {
    for driver in ["bridge", "veth"] {
        Ward::new(driver);
    }
    for annotations in [
        &[("net.driver", "macvlan"), ("net.ip-range", "198.51.100.128/28")][..],
        &[
            ("net.driver", "vxlan"),
            ("net.vni", "7"),
            ("net.subnet", DUAL),
            ("net.ip-range", "10.90.1.0/24,fd00:90::100/120"),
        ],
        &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.internal", "true")],
        &[("net.driver", "none")],
    ] {
        let lab = Lab::new();
        let sandbox = Sandbox::new("app");
        let created = lab.create(&sandbox, annotations);
        assert_eq!(created.code, 0, "{}", created.stderr);
        let said = lab.run(&["doctor"], "");
        assert_eq!(said.code, 0, "{annotations:?}: {}{}", said.stdout, said.stderr);
    }
}

#[test]
#[ignore = "needs root"]
fn a_pod_and_a_container_on_two_networks_are_sound() {
    let ward = Ward::new("bridge");
    let member = Sandbox::beside("member", &ward.web.net);
    let ports = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8081:81")];
    assert_eq!(ward.lab.create(&member, &ports).code, 0);
    let two = [("net.eth0.network", "red"), ("net.eth1.network", "blue")];
    let _two = ward.lab.attach("two", &two);
    ward.is_sound();
    for id in ["member", "two"] {
        let said = ward.lab.run(&["doctor", id], "");
        assert_eq!(said.code, 0, "{id}: {}", said.stdout);
    }
}

/// A pod lives on in its members, and is looked at by the process of one.
#[test]
#[ignore = "needs root"]
fn a_pod_whose_owner_has_ended() {
    let mut ward = Ward::new("bridge");
    let member = Sandbox::beside("member", &ward.web.net);
    let ports = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8081:81")];
    assert_eq!(ward.lab.create(&member, &ports).code, 0);
    ward.web.sandbox.end();
    ward.is_sound();
    assert_eq!(ward.lab.run(&["check"], "").ok(), "everything is as recorded\n");
    ward.web.net.ok(&["ip", "link", "set", "eth0", "down"]);
    ward.is_silent(false);
    let said = ward.lab.run(&["check"], "");
    assert_eq!((said.code, said.stdout.contains("its interface eth0 is down")), (1, true), "{}", said.stdout);
    let fix = ward.finds("eth0 of container web is down");
    assert!(fix.iter().all(|command| command.contains(&format!("--target {} ", member.pid()))), "{fix:?}");
    ward.fix(&fix);
}

#[test]
#[ignore = "needs root"]
fn a_container_that_has_ended() {
    let mut ward = Ward::new("bridge");
    ward.web.sandbox.end();
    for arguments in [&["doctor", "web"][..], &["doctor"]] {
        let said = ward.lab.run(arguments, "");
        assert_eq!(said.code, 1, "{}", said.stdout);
        assert!(
            said.stdout.contains("container web has ended\n") && said.stdout.contains("$ ocinet gc\n"),
            "{}",
            said.stdout
        );
    }
    assert_eq!(ward.lab.run(&["gc"], "").code, 0);
    assert!(!ward.lab.run(&["doctor"], "").stdout.contains("has ended"));
    assert_eq!(ward.lab.run(&["doctor", "web"], "").code, 2);
}

/// Where the folder cannot be written, the reason of a failed start is nowhere else.
#[test]
#[ignore = "needs root"]
fn a_state_folder_that_is_full() {
    let lab = Lab::new();
    let folder = lab.state_dir().to_str().unwrap().to_owned();
    let finding = format!("the file system of the state folder {folder} is full\n");
    let fill = "dd if=/dev/zero of=$0/filled bs=4096 2>/dev/null";
    for (options, fill, is_full) in [
        ("nr_inodes=1", "true", true),
        ("size=64k", fill, true),
        ("size=64k", "true", false),
        ("size=0,nr_inodes=0", "true", false),
    ] {
        let with = format!("mount -t tmpfs -o {options} none $0; {fill}; exec \"$@\"");
        let under = ["unshare", "--mount", "sh", "-c", &with, &folder];
        let said = lab.run_under(&under, &["doctor"], "");
        assert_eq!(said.stdout.contains(&finding), is_full, "{options}: {said:?}");
        // Also where a container is asked for that could write down nothing.
        let said = lab.run_under(&under, &["doctor", "web"], "");
        assert_eq!(
            (said.code, said.stdout.contains(&finding)),
            (if is_full { 1 } else { 2 }, is_full),
            "{said:?}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn doctor_tells_which_module_the_kernel_lacks() {
    let lab = Lab::new();
    let sandbox = Sandbox::new("app");
    let created = lab.create(&sandbox, &[("net.driver", "ipvlan"), ("net.ip", "198.51.100.130")]);
    let said = lab.run(&["doctor", "app"], "");
    if kernel_has_ipvlan() {
        assert_eq!((created.code, said.code), (0, 0), "{}", said.stdout);
    } else {
        assert_eq!((created.code, said.code), (5, 1), "{}", said.stdout);
        assert!(
            said.stdout.contains("this kernel does not have it; hint: load its module"),
            "{}",
            said.stdout
        );
    }
}

#[test]
#[ignore = "needs root"]
fn doctor_tells_why_the_last_start_failed() {
    let ward = Ward::new("bridge");
    let second = Sandbox::new("second");
    assert_eq!(ward.lab.create(&second, &[("net.ports", "8080:80")]).code, 4);
    let said = ward.lab.run(&["doctor", "second"], "");
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stdout.contains("publish port") && said.stdout.contains("hint"), "{}", said.stdout);
    assert_eq!(ward.lab.create(&second, &[("net.ports", "8081:80")]).code, 0);
    let said = ward.lab.run(&["doctor", "second"], "");
    assert_eq!(said.code, 0, "{}", said.stdout);
}
