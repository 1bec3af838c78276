//! Records and files of networks that cannot be believed: they are named, what they are about stays, and all else goes on.

use std::fs;
use std::path::{Path, PathBuf};

use ocinet_tests::lab::{DUAL, HOST4, INTERNET4, Lab, Sandbox, Server, Snapshot};

use crate::forwarding::forwards;
use crate::life::used;
use crate::reach::{does_not_reach, reaches};
use crate::trust::{mode, set_mode};

const WEB: [(&str, &str); 2] = [("net.subnet", DUAL), ("net.ports", "8080:80")];
const BLUE: [(&str, &str); 2] = [("net.network", "blue"), ("net.subnet", "10.85.0.0/24")];

/// What happened to the file of network blue.
#[derive(Debug, Clone, Copy)]
enum Damage {
    OpenToOthers,
    CutOff,
    Renamed,
}

impl Damage {
    /// Where the file is then, and what is said of it.
    fn to(self, file: &Path) -> (PathBuf, &'static str) {
        match self {
            Self::OpenToOthers => {
                set_mode(file, 0o666);
                (file.to_owned(), "others can write to it (its mode is 0666)")
            }
            Self::CutOff => {
                let whole = fs::read(file).unwrap();
                fs::write(file, &whole[..whole.len() / 2]).unwrap();
                (file.to_owned(), "EOF while parsing")
            }
            Self::Renamed => {
                let red = file.with_file_name("red.json");
                fs::rename(file, &red).unwrap();
                (red, "it is the file of network blue")
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_record_that_others_can_write_to_is_named_and_its_things_stay() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = lab.attach("web", &WEB);
    let _server = Server::tcp(&web.net, 80, "web");
    let file = lab.state_dir().join("containers/web.json");
    let attached = Snapshot::of(&lab);
    set_mode(&file, 0o666);
    let says = format!("cannot trust {}: others can write to it (its mode is 0666)", file.display());
    for (command, code) in [("reload", 0), ("gc", 0), ("check", 1), ("list", 0)] {
        let said = lab.run(&[command], "");
        assert_eq!(said.code, code, "{command}: {}", said.stderr);
        assert!((said.stdout + &said.stderr).contains(&says), "{command}");
        reaches(&lab.peer, HOST4, 8080, "web");
    }
    let refused = lab.poststop("web");
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    let hint = format!("; hint: look at it, and run `chmod 644 {}`, or remove it", file.display());
    assert!(refused.stderr.contains(&hint), "{}", refused.stderr);
    assert_eq!(mode(&file), 0o666);
    reaches(&lab.peer, HOST4, 8080, "web");
    set_mode(&file, 0o644);
    attached.assert_is_back(&lab, "commands beside it");
    drop(_server);
    lab.detach(web);
    before.assert_is_back(&lab, "a record that others could write to");
}

#[test]
#[ignore = "needs root"]
fn a_damaged_network_is_named_and_stops_nothing_else() {
    for damage in [Damage::OpenToOthers, Damage::CutOff, Damage::Renamed] {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let blue = lab.attach("blue", &BLUE);
        let mut web = lab.attach("web", &WEB);
        let _server = Server::tcp(&web.net, 80, "web");
        let file = lab.state_dir().join("networks/blue.json");
        let whole = fs::read(&file).unwrap();
        let (at, says) = damage.to(&file);
        let links = lab.host.ok(&["ip", "-br", "link"]);
        lab.host.ok(&["nft", "flush", "ruleset"]);
        for (command, code) in [("reload", 0), ("gc", 0), ("check", 1)] {
            let said = lab.run(&[command], "");
            assert_eq!(said.code, code, "{command}, {damage:?}: {}", said.stderr);
            let all = said.stdout + &said.stderr;
            let named = |line: &str| line.contains(at.to_str().unwrap()) && line.contains(says);
            assert!(all.lines().any(named), "{command}, {damage:?}: {all}");
            reaches(&lab.peer, HOST4, 8080, "web");
        }
        assert_eq!(lab.host.ok(&["ip", "-br", "link"]), links, "{damage:?}");
        let doctor = lab.run(&["doctor"], "");
        assert!(doctor.code < 2 && doctor.stderr.contains(says), "{damage:?}: {}", doctor.stderr);
        let again = lab.attach("again", &WEB[..1]);
        lab.detach(again);
        drop(_server);
        drop(web.net);
        web.sandbox.end();
        assert_eq!(lab.poststop("web").code, 0, "{damage:?}");
        // Its subnet, and what keeps it apart, are not known.
        let refused = lab.create(&Sandbox::new("new"), &[("net.network", "new")]);
        assert_eq!(refused.code, 7, "{damage:?}: {}", refused.stderr);
        let hint = format!("hint: look at it, and run `chmod 644 {}`, or remove it", at.display());
        let is_open = matches!(damage, Damage::OpenToOthers);
        assert_eq!(refused.stderr.contains(&hint), is_open, "{}", refused.stderr);
        fs::remove_file(&at).unwrap();
        fs::write(&file, &whole).unwrap();
        lab.detach(blue);
        assert_eq!(lab.run(&["gc"], "").code, 0);
        before.assert_is_back(&lab, &format!("{damage:?}"));
    }
}

#[test]
#[ignore = "needs root"]
fn a_network_without_its_drivers_settings_is_named_and_joined_by_nobody() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let web = lab.attach("web", &WEB);
    let _server = Server::tcp(&web.net, 80, "web");
    let file = lab.state_dir().join("networks/default.json");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        whole.replacen(r#""settings":{"bridge":"ocinet0"}"#, r#""settings":{"bridge":"a b"}"#, 1),
    )
    .unwrap();
    assert_ne!(fs::read_to_string(&file).unwrap(), whole, "it has settings");
    let says = "its file does not hold the settings of the driver bridge";
    for (command, code) in [("reload", 0), ("check", 1), ("doctor", 0)] {
        let said = lab.run(&[command], "");
        assert_eq!(said.code, code, "{command}: {}", said.stderr);
        assert!((said.stdout + &said.stderr).contains(says), "{command}");
    }
    assert_eq!(lab.run(&["gc"], "").code, 0);
    let refused = lab.create(&Sandbox::new("second"), &WEB[..1]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains(&format!("cannot join network default: {says}; hint: stop its containers")),
        "{}",
        refused.stderr
    );
    let blue = lab.attach("blue", &BLUE);
    reaches(&lab.peer, HOST4, 8080, "web");
    lab.detach(blue);
    drop(_server);
    lab.detach(web);
    let anew = lab.attach("anew", &WEB[..1]);
    lab.detach(anew);
    before.assert_is_back(&lab, "a network without settings");
}

/// What happened to the file that says which families' forwarding ocinet turned on.
#[derive(Debug, Clone, Copy)]
enum OfForwarding {
    Empty,
    OpenToOthers,
}

#[test]
#[ignore = "needs root"]
fn a_damaged_forwarding_file_is_named_and_stops_nothing() {
    for damage in [OfForwarding::Empty, OfForwarding::OpenToOthers] {
        let lab = Lab::new();
        used(&lab);
        let before = Snapshot::of(&lab);
        let _internet = Server::tcp(&lab.wan, 80, "internet");
        lab.peer.batch(&format!("route add {INTERNET4} via {HOST4}\n"));
        let mut web = lab.attach("web", &WEB);
        let server = Server::tcp(&web.net, 80, "web");
        let file = lab.state_dir().join("forwarding.json");
        let whole = fs::read(&file).unwrap();
        match damage {
            OfForwarding::Empty => fs::write(&file, "").unwrap(),
            OfForwarding::OpenToOthers => set_mode(&file, 0o666),
        }
        let is_well = |what: &str| {
            reaches(&lab.peer, HOST4, 8080, "web");
            reaches(&web.net, INTERNET4, 80, "internet");
            // The host was no router before.
            does_not_reach(&lab.peer, INTERNET4, 80);
            assert_eq!(forwards(&lab), ["1", "1"], "{what}, {damage:?}");
        };
        for flushed in [false, true] {
            for (command, code) in [("reload", 0), ("gc", 0), ("check", 1)] {
                if flushed && command == "reload" {
                    lab.host.ok(&["nft", "flush", "ruleset"]);
                }
                let said = lab.run(&[command], "");
                assert_eq!(said.code, code, "{command}, {damage:?}: {}", said.stderr);
                let all = said.stdout + &said.stderr;
                let named = all.lines().filter(|line| line.contains(file.to_str().unwrap())).count();
                assert_eq!(named, 1, "{command}, {damage:?}: {all}");
                is_well(command);
            }
        }
        let doctor = lab.run(&["doctor"], "");
        assert!(doctor.code < 2 && doctor.stderr.contains(file.to_str().unwrap()), "{}", doctor.stderr);
        // A start that finds the tables gone puts them back, and stops go on.
        lab.host.ok(&["nft", "flush", "ruleset"]);
        let again = Sandbox::new("again");
        let started = lab.create(&again, &BLUE);
        assert_eq!(started.code, 0, "{damage:?}: {}", started.stderr);
        is_well("a start");
        drop(again);
        let stopped = lab.poststop("again");
        assert_eq!(stopped.code, 0, "{damage:?}: {}", stopped.stderr);
        is_well("a stop");
        drop(server);
        drop(web.net);
        web.sandbox.end();
        assert_eq!(lab.poststop("web").code, 0, "{damage:?}");
        assert_eq!(forwards(&lab), ["1", "1"], "{damage:?}");
        does_not_reach(&lab.peer, INTERNET4, 80);
        fs::write(&file, &whole).unwrap();
        set_mode(&file, 0o644);
        assert_eq!(lab.run(&["gc"], "").code, 0);
        before.assert_is_back(&lab, &format!("{damage:?}"));
    }
}
