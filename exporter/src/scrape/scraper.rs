//! The thread that scrapes. Reading records and asking the kernel block, and one scrape at a time is enough for everybody:
//! who asks while one runs waits for the next, and all who wait share it. So nobody gets figures that are older than the
//! question, and two scrapes are all that any number of clients can wait for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::scrape::collector::{Collector, Options};
use crate::scrape::own_metrics::OwnMetrics;
use crate::scrape::snapshot::{Snapshot, SourceReport};

/// One client's order: `R` says how the scrape is to be written.
struct Order<R> {
    wanted: R,
    answer: oneshot::Sender<Bytes>,
}

/// Makes the answer of a snapshot; nothing where it cannot.
pub type Write<R> = Box<dyn Fn(&Snapshot, R) -> Option<Bytes> + Send>;

/// Where scrapes are ordered.
#[derive(Debug)]
pub struct Scraper<R> {
    orders: Sender<Order<R>>,
}

impl<R: Copy + PartialEq + Send + 'static> Scraper<R> {
    /// Starts the thread, which ends with this value.
    ///
    /// # Errors
    /// The kernel's, when it gives no thread.
    pub fn start(options: Options, own: Arc<OwnMetrics>, write: Write<R>) -> io::Result<Self> {
        let (orders, queue) = channel();
        let work =
            move || Worker { collector: Collector::new(options.clone()), options, own, write }.run(&queue);
        std::thread::Builder::new().name("scrape".to_owned()).spawn(work)?;
        Ok(Self { orders })
    }

    /// A scrape that begins from now on; nothing where it could not be written.
    pub async fn scrape(&self, wanted: R) -> Option<Bytes> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { wanted, answer }).ok()?;
        answered.await.ok()
    }
}

struct Worker<R> {
    collector: Collector,
    options: Options,
    own: Arc<OwnMetrics>,
    write: Write<R>,
}

impl<R: Copy + PartialEq> Worker<R> {
    fn run(mut self, queue: &Receiver<Order<R>>) {
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

    fn serve(&mut self, orders: Vec<Order<R>>) {
        let started = Instant::now();
        let mut snapshot = self.snapshot();
        snapshot.own = self.own.gather();
        let mut written: Vec<(R, Bytes)> = Vec::new();
        for Order { wanted, answer } in orders {
            let known = written.iter().find(|(of, _)| *of == wanted).map(|(_, bytes)| bytes.clone());
            let bytes = known.or_else(|| self.written(&snapshot, wanted));
            // Whoever asked for what cannot be written is told so by the end of the channel.
            let Some(bytes) = bytes else { continue };
            written.push((wanted, bytes.clone()));
            let _ = answer.send(bytes);
        }
        self.own.count_scrape(started.elapsed());
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

    fn written(&self, snapshot: &Snapshot, wanted: R) -> Option<Bytes> {
        catch_unwind(AssertUnwindSafe(|| (self.write)(snapshot, wanted))).unwrap_or_else(|_| {
            tracing::error!("a scrape could not be written, by a bug");
            None
        })
    }
}
