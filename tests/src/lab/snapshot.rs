//! Everything on the host that a container could leave behind, as text to compare. It is what ip(8) and nft(8) print, and not
//! read further: whatever they know of is compared, and what differs is shown as a person would look at it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::host::Host;
use crate::guards;

/// The state of a host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(String);

impl Snapshot {
    /// Reads links, addresses, routes, rules, nftables, forwarding and the state folder.
    ///
    /// # Panics
    /// When a tool fails.
    #[must_use]
    #[track_caller]
    pub fn of(host: &Host) -> Self {
        let mut text = String::new();
        for arguments in [
            &["ip", "-br", "link"][..],
            &["ip", "-br", "address"],
            &["ip", "route", "show", "table", "all"],
            &["ip", "-6", "route", "show", "table", "all"],
            &["ip", "rule"],
            &["nft", "-s", "list", "ruleset"],
        ] {
            // Link-local addresses and their routes come and go by the kernel's own timers.
            // A link's operational state follows its flags when the kernel's worker comes to it.
            let said = host.net.ok(arguments).replace(" UNKNOWN        ", " UP             ");
            let said = if arguments[0] == "nft" { without_parts(&said) } else { said };
            for line in said.lines().filter(|line| !(line.contains("fe80::") && line.contains("dev "))) {
                text += line;
                text.push('\n');
            }
        }
        for key in ["ipv4/ip_forward", "ipv4/conf/all/accept_redirects", "ipv6/conf/all/forwarding"] {
            let path = format!("/proc/sys/net/{key}");
            let value = host.net.within(|| fs::read_to_string(&path)).expect("read a sysctl");
            text += &format!("{key} = {value}");
        }
        let mut files = Vec::new();
        collect(&host.state_dir(), &mut files);
        files.sort();
        Self(text + &files.join("\n"))
    }

    /// Waits until the host is as it was. The kernel removes the links of a namespace some milliseconds after its end.
    ///
    /// # Panics
    /// When it is not after ten seconds; the message shows the lines that differ.
    #[track_caller]
    pub fn assert_is_back(&self, host: &Host, after: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let now = Self::of(host);
            if now == *self {
                return;
            }
            if Instant::now() > deadline {
                let missing = self.0.lines().filter(|line| !now.0.lines().any(|other| other == *line));
                let added = now.0.lines().filter(|line| !self.0.lines().any(|other| other == *line));
                let differ: Vec<String> = missing
                    .map(|line| format!("- {line}"))
                    .chain(added.map(|line| format!("+ {line}")))
                    .collect();
                panic!("after {after} the host is not as before:\n{}", differ.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The rules without the parts of ocinet's tables that are made when they are needed first, and stay as the rest of the tables
/// does. A set that has elements is listed.
fn without_parts(rules: &str) -> String {
    let base = guards::base();
    let parts: Vec<String> = base.split("\n# part ").skip(1).flat_map(blocks).map(|(name, _)| name).collect();
    let kept = blocks(rules).into_iter();
    kept.filter(|(name, text)| text.contains("elements = ") || !parts.contains(name))
        .map(|(_, text)| text)
        .collect()
}

/// What stands in tables, each by its table, kind and name, with its text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let (mut table, mut blocks) = (String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, ..] => {
                family.clone_into(&mut table);
                blocks.push((table.clone(), String::new()));
            }
            [kind @ ("set" | "map" | "chain"), name, "{", ..] => {
                blocks.push((format!("{table} {kind} {name}"), String::new()))
            }
            // A table's end is no part of its last set or chain.
            ["}"] if line == "}" => blocks.push((table.clone(), String::new())),
            _ => {}
        }
        if let Some((_, text)) = blocks.last_mut() {
            *text += line;
            text.push('\n');
        }
    }
    blocks
}

/// The file of the locks, the cursor of the sweep, the reasons of failures and the counts of runs are meant to stay.
fn collect(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if ["last-error", "lock", "sweep", "stats.json", ".stats.json"].iter().any(|meant| name == *meant) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path.display().to_string());
        }
    }
}
