//! Passwords, headers and limits of `--web.config.file`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{Exporter, Lab};

/// Of "secret", by `htpasswd -nBC 10`.
const HASH: &str = "$2y$10$dy4WzS4.XpBjbNGU3lAIz.UE7V2UnXcQeEjnN4IryccYmvhYGge8.";

/// An exporter with a web configuration, and where that is.
fn with_config(lab: &Lab, text: &str) -> (Exporter, std::path::PathBuf) {
    let path = lab.dir().join("web.yml");
    fs::write(&path, text).unwrap();
    let flag = format!("--web.config.file={}", path.display());
    (lab.exporter(&[&flag]), path)
}

/// The status of the answer; 000 where there was none.
fn status(exporter: &Exporter, path: &str, arguments: &[&str]) -> String {
    let url = format!("http://127.0.0.1:9477{path}");
    exporter.curl(&[&["-o", "/dev/null", "-w", "%{http_code}"], arguments, &[url.as_str()]].concat()).stdout
}

#[test]
#[ignore = "needs root"]
fn only_users_with_their_password_get_in() {
    let lab = Lab::new();
    let (exporter, path) = with_config(&lab, &format!("basic_auth_users:\n  alice: {HASH}\n"));
    for page in ["/metrics", "/", "/healthz", "/nothing"] {
        assert_eq!(status(&exporter, page, &[]), "401", "{page}");
        for wrong in ["alice:Secret", "alice:", "bob:secret", "alice"] {
            assert_eq!(status(&exporter, page, &["-u", &format!("{wrong}:")]), "401", "{wrong} {page}");
        }
    }
    assert!(exporter.get("/metrics").header("www-authenticate").is_some_and(|said| said == "Basic"));
    for (page, expected) in [("/metrics", "200"), ("/", "200"), ("/healthz", "200"), ("/nothing", "404")] {
        assert_eq!(status(&exporter, page, &["-u", "alice:secret"]), expected, "{page}");
    }
    // Who is taken out of the file is out.
    fs::write(&path, format!("basic_auth_users:\n  bob: {HASH}\n")).unwrap();
    assert_eq!(status(&exporter, "/metrics", &["-u", "alice:secret"]), "401");
    assert_eq!(status(&exporter, "/metrics", &["-u", "bob:secret"]), "200");
}

#[test]
#[ignore = "needs root"]
fn a_file_that_was_broken_meanwhile_lets_nobody_in_until_it_is_mended() {
    let lab = Lab::new();
    let good = format!("basic_auth_users:\n  alice: {HASH}\n");
    let (exporter, path) = with_config(&lab, &good);
    for broken in ["basic_auth_users:\n  alice: {", "basic_auth_user: {}\n"] {
        fs::write(&path, broken).unwrap();
        for arguments in [[].as_slice(), &["-u", "alice:secret"]] {
            assert_eq!(status(&exporter, "/metrics", arguments), "500", "{broken}");
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(status(&exporter, "/metrics", &["-u", "alice:secret"]), "500");
    fs::write(&path, good).unwrap();
    assert_eq!(status(&exporter, "/metrics", &["-u", "alice:secret"]), "200");
    assert!(exporter.log().contains("cannot read the web configuration"));
    assert!(!exporter.log().contains(HASH));
}

#[test]
#[ignore = "needs root"]
fn guesses_do_not_keep_others_waiting() {
    a_user_gets_in_before_guesses(|_| "127.0.0.1".to_owned());
    a_user_gets_in_before_guesses(|number| format!("127.0.0.{}", number + 10));
}

/// Many guesses wait, of clients with these addresses, and then a user comes.
fn a_user_gets_in_before_guesses(client: fn(u8) -> String) {
    let lab = Lab::new();
    let (exporter, _) = with_config(&lab, &format!("basic_auth_users:\n  alice: {HASH}\n"));
    let right = || status(&exporter, "/metrics", &["-u", "alice:secret", "--interface", "127.0.0.2"]);
    thread::scope(|scope| {
        let guesses: Vec<_> = (0..40)
            .map(|number| {
                let exporter = &exporter;
                scope.spawn(move || {
                    let (user, client) = (format!("alice:{number}"), client(number));
                    status(exporter, "/metrics", &["-u", &user, "-m", "60", "--interface", &client])
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        assert_eq!(right(), "200");
        let first = start.elapsed();
        let busy = guesses.iter().filter(|guess| !guess.is_finished()).count();
        assert!(busy > 5, "{busy} are still waiting after {first:?}");
        assert_eq!(right(), "200");
        // Who waits for longer than a request may take is cut.
        let answers: Vec<String> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| answer == "401" || answer == "000"), "{answers:?}");
        assert!(answers.iter().any(|answer| answer == "401"), "{answers:?}");
    });
}

#[test]
#[ignore = "needs root"]
fn headers_are_those_of_the_file() {
    let lab = Lab::new();
    let (exporter, _) = with_config(
        &lab,
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: default-src 'self'\n",
    );
    for (path, status) in [("/", 200), ("/metrics", 200), ("/nothing", 404)] {
        let reply = exporter.get(path);
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("x-frame-options"), Some("deny"), "{path}");
        assert_eq!(reply.header("content-security-policy"), Some("default-src 'self'"), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[test]
#[ignore = "needs root"]
fn more_requests_than_the_limit_are_turned_away() {
    let lab = Lab::new();
    let (exporter, _) = with_config(&lab, "rate_limit:\n  interval: 1h\n  burst: 3\n");
    let replies = [0; 5].map(|_| exporter.get("/healthz").status);
    assert_eq!(replies, [200, 200, 200, 429, 429]);
}
