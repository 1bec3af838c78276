//! The exporter, asked by clients of every kind.

use std::fs;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{DUAL, HOST4, HOST6, Lab, Slow, exporter_path, read_reply, until};

mod attacks;
mod browser;
mod passwords;
mod tls;
mod unit;

/// Less than a scrape that is delayed below, more than one that is not.
const DELAY: Duration = Duration::from_millis(1500);

/// A container, and the folder that a scrape has to open for it.
fn with_container(lab: &Lab) -> (ocinet_tests::lab::Attached, std::path::PathBuf) {
    let attached = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    (attached, lab.state_dir().join("containers"))
}

#[test]
#[ignore = "needs root"]
fn metrics_come_in_the_format_that_is_asked_for() {
    let lab = Lab::new();
    let _container = with_container(&lab);
    let exporter = lab.exporter(&[]);
    let text = exporter.get("/metrics");
    assert_eq!(
        (text.status, text.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    assert!(
        text.body.contains("ocinet_container_info{") && text.body.contains("id=\"web\""),
        "{}",
        text.body
    );
    assert!(!text.body.contains("# EOF"));
    let openmetrics = exporter.get_with("/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((openmetrics.status, openmetrics.header("content-type")), (200, Some(kind)));
    assert!(openmetrics.body.ends_with("# EOF\n"));
    for (compression, encoding) in [("--compressed", Some("gzip")), ("--raw", None)] {
        let got = exporter.curl(&["-i", compression, "http://127.0.0.1:9477/metrics"]).ok();
        assert_eq!(got.contains("content-encoding: gzip"), encoding.is_some());
        assert!(got.contains("ocinet_container_info{"), "{got}");
    }
}

#[test]
#[ignore = "needs root"]
fn head_is_answered_and_what_is_not_there_is_refused() {
    let lab = Lab::new();
    let exporter = lab.exporter(&["--web.telemetry-path=/m"]);
    for (path, kind) in [("/m", "text/plain"), ("/", "text/html"), ("/healthz", "text/plain")] {
        let got = exporter.get(path);
        let asked = format!("HEAD {path} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n");
        let head = exporter.ask(&asked);
        for (reply, has_body) in [(&got, true), (&head, false)] {
            assert_eq!((reply.status, reply.body.is_empty()), (200, !has_body), "{path}");
            assert!(reply.header("content-type").is_some_and(|given| given.starts_with(kind)), "{path}");
            assert!(reply.header("content-length").is_some(), "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused =
                exporter.ask(&format!("{method} {path} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n"));
            assert_eq!(
                (refused.status, refused.header("allow")),
                (405, Some("GET, HEAD")),
                "{method} {path}"
            );
        }
    }
    assert_eq!(exporter.get("/healthz").body, "ok\n");
    for path in ["/metrics", "/m/", "/../m", "//", "/favicon.ico"] {
        assert_eq!(exporter.get(path).status, 404, "{path}");
    }
    assert_eq!(exporter.get("/m?name[]=x").status, 200);
    // As by `printf … | nc`: nothing more comes from the client, who still listens.
    let mut half = exporter.connect();
    half.write_all(b"GET /m HTTP/1.0\r\n\r\n").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_reply(&mut half).unwrap().status, 200);
}

#[test]
#[ignore = "needs root"]
fn it_listens_on_every_address_of_both_families_or_on_those_that_are_named() {
    let lab = Lab::new();
    let answers = |address: SocketAddr| {
        let url = format!("http://{address}/healthz");
        lab.host.run(&["curl", "-s", "--noproxy", "*", "--max-time", "2", &url]).stdout == "ok\n"
    };
    let at = |address, port| SocketAddr::new(address, port);
    let loopback = |port| at([127, 0, 0, 1].into(), port);
    {
        let _exporter = lab.exporter(&[]);
        for address in [HOST4, HOST6, [127, 0, 0, 1].into(), "::1".parse().unwrap()] {
            assert!(answers(at(address, 9477)), "{address}");
        }
    }
    let named = format!("--web.listen-address=[{HOST6}]:9478");
    let _exporter = lab.exporter(&["--web.listen-address=127.0.0.1:9479", &named]);
    assert!(answers(loopback(9479)) && answers(at(HOST6, 9478)));
    for address in [at(HOST4, 9479), loopback(9478), loopback(9477)] {
        assert!(!answers(address), "{address}");
    }
}

#[test]
#[ignore = "needs root"]
fn what_keeps_it_from_starting_is_said_in_one_line() {
    let lab = Lab::new();
    let _exporter = lab.exporter(&[]);
    for (flags, code, said) in [
        (
            ["--web.listen-address=:9477"].as_slice(),
            5,
            "cannot listen on :9477: Address already in use; hint: ",
        ),
        (
            &["--web.listen-address=192.0.2.1:1"],
            5,
            "cannot listen on 192.0.2.1:1: Cannot assign requested address",
        ),
        (&["--web.config.file=/nowhere.yml"], 2, "/nowhere.yml: No such file or directory"),
        (&["--web.systemd-socket"], 2, "cannot use systemd's sockets: systemd has passed none"),
        (
            &["--collector.weather"],
            2,
            "cannot read the command line: unexpected argument '--collector.weather'",
        ),
    ] {
        let flags = if code == 2 { [flags, &["--web.listen-address=:0"]].concat() } else { flags.to_vec() };
        let ended = lab.exporter_fails(&flags);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert_eq!(ended.code, code, "{flags:?}: {}", ended.stderr);
        assert!(last.starts_with("ocinet-exporter: cannot ") && last.contains(said), "{flags:?}: {last}");
        assert!(last.contains("; hint: "), "{last}");
    }
    let version = lab.exporter_fails(&["--version"]);
    assert_eq!((version.code, version.stdout.starts_with("ocinet-exporter ")), (0, true));
}

#[test]
#[ignore = "needs root"]
fn a_scrape_that_takes_too_long_is_given_up_in_time() {
    let lab = Lab::new();
    let (_container, folder) = with_container(&lab);
    let exporter = lab.exporter(&[]);
    let asked = "X-Prometheus-Scrape-Timeout-Seconds: 1.0\r\n";
    {
        let _slow = Slow::opening(&folder, exporter.pid(), DELAY);
        let start = Instant::now();
        let late = exporter.get_with("/metrics", asked);
        assert_eq!(late.status, 503, "{}", late.body);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        // Who waits longer gets it.
        let start = Instant::now();
        assert_eq!(exporter.get_with("/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 9\r\n").status, 200);
        assert!(start.elapsed() > DELAY / 4, "the delay is real: {:?}", start.elapsed());
    }
    assert_eq!(exporter.get_with("/metrics", asked).status, 200);
}

#[test]
#[ignore = "needs root"]
fn all_who_wait_share_a_scrape_and_the_limit_turns_the_rest_away() {
    let lab = Lab::new();
    let (_container, folder) = with_container(&lab);
    for (flags, turned_away) in [(["--web.max-requests=10"], 10), (["--web.max-requests=0"], 0)] {
        let exporter = lab.exporter(&flags);
        let _slow = Slow::opening(&folder, exporter.pid(), DELAY);
        let start = Instant::now();
        let replies: Vec<u16> = thread::scope(|scope| {
            let clients: Vec<_> = (0..20).map(|_| scope.spawn(|| exporter.get("/metrics").status)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        assert_eq!(replies.iter().filter(|status| **status == 503).count(), turned_away, "{replies:?}");
        assert_eq!(replies.iter().filter(|status| **status == 200).count(), 20 - turned_away, "{replies:?}");
        // One scrape for the first, and one for everybody else; each opens the folder a second time where it has just changed.
        assert!(start.elapsed() < 5 * DELAY, "{:?}", start.elapsed());
        assert_eq!(exporter.get("/healthz").status, 200);
    }
}

#[test]
#[ignore = "needs root"]
fn sigterm_lets_a_running_scrape_finish() {
    let lab = Lab::new();
    let (_container, folder) = with_container(&lab);
    let mut exporter = lab.exporter(&[]);
    let idle = exporter.connect();
    let status = {
        let _slow = Slow::opening(&folder, exporter.pid(), DELAY);
        thread::scope(|scope| {
            let client = scope.spawn(|| exporter.get("/metrics"));
            thread::sleep(DELAY / 3);
            exporter.terminate();
            let refused = || exporter.curl(&["http://127.0.0.1:9477/healthz"]).code == 7;
            assert!(until(refused), "no connection is accepted any more");
            client.join().unwrap()
        })
        .status
    };
    assert_eq!(status, 200);
    assert_eq!(exporter.ended().code(), Some(0));
    drop(idle);
}

#[test]
#[ignore = "needs root"]
fn a_source_that_fails_costs_only_its_own_figures() {
    let lab = Lab::new();
    let folder = lab.state_dir().join("containers");
    fs::write(&folder, "no folder").unwrap();
    let exporter = lab.exporter(&[]);
    let broken = exporter.get("/metrics");
    assert_eq!(broken.status, 200);
    assert!(broken.body.contains("ocinet_scrape_source_success{source=\"records\"} 0"), "{}", broken.body);
    assert!(broken.body.contains("ocinet_exporter_build_info{"));
    assert!(exporter.get("/").body.contains("The source records failed"));
    fs::remove_file(&folder).unwrap();
    let _container = with_container(&lab);
    let fixed = exporter.get("/metrics");
    assert!(fixed.body.contains("ocinet_scrape_source_success{source=\"records\"} 1"), "{}", fixed.body);
    assert!(fixed.body.contains("id=\"web\""));
}

#[test]
#[ignore = "needs root"]
fn systemds_socket_is_used_and_systemd_is_told() {
    let lab = Lab::new();
    let path = lab.dir().join("notify");
    let told = UnixDatagram::bind(&path).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let heard = || {
        let mut buffer = [0; 64];
        let length = told.recv(&mut buffer).expect("systemd is told");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let mut exporter = {
        // systemd-socket-activate starts the program with the first connection, which is then answered by it.
        let activate = ["systemd-socket-activate", "-l", "9477", "-E", &variable];
        let lab = &lab;
        thread::scope(|scope| {
            let client = scope.spawn(move || {
                let url = "http://127.0.0.1:9477/healthz";
                let curl = [
                    "curl",
                    "-s",
                    "--noproxy",
                    "*",
                    "--retry",
                    "20",
                    "--retry-connrefused",
                    "--retry-delay",
                    "1",
                    url,
                ];
                lab.host.run(&curl)
            });
            let exporter = lab.exporter_under(&activate, &["--web.systemd-socket"]);
            assert_eq!(client.join().unwrap().stdout, "ok\n");
            exporter
        })
    };
    assert_eq!(heard(), "READY=1");
    exporter.terminate();
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(exporter.ended().code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn an_ordinary_user_with_cap_net_admin_collects_from_every_source() {
    let lab = Lab::new();
    let _container = with_container(&lab);
    assert!(exporter_path().exists());
    let ordinary = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all,+net_admin",
        "--inh-caps=-all,+net_admin",
        "--ambient-caps=-all,+net_admin",
    ];
    let exporter = lab.exporter_under(&ordinary, &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000001000\n"), "CAP_NET_ADMIN alone: {status}");
    let metrics = exporter.get("/metrics").body;
    assert!(metrics.contains("id=\"web\""));
    let failed: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("ocinet_scrape_source_success{") && line.ends_with(" 0"))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Landlock takes the right that such a /proc asks for (ptrace(2), "Ptrace access mode checking"), also from root. What cannot be
/// seen there has not ended.
#[test]
#[ignore = "needs root"]
fn a_proc_that_hides_processes_hides_no_container_from_root() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.driver", "bridge")]);
    for hidden in ["hidepid=invisible,gid=4242", "hidepid=ptraceable"] {
        let mount = format!("mount -t proc -o {hidden} proc /proc && exec \"$@\"");
        let exporter = lab.exporter_under(&["unshare", "--mount", "sh", "-c", &mount, "sh"], &[]);
        let metrics = exporter.get("/metrics").body;
        assert!(metrics.contains("ocinet_container_info{id=\"web\""), "{hidden}: {}", exporter.log());
    }
}
