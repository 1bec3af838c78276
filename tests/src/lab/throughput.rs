//! Many bytes at once: whether all of them arrive, and how fast.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread::scope;
use std::time::{Duration, Instant};

use nix::net::if_::if_nameindex;
use serde_json::Value;

use super::netns::Netns;
use super::process::{Finished, command, finish};
use super::traffic::until;

/// How long a read or a write may make no progress: several retransmissions, but not a test's whole life.
const STALL: Duration = Duration::from_secs(2);
/// What a link has from its start: segmentation as late as possible.
const SEGMENTS: u32 = 0xffff;

/// Connects from `client` to `to`, where `server` listens at the port of `to`, sends this many bytes there and gets them
/// back. How long both ways took together, or nothing where the connection stands still or a byte is another.
///
/// Meanwhile every segment leaves both ends by itself, no larger than their links' MTU. Left alone, the kernel moves 64 KiB
/// at a time between namespaces, for which it does not look at the MTU of a bridge in between: a wire has no such packets.
///
/// # Panics
/// When the port is taken.
#[must_use]
#[track_caller]
pub fn transfer(server: &Netns, client: &Netns, to: SocketAddr, bytes: usize) -> Option<Duration> {
    let listener = server.bind(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, to.port())));
    listener.set_nonblocking(true).expect("a socket that does not block");
    let content = content(bytes);
    for end in [server, client] {
        segments_at_once(end, 1);
    }
    let took = scope(|scope| {
        let server = scope.spawn(|| send_back(&listener, bytes));
        let took = client.within(|| there_and_back(to, &content));
        server.join().expect("no panic in a server").and(took)
    });
    for end in [server, client] {
        segments_at_once(end, SEGMENTS);
    }
    took
}

/// How many segments one packet between the kernel's layers may hold, on every link of a namespace.
#[track_caller]
fn segments_at_once(namespace: &Netns, segments: u32) {
    let lines = namespace.within(|| {
        let links = if_nameindex().expect("list the links");
        let names = links.iter().map(|link| link.name().to_str().expect("a name in ASCII"));
        names.map(|name| format!("link set dev {name} gso_max_segs {segments}\n")).collect::<String>()
    });
    namespace.batch(&lines);
}

/// Bytes in an order that repeats only after 16 MiB: a lost or a doubled segment shows.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 16).to_le_bytes()[0]).collect()
}

fn there_and_back(to: SocketAddr, content: &[u8]) -> Option<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to, STALL).ok()?;
    patient(&stream)?;
    stream.write_all(content).ok()?;
    let mut back = vec![0; content.len()];
    stream.read_exact(&mut back).ok()?;
    let took = begun.elapsed();
    (back == content).then_some(took)
}

/// Everything is read before the first byte is sent back, so that neither end waits for the other to read.
fn send_back(listener: &TcpListener, bytes: usize) -> Option<()> {
    let mut accepted = None;
    until(|| {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (mut stream, _) = accepted?;
    stream.set_nonblocking(false).ok()?;
    patient(&stream)?;
    let mut content = vec![0; bytes];
    stream.read_exact(&mut content).ok()?;
    stream.write_all(&content).ok()
}

fn patient(stream: &TcpStream) -> Option<()> {
    stream.set_read_timeout(Some(STALL)).ok()?;
    stream.set_write_timeout(Some(STALL)).ok()
}

/// The bits per second of one TCP connection's content, as iperf3's receiver counts them: from `client` to `server`, or the
/// other way round where `reverse` is true. The client connects in either case, to `to`, at port 5201.
///
/// # Panics
/// When iperf3 fails.
#[must_use]
#[track_caller]
pub fn iperf(server: &Netns, client: &Netns, to: IpAddr, seconds: u32, reverse: bool) -> f64 {
    let amount = format!("-t{seconds}");
    let report = iperf_report(server, client, SocketAddr::new(to, IPERF_PORT), &amount, reverse);
    report["end"]["sum_received"]["bits_per_second"].as_f64().expect("iperf3 reports a rate")
}

/// Moves this many bytes by one TCP connection, and returns how many iperf3's receiver and its sender counted: what is still
/// on its way when the sender is done, the receiver may not count. The server listens at port 5201; a second connection
/// tells it what to do, in a few thousand bytes at most.
///
/// # Panics
/// When iperf3 fails.
#[must_use]
#[track_caller]
pub fn iperf_bytes(server: &Netns, client: &Netns, to: SocketAddr, bytes: u64, reverse: bool) -> [u64; 2] {
    let report = iperf_report(server, client, to, &format!("-n{bytes}"), reverse);
    ["sum_received", "sum_sent"]
        .map(|sum| report["end"][sum]["bytes"].as_u64().expect("iperf3 reports bytes"))
}

/// Where iperf3 listens by default.
const IPERF_PORT: u16 = 5201;

#[track_caller]
fn iperf_report(server: &Netns, client: &Netns, to: SocketAddr, amount: &str, reverse: bool) -> Value {
    let mut listen = command("iperf3");
    listen.args(["-s", "-1", "--forceflush"]).stdout(Stdio::piped());
    let mut listening = server.spawn(listen);
    let mut said = BufReader::new(listening.stdout.take().expect("a pipe")).lines();
    let ready = said.any(|line| line.is_ok_and(|line| line.contains("listening")));
    let finished = measure(client, to, amount, reverse);
    // It ends by itself only after a client that came through.
    let _ = listening.kill();
    let _ = listening.wait();
    assert!(ready, "iperf3 does not listen");
    let report: Value = serde_json::from_str(&finished.stdout).expect("iperf3 reports JSON");
    assert_eq!(finished.code, 0, "iperf3 to {to}: {}", report["error"]);
    report
}

fn measure(client: &Netns, to: SocketAddr, amount: &str, reverse: bool) -> Finished {
    let mut connect = command("iperf3");
    connect.args(["-J", "--connect-timeout", "2000", "-c"]).arg(to.ip().to_string());
    connect.arg("-p").arg(to.port().to_string()).arg(amount).args(reverse.then_some("-R"));
    connect.stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(client.spawn(connect), &[])
}
