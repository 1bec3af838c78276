//! The thread that scrapes. Reading records and asking the kernel block, and one scrape at a time is enough for everybody:
//! who asks while one runs waits for the next, and all who wait share it. So nobody gets figures that are older than the
//! question, and two scrapes are all that any number of clients can wait for.

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::oneshot;

use crate::render::metrics::{self, Format};
use crate::render::page::Page;
use crate::scrape::collector::{Collector, Options};
use crate::scrape::snapshot::{Snapshot, SourceReport};

/// What a scrape is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' text format.
    Text,
    /// OpenMetrics.
    OpenMetrics,
    /// The page for people.
    Page,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The format.
    pub form: Form,
    /// Whether it is compressed.
    pub gzip: bool,
}

struct Order {
    wanted: Wanted,
    answer: oneshot::Sender<Bytes>,
}

/// Where scrapes are ordered.
#[derive(Debug)]
pub struct Scraper {
    orders: Sender<Order>,
}

impl Scraper {
    /// Starts the thread, which ends with this value.
    ///
    /// # Errors
    /// The kernel's, when it gives no thread.
    pub fn start(options: Options, page: Page) -> io::Result<Self> {
        let (orders, queue) = channel();
        let work = move || Worker { collector: Collector::new(options.clone()), options, page }.run(&queue);
        std::thread::Builder::new().name("scrape".to_owned()).spawn(work)?;
        Ok(Self { orders })
    }

    /// A scrape that begins from now on; nothing where it could not be written.
    pub async fn scrape(&self, wanted: Wanted) -> Option<Bytes> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { wanted, answer }).ok()?;
        answered.await.ok()
    }
}

struct Worker {
    collector: Collector,
    options: Options,
    page: Page,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Order>) {
        while let Ok(first) = queue.recv() {
            let mut orders = vec![first];
            orders.extend(queue.try_iter());
            // Nobody waits any longer for what came too late.
            orders.retain(|order| !order.answer.is_closed());
            if !orders.is_empty() {
                self.serve(orders);
            }
        }
    }

    fn serve(&mut self, orders: Vec<Order>) {
        let snapshot = self.snapshot();
        let mut written: Vec<(Wanted, Bytes)> = Vec::new();
        for Order { wanted, answer } in orders {
            let known = written.iter().find(|(form, _)| *form == wanted).map(|(_, bytes)| bytes.clone());
            let bytes = known.or_else(|| self.write(&snapshot, wanted));
            // Whoever asked for what cannot be written is told so by the end of the channel.
            let Some(bytes) = bytes else { continue };
            written.push((wanted, bytes.clone()));
            let _ = answer.send(bytes);
        }
    }

    /// A bug in one scrape costs its figures, and every source is said to have failed; the next begins afresh.
    fn snapshot(&mut self) -> Snapshot {
        catch_unwind(AssertUnwindSafe(|| self.collector.snapshot())).unwrap_or_else(|_| {
            tracing::error!("a scrape failed by a bug; the next begins afresh");
            self.collector = Collector::new(self.options.clone());
            let failed =
                |name: &&'static str| SourceReport { name, success: false, duration: Duration::ZERO };
            Snapshot { sources: self.options.enabled.iter().map(failed).collect(), ..Snapshot::default() }
        })
    }

    fn write(&self, snapshot: &Snapshot, wanted: Wanted) -> Option<Bytes> {
        let write = || {
            let mut text = String::new();
            match wanted.form {
                Form::Text => metrics::write(snapshot, &self.options, Format::Text, &mut text),
                Form::OpenMetrics => metrics::write(snapshot, &self.options, Format::OpenMetrics, &mut text),
                Form::Page => self.page.write(snapshot, SystemTime::now(), &mut text),
            }
            if wanted.gzip { compress(&text) } else { Ok(text.into()) }
        };
        let written = catch_unwind(AssertUnwindSafe(write));
        match written {
            Ok(Ok(bytes)) => return Some(bytes),
            Ok(Err(error)) => tracing::error!(%error, "cannot compress a scrape"),
            Err(_) => tracing::error!("a scrape could not be written, by a bug"),
        }
        None
    }
}

/// The fastest level: the next one takes twice the time to save a third of the bytes.
fn compress(text: &str) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?.into())
}
