//! TLS and client certificates, by curl and openssl.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use ocinet_tests::lab::{Exporter, Lab, until};

/// Authorities and certificates, in a folder of the lab.
struct Authority<'a> {
    lab: &'a Lab,
    folder: PathBuf,
}

impl<'a> Authority<'a> {
    fn new(lab: &'a Lab, name: &str) -> Self {
        let folder = lab.dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let authority = Self { lab, folder };
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout ca.key -out ca.crt \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        ));
        authority
    }

    fn openssl(&self, arguments: &str) {
        let folder = self.folder.display().to_string();
        let script = format!("cd '{folder}' && exec openssl {arguments}");
        self.lab.host.ok(&["sh", "-c", &script]);
    }

    /// A certificate NAME.crt with its key NAME.key, for the subject alternative names.
    fn sign(&self, name: &str, names: &str) {
        fs::write(self.path("ext"), format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n")).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!("x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.crt"));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }
}

/// An exporter with TLS, by a server certificate of the authority; `more` are further lines of `tls_server_config`.
fn with_tls(authority: &Authority<'_>, more: &str) -> Exporter {
    authority.sign("server", "IP:127.0.0.1");
    // Paths are relative to the file, wherever the exporter is started.
    let config = format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}");
    fs::write(authority.path("web.yml"), config).unwrap();
    authority.lab.exporter(&[&format!("--web.config.file={}", authority.text("web.yml"))])
}

const URL: &str = "https://127.0.0.1:9477/healthz";

/// Whether a client that trusts the authority gets an answer.
fn answers(exporter: &Exporter, authority: &Authority<'_>, arguments: &[&str]) -> bool {
    let trust = authority.text("ca.crt");
    exporter.curl(&[&["--cacert", trust.as_str()], arguments, &[URL]].concat()).stdout == "ok\n"
}

#[test]
#[ignore = "needs root"]
fn a_renewed_certificate_is_used_from_the_next_connection_on() {
    let lab = Lab::new();
    let (old, new) = (Authority::new(&lab, "old"), Authority::new(&lab, "new"));
    let exporter = with_tls(&old, "");
    assert!(answers(&exporter, &old, &[]) && !answers(&exporter, &new, &[]));
    new.sign("server", "IP:127.0.0.1");
    for file in ["server.crt", "server.key"] {
        fs::copy(new.path(file), old.path(file)).unwrap();
    }
    assert!(answers(&exporter, &new, &[]) && !answers(&exporter, &old, &[]));
    // A certificate without its key gives nobody an answer, until both are there.
    fs::write(old.path("server.key"), "").unwrap();
    assert!(!answers(&exporter, &new, &[]));
    fs::copy(new.path("server.key"), old.path("server.key")).unwrap();
    assert!(answers(&exporter, &new, &[]));
    assert!(exporter.log().contains("cannot use the web configuration"), "{}", exporter.log());
}

#[test]
#[ignore = "needs root"]
fn clients_show_the_certificates_that_are_asked_for() {
    let lab = Lab::new();
    let (ours, theirs) = (Authority::new(&lab, "ours"), Authority::new(&lab, "theirs"));
    ours.sign("client", "DNS:prometheus.example");
    theirs.sign("client", "DNS:prometheus.example");
    let shown = |authority: &Authority<'_>| {
        ["--cert".to_owned(), authority.text("client.crt"), "--key".to_owned(), authority.text("client.key")]
    };
    for (kind, none, good, foreign) in [
        ("NoClientCert", true, true, true),
        ("RequestClientCert", true, true, true),
        ("RequireAnyClientCert", false, true, true),
        ("VerifyClientCertIfGiven", true, true, false),
        ("RequireAndVerifyClientCert", false, true, false),
    ] {
        let authority = if kind == "NoClientCert" { "" } else { "  client_ca_file: ca.crt\n" };
        let exporter = with_tls(&ours, &format!("  client_auth_type: {kind}\n{authority}"));
        for version in ["1.2", "1.3"] {
            let at = ["--tls-max", version];
            assert_eq!(answers(&exporter, &ours, &at), none, "{kind} without one, TLS {version}");
            for (certificate, expected) in [(&ours, good), (&theirs, foreign)] {
                let shown = shown(certificate);
                let arguments: Vec<&str> = at.into_iter().chain(shown.iter().map(String::as_str)).collect();
                assert_eq!(answers(&exporter, &ours, &arguments), expected, "{kind}, TLS {version}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn only_clients_of_the_allowed_names_get_in() {
    let lab = Lab::new();
    let ours = Authority::new(&lab, "ours");
    let sans = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans:\n  \
                - prometheus.example\n  - 192.0.2.7\n  - spiffe://example/prometheus\n";
    let exporter = with_tls(&ours, sans);
    for (names, expected) in [
        ("DNS:other.example,DNS:prometheus.example", true),
        ("IP:192.0.2.7", true),
        ("URI:spiffe://example/prometheus", true),
        ("DNS:a.prometheus.example", false),
        ("DNS:*.example", false),
        ("IP:192.0.2.8", false),
        ("URI:spiffe://example/other", false),
    ] {
        ours.sign("client", names);
        let (certificate, key) = (ours.text("client.crt"), ours.text("client.key"));
        assert_eq!(answers(&exporter, &ours, &["--cert", &certificate, "--key", &key]), expected, "{names}");
    }
}

#[test]
#[ignore = "needs root"]
fn versions_and_ciphers_are_those_of_the_file() {
    let lab = Lab::new();
    let ours = Authority::new(&lab, "ours");
    let (old, new) = (["--tls-max", "1.2"], ["--tlsv1.3"]);
    {
        let exporter = with_tls(&ours, "");
        assert!(answers(&exporter, &ours, &old) && answers(&exporter, &ours, &new));
        assert!(!answers(&exporter, &ours, &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]));
        // HTTP/2 is offered by most clients, and there is none.
        let version = exporter.curl(&["-k", "-o", "/dev/null", "-w", "%{http_version}", URL]);
        assert_eq!(version.stdout, "1.1");
    }
    {
        let exporter = with_tls(&ours, "  min_version: TLS13\n");
        assert!(!answers(&exporter, &ours, &old) && answers(&exporter, &ours, &new));
    }
    {
        let exporter = with_tls(&ours, "  max_version: TLS12\n");
        assert!(answers(&exporter, &ours, &old) && !answers(&exporter, &ours, &new));
    }
    let exporter = with_tls(&ours, "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n");
    let with = |cipher: &str| answers(&exporter, &ours, &["--tls-max", "1.2", "--ciphers", cipher]);
    assert!(with("ECDHE-ECDSA-AES256-GCM-SHA384") && !with("ECDHE-ECDSA-AES128-GCM-SHA256"));
    assert!(answers(&exporter, &ours, &new));
}

#[test]
#[ignore = "needs root"]
fn what_is_wrong_with_the_file_is_said_at_the_start() {
    let lab = Lab::new();
    let ours = Authority::new(&lab, "ours");
    ours.sign("server", "IP:127.0.0.1");
    ours.sign("other", "IP:127.0.0.1");
    let pair = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
    for (text, said) in [
        ("tls_server_config:\n  cert_file: server.crt\n".to_owned(), "no key_file"),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: other.key\n".to_owned(),
            "cert_file and key_file: ",
        ),
        (
            "tls_server_config:\n  cert_file: nowhere.crt\n  key_file: other.key\n".to_owned(),
            "nowhere.crt: No such file",
        ),
        (format!("{pair}  client_auth_type: RequireAndVerifyClientCert\n"), "needs a client_ca_file"),
        (format!("{pair}  client_ca_file: ca.crt\n"), "need a client_auth_type"),
        (format!("{pair}  client_allowed_sans: [a]\n"), "need a client_auth_type"),
        (
            format!("{pair}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key\n"),
            "no certificate",
        ),
        (format!("{pair}  min_version: TLS13\n  max_version: TLS12\n"), "min_version is above max_version"),
        (format!("{pair}  minimum_version: TLS13\n"), "unknown field `minimum_version`"),
    ] {
        fs::write(ours.path("web.yml"), &text).unwrap();
        let ended = lab.exporter_fails(&[&format!("--web.config.file={}", ours.text("web.yml"))]);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(ended.code == 2 && last.contains(said), "{text}: {}", ended.stderr);
        assert!(last.starts_with("ocinet-exporter: cannot use the file of --web.config.file: "), "{last}");
    }
}

/// The first bytes of a TLS handshake record that never comes to its end.
const HALF_A_HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc];

#[test]
#[ignore = "needs root"]
fn handshakes_that_are_never_finished_do_not_stop_a_scrape() {
    let lab = Lab::new();
    let ours = Authority::new(&lab, "ours");
    let exporter = with_tls(&ours, "");
    let mut slow: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut stream = exporter.connect();
            stream.write_all(&HALF_A_HELLO).unwrap();
            stream
        })
        .collect();
    assert!(answers(&exporter, &ours, &["--max-time", "2"]));
    // Who speaks HTTP to it gets no metrics, and does no harm.
    let mut plain = exporter.connect();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: e\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("ocinet_"));
    // Ten seconds are what a handshake may take.
    let newest = slow.last_mut().unwrap();
    newest.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    assert!(!matches!(newest.read(&mut [0; 64]), Ok(1..)), "no handshake comes of it");
    assert!(until(|| answers(&exporter, &ours, &[])));
}
