//! `ocinet register`: what it writes is enough for a runtime, and it writes nothing that a start would refuse.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use ocinet_tests::lab::{Finished, HOST4, HOST6, Lab, Netns, Runtime, Server, plain_bundle};
use serde_json::{Value, json};

use crate::life::used;
use crate::reach::{does_not_reach, reaches};

/// `ocinet register` with these options.
fn register(lab: &Lab, bundle: &Path, options: &[&str]) -> Finished {
    let folder = bundle.display().to_string();
    lab.run(&[&["register", "--bundle", &folder][..], options].concat(), "")
}

fn config(bundle: &Path) -> String {
    fs::read_to_string(bundle.join("config.json")).expect("a config.json")
}

fn answers(lab: &Lab, net: &Netns, who: &str) {
    let _server = Server::tcp(net, 80, who);
    for host in [HOST4, HOST6] {
        reaches(&lab.peer, host, 8080, who);
    }
}

#[test]
#[ignore = "needs root"]
fn a_plain_bundle_is_registered_and_answers_on_its_port() {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let lab = Lab::new();
        let id = lab.unique("web");
        let bundle = plain_bundle(&lab, &id);
        let subnet = format!("net.subnet={}", ocinet_tests::lab::DUAL);
        let asked = ["--driver", "bridge", "--publish", "8080:80", "--annotation", &subnet];
        // Unregistered it starts, too, and has no network.
        let plain = runtime.start_bundle(&lab, &id, &bundle).expect("a start");
        assert!(plain.net().links().iter().all(|link| link.name == "lo"));
        plain.stop();
        does_not_reach(&lab.peer, HOST4, 8080);
        let said = register(&lab, &bundle, &asked);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{runtime:?}");
        let web = runtime.start_bundle(&lab, &id, &bundle).expect("a start");
        let net = web.net();
        answers(&lab, &net, "web");
        drop(net);
        web.stop();
        assert!(lab.record(&id).is_none());
    }
}

#[test]
#[ignore = "needs root"]
fn podman_calls_ocinet_once_it_is_registered() {
    for runtime in [Runtime::PodmanRunc, Runtime::PodmanCrun] {
        let lab = Lab::new();
        let folder = lab.dir().join("hooks.d").display().to_string();
        let said = lab.run(&["register", "--podman", "--hooks-dir", &folder], "");
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        let asked =
            [("net.driver", "bridge"), ("net.subnet", ocinet_tests::lab::DUAL), ("net.ports", "8080:80")];
        let web = runtime.start(&lab, "web", &asked).expect("a start");
        let net = web.net();
        answers(&lab, &net, "web");
        let id = web.id.clone();
        drop(net);
        web.stop();
        assert!(lab.record(&id).is_none());
    }
}

/// What is installed and what is registered is the same text, but for the program's place.
#[test]
#[ignore = "needs root"]
fn what_is_registered_with_podman_is_what_packages_ship() {
    let lab = Lab::new();
    let folder = lab.dir().join("written");
    let mut ocinet = lab.ocinet();
    ocinet
        .env_clear()
        .args(["register", "--podman", "--hook-path", "/usr/bin/ocinet", "--hooks-dir"])
        .arg(&folder);
    assert!(ocinet.output().expect("ocinet").status.success());
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/hooks.d");
    for entry in fs::read_dir(shipped).expect("packaging/hooks.d").flatten() {
        let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let written = folder.join(entry.file_name());
        assert_eq!(read(&written), read(&entry.path()));
        assert_eq!(fs::metadata(written).unwrap().mode() & 0o777, 0o644);
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 3);
}

#[test]
#[ignore = "needs root"]
fn a_second_registration_changes_nothing_and_others_hooks_stay() {
    let lab = Lab::new();
    let bundle = plain_bundle(&lab, "web");
    let path = bundle.join("config.json");
    let mut value: Value = serde_json::from_str(&config(&bundle)).unwrap();
    value["hooks"] =
        json!({"poststop": [{"path": "/bin/true", "timeout": 3}], "prestart": [{"path": "/bin/true"}]});
    value["annotations"] = json!({"org.example": "x", "net.driver": "veth"});
    value["org.unknown"] = json!({"kept": [1, 2.5, null]});
    fs::write(&path, serde_json::to_string_pretty(&value).unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&path, Some(1000), Some(1001)).unwrap();
    let asked = [
        "--driver",
        "bridge",
        "--network",
        "web",
        "--publish",
        "8080:80",
        "--publish",
        "53:53/udp",
        "--annotation",
        "net.mtu=1400",
        "--hook-stderr",
        "/run/hooks.log",
        "--hook-path",
        "/opt/ocinet",
    ];
    assert_eq!(register(&lab, &bundle, &asked).code, 0);
    let first = config(&bundle);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid(), metadata.gid()), (0o640, 1000, 1001));
    let entry = |stage: &str| {
        let state = format!("OCINET_STATE_DIR={}", lab.state_dir().display());
        json!({"path": "/opt/ocinet", "args": ["ocinet", stage], "env": [state]})
    };
    value["hooks"]["poststop"].as_array_mut().unwrap().push(entry("poststop"));
    value["hooks"]["createRuntime"] = json!([entry("createRuntime")]);
    for (key, text) in
        [("driver", "bridge"), ("network", "web"), ("ports", "8080:80,53:53/udp"), ("mtu", "1400")]
    {
        value["annotations"][format!("net.{key}")] = json!(text);
    }
    value["annotations"]["run.oci.hooks.stderr"] = json!("/run/hooks.log");
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap(), value);
    let inode = fs::metadata(&path).unwrap().ino();
    assert_eq!(register(&lab, &bundle, &asked).code, 0);
    assert_eq!((config(&bundle), fs::metadata(&path).unwrap().ino()), (first.clone(), inode));
    // Another place of the program takes the old one's, and a link to the file stays one.
    fs::rename(&path, bundle.join("real.json")).unwrap();
    symlink("real.json", &path).unwrap();
    let moved: Vec<&str> =
        asked.iter().map(|word| if *word == "/opt/ocinet" { "/usr/bin/ocinet" } else { word }).collect();
    assert_eq!(register(&lab, &bundle, &moved).code, 0);
    assert_eq!(config(&bundle), first.replace("/opt/ocinet", "/usr/bin/ocinet"));
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::read_dir(&bundle).unwrap().count(), 2);
}

#[test]
#[ignore = "needs root"]
fn what_a_start_would_refuse_is_not_registered() {
    let lab = Lab::new();
    used(&lab);
    lab.configure("[policy]\nhost-ports = [\"1024-65535\"]\n");
    let bundle = plain_bundle(&lab, "web");
    let before = config(&bundle);
    let refused = |options: &[&str], code: i32, says: &str| {
        let said = register(&lab, &bundle, options);
        assert_eq!(
            (said.code, said.stdout.as_str(), said.stderr.lines().count()),
            (code, "", 1),
            "{}",
            said.stderr
        );
        assert!(said.stderr.starts_with("ocinet: cannot ") && said.stderr.contains(says), "{}", said.stderr);
        assert_eq!(config(&bundle), before);
    };
    refused(&["--driver", "brigde"], 3, "the nearest one is bridge");
    refused(
        &["--annotation", "net.ip=10.90.0.7", "--annotation", "net.ip=10.90.0.8"],
        2,
        "net.ip is asked for twice",
    );
    refused(&["--driver", "bridge", "--annotation", "net.driver=veth"], 2, "net.driver is asked for twice");
    refused(
        &["--publish", "8080:80", "--annotation", "net.ports=8081:80"],
        2,
        "net.ports is asked for twice",
    );
    refused(&["--publish", "808O:80"], 3, "the annotation net.ports: \"808O\" is not a port");
    refused(&["--annotation", "net.prots=80"], 3, "the nearest one is net.ports");
    refused(&["--publish", "80:80"], 9, "the policy does not allow host port 80 (line 2 of ");
    refused(&[], 2, "it would have no net. annotation");
    refused(&["--annotation", "org.example=x"], 2, "it would have no net. annotation");
    refused(&["--annotation", "net.driver"], 2, "KEY=VALUE");
    refused(&["--driver", "bridge", "--hook-path", "ocinet"], 2, "is not an absolute path");
    refused(&["--driver", "bridge", "--podman"], 2, "cannot be used with");
    let said = lab.run(&["register"], "");
    assert_eq!((said.code, said.stderr.lines().count()), (2, 1), "{}", said.stderr);
    for broken in ["", "[]", "{\"annotations\":{\"a\":\"1\",\"a\":\"2\"}}", "{\"hooks\":[]}", "{\"root\":5}"]
    {
        fs::write(bundle.join("config.json"), broken).unwrap();
        let said = register(&lab, &bundle, &["--driver", "bridge"]);
        assert_eq!((said.code, said.stderr.lines().count()), (2, 1), "{broken}: {}", said.stderr);
        assert_eq!(config(&bundle), broken);
    }
    fs::write(bundle.join("config.json"), &before).unwrap();
    assert_eq!(register(&lab, &bundle, &["--driver", "bridge", "--publish", "8080:80"]).code, 0);
    assert_ne!(config(&bundle), before);
}

#[test]
#[ignore = "needs root"]
fn a_bundle_without_a_network_namespace_is_not_registered() {
    let lab = Lab::new();
    let bundle = plain_bundle(&lab, "web");
    let before = config(&bundle);
    for (namespaces, code) in [
        (json!([{"type": "mount"}]), 2),
        (json!([{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/net"}]), 2),
        (json!(null), 2),
        (json!([{"type": "mount"}, {"type": "network"}]), 0),
    ] {
        let mut value: Value = serde_json::from_str(&before).unwrap();
        value["linux"]["namespaces"] = namespaces;
        fs::write(bundle.join("config.json"), value.to_string()).unwrap();
        let plain = config(&bundle);
        let said = register(&lab, &bundle, &["--driver", "bridge"]);
        assert_eq!(said.code, code, "{}", said.stderr);
        // What registration refuses, a plan does, too.
        let mut asking: Value = serde_json::from_str(&plain).unwrap();
        asking["annotations"] = json!({"net.driver": "none"});
        let other = lab.dir().join("other");
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("config.json"), asking.to_string()).unwrap();
        let planned = lab.run(&["plan", "--bundle", &other.display().to_string()], "");
        assert_eq!(planned.code, code, "{}", planned.stderr);
        if code != 0 {
            assert!(said.stderr.contains("no network namespace of its own") && config(&bundle) == plain);
            assert_eq!(
                register(&lab, &bundle, &["--driver", "host"]).code,
                0,
                "the host's is what it asks for"
            );
        }
    }
}
