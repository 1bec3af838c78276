//! A fair queue for work that takes a processor's time, which is done for one client at a time.
//!
//! The next permit goes to the network that had the fewest since the queue was last empty, then to the client that had the
//! fewest. Among equals the last to arrive is first, so that a crowd that waits does not delay a later client.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::http::connections::{network, subscriber};

/// How many networks' and clients' permits are remembered.
const REMEMBERED: usize = 10_000;

/// Permits, of which one is in use at a time.
#[derive(Debug, Default)]
pub struct FairQueue(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    is_out: bool,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    /// Permits of each network since the queue was last empty.
    of_networks: HashMap<IpAddr, u32>,
    /// The same for each client.
    of_clients: HashMap<IpAddr, u32>,
}

#[derive(Debug)]
struct Waiting {
    client: IpAddr,
    wake: oneshot::Sender<Permit>,
}

/// A permit. It is given back when this is dropped.
#[derive(Debug)]
pub struct Permit(Arc<FairQueue>);

impl FairQueue {
    /// Waits for a permit. Dropping the future gives up the place. `None` only if the queue is gone.
    pub async fn acquire(self: &Arc<Self>, client: IpAddr) -> Option<Permit> {
        let woken = {
            let mut queue = self.queue();
            if !queue.is_out {
                queue.grant(client);
                return Some(Permit(Arc::clone(self)));
            }
            let (wake, woken) = oneshot::channel();
            queue.waiting.push(Waiting { client, wake });
            woken
        };
        woken.await.ok()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = self.0.queue().next();
        // If that client has stopped waiting, the permit is dropped here, and the next client gets it.
        if let Some(next) = next {
            let _ = next.wake.send(Self(Arc::clone(&self.0)));
        }
    }
}

impl Queue {
    fn next(&mut self) -> Option<Waiting> {
        self.is_out = false;
        self.waiting.retain(|waiting| !waiting.wake.is_closed());
        let rank = |(place, waiting): &(usize, &Waiting)| (self.served(waiting.client), Reverse(*place));
        let Some((place, _)) = self.waiting.iter().enumerate().min_by_key(rank) else {
            self.of_networks.clear();
            self.of_clients.clear();
            return None;
        };
        let next = self.waiting.remove(place);
        self.grant(next.client);
        Some(next)
    }

    fn served(&self, client: IpAddr) -> (u32, u32) {
        let of = |permits: &HashMap<IpAddr, u32>, whose| permits.get(&whose).copied().unwrap_or_default();
        (of(&self.of_networks, network_of(client)), of(&self.of_clients, subscriber(client)))
    }

    fn grant(&mut self, client: IpAddr) {
        self.is_out = true;
        for (permits, whose) in
            [(&mut self.of_networks, network_of(client)), (&mut self.of_clients, subscriber(client))]
        {
            if permits.len() >= REMEMBERED {
                permits.clear();
            }
            *permits.entry(whose).or_default() += 1;
        }
    }
}

/// The largest network that one site usually has: a /24 of IPv4, and a /48 of IPv6 (RFC 6177).
fn network_of(client: IpAddr) -> IpAddr {
    network(client, 24, 48)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

    use super::*;

    struct Stage {
        queue: Arc<FairQueue>,
        had: Arc<Mutex<Vec<IpAddr>>>,
    }

    impl Stage {
        /// A client comes, has its permit some time, and gives it back.
        async fn comes(&self, client: &str) -> JoinHandle<()> {
            let (queue, had) = (Arc::clone(&self.queue), Arc::clone(&self.had));
            let client = client.parse().unwrap();
            let waiting = spawn_local(async move {
                let _permit = queue.acquire(client).await.unwrap();
                had.lock().unwrap().push(client);
            });
            yield_now().await;
            waiting
        }

        fn had(&self) -> Vec<String> {
            self.had.lock().unwrap().drain(..).map(|client| client.to_string()).collect()
        }
    }

    fn run(test: impl AsyncFnOnce(Stage)) {
        let stage = Stage { queue: Arc::default(), had: Arc::default() };
        let queue = Arc::clone(&stage.queue);
        LocalSet::new().block_on(&Builder::new_current_thread().build().unwrap(), test(stage));
        let queue = queue.queue();
        assert!(!queue.is_out && queue.waiting.is_empty());
        assert!(queue.of_networks.is_empty() && queue.of_clients.is_empty());
    }

    #[test]
    fn a_crowd_keeps_nobody_waiting_who_comes_behind_it() {
        for honest in ["2001:db8:ffff::1", "2001:db8:0:ffff::1", "192.0.2.1"] {
            run(async |stage: Stage| {
                let permit = stage.queue.acquire("2001:db8::1".parse().unwrap()).await;
                let mut all = Vec::new();
                for number in 1..=300 {
                    all.push(stage.comes(&format!("2001:db8:0:{number:x}::1")).await);
                }
                all.push(stage.comes(honest).await);
                drop(permit);
                for waiting in all {
                    waiting.await.unwrap();
                }
                let had = stage.had();
                assert_eq!((had.len(), had[0].as_str()), (301, honest));
            });
        }
    }

    #[test]
    fn whoever_had_the_fewest_permits_is_next() {
        run(async |stage: Stage| {
            let permit = stage.queue.acquire("192.0.2.1".parse().unwrap()).await;
            let mut all = Vec::new();
            for client in
                ["198.51.100.1", "192.0.2.2", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "198.51.100.1"]
            {
                all.push(stage.comes(client).await);
            }
            drop(permit);
            for waiting in all {
                waiting.await.unwrap();
            }
            // The first permit went to the network of 192.0.2.1; its other client had none yet.
            let expected =
                ["198.51.100.1", "192.0.2.2", "198.51.100.1", "::ffff:192.0.2.1", "192.0.2.2", "192.0.2.1"];
            assert_eq!(stage.had(), expected);
        });
    }

    #[test]
    fn whoever_gives_up_waiting_takes_no_permit() {
        run(async |stage: Stage| {
            let permit = stage.queue.acquire("192.0.2.1".parse().unwrap()).await;
            let first = stage.comes("192.0.2.2").await;
            let last = stage.comes("192.0.2.3").await;
            last.abort();
            assert!(last.await.unwrap_err().is_cancelled());
            drop(permit);
            first.await.unwrap();
            assert_eq!(stage.had(), ["192.0.2.2"]);
        });
    }
}
