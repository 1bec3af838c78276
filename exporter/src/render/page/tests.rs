use std::sync::Arc;

use ocinet_shared::model::record::Record;
use serde_json::json;

use super::*;
use crate::render::page::text::Count;
use crate::scrape::snapshot::{
    Container, Direction, Interface, LinkCounters, Pool, Port, Records, Routed, SourceReport, Tables,
};

const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&\u{202e}\n";

fn record(id: &str, name: Option<&str>) -> Arc<Record> {
    let record = json!({
        "version": 1, "id": id, "boot_id": "b", "phase": "ready", "pid": 1, "pid_start": 1,
        "netns": {"device": 1, "inode": 1}, "bundle": "/b", "created": 0, "undo": [], "setup_us": 1,
        "labels": {"name": name, "image": HOSTILE, "pod": HOSTILE},
        "attachments": [{
            "interface": "eth0", "driver": "bridge", "network": "default", "parent": "ocinet0", "host_interface": "v1",
            "host_ifindex": 7, "mac": null, "mtu": null, "addresses": ["10.90.0.5/16", "fd00:90::5/64"],
            "gateways": [], "ports": [{"host_address": "::1", "protocol": "udp", "host_port": 53, "container_port": 5353}],
        }],
    });
    Arc::new(serde_json::from_value(record).unwrap())
}

fn container(id: &str, name: Option<&str>) -> Container {
    let record = record(id, name);
    let direction = |bytes| Direction { bytes, packets: 1, errors: 0, drops: 2 };
    let counters = LinkCounters { received: direction(1_234_567), sent: direction(999) };
    let port = *record.ports().next().unwrap();
    Container {
        interfaces: vec![Interface { counters: Some(counters), up: Some(true), ..Interface::default() }],
        routed: Some(Routed { masqueraded: 1, ..Routed::default() }),
        ports: vec![Port {
            port,
            connections: 1_234,
            received: Default::default(),
            sent: Default::default(),
        }],
        conntrack_entries: Some(2),
        record,
    }
}

fn page(snapshot: &Snapshot) -> String {
    let mut html = String::new();
    let page = StatusPage { host: HOSTILE.to_owned(), telemetry_path: "/metrics".to_owned() };
    page.write(snapshot, UNIX_EPOCH + Duration::from_millis(1500), &mut html);
    html
}

#[test]
fn whatever_a_name_says_it_is_only_a_text() {
    let containers = vec![container("c1", Some(HOSTILE))];
    let html = page(&Snapshot { containers, ..Snapshot::default() });
    let escaped = "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;\\u{202e}\\u{a}";
    // The host, the title, the name, the image, the pod.
    assert_eq!(html.matches(escaped).count(), 5);
    assert!(!html.contains("<img") && !html.contains('\u{202e}'));
}

#[test]
fn the_page_shows_what_a_container_has_and_did() {
    let html = page(&Snapshot { containers: vec![container(&"ab".repeat(32), None)], ..Snapshot::default() });
    for shown in [
        "<div class=\"name\">abababababab</div>",
        "<span>bridge on default</span> <code>10.90.0.5</code> <code>fd00:90::5</code>",
        "[::1]:53 → 5353/udp",
        "1,234 connections",
        "1 connection behind the host&#39;s address",
        "2 connections open",
        "1.2 MB",
        "999 B",
        "2 dropped in, 2 dropped out",
        "data-time=\"1500\"",
    ] {
        assert!(html.contains(shown) || html.contains(&shown.replace("&#39;", "'")), "{shown}\n{html}");
    }
    assert!(!html.contains("class=\"trouble\""));
}

#[test]
fn trouble_is_said_first() {
    let source = SourceReport { name: "links", success: false, duration: Duration::ZERO };
    let records =
        Records { unreadable: 3, oldest_pending: Some(Duration::from_secs(600)), ..Records::default() };
    let html = page(&Snapshot {
        records: Some(records),
        tables: Some(Tables { inet: false, bridge: true }),
        sources: vec![source],
        ..Snapshot::default()
    });
    for shown in
        ["source links failed", "table inet ocinet is not there", "3 of the records", "unfinished for 10 min"]
    {
        assert!(html.contains(shown), "{shown}");
    }
    assert!(html.contains("No container is attached") && !html.contains("table bridge"));
}

#[test]
fn pools_of_both_families_are_measured() {
    let pool = |family, size| Pool { network: "default".parse().unwrap(), family, size, used: 3 };
    let pools = vec![
        pool(ocinet_shared::model::cidr::Family::Ipv4, 65_533),
        pool(ocinet_shared::model::cidr::Family::Ipv6, u128::from(u64::MAX) + 1),
    ];
    let html = page(&Snapshot { pools, ..Snapshot::default() });
    assert!(html.contains("max=\"65533\"></meter>3 of 65,533<") && html.contains("<td class=\"right\">3<"));
}

#[test]
fn the_policy_names_the_style_and_script_of_the_page() {
    let policy = policy();
    let html = page(&Snapshot::default());
    for (tag, name) in [("style", "style-src"), ("script", "script-src")] {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let text = html.split_once(&open).unwrap().1.split_once(&close).unwrap().0;
        let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
        assert!(policy.contains(&format!("{name} 'sha256-{hash}'")), "{tag}");
    }
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
}

#[test]
fn amounts_have_two_or_three_digits() {
    let text = |bytes| Bytes(bytes).to_string();
    assert_eq!(
        [0, 999, 1000, 99_449, 99_950, 999_499, 999_500, u64::MAX].map(text),
        ["0 B", "999 B", "1.0 kB", "99.4 kB", "100 kB", "999 kB", "1.0 MB", "18.4 EB"]
    );
    assert_eq!(
        [1, 999, 1000, 1_234_567].map(|count| Count(count).to_string()),
        ["1", "999", "1,000", "1,234,567"]
    );
}
