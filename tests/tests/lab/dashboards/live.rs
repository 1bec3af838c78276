//! That a real Prometheus, which has scraped a real exporter, answers every panel and knows every fault.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ocinet_tests::lab::{
    Attached, Container, DUAL, Exporter, HOST_SECOND4, HOST4, HOST6, INTERNET4, INTERNET6, Lab, Netns, PEER4,
    Prometheus, Runtime, Sample, Sandbox, Server, ask_tcp, ask_udp, transfer, url_encoded,
};

use super::naming::filled;
use super::{Dashboard, Query, contract, packaging, text};
use crate::PATIENCE;

const EXPORTER: &str = "127.0.0.1:9477";
/// How long Prometheus may take to start, to scrape, to evaluate.
const DEADLINE: Duration = Duration::from_secs(25);
/// Panels that show 0 where all is well, with the queries that do.
const QUIET: &[(&str, &str)] = &[
    ("Packets dropped", "A"),
    ("Failing sources", "A"),
    ("Pending records", "A"),
    ("Oldest pending record", "A"),
    ("Last set-up error", "A"),
    ("Dropped packets by container", "A"),
    ("Interface errors", "AB"),
    ("Oldest pending record by host", "A"),
    // Counted in whole seconds.
    ("Exporter CPU", "A"),
    ("Dropped packets by interface", "AB"),
    ("Errors by interface", "AB"),
    // The speed, which no virtual link has.
    ("Links", "C"),
];

/// Panels of what a container on the LAN does without the host.
const NOT_ON_LAN: [&str; 5] = [
    "Connections to its ports",
    "Masqueraded connections",
    "Masqueraded connections over time",
    "Routed traffic",
    "Routed packets",
];
/// Panels of published ports.
const PORTS: [&str; 4] = ["Connections by port", "Traffic by port", "Packets by port", "Published ports"];

/// The exporter on a lab's host, where the shipped configuration looks for it.
fn exporter(lab: &Lab) -> Exporter {
    lab.exporter(&[&format!("--web.listen-address={EXPORTER}")])
}

/// A Prometheus on a lab's host with the configuration and the rules that ocinet ships, only faster.
fn prometheus(lab: &Lab) -> Prometheus {
    let shipped = fs::read_to_string(packaging("prometheus").join("prometheus.yml")).expect("the example");
    let rules = packaging("prometheus").canonicalize().expect("a folder");
    let (slow, installed) = ("_interval: 15s", "/etc/prometheus/");
    assert_eq!((shipped.matches(slow).count(), shipped.matches(installed).count()), (2, 2));
    assert_eq!(shipped.matches(EXPORTER).count(), 1);
    let fast = shipped.replace(slow, "_interval: 1s").replace(installed, &format!("{}/", rules.display()));
    Prometheus::start(&lab.host, &lab.dir().join("prometheus"), &fast)
}

/// Repeats `work` until `done`.
#[track_caller]
fn repeat_until(prometheus: &Prometheus, what: &str, mut work: impl FnMut(), mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        let targets =
            || prometheus.get("/api/v1/targets").unwrap_or_default()["data"]["activeTargets"].to_string();
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}; {}", targets());
        work();
    }
}

/// How often Prometheus has scraped the exporter with success.
fn scrapes(prometheus: &Prometheus) -> f64 {
    let samples = prometheus.query("sum_over_time(up{job=\"ocinet\"}[1m])").unwrap_or_default();
    samples.first().map_or(0.0, |sample| sample.value)
}

/// A bridge and a veth with published ports, and a macvlan, as a runtime starts them; and one in the first one's pod.
struct Site<'a> {
    web: Container<'a>,
    app: Container<'a>,
    lan: Container<'a>,
    member: Sandbox,
    _servers: [Server; 8],
}

impl<'a> Site<'a> {
    fn start(lab: &'a Lab) -> Self {
        let start = |name, annotations: &[(&str, &str)]| {
            let started = Runtime::Runc.start(lab, name, annotations);
            started.unwrap_or_else(|said| panic!("{name}: {}", said.stderr))
        };
        let ports = format!("8080:80,53:5353/udp,9000:9000,{HOST4}:8443:443,{HOST_SECOND4}:8443:443");
        let web = start("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", &ports)]);
        let subnet = "10.94.0.0/24,fd00:94::/64";
        let app = start("app", &[("net.driver", "veth"), ("net.subnet", subnet), ("net.ports", "8081:80")]);
        let on_lan = "198.51.100.50,2001:db8:1::50";
        let lan = start("lan", &[("net.driver", "macvlan"), ("net.parent", "eth0"), ("net.ip", on_lan)]);
        let member = Sandbox::beside("member", &web.net());
        let joined = lab.create(&member, &[("net.driver", "bridge"), ("net.ports", "8090:90")]);
        assert_eq!((joined.code, joined.stderr.as_str()), (0, ""));
        let servers = [
            Server::tcp(&web.net(), 80, "web"),
            Server::tcp(&web.net(), 90, "member"),
            Server::tcp(&web.net(), 443, "web"),
            Server::udp(&web.net(), 5353, "web"),
            Server::tcp(&app.net(), 80, "app"),
            Server::tcp(&lan.net(), 80, "lan"),
            Server::tcp(&lab.wan, 80, "internet"),
            Server::tcp(&lab.peer, 80, "peer"),
        ];
        Self { web, app, lan, member, _servers: servers }
    }

    /// Everybody talks once, and a container comes and goes.
    fn talk(&self, lab: &Lab) {
        let asks = |from: &Netns, to: IpAddr, port: u16| {
            assert!(ask_tcp(from, SocketAddr::new(to, port), PATIENCE).is_some(), "TCP to {to} port {port}");
        };
        let (web, app, lan) = (self.web.net(), self.app.net(), self.lan.net());
        for (host, internet) in [(HOST4, INTERNET4), (HOST6, INTERNET6)] {
            asks(&lab.peer, host, 8080);
            asks(&lab.peer, host, 8081);
            asks(&web, internet, 80);
            asks(&app, internet, 80);
            assert!(ask_udp(&lab.peer, SocketAddr::new(host, 53), PATIENCE).is_some());
        }
        asks(&lab.peer, HOST4, 8090);
        asks(&lab.peer, HOST4, 8443);
        asks(&lab.peer, HOST_SECOND4, 8443);
        asks(&lab.peer, "198.51.100.50".parse().expect("an address"), 80);
        asks(&lan, PEER4, 80);
        let sent = transfer(&web, &lab.peer, SocketAddr::new(HOST4, 9000), 1 << 18);
        assert!(sent.is_some(), "bytes by port 9000");
        let brief: Attached = lab.attach("brief", &[("net.driver", "bridge"), ("net.subnet", DUAL)]);
        lab.detach(brief);
    }
}

/// A panel's queries with everything chosen, asked of Prometheus. What is wrong with the answers, if anything.
fn wrong(prometheus: &Prometheus, dashboard: &Dashboard, container: &str, quiet: &[&str]) -> Vec<String> {
    let several = dashboard.uid() == "ocinet-host";
    let chosen = [
        ("$__rate_interval", "30s"),
        ("$__range", "30s"),
        ("$job", "ocinet"),
        ("$instance", if several { ".*" } else { EXPORTER }),
        ("$container", if several { ".*" } else { container }),
    ];
    let judge = |Query { panel, reference, expression, .. }: Query<'_>| {
        let expression = filled(expression, &chosen);
        let answer = prometheus.query(&expression).expect("Prometheus answers");
        let at_rest = QUIET.contains(&(panel, reference))
            || QUIET.iter().any(|(title, queries)| *title == panel && queries.contains(reference));
        let quiet = at_rest || quiet.contains(&panel);
        let wrong = if answer.is_empty() {
            "shows nothing"
        } else if !answer.iter().all(|sample| sample.value.is_finite()) {
            "shows what is no number"
        } else if !quiet && !answer.iter().any(|sample| sample.value > 0.0) {
            "shows only zero"
        } else {
            return None;
        };
        Some(format!("{}, {panel} {reference} of {container} {wrong}: {expression}", dashboard.file))
    };
    dashboard.queries().filter_map(judge).collect()
}

/// The choices that a dashboard's variables offer.
fn assert_offered(prometheus: &Prometheus, dashboard: &Dashboard, containers: &[&String]) {
    let chosen = [("$job", "ocinet"), ("$instance", EXPORTER)];
    for (name, query) in dashboard.variable_queries() {
        let query = filled(query, &chosen);
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inside.and_then(|inside| inside.rsplit_once(", ")).expect("label_values()");
        let path = format!("/api/v1/label/{label}/values?match[]={}", url_encoded(selector));
        let answer = prometheus.get(&path).expect("Prometheus answers");
        let offered = answer["data"].as_array().expect("values").iter();
        let offered: Vec<_> = offered.filter_map(|value| value.as_str()).collect();
        match name {
            "job" => assert_eq!(offered, ["ocinet"]),
            "instance" => assert_eq!(offered, [EXPORTER]),
            _ => assert!(containers.iter().all(|id| offered.contains(&id.as_str())), "{offered:?}"),
        }
    }
}

#[test]
#[ignore = "needs root"]
fn every_panel_shows_data_of_real_containers_under_traffic() {
    let lab = Lab::new();
    let site = Site::start(&lab);
    let _exporter = exporter(&lab);
    let prometheus = prometheus(&lab);
    repeat_until(&prometheus, "ten scrapes", || site.talk(&lab), || scrapes(&prometheus) >= 10.0);
    assert_the_contract_is_kept(&prometheus);
    let [web, app, lan, member] = [&site.web.id, &site.app.id, &site.lan.id, &site.member.id];
    let mut all_wrong = Vec::new();
    for dashboard in &Dashboard::all() {
        assert_offered(&prometheus, dashboard, &[web, app, lan, member]);
        all_wrong.extend(wrong(&prometheus, dashboard, web, &[]));
        if dashboard.uid() == "ocinet-container" {
            all_wrong.extend(wrong(&prometheus, dashboard, app, &[]));
            let of_ports = |said: &String| PORTS.iter().any(|panel| said.contains(&format!(", {panel} ")));
            let of_lan = wrong(&prometheus, dashboard, lan, &NOT_ON_LAN);
            all_wrong.extend(of_lan.into_iter().filter(|said| !of_ports(said)));
            all_wrong.extend(wrong(&prometheus, dashboard, member, &[]).into_iter().filter(of_ports));
        }
    }
    assert!(all_wrong.is_empty(), "{}", all_wrong.join("\n"));
    // Whatever else is asked for, a container that is not there shows nothing.
    let dashboards = Dashboard::all();
    let of_container = dashboards.iter().find(|dashboard| dashboard.uid() == "ocinet-container");
    let nobody = wrong(&prometheus, of_container.expect("a dashboard"), "nobody", &[]);
    assert_eq!(nobody.len(), of_container.expect("a dashboard").queries().count());
    assert_rules_work(&prometheus);
    assert_eq!(prometheus.log(), "");
}

/// The exporter has what dashboards and rules may ask for, with those labels and no others.
fn assert_the_contract_is_kept(prometheus: &Prometheus) {
    for metric in contract::usual() {
        let samples = prometheus.query(&metric).expect("Prometheus answers");
        assert!(!samples.is_empty(), "the exporter has no {metric}");
        let known = contract::labels(&metric).expect("a metric");
        for label in samples.iter().flat_map(|sample| sample.labels.keys()).map(String::as_str) {
            let known = known.contains(&label) || ["__name__", "job", "instance"].contains(&label);
            assert!(known, "{metric} has a label {label}");
        }
    }
}

/// Every recording rule has recorded something, and no alert is raised where all is well.
fn assert_rules_work(prometheus: &Prometheus) {
    for rule in rules(prometheus) {
        let name = text(&rule, "name");
        assert_eq!(text(&rule, "health"), "ok", "{name}: {}", rule["lastError"]);
        if text(&rule, "type") == "alerting" {
            assert_eq!(text(&rule, "state"), "inactive", "{name}");
        } else {
            assert!(
                !prometheus.query(name).expect("Prometheus answers").is_empty(),
                "{name} records nothing"
            );
        }
    }
}

fn rules(prometheus: &Prometheus) -> Vec<serde_json::Value> {
    let answer = prometheus.get("/api/v1/rules").unwrap_or_default();
    let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

/// The alerts that are not at rest: raised, or waiting for their time.
fn raised(prometheus: &Prometheus) -> Vec<String> {
    let rules =
        rules(prometheus).into_iter().filter(|rule| rule["state"].as_str().is_some_and(|s| s != "inactive"));
    rules.map(|rule| text(&rule, "name").to_owned()).collect()
}

/// The value that a stat panel shows.
fn shown(prometheus: &Prometheus, title: &str) -> Option<f64> {
    let dashboards = Dashboard::all();
    let host = dashboards.iter().find(|dashboard| dashboard.uid() == "ocinet-host").expect("a dashboard");
    let query = host.queries().find(|query| query.panel == title).expect("a panel");
    let chosen = [
        ("$__rate_interval", "30s"),
        ("$__range", "30s"),
        ("$job", "ocinet"),
        ("$instance", ".*"),
        ("$container", ".*"),
    ];
    let answer: Vec<Sample> = prometheus.query(&filled(query.expression, &chosen))?;
    answer.iter().map(|sample| sample.value).reduce(f64::min)
}

#[test]
#[ignore = "needs root"]
fn faults_raise_their_alerts_and_show_on_the_host_dashboard() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let running = exporter(&lab);
    let prometheus = prometheus(&lab);
    let pause = || std::thread::sleep(Duration::from_millis(100));
    let now = |what: &str, shows: &dyn Fn() -> bool| repeat_until(&prometheus, what, pause, shows);
    now("rules are evaluated", &|| {
        scrapes(&prometheus) >= 2.0 && shown(&prometheus, "nftables tables") == Some(1.0)
    });
    assert_eq!(raised(&prometheus), [""; 0]);
    assert_eq!(shown(&prometheus, "Last set-up error"), Some(0.0));
    let raises = |alert: &str| now(alert, &|| raised(&prometheus).iter().any(|name| name == alert));

    let refused = |id: &str| {
        let taken = [("net.driver", "bridge"), ("net.ports", "8080:80")];
        assert_eq!(lab.create(&Sandbox::new(id), &taken).code, 4);
    };
    refused("late");
    now("the error", &|| shown(&prometheus, "Last set-up error") > Some(1e12));
    refused("later");
    raises("OcinetHookFailed");

    let _full = lab.attach("full", &[("net.network", "full"), ("net.subnet", "10.95.0.0/30")]);
    raises("OcinetPoolFull");
    fs::write(lab.state_dir().join("containers/damaged.json"), "{").expect("write a file");
    raises("OcinetRecordUnreadable");
    fs::write(lab.state_dir().join("stats.json"), "{").expect("write a file");
    raises("OcinetSourceFailing");
    assert!(shown(&prometheus, "Failing sources") >= Some(1.0));
    lab.host.ok(&["nft", "flush", "ruleset"]);
    raises("OcinetTableMissing");
    assert_eq!(shown(&prometheus, "nftables tables"), Some(0.0));
    drop(running);
    raises("OcinetExporterDown");
    assert_eq!(shown(&prometheus, "Exporters that answer"), Some(0.0));
    // Nobody knows how many there are now: the panel is empty rather than 0.
    now("the last scrape is stale", &|| shown(&prometheus, "Containers").is_none());
}
