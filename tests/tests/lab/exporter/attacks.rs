//! Clients that are slow, silent, many or wrong: none of them keeps the others from an answer.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ocinet_tests::lab::{DUAL, Exporter, Lab, read_reply, until};

use super::DELAY;

/// Soon enough that nobody notices.
const SOON: Duration = Duration::from_secs(1);

#[track_caller]
fn answers_soon(exporter: &Exporter, path: &str) {
    let start = Instant::now();
    assert_eq!(exporter.get(path).status, 200);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// Whether the other side has ended the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
#[ignore = "needs root"]
fn two_thousand_silent_clients_do_not_stop_a_scrape() {
    let lab = Lab::new();
    let exporter = lab.exporter(&[]);
    answers_soon(&exporter, "/metrics");
    let mut silent: Vec<TcpStream> = (0..2000).map(|_| exporter.connect()).collect();
    answers_soon(&exporter, "/metrics");
    let closed = |silent: &mut [TcpStream]| {
        silent.iter_mut().filter_map(|stream| is_closed(stream).then_some(())).count()
    };
    assert!(until(|| closed(&mut silent) > 1000), "the oldest have made room");
    assert!(closed(&mut silent[1900..]) == 0, "and the newest have not");
    answers_soon(&exporter, "/metrics");
}

#[test]
#[ignore = "needs root"]
fn a_client_of_a_byte_a_second_is_cut_and_one_that_is_only_slow_is_not() {
    let lab = Lab::new();
    let exporter = lab.exporter(&[]);
    let request = b"GET /healthz HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n\r\n";
    thread::scope(|scope| {
        let drip = |pause: Duration| {
            let mut stream = exporter.connect();
            let start = Instant::now();
            for byte in request {
                if stream.write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(pause);
            }
            (read_reply(&mut stream).ok().map(|reply| reply.status), start.elapsed())
        };
        let slowest = scope.spawn(move || drip(Duration::from_secs(1)));
        let slow = scope.spawn(move || drip(Duration::from_millis(50)));
        assert_eq!(slow.join().unwrap().0, Some(200));
        answers_soon(&exporter, "/metrics");
        let (answer, after) = slowest.join().unwrap();
        assert_eq!(answer, None);
        assert!((9..20).contains(&after.as_secs()), "{after:?}");
    });
    // A connection that has asked once is kept for the next question.
    let mut kept = exporter.connect();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: exporter\r\n\r\n").unwrap();
    thread::sleep(Duration::from_secs(11));
    kept.write_all(request).unwrap();
    assert!(read_reply(&mut kept).is_ok_and(|reply| reply.body.contains("HTTP/1.1 200 OK")));
}

/// Many containers, so that a scrape is larger than what sockets take.
fn crowd(lab: &Lab) -> ocinet_tests::lab::Attached {
    let attached = lab.attach("web", &[("net.subnet", DUAL), ("net.ports", "8080:80")]);
    let folder = lab.state_dir().join("containers");
    for number in 0..1000 {
        let mut record = attached.record.clone();
        let id = format!("copy-{number}");
        record["id"] = id.clone().into();
        fs::write(folder.join(format!("{id}.json")), record.to_string()).unwrap();
    }
    attached
}

#[test]
#[ignore = "needs root"]
fn clients_that_do_not_read_do_not_stop_a_scrape_or_fill_the_memory() {
    let lab = Lab::new();
    let _crowd = crowd(&lab);
    let exporter = lab.exporter(&[]);
    let size = exporter.get("/").body.len() as u64;
    assert!(size > 1_000_000, "{size} bytes are more than sockets take");
    for _ in 0..5 {
        assert_eq!(exporter.get("/").status, 200);
    }
    let before = exporter.resident();
    let mut deaf = Vec::new();
    for _ in 0..100 {
        let mut stream = exporter.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: exporter\r\n\r\n").unwrap();
        // One after the other: each gets a scrape of its own.
        stream.peek(&mut [0]).unwrap();
        deaf.push(stream);
    }
    let grown = exporter.resident().saturating_sub(before);
    assert!(grown < 60 * size, "{grown} bytes for 100 answers of {size}");
    let reply = exporter.get("/");
    assert_eq!((reply.status, reply.body.len() as u64 > size / 2), (200, true));
    assert_eq!(exporter.get("/metrics").status, 200);
}

#[test]
#[ignore = "needs root"]
fn a_request_without_measure_is_refused() {
    let lab = Lab::new();
    let exporter = lab.exporter(&[]);
    let long = "x".repeat(20_000);
    for (request, status) in [
        (format!("GET /healthz HTTP/1.1\r\nHost: e\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET /healthz HTTP/1.1\r\nHost: e\r\n{}\r\n", "X: y\r\n".repeat(100)), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: e\r\n\r\n"), 431),
        (format!("{long} / HTTP/1.1\r\nHost: e\r\n\r\n"), 431),
        ("GET /healthz HTTP/1.1\r\nHost : e\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: e\r\n folded: x\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/7\r\nHost: e\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{0}\u{5}hello\r\n\r\n".to_owned(), 400),
    ] {
        let reply = exporter.ask(&request);
        assert_eq!(reply.status, status, "{}", &request[..request.len().min(60)]);
    }
    answers_soon(&exporter, "/metrics");
}

#[test]
#[ignore = "needs root"]
fn no_request_is_smuggled_in_the_body_of_another() {
    let lab = Lab::new();
    let exporter = lab.exporter(&[]);
    let hidden = "GET /healthz HTTP/1.1\r\nHost: e\r\n\r\n";
    let length = hidden.len();
    for (request, status) in [
        (
            format!(
                "GET /metrics HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
            400,
        ),
        (
            format!(
                "GET /metrics HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"
            ),
            400,
        ),
        (format!("GET /metrics HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: xchunked\r\n\r\n{hidden}"), 400),
        (
            format!(
                "GET /metrics HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
            400,
        ),
        (
            format!(
                "GET /metrics HTTP/1.0\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
            400,
        ),
        (
            format!(
                "GET /metrics HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n{hidden}"
            ),
            400,
        ),
        (format!("GET /metrics HTTP/1.1\r\nHost: e\r\nContent-Length: +0\r\n\r\n{hidden}"), 400),
        (format!("GET /metrics HTTP/1.1\r\nHost: e\r\nContent-Length: {length}\r\n\r\n{hidden}"), 200),
        (format!("POST /metrics HTTP/1.1\r\nHost: e\r\nContent-Length: {length}\r\n\r\n{hidden}"), 405),
    ] {
        let reply = exporter.ask(&request);
        assert_eq!(reply.status, status, "{request}");
        // The connection has ended, and behind the answer there was none to the hidden request.
        assert!(!reply.body.contains("HTTP/1.1"), "{request}\n{}", reply.body);
    }
    // Two honest requests on one connection are both answered.
    let both =
        exporter.ask(&format!("{hidden}GET /healthz HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n"));
    assert!(both.status == 200 && both.body.contains("HTTP/1.1 200 OK"), "{}", both.body);
}

/// Requests that scanners send. What is asked for and may be had is answered, whatever else is said with it.
#[test]
#[ignore = "needs root"]
fn odd_requests_are_answered_or_refused_and_nothing_else() {
    let lab = Lab::new();
    let exporter = lab.exporter(&[]);
    let asks = |line: &str| format!("{line} HTTP/1.1\r\nHost: e\r\n\r\n");
    let says = |header: &str| format!("GET /healthz HTTP/1.1\r\nHost: e\r\n{header}\r\n\r\n");
    let many = "name[]=x&".repeat(500);
    for (request, status) in [
        (asks("GET http://elsewhere/metrics"), 200),
        (asks("HEAD /metrics"), 200),
        (asks(&format!("GET /metrics?{many}")), 200),
        (asks("GET /healthz#x"), 200),
        (says("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"), 200),
        (says("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"), 200),
        (says("Expect: 100-continue\r\nContent-Length: 5"), 200),
        (says("Range: bytes=0-1"), 200),
        (says("Accept-Encoding: gzip;q=nan, br, *;q=9"), 200),
        (says(&format!("Accept: {}", "a/b,".repeat(2000))), 200),
        (says("Authorization: Basic \u{fffd}"), 200),
        ("GET /healthz HTTP/1.1\nHost: e\n\n".to_owned(), 200),
        ("\r\n\r\n".to_owned() + &asks("GET /healthz"), 200),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        (asks("GET /../../etc/passwd"), 404),
        (asks("GET /%2e%2e/%2e%2e/etc/passwd"), 404),
        (asks("GET /page/../metrics"), 404),
        (asks("GET /metrics%00.html"), 404),
        (asks("GET //metrics"), 404),
        (asks("GET healthz"), 404),
        (asks("OPTIONS *"), 404),
        (asks("CONNECT db:5432"), 404),
        (asks("TRACE /"), 405),
        (asks("DELETE /metrics"), 405),
        (asks("get /metrics"), 405),
        (asks("GET /metrics\0"), 400),
        (asks("GET  /healthz"), 400),
        (asks("GET\t/healthz"), 400),
        (says("X: a\0b"), 400),
        (says("X-\u{ff}: y"), 400),
        (says(": empty"), 400),
        (says("Host: second"), 400),
        (says("Content-Length: 99999999999999999999"), 400),
        (says("Content-Length: -1"), 400),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /healthz\r\n\r\n".to_owned(), 400),
    ] {
        let mut stream = exporter.connect();
        stream.write_all(request.as_bytes()).unwrap();
        // There is no other request on this connection.
        stream.shutdown(Shutdown::Write).unwrap();
        let reply =
            read_reply(&mut stream).unwrap_or_else(|said| panic!("no answer to {request:?}: {said:?}"));
        let shown: String = request.chars().take(70).collect();
        assert_eq!(reply.status, status, "{shown:?}");
        assert!(!reply.body.contains("root:"), "{shown:?}");
    }
    answers_soon(&exporter, "/metrics");
}

#[test]
#[ignore = "needs root"]
fn it_outlives_a_want_of_descriptors() {
    let lab = Lab::new();
    let exporter = lab.exporter_under(&["prlimit", "--nofile=14:14"], &[]);
    let crowd: Vec<TcpStream> = (0..100).map(|_| exporter.connect()).collect();
    let said = |exporter: &Exporter| exporter.log().matches("cannot accept connections for now").count();
    assert!(until(|| said(&exporter) > 0), "descriptors are out: {}", exporter.log());
    let before = exporter.processor_time();
    thread::sleep(DELAY);
    assert!(exporter.processor_time() - before < DELAY / 5, "it waits, and does not try in circles");
    drop(crowd);
    assert!(until(|| exporter.curl(&["http://127.0.0.1:9477/healthz"]).stdout == "ok\n"));
    assert!(said(&exporter) < 20, "{}", exporter.log());
}

#[test]
#[ignore = "needs root"]
fn few_descriptors_are_enough_for_a_scrape_among_many_clients() {
    let lab = Lab::new();
    let _container = super::with_container(&lab);
    let exporter = lab.exporter_under(&["prlimit", "--nofile=96:96"], &[]);
    let _crowd: Vec<TcpStream> = (0..500).map(|_| exporter.connect()).collect();
    let reply = exporter.get("/metrics");
    assert!(reply.status == 200 && reply.body.contains("id=\"web\""), "{}", reply.body);
    assert!(!exporter.log().contains("cannot accept"), "{}", exporter.log());
}
