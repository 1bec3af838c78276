//! `ocinet reload`: the rules come back, and what was under way goes on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use ocinet_tests::lab::{
    Attached, DUAL, Finished, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns, Sandbox, Server, Snapshot,
    until,
};
use serde_json::Value;

use crate::reach::{does_not_reach, reaches};

const PUBLISHED: [(&str, &str); 2] = [("net.subnet", DUAL), ("net.ports", "8080:80")];

/// Longer than an acknowledgement is delayed (`TCP_DELACK_MAX`).
const QUIET: Duration = Duration::from_millis(300);

/// Both ends of a TCP connection.
pub(crate) struct Connection(TcpStream, TcpStream);

impl Connection {
    pub(crate) fn new(client: &Netns, server: &Netns, port: u16, to: SocketAddr) -> Self {
        let any = SocketAddr::new(if to.is_ipv6() { "::" } else { "0.0.0.0" }.parse().unwrap(), port);
        let listener = server.bind(|| TcpListener::bind(any));
        let client =
            client.within(|| TcpStream::connect_timeout(&to, Duration::from_secs(2)).expect("a connection"));
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        Self(client, server)
    }

    /// The port that the client has.
    pub(crate) fn client_port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }

    /// A text from the server, unasked.
    #[track_caller]
    pub(crate) fn is_told(&self, text: &str) {
        let Self(client, server) = self;
        let (mut client, mut server) = (client, server);
        server.write_all(text.as_bytes()).expect("send");
        let mut got = vec![0; text.len()];
        client.read_exact(&mut got).expect("receive");
        assert_eq!(got, text.as_bytes());
    }

    /// A text each way.
    #[track_caller]
    pub(crate) fn carries(&self, text: &str) {
        let Self(client, server) = self;
        for (mut from, mut to) in [(client, server), (server, client)] {
            from.write_all(text.as_bytes()).expect("send");
            let mut got = vec![0; text.len()];
            to.read_exact(&mut got).expect("receive");
            assert_eq!(got, text.as_bytes());
        }
    }
}

fn flush(lab: &Lab) {
    lab.host.ok(&["nft", "flush", "ruleset"]);
}

#[track_caller]
fn reload(lab: &Lab, more: &[&str]) {
    let finished = lab.run(&[&["reload"], more].concat(), "");
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

#[test]
#[ignore = "needs root"]
fn connections_outlive_a_flush_and_a_reload() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    for (host, internet) in [(HOST4, INTERNET4), (HOST6, INTERNET6)] {
        let published = Connection::new(&lab.peer, &web.net, 80, SocketAddr::new(host, 8080));
        let outward = Connection::new(&web.net, &lab.wan, 81, SocketAddr::new(internet, 81));
        for round in ["before", "after one", "after two"] {
            published.carries(round);
            outward.carries(round);
            // A segment that arrives while there are no rules is for the host itself, which knows no such connection.
            std::thread::sleep(QUIET);
            flush(&lab);
            reload(&lab, &[]);
        }
        published.carries("in the end");
        outward.carries("in the end");
        drop((published, outward));
        let (_web, _wan) = (Server::tcp(&web.net, 82, "web"), Server::tcp(&lab.wan, 82, "internet"));
        let other = lab.attach("other", &[("net.subnet", DUAL), ("net.ports", "8082:82")]);
        let _other = Server::tcp(&other.net, 82, "other");
        flush(&lab);
        does_not_reach(&lab.peer, host, 8082);
        reload(&lab, &[]);
        reaches(&lab.peer, host, 8082, "other");
        reaches(&web.net, internet, 82, "internet");
        lab.detach(other);
    }
}

#[test]
#[ignore = "needs root"]
fn a_reload_where_nothing_is_missing_changes_nothing() {
    let lab = Lab::new();
    let _web = lab.attach("web", &PUBLISHED);
    let rules = || lab.host.ok(&["nft", "-s", "list", "ruleset"]);
    let before = rules();
    reload(&lab, &[]);
    assert_eq!(rules(), before);
    lab.host.ok(&["nft", "delete", "table", "bridge", "ocinet"]);
    assert_ne!(rules(), before);
    reload(&lab, &["--if-missing"]);
    assert_eq!(rules(), before);
}

#[test]
#[ignore = "needs root"]
fn a_host_without_containers_gets_no_tables() {
    let lab = Lab::new();
    reload(&lab, &[]);
    assert_eq!(lab.host.ok(&["nft", "list", "ruleset"]), "");
}

/// A record that cannot be read, and one whose elements make no sense, keep the others from nothing.
#[test]
#[ignore = "needs root"]
fn one_bad_record_does_not_keep_the_rest_from_coming_back() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let (cut, odd) = (lab.attach("cut", &[("net.subnet", DUAL)]), lab.attach("odd", &[("net.subnet", DUAL)]));
    let _server = Server::tcp(&web.net, 80, "web");
    let path = |id: &str| lab.state_dir().join(format!("containers/{id}.json"));
    fs::write(path("cut"), &fs::read(path("cut")).unwrap()[..100]).unwrap();
    let text = fs::read_to_string(path("odd")).unwrap();
    // The port is the other container's already, and leads elsewhere; an address of a set of links is none.
    let odd_elements = r#"{"delete_elements":{"elements":[{"set":"publish4","key":[{"protocol":"tcp"},{"port":8080}],"value":[{"address":"10.90.9.9"},{"port":80}]},{"set":"bridge/links","key":[{"address":"10.90.9.9"}]}]}},"#;
    fs::write(path("odd"), text.replacen("\"undo\":[", &format!("\"undo\":[{odd_elements}"), 1)).unwrap();
    flush(&lab);
    let finished = lab.run(&["reload"], "");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.stderr.contains("cut.json"), "{}", finished.stderr);
    for host in [HOST4, HOST6] {
        reaches(&lab.peer, host, 8080, "web");
    }
    drop((cut, odd));
}

/// Records of as many containers as there may be; one process stands for all of them.
#[test]
#[ignore = "needs root"]
fn a_thousand_containers_come_back_at_once() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let folder = lab.state_dir().join("containers");
    for number in 0..1000 {
        copy(&folder, &web.record, number);
    }
    flush(&lab);
    reload(&lab, &[]);
    assert_eq!(lab.host.elements("map inet ocinet publish4").len(), 1001);
    for host in [HOST4, HOST6] {
        reaches(&lab.peer, host, 8080, "web");
    }
}

fn copy(folder: &Path, record: &Value, number: u32) {
    let [_, _, high, low] = (0x0a5a_8000 + number).to_be_bytes();
    let own = |ipv6| {
        let addresses = ocinet_tests::lab::addresses(record);
        addresses.into_iter().find(|address: &IpAddr| address.is_ipv6() == ipv6).unwrap().to_string()
    };
    let link = record["attachments"][0]["host_interface"].as_str().unwrap();
    let text = record
        .to_string()
        .replace("\"web\"", &format!("\"c{number}\""))
        .replace(&own(false), &format!("10.90.{high}.{low}"))
        .replace(&own(true), &format!("fd00:90::{high:x}:{low:x}"))
        .replace("8080", &(10_000 + number).to_string())
        .replace(link, &format!("oc-copy{number}"));
    fs::write(folder.join(format!("c{number}.json")), text).unwrap();
}

/// A reload that leaves time for a stop between what it reads and what it puts back.
const SLOW_TO_PUT_BACK: [&str; 6] =
    ["strace", "-qq", "-o", "/dev/null", "-e", "inject=vfork,clone,clone3:delay_enter=1500000"];

/// A stop that leaves time for a reload between its elements and its record.
const SLOW_TO_FORGET: [&str; 6] =
    ["strace", "-qq", "-o", "/dev/null", "-e", "inject=unlink,unlinkat:delay_enter=1500000:when=1"];

/// Which of the two begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Reload,
    Stop,
}

/// What a reload put back of it would be the next container's: its open ports above all.
#[test]
#[ignore = "needs root"]
fn a_reload_beside_a_stop_puts_nothing_back_of_what_ends() {
    let address = ("net.ip", "10.97.0.50");
    let network = [("net.network", "t"), ("net.subnet", "10.97.0.0/24")];
    let open = [&network[..], &[address, ("net.allow-inbound", "true"), ("net.ports", "9000:80")]].concat();
    for (first, has_others) in
        [First::Reload, First::Stop].into_iter().flat_map(|first| [(first, true), (first, false)])
    {
        let what = format!("{first:?} first, others: {has_others}");
        let lab = Lab::new();
        lab.detach(lab.attach("used", &[("net.driver", "bridge")]));
        let others = has_others.then(|| lab.attach("others", &network));
        let before = Snapshot::of(&lab);
        let Attached { net, mut sandbox, .. } = lab.attach("web", &open);
        drop(net);
        let stop = || {
            sandbox.end();
            lab.run_under(&SLOW_TO_FORGET, &["poststop"], r#"{"id":"web"}"#)
        };
        let reload = || lab.run_under(&SLOW_TO_PUT_BACK, &["reload"], "");
        for said in in_order(first, reload, stop) {
            assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{what}");
        }
        before.assert_is_back(&lab, &what);
        let next = lab.attach("next", &[&network[..], &[address]].concat());
        let _server = Server::tcp(&next.net, 80, "next");
        lab.peer.batch(&format!("route add 10.97.0.0/24 via {HOST4}\n"));
        does_not_reach(&lab.peer, next.address(false), 80);
        does_not_reach(&lab.peer, HOST4, 9000);
        drop(others);
    }
}

/// Runs both at once, one of them half a second later. Each is slow enough that the later one began while the other ran.
fn in_order(
    first: First,
    reload: impl FnOnce() -> Finished + Send,
    stop: impl FnOnce() -> Finished + Send,
) -> [Finished; 2] {
    let later = |wanted: bool| sleep(if wanted { Duration::from_millis(500) } else { Duration::ZERO });
    thread::scope(|scope| {
        let reloaded = scope.spawn(|| {
            later(first == First::Stop);
            delayed(reload)
        });
        later(first == First::Reload);
        [delayed(stop), reloaded.join().unwrap()]
    })
}

/// Runs what is to take the time that was added to it.
fn delayed(run: impl FnOnce() -> Finished) -> Finished {
    let began = Instant::now();
    let finished = run();
    assert!(began.elapsed() >= Duration::from_millis(1500), "it was not delayed: {finished:?}");
    finished
}

/// A reload that is killed has changed nothing or everything.
#[test]
#[ignore = "needs root"]
fn a_killed_reload_leaves_the_rules() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let rules = || lab.host.ok(&["nft", "-s", "list", "ruleset"]);
    let before = rules();
    let mut killed = 0;
    for number in 1..=6 {
        let inject = format!("inject=write:signal=KILL:when={number}");
        let under = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=write", "-e", &inject];
        killed += i32::from(lab.run_under(&under, &["reload"], "").code != 0);
        assert_eq!(rules(), before, "killed at write {number}");
        reaches(&lab.peer, HOST4, 8080, "web");
    }
    assert!(killed >= 2, "{killed}");
}

/// What nft wrote later would be of containers that had ended in between.
#[test]
#[ignore = "needs root"]
fn a_killed_reload_writes_nothing_later() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    for number in 0..1000 {
        copy(&lab.state_dir().join("containers"), &web.record, number);
    }
    let rules = || lab.host.ok(&["nft", "-s", "list", "ruleset"]);
    let mut killed_without_rules = 0;
    for hundredths in [2, 4, 6, 8, 10, 15, 20, 30] {
        flush(&lab);
        // The process alone is killed, and not its children.
        let kill = ["timeout", "--foreground", "-s", "KILL", &format!("0.{hundredths:02}")];
        let finished = lab.run_under(&kill, &["reload"], "");
        let at_its_end = rules();
        sleep(Duration::from_secs(1));
        assert_eq!(rules(), at_its_end, "killed after {hundredths} hundredths of a second");
        killed_without_rules += i32::from(finished.code != 0 && at_its_end.is_empty());
    }
    assert!(killed_without_rules >= 2, "{killed_without_rules}");
}

#[test]
#[ignore = "needs root"]
fn rules_that_somebody_took_are_missed_and_come_back() {
    let lab = Lab::new();
    let web = lab.attach("web", &PUBLISHED);
    let _server = Server::tcp(&web.net, 80, "web");
    let rules = || lab.host.ok(&["nft", "-s", "list", "ruleset"]);
    let before = rules();
    for (taken, lacks) in [
        ("flush chain inet ocinet forward", "chain forward of table inet ocinet lacks rules"),
        ("flush chain inet ocinet transit_out", "chain transit_out of table inet ocinet lacks rules"),
        ("flush table inet ocinet", " of table inet ocinet lacks rules"),
        (
            "flush chain bridge ocinet from_container",
            "chain from_container of table bridge ocinet lacks rules",
        ),
        ("flush table bridge ocinet", " of table bridge ocinet lacks rules"),
        ("delete chain inet ocinet output", "chain output of table inet ocinet lacks rules"),
    ] {
        lab.host.ok(&["nft", taken]);
        let checked = lab.run(&["check"], "");
        assert!(checked.code == 1 && checked.stdout.contains(lacks), "{taken}: {checked:?}");
        reload(&lab, &["--if-missing"]);
        assert_eq!(lab.run(&["check"], "").code, 0, "{taken}");
        // A chain that was deleted comes back at another place of the list.
        assert_eq!(rules().lines().count(), before.lines().count(), "{taken}");
        reaches(&lab.peer, HOST4, 8080, "web");
    }
}

/// The timer puts back what is there at that moment: a container that becomes ready a little later must not be left out.
#[test]
#[ignore = "needs root"]
fn a_start_beside_a_flush_and_a_reload_has_its_elements() {
    let lab = Lab::new();
    let _other = lab.attach("other", &[("net.subnet", DUAL)]);
    let sandbox = Sandbox::new("web");
    let slow = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=rename:delay_enter=1500000"];
    let finished = thread::scope(|scope| {
        let start =
            scope.spawn(|| lab.run_under(&slow, &["createRuntime"], &lab.state_of(&sandbox, &PUBLISHED)));
        let published = || lab.host.elements("map inet ocinet publish4");
        assert!(until(|| !published().is_empty()));
        flush(&lab);
        reload(&lab, &["--if-missing"]);
        assert_eq!(published(), [], "it was ready too early");
        start.join().unwrap()
    });
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    let _server = Server::tcp(&sandbox.net(), 80, "web");
    for host in [HOST4, HOST6] {
        reaches(&lab.peer, host, 8080, "web");
    }
    assert_eq!(lab.run(&["check"], "").stdout, "everything is as recorded\n");
}

/// Where another table tracks connections, what is sent while ocinet's are gone is a connection of its own.
#[test]
#[ignore = "needs root"]
fn what_was_sent_without_rules_is_translated_after_a_reload() {
    let lab = Lab::new();
    let ports = [("net.subnet", DUAL), ("net.ports", "8080:80/udp")];
    let web = lab.attach("web", &ports);
    let served = Server::udp(&web.net, 80, "web");
    let outside = Server::udp(&lab.wan, 81, "internet");
    lab.host.ok(&[
        "nft",
        "add table inet other; add chain inet other input { type filter hook input priority 0; }",
    ]);
    lab.host.ok(&["nft", "add rule inet other input ct state new accept"]);
    for (host, internet, any) in [(HOST4, INTERNET4, "0.0.0.0"), (HOST6, INTERNET6, "::")] {
        let bind = |net: &Netns| net.within(|| UdpSocket::bind((any.parse::<IpAddr>().unwrap(), 0)).unwrap());
        let (client, container) = (bind(&lab.peer), bind(&web.net));
        let send = || {
            client.send_to(b"hello", (host, 8080)).unwrap();
            container.send_to(b"hello", (internet, 81)).unwrap();
            sleep(QUIET);
        };
        for table in ["inet", "bridge"] {
            lab.host.ok(&["nft", "delete", "table", table, "ocinet"]);
        }
        send();
        let own = web.address(host.is_ipv6());
        assert!(outside.all_clients().contains(&own), "it went out untranslated");
        reload(&lab, &[]);
        let (of_web, of_internet) = (served.all_clients().len(), outside.all_clients().len());
        send();
        assert!(served.all_clients().len() > of_web);
        let later = outside.all_clients().split_off(of_internet);
        assert!(!later.is_empty() && !later.contains(&own), "{later:?}");
    }
}

/// Another program's queueing discipline is where the filters of one container belong: those of the others come back.
#[test]
#[ignore = "needs root"]
fn one_link_that_cannot_be_filtered_keeps_no_other_from_its_filters() {
    let lab = Lab::new();
    let ends = ["a", "b"].map(|id| {
        let attached = lab.attach(id, &[("net.subnet", DUAL)]);
        (attached.record["attachments"][0]["host_interface"].as_str().unwrap().to_owned(), attached)
    });
    for (end, _) in &ends {
        lab.host.ok(&["tc", "qdisc", "del", "dev", end, "clsact"]);
    }
    let [(first, _), (second, _)] = &ends;
    lab.host.ok(&["tc", "qdisc", "add", "dev", first, "ingress"]);
    let finished = lab.run(&["reload"], "");
    assert!(finished.code != 0 && finished.stderr.contains(first.as_str()), "{}", finished.stderr);
    let differences = lab.run(&["check"], "").stdout;
    assert!(differences.contains(first.as_str()) && !differences.contains(second.as_str()), "{differences}");
}
