//! The thread that scrapes, one scrape at a time, because reading records and asking the kernel block. A client that asks
//! during a scrape waits for the next one, and all clients that wait share it. So no client gets figures that are older
//! than its request, and none waits for more than two scrapes.

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

/// A client's order. `R` says how the scrape is to be written.
struct Order<R> {
    wanted: R,
    answer: oneshot::Sender<Bytes>,
}

/// Writes a snapshot for a client; `None` if it cannot be written.
pub type Write<R> = Box<dyn Fn(&Snapshot, R) -> Option<Bytes> + Send>;

/// The thread that scrapes, which takes orders.
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

    /// A scrape that begins from now on; `None` if it could not be written.
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
            // The clients of some orders have stopped waiting.
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
            // If it cannot be written, the end of the channel tells the client.
            let Some(bytes) = bytes else { continue };
            written.push((wanted, bytes.clone()));
            let _ = answer.send(bytes);
        }
        self.own.count_scrape(started.elapsed());
    }

    /// After a panic, every source of this scrape counts as failed, and the next scrape starts with a new collector.
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
