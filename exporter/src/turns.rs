//! Whose turn it is, where one at a time may do what takes a processor's time.
//!
//! Whoever had the fewest turns lately is next: by the network that a site has, then by the client. Of several, the one who came
//! last is next: a crowd that waits keeps nobody waiting who comes behind it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::connections::subscriber;

/// How many clients' and sites' turns are remembered.
const REMEMBERED: usize = 10_000;

/// Turns of which one is taken at a time.
#[derive(Debug, Default)]
pub struct Turns(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    is_taken: bool,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    /// How many turns they had since nobody waited last.
    of_sites: HashMap<IpAddr, u32>,
    of_clients: HashMap<IpAddr, u32>,
}

#[derive(Debug)]
struct Waiting {
    client: IpAddr,
    wake: oneshot::Sender<Turn>,
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Turns>);

impl Turns {
    /// Waits for a turn. Whoever gives up waiting takes none.
    pub async fn take(self: &Arc<Self>, client: IpAddr) -> Option<Turn> {
        let woken = {
            let mut queue = self.queue();
            if !queue.is_taken {
                queue.give_to(client);
                return Some(Turn(Arc::clone(self)));
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

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.0.queue().next();
        // Where nobody waits for it any more, the turn is dropped here, and the next one has it.
        if let Some(next) = next {
            let _ = next.wake.send(Self(Arc::clone(&self.0)));
        }
    }
}

impl Queue {
    fn next(&mut self) -> Option<Waiting> {
        self.is_taken = false;
        self.waiting.retain(|waiting| !waiting.wake.is_closed());
        let rank = |(place, waiting): &(usize, &Waiting)| (self.had(waiting.client), Reverse(*place));
        let Some((place, _)) = self.waiting.iter().enumerate().min_by_key(rank) else {
            self.of_sites.clear();
            self.of_clients.clear();
            return None;
        };
        let next = self.waiting.remove(place);
        self.give_to(next.client);
        Some(next)
    }

    fn had(&self, client: IpAddr) -> (u32, u32) {
        let of = |turns: &HashMap<IpAddr, u32>, whose| turns.get(&whose).copied().unwrap_or_default();
        (of(&self.of_sites, site(client)), of(&self.of_clients, subscriber(client)))
    }

    fn give_to(&mut self, client: IpAddr) {
        self.is_taken = true;
        for (turns, whose) in [(&mut self.of_sites, site(client)), (&mut self.of_clients, subscriber(client))]
        {
            if turns.len() >= REMEMBERED {
                turns.clear();
            }
            *turns.entry(whose).or_default() += 1;
        }
    }
}

/// The network that a site has at most: a /24 of IPv4, and a /48 of IPv6 (RFC 6177).
fn site(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 48)).into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

    use super::*;

    struct Stage {
        turns: Arc<Turns>,
        had: Arc<Mutex<Vec<IpAddr>>>,
    }

    impl Stage {
        /// A client comes, has its turn some time, and ends it.
        async fn comes(&self, client: &str) -> JoinHandle<()> {
            let (turns, had) = (Arc::clone(&self.turns), Arc::clone(&self.had));
            let client = client.parse().unwrap();
            let waiting = spawn_local(async move {
                let _turn = turns.take(client).await.unwrap();
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
        let stage = Stage { turns: Arc::default(), had: Arc::default() };
        let turns = Arc::clone(&stage.turns);
        LocalSet::new().block_on(&Builder::new_current_thread().build().unwrap(), test(stage));
        let queue = turns.queue();
        assert!(!queue.is_taken && queue.waiting.is_empty());
        assert!(queue.of_sites.is_empty() && queue.of_clients.is_empty());
    }

    #[test]
    fn a_crowd_keeps_nobody_waiting_who_comes_behind_it() {
        for honest in ["2001:db8:ffff::1", "2001:db8:0:ffff::1", "192.0.2.1"] {
            run(async |stage: Stage| {
                let turn = stage.turns.take("2001:db8::1".parse().unwrap()).await;
                let mut all = Vec::new();
                for number in 1..=300 {
                    all.push(stage.comes(&format!("2001:db8:0:{number:x}::1")).await);
                }
                all.push(stage.comes(honest).await);
                drop(turn);
                for waiting in all {
                    waiting.await.unwrap();
                }
                let had = stage.had();
                assert_eq!((had.len(), had[0].as_str()), (301, honest));
            });
        }
    }

    #[test]
    fn whoever_had_the_fewest_turns_is_next() {
        run(async |stage: Stage| {
            let turn = stage.turns.take("192.0.2.1".parse().unwrap()).await;
            let mut all = Vec::new();
            for client in
                ["198.51.100.1", "192.0.2.2", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "198.51.100.1"]
            {
                all.push(stage.comes(client).await);
            }
            drop(turn);
            for waiting in all {
                waiting.await.unwrap();
            }
            // The first turn was the site's of 192.0.2.1; its other client had none yet.
            let expected =
                ["198.51.100.1", "192.0.2.2", "198.51.100.1", "::ffff:192.0.2.1", "192.0.2.2", "192.0.2.1"];
            assert_eq!(stage.had(), expected);
        });
    }

    #[test]
    fn whoever_gives_up_waiting_takes_no_turn() {
        run(async |stage: Stage| {
            let turn = stage.turns.take("192.0.2.1".parse().unwrap()).await;
            let first = stage.comes("192.0.2.2").await;
            let last = stage.comes("192.0.2.3").await;
            last.abort();
            assert!(last.await.unwrap_err().is_cancelled());
            drop(turn);
            first.await.unwrap();
            assert_eq!(stage.had(), ["192.0.2.2"]);
        });
    }
}
