//! What the exporter counts of itself: the program is asked as clients ask it, and then for its metrics. No namespace, no
//! root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod checker;

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocinet_exporter::render::exposition::Format;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring::default_provider,
};

use checker::{Sample, check};

/// An exporter on a free port, with a folder for its configuration.
struct Exporter {
    process: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
    /// Kept open for what the exporter still says.
    _log: BufReader<ChildStderr>,
}

impl Exporter {
    fn start(web_config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("web.yml");
        fs::write(&config, web_config).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test starts the program that it is about")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocinet-exporter"));
        command
            .args(["--web.listen-address=127.0.0.1:0", "--state-dir", folder.path().to_str().unwrap()])
            .arg(format!("--web.config.file={}", config.display()));
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the exporter has ended");
            if let Some((_, address)) = line.split_once("address=") {
                break address.split(' ').next().unwrap().trim().parse().unwrap();
            }
        };
        Self { process, address, folder, _log: log }
    }

    fn configure(&self, web_config: &str) {
        fs::write(self.folder.path().join("web.yml"), web_config).unwrap();
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// The status and the body of the answer to a request, whose further headers are `headers`.
    fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        exchange(self.connect(), method, path, headers)
    }

    /// What a scrape by somebody with these headers says.
    fn scrape(&self, headers: &str) -> Scrape {
        let (status, body) = self.ask("GET", "/metrics", headers);
        assert_eq!(status, 200, "{body}");
        Scrape::of(&body, Format::Text)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str, headers: &str) -> (u16, String) {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The samples of a page.
struct Scrape(Vec<Sample>);

impl Scrape {
    fn of(page: &str, format: Format) -> Self {
        Self(check(page, format).into_iter().flat_map(|family| family.samples).collect())
    }

    /// The values of a name's series, by their one label.
    fn all(&self, name: &str) -> Vec<(&str, f64)> {
        let samples = self.0.iter().filter(|sample| sample.name == name);
        samples.map(|sample| (sample.labels.first().map_or("", |(_, value)| value), sample.value)).collect()
    }

    /// Those that are not 0.
    fn counted(&self, name: &str) -> Vec<(&str, f64)> {
        self.all(name).into_iter().filter(|(_, value)| *value != 0.0).collect()
    }

    fn one(&self, name: &str) -> f64 {
        let [(_, value)] = self.all(name)[..] else { panic!("one series of {name}") };
        value
    }
}

const REQUESTS: &str = "ocinet_exporter_http_requests_total";
const REFUSED_LOGINS: &str = "ocinet_exporter_refused_logins_total";
const FAILED_HANDSHAKES: &str = "ocinet_exporter_tls_handshake_failures_total";
const SCRAPES: &str = "promhttp_metric_handler_requests_total";
const IN_FLIGHT: &str = "promhttp_metric_handler_requests_in_flight";
const DURATIONS: &str = "ocinet_scrape_duration_seconds_count";

/// A header by which a user logs in.
fn login(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

/// A configuration with the user alice, whose password is "secret".
fn with_alice() -> String {
    let hash = bcrypt::hash_with_salt("secret", 4, [7; 16]).unwrap();
    format!("basic_auth_users:\n  alice: {hash}\n")
}

#[test]
fn every_series_is_there_and_0_at_the_first_scrape_in_both_formats() {
    for (format, accept) in
        [(Format::Text, ""), (Format::OpenMetrics, "Accept: application/openmetrics-text\r\n")]
    {
        let exporter = Exporter::start("");
        let (_, page) = exporter.ask("GET", "/metrics", accept);
        let scrape = Scrape::of(&page, format);
        let codes = ["200", "400", "401", "404", "405", "429", "500", "503"].map(|code| (code, 0.0));
        assert_eq!(scrape.all(REQUESTS), codes);
        assert_eq!(scrape.all(SCRAPES), ["200", "500", "503"].map(|code| (code, 0.0)));
        assert_eq!(scrape.all(REFUSED_LOGINS), ["missing", "wrong"].map(|reason| (reason, 0.0)));
        for name in [FAILED_HANDSHAKES, DURATIONS, "ocinet_scrape_duration_seconds_sum"] {
            assert_eq!(scrape.one(name), 0.0, "{name}");
        }
        assert_eq!(scrape.one(IN_FLIGHT), 1.0, "this very scrape is in flight");
    }
}

#[test]
fn answers_count_by_their_code() {
    let exporter = Exporter::start("");
    // So many files take longer to read than the client waits.
    let records = exporter.folder.path().join("containers");
    fs::create_dir(&records).unwrap();
    for number in 0..500 {
        fs::write(records.join(format!("c{number}.json")), "no record").unwrap();
    }
    for (method, path, headers, status) in [
        ("GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 0.001\r\n", 503),
        ("GET", "/healthz", "", 200),
        ("GET", "/", "", 200),
        ("GET", "/metrics", "Transfer-Encoding: chunked\r\n", 400),
        ("GET", "/nothing", "", 404),
        ("POST", "/metrics", "", 405),
    ] {
        assert_eq!(exporter.ask(method, path, headers).0, status, "{method} {path} {headers}");
    }
    exporter.configure("{");
    assert_eq!(exporter.ask("GET", "/metrics", "").0, 500);
    exporter.configure("");
    let scrape = exporter.scrape("");
    let expected = [("200", 2.0), ("400", 1.0), ("404", 1.0), ("405", 1.0), ("500", 1.0), ("503", 1.0)];
    assert_eq!(scrape.counted(REQUESTS), expected);
    // What got no scrape, or is no request for metrics, is none of those.
    assert_eq!(scrape.counted(SCRAPES), [("503", 1.0)]);
    let scrape = exporter.scrape("");
    assert_eq!(scrape.counted(SCRAPES), [("200", 1.0), ("503", 1.0)]);
    assert_eq!(scrape.one(IN_FLIGHT), 1.0, "those before are in flight no longer");
    assert_eq!(scrape.all(REQUESTS).len(), 8, "no code is new");
}

#[test]
fn refused_log_ins_count_by_their_reason() {
    let exporter = Exporter::start(&with_alice());
    let alice = login("alice", "secret");
    assert_eq!(exporter.scrape(&alice).counted(REFUSED_LOGINS), []);
    for wrong in [&login("alice", "Secret"), &login("bob", "secret"), "Authorization: Bearer x\r\n"] {
        assert_eq!(exporter.ask("GET", "/metrics", wrong).0, 401, "{wrong}");
    }
    assert_eq!(exporter.ask("GET", "/healthz", "").0, 401);
    let scrape = exporter.scrape(&alice);
    assert_eq!(scrape.all(REFUSED_LOGINS), [("missing", 1.0), ("wrong", 3.0)]);
    assert_eq!(scrape.counted(REQUESTS), [("200", 1.0), ("401", 4.0)]);
    assert_eq!(scrape.counted(SCRAPES), [("200", 1.0)], "who is refused scrapes nothing");
}

#[test]
fn whoever_asks_too_often_counts_as_such() {
    let exporter = Exporter::start("rate_limit:\n  interval: 300ms\n  burst: 1\n");
    let mut answered = 0.0;
    while exporter.ask("GET", "/healthz", "").0 == 200 {
        answered += 1.0;
    }
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(exporter.scrape("").counted(REQUESTS), [("200", answered), ("429", 1.0)]);
}

#[test]
fn scrapes_have_a_duration() {
    let exporter = Exporter::start("");
    assert_eq!(exporter.ask("GET", "/healthz", "").0, 200);
    assert_eq!(exporter.scrape("").one(DURATIONS), 0.0);
    assert_eq!(exporter.ask("GET", "/", "").0, 200);
    let scrape = exporter.scrape("");
    assert_eq!(scrape.one(DURATIONS), 2.0, "one for the metrics, one for the status page");
    let seconds = scrape.one("ocinet_scrape_duration_seconds_sum");
    assert!(seconds > 0.0 && seconds < 10.0, "{seconds}");
}

const CERTIFICATE: &[u8] = include_bytes!("tls/server.crt");

/// A client that trusts the certificate.
fn tls_client(exporter: &Exporter) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = exporter.address.ip().into();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), exporter.connect())
}

#[test]
fn handshakes_that_fail_count() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let file = |name| folder.join(name).display().to_string();
    let config = format!(
        "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
        file("server.crt"),
        file("server.key")
    );
    let exporter = Exporter::start(&config);
    let scrape = || {
        let (status, page) = exchange(tls_client(&exporter), "GET", "/metrics", "");
        assert_eq!(status, 200, "{page}");
        Scrape::of(&page, Format::Text)
    };
    assert_eq!(scrape().one(FAILED_HANDSHAKES), 0.0);
    // One that does not speak TLS, and one that leaves.
    let mut plain = exporter.connect();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: e\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut Vec::new());
    let mut gone = exporter.connect();
    gone.shutdown(Shutdown::Write).unwrap();
    let _ = gone.read_to_end(&mut Vec::new());
    let last = scrape();
    assert_eq!(last.one(FAILED_HANDSHAKES), 2.0);
    assert_eq!(last.counted(REQUESTS), [("200", 1.0)], "no handshake, no request");
}
