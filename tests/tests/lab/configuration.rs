//! What the configuration says of networks: what it means for a container, and what is refused.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;

use ocinet_tests::lab::{
    Attached, DUAL, HOST_SECOND4, HOST4, INTERNET4, Lab, Sandbox, Server, addresses, ask_tcp,
};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is as refused;
use crate::life::used;
use crate::networks::{ON_A_BRIDGE, WEB, configured, driver};
use crate::reach::reaches;

#[test]
#[ignore = "needs root"]
fn annotations_override_what_a_named_network_says() {
    let lab =
        configured(&format!("{ON_A_BRIDGE}mtu = 1300\nsnat = \"{HOST_SECOND4}\"\nbridge = \"br-web\"\n"));
    let (web, own) = (lab.attach("web", &WEB), lab.attach("own", &[WEB[0], ("net.snat", "198.51.100.10")]));
    let small = lab.attach("small", &[WEB[0], ("net.mtu", "1290")]);
    for (container, mtu) in [(&web, 1300), (&own, 1300), (&small, 1290)] {
        assert_eq!(container.net.link("eth0").mtu, mtu);
    }
    let _server = Server::tcp(&lab.wan, 80, "internet");
    for (container, address) in [(&web, HOST_SECOND4), (&own, HOST4)] {
        let answer = ask_tcp(&container.net, SocketAddr::new(INTERNET4, 80), PATIENCE).expect("an answer");
        assert_eq!(answer.seen_as, address);
    }
    assert_eq!(lab.host.link("br-web").mtu, 1300, "the others' is as it was");
    // What belongs to the network, the first container may say.
    let lab = configured(ON_A_BRIDGE);
    let first = [WEB[0], ("net.driver", "veth"), ("net.subnet", "10.82.0.0/24")];
    let first = lab.attach("first", &first);
    assert_eq!(driver(&first), "veth");
    assert!(first.address(false).to_string().starts_with("10.82.0."));
}

/// The network `default` is that of containers which name none; one that is on no network has nothing to do with it.
#[test]
#[ignore = "needs root"]
fn the_default_network_can_be_configured() {
    let lab = configured("[network.default]\nsubnet = \"10.83.0.0/24\"\nmtu = 1400\n");
    let web = lab.attach("web", &[("net.driver", "bridge")]);
    assert!(web.address(false).to_string().starts_with("10.83.0."), "{}", web.record);
    let none = lab.attach("none", &[("net.driver", "none")]);
    assert!(none.net.links().iter().all(|link| link.name == "lo"));
    let host =
        format!(r#"{{"id":"host","pid":{},"annotations":{{"net.driver":"host"}}}}"#, std::process::id());
    let finished = lab.run(&["createRuntime"], &host);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

#[test]
#[ignore = "needs root"]
fn a_wrong_value_is_reported_as_of_the_configuration() {
    let lab = Lab::new();
    used(&lab);
    let file = lab.config_path().display().to_string();
    for (line, key, says) in [
        ("mtu = 9", "mtu", "9 is out of range"),
        ("subnet = \"10.81.0.7/24\"", "subnet", "10.81.0.7/24 has host bits set"),
        ("gateway = \"10.99.0.1\"", "gateway", "10.99.0.1 is outside"),
        ("mode = \"l2\"", "mode", "the driver bridge does not support it"),
        ("rate-in = \"fast\"", "rate-in", "\"fast\" is not a rate"),
        ("isolate = \"maybe\"", "isolate", "\"maybe\" is neither true nor false"),
        ("bridge = \"br*\"", "bridge", "\"br*\" has a character"),
        ("dns = \"ns.example\"", "dns", "\"ns.example\" is not an IP address"),
        ("peers = []", "peers", "the driver bridge does not support it"),
        ("routes = []", "routes", "it is empty"),
        ("driver = \"macvlan\"\nparent = \"eth0\"\nmtu = 1600", "mtu", "1600 is more than the 1500 of eth0"),
        ("driver = \"vxlan\"\nvni = 0", "vni", "0 is out of range"),
        ("driver = \"vxlan\"\nvni = -7", "vni", "\"-7\" is not a number"),
        (
            "driver = \"vxlan\"\nvni = 7\nsubnet = \"10.81.0.0/24\"\nip-range = \"10.81.0.0/25\"\nmtu = 1500",
            "mtu",
            "1500 is more than the 1450",
        ),
    ] {
        lab.configure(&format!("[network.web]\n{line}\n"));
        let mut asked = vec![WEB[0]];
        if line.contains("macvlan") {
            asked.push(("net.ip", "198.51.100.60"));
        }
        let says = format!("{key} of network web in the configuration {file}: {says}");
        refused(&lab, &asked, 2, &format!("cannot use {says}"));
    }
    // It is no business of containers on other networks.
    let _other = lab.attach("other", &[("net.network", "other")]);
    // An annotation that is wrong is one, also where the network says something of the same key.
    lab.configure("[network.web]\nmtu = 1400\n");
    refused(&lab, &[WEB[0], ("net.mtu", "9")], 3, "cannot use the annotation net.mtu: 9 is out of range");
}

#[test]
#[ignore = "needs root"]
fn an_unknown_word_of_the_configuration_is_refused_with_its_place() {
    let lab = Lab::new();
    used(&lab);
    let file = lab.config_path().display().to_string();
    for (text, place, says) in [
        ("[network.web]\nsubnte = \"10.81.0.0/24\"", "line 2, column 1", "the nearest one is `subnet`"),
        ("[network.web]\nmtu = 1400\nports = \"80:80\"", "line 3, column 1", "belongs to a container"),
        ("[network.web]\nmtu = 1400\naliases = \"db\"", "line 3, column 1", "belongs to a container"),
        ("[network.web]\n\ndriver = \"brigde\"", "line 3, column 10", "the nearest one is bridge"),
        (
            "[network.web]\nvni = {}",
            "line 2, column 7",
            "a text, a number, true or false, or a list of texts",
        ),
        (
            "[network.web]\nvni = 1.5",
            "line 2, column 7",
            "a text, a number, true or false, or a list of texts",
        ),
        ("[network.web]\npeers = [1]", "line 2, column 10", "expected a string"),
        ("max-ports = 5\n[networks.web]\nmtu = 1400", "line 2, column 2", "unknown field `networks`"),
        ("[network.\"../web\"]\nmtu = 1400", "line 1, column 10", "must begin with a letter or digit"),
        ("network.web = 5", "line 1, column 15", "a table"),
        ("[network.web]\nmtu = 1400\nmtu = 1500", "line 3, column 1", "duplicate key"),
        ("[network.web]\nmtu = 1400\n[network.web]\nmtu = 1", "line 3, column 10", "duplicate key"),
        ("[network.web\nmtu = 1400", "line 1, column 13", "unclosed table"),
        ("default-subnets = [\"10.90.0.1/16\"]", "line 1, column 19", "has host bits set"),
        ("default-subnets = [\"127.0.0.0/8\"]", "line 1, column 19", "holds loopback addresses"),
        ("subnet-pool = \"224.0.0.0/8\"", "line 1, column 15", "holds multicast addresses"),
    ] {
        lab.configure(text);
        let says_place = format!("cannot read the configuration {file}: {place}: ");
        refused(&lab, &WEB, 2, &says_place);
        refused(&lab, &WEB, 2, says);
        // The network of whoever starts does not matter: nobody knows what the rest means.
        refused(&lab, &[("net.driver", "bridge")], 2, &says_place);
    }
}

#[test]
#[ignore = "needs root"]
fn a_configuration_that_anybody_may_have_written_is_refused() {
    let lab = configured(ON_A_BRIDGE);
    used(&lab);
    let path = lab.config_path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    let fix = format!("hint: take the right away with `chmod go-w {}`", path.display());
    refused(&lab, &WEB, 2, &format!("everybody may write to it; {fix}"));
    fs::remove_file(path).unwrap();
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    refused(&lab, &WEB, 2, "it is not an ordinary file");
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    refused(&lab, &WEB, 2, "it is not an ordinary file");
    fs::remove_dir(path).unwrap();
    // One that is named must be there.
    std::os::unix::fs::symlink("nowhere", path).unwrap();
    refused(&lab, &WEB, 2, "No such file or directory");
    fs::remove_file(path).unwrap();
    fs::write(path, vec![b'#'; (1 << 20) + 1]).unwrap();
    refused(&lab, &WEB, 2, "it is larger than 1 MiB");
    fs::write(path, b"[network.web]\nmtu = 1400 # \xff\n").unwrap();
    refused(&lab, &WEB, 2, "UTF-8");
}

/// What new networks are made with, the living do not follow.
#[test]
#[ignore = "needs root"]
fn default_subnets_that_changed_count_for_the_next_network() {
    let lab = Lab::new();
    let on_default = [("net.driver", "bridge")];
    let has_ipv6 = |of: &Attached| addresses(&of.record).iter().any(IpAddr::is_ipv6);
    lab.configure("default-subnets = [\"10.84.0.0/16\"]\n");
    let first = lab.attach("first", &on_default);
    lab.configure("default-subnets = [\"10.84.0.0/16\", \"fd00:84::/64\"]\n");
    let second = lab.attach("second", &on_default);
    assert!(!has_ipv6(&first) && !has_ipv6(&second), "{}", second.record);
    lab.detach(first);
    lab.detach(second);
    assert!(has_ipv6(&lab.attach("third", &on_default)));
}

/// What a network is, its first container decided; a configuration that says otherwise since is not passed over in silence.
#[test]
#[ignore = "needs root"]
fn a_configuration_that_changed_meets_the_living_network() {
    let lab = configured(ON_A_BRIDGE);
    let file = lab.config_path().display().to_string();
    let first = lab.attach("first", &WEB);
    for (line, key, asked, has) in [
        ("subnet = \"10.82.0.0/24\"", "subnet", "10.82.0.0/24", "10.81.0.0/24,fd00:81::/64"),
        ("driver = \"veth\"", "driver", "veth", "bridge"),
        ("internal = true", "internal", "true", "false"),
        ("bridge = \"br-web\"", "bridge", "br-web", "oc-web"),
    ] {
        lab.configure(&format!("[network.web]\n{line}\n"));
        let says = format!(
            "cannot join network web: {key} of network web in the configuration {file} asks for {asked}, but the network was \
             made with {has}; hint: stop the network's containers, so that it is made anew"
        );
        refused(&lab, &WEB, 4, &says);
    }
    // An annotation that says what the network is lets a container in all the same.
    lab.configure("[network.web]\nsubnet = \"10.82.0.0/24\"\n");
    let second = lab.attach("second", &[WEB[0], ("net.subnet", "10.81.0.0/24,fd00:81::/64")]);
    // What is a container's own changes with the next container, and the configuration may go.
    lab.configure("[network.web]\nmtu = 1290\n");
    let third = lab.attach("third", &WEB);
    assert_eq!(third.net.link("eth0").mtu, 1290);
    fs::remove_file(lab.config_path()).unwrap();
    let fourth = lab.attach("fourth", &WEB);
    let _server = Server::tcp(&first.net, 80, "first");
    for from in [&second, &third, &fourth] {
        for ipv6 in [false, true] {
            reaches(&from.net, first.address(ipv6), 80, "first");
        }
    }
    drop(_server);
    // poststop asks no configuration, not even one that cannot be read.
    lab.configure("nonsense");
    for container in [first, second, third, fourth] {
        lab.detach(container);
    }
    lab.configure("[network.web]\nsubnet = \"10.82.0.0/24\"\n");
    let anew = lab.attach("anew", &WEB);
    assert!(anew.address(false).to_string().starts_with("10.82.0."));
}

#[test]
#[ignore = "needs root"]
fn a_second_interface_takes_a_named_network() {
    let lab = configured(&format!("{ON_A_BRIDGE}mtu = 1300\nmasquerade = false\n"));
    let both = [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.eth1.network", "web")];
    let (app, web) = (lab.attach("app", &both), lab.attach("web", &WEB));
    let _server = Server::tcp(&app.net, 80, "app");
    let is_webs =
        |address: &IpAddr| ["10.81.0.", "fd00:81::"].iter().any(|net| address.to_string().starts_with(net));
    let on_web: Vec<IpAddr> = addresses(&app.record).into_iter().filter(is_webs).collect();
    assert_eq!(on_web.len(), 2);
    for address in on_web {
        reaches(&web.net, address, 80, "app");
    }
    assert_eq!(["eth0", "eth1"].map(|interface| app.net.link(interface).mtu), [1500, 1300]);
    let own = lab.attach("own", &[&both[..], &[("net.eth1.mtu", "1290")]].concat());
    assert_eq!(own.net.link("eth1").mtu, 1290);
    let wrong = [&both[..], &[("net.eth1.mtu", "9")]].concat();
    refused(&lab, &wrong, 3, "the annotation net.eth1.mtu: 9 is out of range");
    lab.configure("[network.web]\nmtu = 9\n");
    refused(&lab, &both, 2, "cannot use mtu of network web in the configuration");
}

/// Whoever is root in a user namespace is not the host's root, to whom the file belongs.
#[test]
#[ignore = "needs root"]
fn in_a_user_namespace_the_hint_about_the_owner_is_about_its_root() {
    let lab = Lab::new();
    lab.configure("max-ports = 5\n");
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "-r"];
    let state = r#"{"id":"web","pid":1,"annotations":{"net.driver":"none"}}"#;
    let refused = lab.run_under(&user, &["plan", "-"], state);
    assert_eq!((refused.code, refused.stderr.lines().count()), (2, 1), "{}", refused.stderr);
    assert!(refused.stderr.contains("root is the host's user 1000"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("give it to root"), "{}", refused.stderr);
    let none = lab.run_under(&user, &["--config", "/dev/null", "plan", "-"], state);
    assert_eq!((none.code, none.stderr.as_str()), (0, ""));
    std::os::unix::fs::chown(lab.config_path(), Some(1000), Some(1000)).unwrap();
    let outside = lab.run(&["plan", "-"], state);
    assert!(outside.stderr.contains("give it to root with `chown`"), "{}", outside.stderr);
}

/// Whether the command supports it or not.
#[test]
#[ignore = "needs root"]
fn a_configuration_that_is_named_has_to_be_there() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    for command in
        [&["check"][..], &["list"], &["doctor"], &["reload"], &["gc"], &["inspect", "web"], &["plan"]]
    {
        // plan alone reads its standard input.
        let state = r#"{"ociVersion":"1.0","id":"a","status":"creating","bundle":"/b"}"#;
        let input = if command == ["plan"] { state } else { "" };
        let said = lab.run(&[&["--config", "/nonexistent"], command].concat(), input);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{command:?}: {}", said.stderr);
        assert!(said.stderr.contains("cannot read the configuration /nonexistent"), "{}", said.stderr);
    }
    for (command, input) in [
        (&["completions", "bash"][..], ""),
        (&["poststart"], r#"{"id":"nobody","pid":1}"#),
        (&["poststop"], r#"{"id":"nobody"}"#),
    ] {
        let said = lab.run(&[&["--config", "/nonexistent"], command].concat(), input);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{command:?}");
    }
    assert_eq!(lab.run(&["check"], "").code, 0);
}

/// A mistake in it does not keep anybody from looking, or from fixing.
#[test]
#[ignore = "needs root"]
fn a_mistake_in_the_configuration_concerns_only_who_uses_it() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    lab.configure("max-ports = [\n");
    for command in [&["check"][..], &["list"], &["inspect", "web"], &["reload"], &["gc", "--dry-run"]] {
        assert_eq!(lab.run(command, "").code, 0, "{command:?}");
    }
    assert_eq!(lab.run(&["doctor"], "").code, 2);
}

#[test]
#[ignore = "needs root"]
fn too_many_peers_are_refused_at_once() {
    let lab = Lab::new();
    let refused = |count: u32| {
        let peers = (0..count).map(|number| std::net::Ipv4Addr::from(0x0b00_0001 + number).to_string());
        let peers = peers.collect::<Vec<String>>().join(",");
        let state = format!(
            r#"{{"ociVersion":"1.0","id":"a","status":"creating","bundle":"/b","annotations":{{"net.driver":"vxlan","net.vni":"7","net.subnet":"10.95.0.0/24","net.ip-range":"10.95.0.128/25","net.peers":"{peers}"}}}}"#
        );
        let said = lab.run(&["plan"], &state);
        assert!(said.code == 0 || said.code == 3, "{}", said.stderr);
        said.stderr
    };
    assert!(refused(60_000).contains("net.peers: it has more than 1024 addresses"));
    assert_eq!(refused(1024), "");
}

/// At the default place there need not be anything. A link to what is gone is something: without its policy, nothing starts.
#[test]
#[ignore = "needs root"]
fn a_link_to_a_configuration_that_is_gone_is_no_absence() {
    let lab = Lab::new();
    let sandbox = Sandbox::new("web");
    let asked = lab.state_of(&sandbox, &[("net.driver", "none")]);
    let commands: [&[&str]; 3] = [&["createRuntime"], &["plan", "-"], &["doctor"]];
    for (etc, link) in [
        ("mkdir /etc/ocinet; ln -s /root/strict.toml /etc/ocinet/config.toml", "/etc/ocinet/config.toml"),
        ("ln -s /srv/gone /etc/ocinet", "/etc/ocinet"),
    ] {
        let script = format!("mount -t tmpfs none /etc; mount -t tmpfs none /root; {etc}; exec \"$@\"");
        for command in commands {
            let refused = lab.run_under(&["unshare", "-m", "sh", "-ec", &script, "sh"], command, &asked);
            assert_eq!((refused.code, refused.stderr.lines().count()), (2, 1), "{}", refused.stderr);
            let says = format!("{link} is a link to what is not there; hint: ");
            assert!(refused.stderr.contains(&says), "{}", refused.stderr);
        }
    }
    for etc in ["true", "mkdir /etc/ocinet", "mkdir /etc/real; ln -s real /etc/ocinet"] {
        let script = format!("mount -t tmpfs none /etc; {etc}; exec \"$@\"");
        let started =
            lab.run_under(&["unshare", "-m", "sh", "-ec", &script, "sh"], &["createRuntime"], &asked);
        assert_eq!((started.code, started.stderr.as_str()), (0, ""), "{etc}");
        assert_eq!(lab.poststop("web").code, 0);
    }
}
