//! Accepts connections and serves them until it is told to end.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::error::Error;
use crate::http::auth::Passwords;
use crate::http::connections::{ConnectionGuard, Connections};
use crate::http::listen::{self, ListenAddress};
use crate::http::rate_limiter::RateLimiter;
use crate::http::routes::App;
use crate::http::tls::Acceptors;
use crate::http::web_config::WebConfig;
use crate::render::page::{StatusPage, policy};
use crate::render::renderer::Renderer;
use crate::scrape::collector;
use crate::scrape::own_metrics::OwnMetrics;
use crate::scrape::scraper::Scraper;
use crate::scrape::snapshot::Snapshot;

/// The most connections at once.
const MOST_CONNECTIONS: usize = 512;
/// Descriptors that are not connections: what a scrape opens, and what this process has open all the time.
const OTHER_DESCRIPTORS: usize = 64;
/// The longest request head, in bytes and in headers.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// The most bytes of an unread answer that the kernel keeps for a connection (SO_SNDBUF in socket(7)). By default it would
/// keep most answers whole, for every client that does not read.
const SEND_BUFFER: usize = 256 * 1024;
/// How long to wait if the kernel has no descriptor or memory left for a connection.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// How long running requests may take after the exporter is told to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How metrics are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Whether systemd has opened the sockets, in place of `listen`.
    pub systemd_socket: bool,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// The file that says who may read, and by what certificate.
    pub web_config: Option<PathBuf>,
    /// How many requests may wait for a scrape at once.
    pub max_requests: Option<usize>,
}

/// Serves what is collected until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run(options: &Options, collected: &collector::Options) -> Result<(), Error> {
    let listeners =
        if options.systemd_socket { listen::inherited()? } else { listen::open(&options.listen)? };
    let server = Server::new(options, collected)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let runtime =
        runtime.map_err(|error| Error::kernel("start", error, "free some descriptors or memory"))?;
    let result = runtime.block_on(serve(listeners, Arc::new(server)));
    // Do not wait for a password that is still being checked.
    runtime.shutdown_background();
    result
}

/// What every connection needs.
struct Server {
    app: App,
    acceptors: Option<Acceptors>,
    connections: Arc<Connections>,
}

impl Server {
    fn new(options: &Options, collected: &collector::Options) -> Result<Self, Error> {
        let file = options.web_config.as_deref();
        let (config, acceptors) = file.map_or(Ok((WebConfig::default(), None)), read_config)?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let page =
            StatusPage { host: host.trim().to_owned(), telemetry_path: options.telemetry_path.clone() };
        let start = |cause: &dyn std::fmt::Display| Error::kernel("start", cause, "look at the kernel's log");
        let policy = HeaderValue::try_from(policy()).map_err(|error| start(&error))?;
        let renderer = Renderer { options: collected.clone(), page };
        let write = Box::new(move |snapshot: &Snapshot, wanted| renderer.write(snapshot, wanted));
        let own = Arc::new(OwnMetrics::new().map_err(|error| start(&error))?);
        let scraper =
            Scraper::start(collected.clone(), Arc::clone(&own), write).map_err(|error| start(&error))?;
        let app = App {
            scraper,
            own,
            telemetry_path: options.telemetry_path.clone(),
            web_config: options.web_config.clone(),
            passwords: Passwords::new().map_err(|error| start(&error))?,
            rate_limiter: RateLimiter::new(config.rate_limit, Instant::now()),
            waiting: options
                .max_requests
                .map(|most| (Semaphore::new(most.min(Semaphore::MAX_PERMITS)), most)),
            policy,
        };
        Ok(Self { app, acceptors, connections: Arc::new(Connections::new(most_connections())) })
    }
}

/// Checks the file once, so that its errors are reported at the start. There are acceptors if it asks for TLS.
fn read_config(path: &Path) -> Result<(WebConfig, Option<Acceptors>), Error> {
    let wrong = |cause: String| {
        Error::usage(
            "use the file of --web.config.file",
            cause,
            "see docs/web-configuration.md of prometheus/exporter-toolkit for its format",
        )
    };
    if let Err(error) = File::open(path) {
        let cause = format!("{}: {error}", path.display());
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "the exporter's user must be able to read it: with systemd, give it by LoadCredential= (systemd.exec(5))"
            }
            _ => "name a file that is there",
        };
        return Err(Error::usage("use the file of --web.config.file", cause, hint));
    }
    let config = WebConfig::read(path).map_err(wrong)?;
    let acceptors = config.tls.is_enabled().then(|| Acceptors::new(path));
    if let Some(acceptors) = &acceptors {
        acceptors.current().map_err(wrong)?;
    }
    Ok((config, acceptors))
}

/// How many connections the limit on descriptors allows, once it is raised as far as it may be.
fn most_connections() -> usize {
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, hard)| {
        let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        if raised { hard } else { soft }
    });
    let allowed = usize::try_from(allowed.unwrap_or(1024)).unwrap_or(usize::MAX);
    MOST_CONNECTIONS.min(allowed.saturating_sub(OTHER_DESCRIPTORS).max(8))
}

async fn serve(listeners: Vec<StdListener>, server: Arc<Server>) -> Result<(), Error> {
    let start = |error: io::Error| Error::kernel("start", error, "free some descriptors or memory");
    let mut signals = Signals::new().map_err(start)?;
    let (end, ending) = watch::channel(false);
    for listener in listeners {
        listener.set_nonblocking(true).map_err(start)?;
        // Accepted connections inherit it.
        setsockopt(&listener, sockopt::SndBuf, &SEND_BUFFER).map_err(|errno| start(errno.into()))?;
        let listener = TcpListener::from_std(listener).map_err(start)?;
        let address = listener.local_addr().map_err(start)?;
        tracing::info!(%address, tls = server.acceptors.is_some(), "Listening on");
        tokio::spawn(accept(listener, Arc::clone(&server), ending.clone()));
    }
    drop(ending);
    listen::notify("READY=1");
    let name = signals.next().await;
    tracing::info!(signal = name, "Ending");
    listen::notify("STOPPING=1");
    let _ = end.send(true);
    tokio::select! {
        () = server.connections.emptied() => {}
        () = tokio::time::sleep(SHUTDOWN) => tracing::warn!("some clients did not read their answers in time"),
        _ = signals.next() => {}
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>, mut ending: watch::Receiver<bool>) {
    let mut exhausted = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.changed() => return,
        };
        match accepted {
            Ok((stream, client)) => {
                exhausted = false;
                let Some(guard) = server.connections.admit(client.ip()) else { continue };
                tokio::spawn(handle_connection(stream, client, guard, Arc::clone(&server), ending.clone()));
                // The connection that was closed for this one ends before the next is accepted.
                tokio::task::yield_now().await;
            }
            Err(error) if is_exhausted(&error) => {
                // It is logged once, not at every attempt.
                if !exhausted {
                    tracing::warn!(%error, "cannot accept connections for now");
                }
                exhausted = true;
                server.connections.make_room();
                tokio::time::sleep(EXHAUSTED).await;
            }
            // The client has left already.
            Err(error) => tracing::debug!(%error, "cannot accept a connection"),
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// One connection from its beginning to its end, or until it is overdue.
async fn handle_connection(
    stream: TcpStream,
    client: SocketAddr,
    guard: ConnectionGuard,
    server: Arc<Server>,
    mut ending: watch::Receiver<bool>,
) {
    let client = client.ip().to_canonical();
    let _ = stream.set_nodelay(true);
    let serving = async {
        let Some(acceptors) = &server.acceptors else {
            return serve_connection(stream, client, &guard, &server.app, &mut ending).await;
        };
        let config = match acceptors.current() {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "cannot use the web configuration: nobody gets an answer");
                return;
            }
        };
        let handshake = server.app.own.begin_handshake();
        match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => {
                handshake.succeed();
                serve_connection(stream, client, &guard, &server.app, &mut ending).await;
            }
            Err(error) => tracing::debug!(%client, %error, "no TLS"),
        }
    };
    tokio::select! {
        () = serving => {}
        () = guard.overdue() => {}
    }
}

async fn serve_connection<S>(
    stream: S,
    client: IpAddr,
    guard: &ConnectionGuard,
    app: &App,
    ending: &mut watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = service_fn(async |request| Ok::<_, Infallible>(app.answer(&request, client, guard).await));
    let connection = http1::Builder::new()
        // `connections.rs` keeps the time limits.
        .header_read_timeout(None)
        // A client that has closed its sending side still gets its answer.
        .half_close(true)
        .max_buf_size(MOST_HEAD)
        .max_header_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        // The answer is written from where it is, without a copy.
        .writev(true)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let told = async { ending.wait_for(|ending| *ending).await.map(drop) };
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = told => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%client, %error, "a connection ended early");
    }
}
