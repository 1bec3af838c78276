//! From a request to its answer.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
    VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::http::auth::Passwords;
use crate::http::connections::ConnectionGuard;
use crate::http::negotiation;
use crate::http::rate_limiter::RateLimiter;
use crate::http::web_config::WebConfig;
use crate::render::exposition::Format;
use crate::render::renderer::{Document, Representation};
use crate::scrape::own_metrics::{LoginRefusal, OwnMetrics};
use crate::scrape::scraper::Scraper;

/// What every request needs.
#[derive(Debug)]
pub struct App {
    /// The thread that scrapes.
    pub scraper: Scraper<Representation>,
    /// What the exporter counts of itself.
    pub own: Arc<OwnMetrics>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// The web configuration, read again for every request.
    pub web_config: Option<PathBuf>,
    /// Checks passwords.
    pub passwords: Passwords,
    /// The limiter, if `rate_limit` was set at the start.
    pub rate_limiter: Option<RateLimiter>,
    /// Permits to wait for a scrape, and how many there are; `None` is no limit.
    pub waiting: Option<(Semaphore, usize)>,
    /// The status page's Content-Security-Policy.
    pub policy: HeaderValue,
}

/// A request with its client and connection, and the time by which it has to be answered.
#[derive(Clone, Copy)]
struct RequestContext<'a> {
    request: &'a Request<Incoming>,
    client: IpAddr,
    connection: &'a ConnectionGuard,
    deadline: Instant,
}

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl App {
    /// The answer to a request of a connection, whose client is at `client`.
    pub async fn answer(
        &self,
        request: &Request<Incoming>,
        client: IpAddr,
        connection: &ConnectionGuard,
    ) -> Response<Full<Bytes>> {
        // The client also waits while its password is checked.
        let deadline = Instant::now() + negotiation::patience(request.headers());
        let context = RequestContext { request, client, connection, deadline };
        let mut response = self.handle(context).await;
        self.own.count_answer(response.status().as_str());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers
            .entry(HeaderName::from_static("x-content-type-options"))
            .or_insert(HeaderValue::from_static("nosniff"));
        // A body is never read: what follows it on the connection could be taken for a request.
        if has_body(request) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Full::new(connection.send(body)))
    }

    async fn handle(&self, context: RequestContext<'_>) -> Response<Bytes> {
        let config = match self.web_config.as_deref().map(WebConfig::read) {
            None => WebConfig::default(),
            Some(Ok(config)) => config,
            Some(Err(error)) => {
                tracing::error!(%error, "cannot read the web configuration: nobody gets an answer");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n");
            }
        };
        let mut response = self.authorize(&config, context).await;
        for (name, value) in config.http.headers.iter() {
            response.headers_mut().insert(name, value);
        }
        response
    }

    async fn authorize(&self, config: &WebConfig, context: RequestContext<'_>) -> Response<Bytes> {
        let RequestContext { request, client, connection, deadline } = context;
        if self.rate_limiter.as_ref().is_some_and(|limiter| !limiter.take(Instant::now().into_std())) {
            return text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n");
        }
        let given = request.headers().get(AUTHORIZATION);
        if !config.users.is_empty() && !self.passwords.accept(&config.users, given, client).await {
            let reason = if given.is_none() { LoginRefusal::Missing } else { LoginRefusal::Wrong };
            self.own.count_refused_login(reason);
            let mut response = text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            return response;
        }
        // From here on the client waits for an answer.
        connection.serve();
        self.route(request, deadline).await
    }

    async fn route(&self, request: &Request<Incoming>, deadline: Instant) -> Response<Bytes> {
        // No scraper sends a body in chunks, but whoever hides a second request in one does.
        if request.headers().contains_key(TRANSFER_ENCODING) {
            return text(StatusCode::BAD_REQUEST, "Transfer-Encoding is not accepted\n");
        }
        // RFC 9112, section 3.2. With two of them, a proxy in between may have used the other one.
        if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
            return text(StatusCode::BAD_REQUEST, "One Host header is needed\n");
        }
        let path = request.uri().path();
        let is_metrics = path == self.telemetry_path;
        if !is_metrics && path != "/" && path != "/healthz" {
            return text(StatusCode::NOT_FOUND, "Not Found\n");
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if path == "/healthz" {
            return text(StatusCode::OK, "ok\n");
        }
        let gzip = negotiation::gzip(request.headers());
        if !is_metrics {
            return self.scrape(Representation { document: Document::StatusPage, gzip }, deadline).await;
        }
        let in_flight = self.own.begin_request();
        let document = Document::Metrics(negotiation::format(request.headers()));
        let response = self.scrape(Representation { document, gzip }, deadline).await;
        in_flight.count_answer(response.status().as_str());
        response
    }

    async fn scrape(&self, wanted: Representation, deadline: Instant) -> Response<Bytes> {
        let _waiting = match &self.waiting {
            None => None,
            Some((waiting, most)) => match waiting.try_acquire() {
                Ok(place) => Some(place),
                Err(_) => {
                    return unavailable(format!(
                        "Limit of concurrent requests reached ({most}), try again later.\n"
                    ));
                }
            },
        };
        match timeout_at(deadline, self.scraper.scrape(wanted)).await {
            Ok(Some(body)) => self.scrape_response(wanted, body),
            Ok(None) => unavailable("The scrape failed by a bug; see the log.\n"),
            Err(_) => {
                unavailable("The scrape takes longer than X-Prometheus-Scrape-Timeout-Seconds allows.\n")
            }
        }
    }

    fn scrape_response(&self, wanted: Representation, body: Bytes) -> Response<Bytes> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        let kind = match wanted.document {
            Document::Metrics(Format::Text) => "text/plain; version=0.0.4; charset=utf-8",
            Document::Metrics(Format::OpenMetrics) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
            Document::StatusPage => "text/html; charset=utf-8",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if wanted.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if wanted.document == Document::StatusPage {
            headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
            headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
        }
        response
    }
}

fn has_body(request: &Request<Incoming>) -> bool {
    let length = request.headers().get(CONTENT_LENGTH);
    request.headers().contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}

fn unavailable(said: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, said);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
