//! What the administrator's policy lets a container have: what it refuses changes nothing, and what is beside it works.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use ocinet_tests::lab::{
    HOST_SECOND4, HOST4, HOST6, INTERNET4, Lab, PEER4, PEER6, Runtime, Sandbox, Server, WAN4, ping,
    reaches_nobody, until,
};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::conflict::refused_as_it_is as refused;
use crate::life::used;
use crate::macvlan::{IP, second_link, with};
use crate::networks::{ON_A_BRIDGE, WEB, configured};
use crate::reach::{does_not_reach, reaches};

/// `strict`, with ports on the host's first addresses.
fn strict(more: &str) -> String {
    format!(
        "[policy]\npreset = \"strict\"\nhost-addresses = [\"{HOST4}\", \"{HOST6}\"]\n{more}\n{ON_A_BRIDGE}"
    )
}

/// A host with that policy, and a bundle that says which capabilities its containers have: none.
fn under_strict(more: &str) -> Lab {
    let lab = configured(&strict(more));
    lab.make_bundle(&Value::Null, &Value::Null);
    lab
}

/// A port on the host's first IPv4 address.
fn port(host: u16) -> String {
    format!("{HOST4}:{host}:80")
}

#[test]
#[ignore = "needs root"]
fn under_strict_a_container_has_a_configured_bridge_and_ports_on_the_policys_addresses() {
    let lab = under_strict("");
    let ports = format!("{HOST4}:8080:80,[{HOST6}]:8080:80");
    let web = lab.attach("web", &[WEB[0], ("net.ports", &ports)]);
    let _servers = [Server::tcp(&web.net, 80, "web"), Server::tcp(&lab.wan, 80, "internet")];
    for host in [HOST4, HOST6] {
        reaches(&lab.peer, host, 8080, "web");
    }
    does_not_reach(&lab.peer, HOST_SECOND4, 8080);
    reaches(&web.net, INTERNET4, 80, "internet");
}

#[test]
#[ignore = "needs root"]
fn under_strict_a_container_has_nothing_else() {
    let lab = under_strict("");
    let file = lab.config_path().display().to_string();
    let web = lab.attach("web", &WEB);
    let _server = Server::tcp(&web.net, 80, "web");
    let (low, high, second) = (port(80), port(8081), format!("{HOST_SECOND4}:8081:80"));
    for (asked, line, says) in [
        (("net.ports", low.as_str()), 2, "the policy does not allow host port 80"),
        (("net.ports", second.as_str()), 3, "the policy does not allow the host address 198.51.100.12"),
        (("net.ports", "8081:80"), 3, "the policy does not allow every address of the host"),
        (("net.allow-inbound", "true"), 2, "the annotation net.allow-inbound: the policy does not allow it"),
        (("net.ip", "10.81.0.99"), 2, "the annotation net.ip: the policy does not allow it"),
        (("net.driver", "macvlan"), 2, "the policy does not allow the driver macvlan"),
        (("net.driver", "host"), 2, "the policy does not allow the driver host"),
    ] {
        let network = WEB.iter().filter(|_| asked.1 != "host").copied();
        let asked: Vec<_> = network.chain([asked]).collect();
        refused(&lab, &asked, 9, &format!("{says} (line {line} of {file})"));
    }
    let line = format!("(line 2 of {file})");
    refused(
        &lab,
        &[("net.network", "other")],
        9,
        &format!("the policy does not allow the network other {line}"),
    );
    does_not_reach(&lab.peer, HOST4, 8081);
    let beside = lab.attach("beside", &[WEB[0], ("net.ports", &high)]);
    let _beside = Server::tcp(&beside.net, 80, "beside");
    reaches(&lab.peer, HOST4, 8081, "beside");
}

/// The same container, before and after one line of the configuration.
#[test]
#[ignore = "needs root"]
fn strict_is_one_line_of_the_configuration() {
    let lab = configured(ON_A_BRIDGE);
    used(&lab);
    let asked = [WEB[0], ("net.ports", "80:80"), ("net.ip", "10.81.0.50,fd00:81::50")];
    let web = lab.attach("web", &asked);
    let server = Server::tcp(&web.net, 80, "web");
    reaches(&lab.peer, HOST4, 80, "web");
    drop(server);
    lab.detach(web);
    lab.make_bundle(&Value::Null, &Value::Null);
    lab.configure(&format!("policy.preset = \"strict\"\n{ON_A_BRIDGE}"));
    refused(&lab, &asked, 9, "(line 1 of ");
    does_not_reach(&lab.peer, HOST4, 80);
}

#[test]
#[ignore = "needs root"]
fn an_entry_about_an_image_widens_the_policy_and_another_narrows_it() {
    let entries = "[[policy.match]]\nannotation = \"image\"\nprefix = \"registry/team/\"\nhost-ports = [80]\n\
                   keys = [\"allow-inbound\"]\n\
                   [[policy.match]]\nannotation = \"image\"\nprefix = \"registry/\"\nhost-ports = []\n";
    let lab = under_strict(entries);
    let (low, high) = (port(80), port(8080));
    let asked = |image, ports| [WEB[0], ("image", image), ("net.ports", ports)];
    let team = lab.attach("team", &asked("registry/team/web:1", low.as_str()));
    let _team = Server::tcp(&team.net, 80, "team");
    reaches(&lab.peer, HOST4, 80, "team");
    // What an entry lists stands instead of what the policy would, and the first entry is the one that counts.
    refused(&lab, &asked("registry/team/web:1", &high), 9, "host port 8080 (line 7 of ");
    refused(&lab, &asked("registry/team", &high), 9, "host port 8080 (line 12 of ");
    refused(&lab, &asked("docker.io/registry/team/", &low), 9, "host port 80 (line 2 of ");
    does_not_reach(&lab.peer, HOST4, 8080);
    let other = lab.attach("other", &asked("docker.io/web", &high));
    let _other = Server::tcp(&other.net, 80, "other");
    reaches(&lab.peer, HOST4, 8080, "other");
}

#[test]
#[ignore = "needs root"]
fn a_policy_that_cannot_be_read_starts_no_container() {
    let lab = Lab::new();
    used(&lab);
    let path = lab.config_path();
    for (broken, says) in [
        ("[policy]\npreset = \"stirct\"", "line 2, column 10"),
        ("[policy]\npresets = \"strict\"", "line 2, column 1"),
        ("[polcy]\npreset = \"strict\"", "line 1, column 2"),
        ("[policy]\ndrivers = \"bridge\"", "line 2, column 11"),
        ("[policy]\nhost-ports = [\"1024-\"]", "line 2, column 15"),
        ("[policy\n", "line 1"),
    ] {
        lab.configure(broken);
        for asked in [&[("net.driver", "bridge")][..], &[("net.driver", "none")], &[("net.driver", "host")]] {
            refused(&lab, asked, 2, says);
        }
        let why = fs::read_to_string(lab.state_dir().join("last-error/late.json")).expect("why");
        assert!(why.contains("\"exit_code\":2") && why.contains("cannot read the configuration"), "{why}");
    }
    let others = |mode: u32, says: &str| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        refused(&lab, &[("net.driver", "bridge")], 2, says);
    };
    lab.configure("[policy]\n");
    let fix = |path: &Path| format!("hint: take the right away with `chmod go-w {}`", path.display());
    others(0o646, &format!("everybody may write to it; {}", fix(path)));
    chown(path, None, Some(1000)).unwrap();
    others(0o664, &format!("the group 1000 may write to it; {}", fix(path)));
    chown(path, Some(1000), None).unwrap();
    others(0o644, "it belongs to the user 1000; hint: give it to root with `chown`");
    chown(path, Some(0), Some(0)).unwrap();
    let folder = path.parent().unwrap();
    let mode = fs::metadata(folder).unwrap().permissions();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let says = format!("everybody may write to the folder that it is in; {}", fix(folder));
    refused(&lab, &[("net.driver", "bridge")], 2, &says);
    fs::set_permissions(folder, mode).unwrap();
    // Group root is root.
    fs::set_permissions(path, fs::Permissions::from_mode(0o664)).unwrap();
    let web = lab.attach("web", &[("net.driver", "bridge"), ("net.ports", "8080:80")]);
    let _server = Server::tcp(&web.net, 80, "web");
    reaches(&lab.peer, HOST4, 8080, "web");
}

/// The rest of the host would lose its way out.
#[test]
#[ignore = "needs root"]
fn the_link_of_the_default_route_is_nobodys_alone() {
    let lab = Lab::new();
    used(&lab);
    second_link(&lab, &["198.51.100.13/24", "2001:db8:1::13/64"]);
    let asked = |parent| with(&[("net.parent", parent), ("net.mode", "passthru"), ("net.ip", IP)]);
    let says = |parent| format!("the policy gives nobody {parent}, which carries the host's default route");
    refused(&lab, &asked("eth0"), 9, &says("eth0"));
    refused(&lab, &asked("eth0"), 9, "(preset trusted, the default)");
    // Also where it has only a part of the route, or that of one family.
    let route = format!("route replace default nexthop via {WAN4} dev eth0 nexthop via {WAN4} dev eth1\n");
    lab.host.batch(&route);
    refused(&lab, &asked("eth1"), 9, &says("eth1"));
    lab.host.batch(&format!("route replace default via {WAN4} dev eth0\n"));
    lab.host.batch("route add default via fe80::1 dev eth1 metric 4096\n");
    refused(&lab, &asked("eth1"), 9, &says("eth1"));
    lab.host.batch("route del default via fe80::1 dev eth1 metric 4096\n");
    let web = lab.attach("web", &asked("eth1"));
    assert!(ping(&web.net, PEER4, PATIENCE) && ping(&web.net, PEER6, PATIENCE));
    lab.detach(web);
    assert!(until(|| lab.host.link("eth1").is_up));
    // Other modes share the link, and what the configuration says of a network is the administrator's own.
    let shared = lab.attach("shared", &with(&[("net.parent", "eth0"), ("net.ip", IP)]));
    assert!(ping(&shared.net, PEER4, PATIENCE));
    lab.detach(shared);
    lab.configure("[network.lan]\ndriver = \"macvlan\"\nparent = \"eth0\"\nmode = \"passthru\"\n");
    let own = lab.attach("own", &[("net.network", "lan"), ("net.ip", IP)]);
    assert!(ping(&own.net, PEER4, PATIENCE));
}

#[test]
#[ignore = "needs root"]
fn a_pod_mate_publishes_what_the_policy_allows() {
    let lab = under_strict("");
    let owner = lab.attach("owner", &WEB);
    let (low, high) = (port(80), port(8080));
    let mate = |id: &str, ports: &str| {
        let sandbox = Sandbox::beside(id, &owner.net);
        let finished = lab.create(&sandbox, &[WEB[0], ("net.ports", ports)]);
        (sandbox, finished)
    };
    let (_late, finished) = mate("late", &low);
    assert_eq!(finished.code, 9, "{}", finished.stderr);
    assert!(lab.record("late").is_none());
    let _server = Server::tcp(&owner.net, 80, "pod");
    reaches_nobody(&lab.peer, (HOST4, 80).into());
    let (_mate, finished) = mate("mate", &high);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    reaches(&lab.peer, HOST4, 8080, "pod");
}

#[test]
#[ignore = "needs root"]
fn a_policy_holds_whichever_runtime_starts_the_container() {
    for runtime in Runtime::ALL {
        let lab = under_strict("");
        let (low, high) = (port(80), port(8080));
        let Err(said) = runtime.start(&lab, "late", &[WEB[0], ("net.ports", &low)]) else {
            panic!("{runtime:?} started it");
        };
        assert_ne!(said.code, 0, "{runtime:?}");
        does_not_reach(&lab.peer, HOST4, 80);
        let web = runtime.start(&lab, "web", &[WEB[0], ("net.ports", &high)]);
        let web = web.unwrap_or_else(|said| panic!("{runtime:?}: {}", said.stderr));
        let net = web.net();
        let server = Server::tcp(&net, 80, "web");
        reaches(&lab.peer, HOST4, 8080, "web");
        drop((server, net));
        web.stop();
    }
}

/// CAP_NET_ADMIN without a user namespace is the host's network: over rtnetlink, a container names any namespace by its number.
#[test]
#[ignore = "needs root"]
fn a_container_that_controls_the_hosts_network_is_refused_by_strict_and_named_by_trusted() {
    const SAYS: &str = "it has CAP_NET_ADMIN and no user namespace, so that it controls the host's network";
    let admin = json!({ "bounding": ["CAP_NET_ADMIN"] });
    let users = json!([{ "type": "network" }, { "type": "user" }]);
    let own = json!([{ "type": "network" }]);
    for (policy, capabilities, namespaces, expected) in [
        (strict(""), &admin, &own, Some(9)),
        (strict(""), &admin, &users, None),
        (strict(""), &json!({ "bounding": ["CAP_NET_RAW"] }), &own, None),
        (strict("net-admin = true"), &admin, &own, None),
        (ON_A_BRIDGE.to_owned(), &admin, &own, Some(0)),
        (format!("[policy]\nnet-admin = false\n{ON_A_BRIDGE}"), &admin, &own, Some(9)),
    ] {
        let lab = configured(&policy);
        let process = json!({ "capabilities": capabilities, "user": { "uid": 0, "gid": 0 }, "cwd": "/" });
        lab.make_bundle(&process, &json!({ "namespaces": namespaces }));
        let sandbox = Sandbox::new("web");
        let state = lab.state_of(&sandbox, &WEB);
        for command in [&["plan", "--bundle", "-"][..], &["createRuntime"]] {
            let said = lab.run(command, &state);
            let what = format!("{policy} {capabilities} {namespaces} {command:?}: {}", said.stderr);
            assert_eq!(said.code, expected.unwrap_or(0), "{what}");
            assert_eq!(said.stderr.contains(SAYS), expected.is_some(), "{what}");
        }
        assert_eq!(lab.record("web").is_some(), expected != Some(9));
        let bundle = lab.bundle().display().to_string();
        let said = lab.run(&["register", "--bundle", &bundle, "--network", WEB[0].1], "");
        assert_eq!(said.code, expected.unwrap_or(0), "register: {}", said.stderr);
        assert_eq!(said.stderr.contains(SAYS), expected.is_some(), "register: {}", said.stderr);
    }
    // What cannot be read does not say that the container has no such capability.
    for damaged in [None, Some("{"), Some(r#"{"root":{"path":"rootfs"},"hostname":"a","hostname":"b"}"#)] {
        for (policy, code) in [(strict(""), 9), (ON_A_BRIDGE.to_owned(), 0)] {
            let lab = configured(&policy);
            lab.make_bundle(&Value::Null, &Value::Null);
            let path = lab.bundle().join("config.json");
            damaged.map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text)).unwrap();
            let said = lab.create(&Sandbox::new("web"), &WEB);
            assert_eq!(said.code, code, "{damaged:?} {}", said.stderr);
        }
    }
}

/// The host has a route to each container of such a network.
#[test]
#[ignore = "needs root"]
fn a_lans_container_with_host_access_takes_no_addresses_of_others() {
    let lab = Lab::new();
    let asked = [
        ("net.driver", "macvlan"),
        ("net.parent", "eth0"),
        ("net.subnet", "8.8.8.0/24"),
        ("net.gateway", "8.8.8.1"),
        ("net.ip", "8.8.8.8"),
        ("net.ip-range", "8.8.8.128/28"),
        ("net.host-access", "true"),
    ];
    refused(&lab, &asked, 9, "the policy does not allow the subnet 8.8.8.0/24 (preset trusted, the default)");
    // Without it, the addresses are the LAN's affair.
    let _web = lab.attach("web", &asked[..5]);
}
