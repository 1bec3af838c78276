//! The open connections, and which of them are closed to make room or for being slow: no client can lock others out by
//! opening many connections, by reading slowly or by sending nothing.
//!
//! This file only decides when a connection has to end; `server.rs` serves it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ocinet_shared::model::cidr::Cidr;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long a new connection has for its TLS handshake and its first request.
const OPENING: Duration = Duration::from_secs(10);
/// How long a connection is kept for another request; longer than the usual interval between two scrapes.
const IDLE: Duration = Duration::from_secs(120);
/// How long a client may take to read an answer.
const SENDING: Duration = Duration::from_secs(60);
/// Answers that are being sent at once: each is held in memory until its client has read it.
const MOST_SENDING: usize = 40;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for a request, until then at most.
    Quiet(Instant),
    /// Its client waits for an answer.
    Served,
    /// The answer with this number is being sent, until then at most.
    Sending(u64, Instant),
}

#[derive(Debug)]
struct Entry {
    client: IpAddr,
    phase: Phase,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number, so that the first is the oldest.
    open: BTreeMap<u64, Entry>,
    last_connection: u64,
    last_answer: u64,
}

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    inner: Mutex<Inner>,
    most: usize,
    left: Notify,
}

impl Connections {
    /// No connection yet, and the most that there may be.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { inner: Mutex::default(), most, left: Notify::new() }
    }

    /// Admits a client's connection. If there are too many, one is closed: of those that wait for a request, the oldest of
    /// the client with the most connections; if there is none, the oldest whose answer is still being sent. `None` if all
    /// clients wait for an answer.
    #[must_use]
    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Option<ConnectionGuard> {
        if self.lock().open.len() >= self.most && !self.make_room() {
            return None;
        }
        let changed = Arc::new(Notify::new());
        let mut inner = self.lock();
        inner.last_connection += 1;
        let number = inner.last_connection;
        let phase = Phase::Quiet(Instant::now() + OPENING);
        let client = subscriber(client);
        inner.open.insert(number, Entry { client, phase, changed: Arc::clone(&changed) });
        drop(inner);
        Some(ConnectionGuard { connections: Arc::clone(self), number, changed })
    }

    /// Closes one connection to make room. False if all clients wait for an answer.
    pub fn make_room(&self) -> bool {
        let mut inner = self.lock();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        inner.open.values().for_each(|entry| *counts.entry(entry.client).or_default() += 1);
        let quiet = inner.open.iter().filter(|(_, entry)| matches!(entry.phase, Phase::Quiet(_)));
        let quiet = quiet.max_by_key(|(number, entry)| (counts.get(&entry.client), Reverse(**number)));
        let slow = || inner.open.iter().find(|(_, entry)| matches!(entry.phase, Phase::Sending(..)));
        let Some(number) = quiet.or_else(slow).map(|(number, _)| *number) else { return false };
        inner.close(number);
        true
    }

    /// Waits until no connection is open.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().open.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, number: u64, phase: Phase) {
        if let Some(entry) = self.lock().open.get_mut(&number) {
            entry.phase = phase;
            entry.changed.notify_one();
        }
    }

    fn sent(&self, number: u64, answer: u64) {
        let phase = self.lock().open.get(&number).map(|entry| entry.phase);
        if matches!(phase, Some(Phase::Sending(sending, _)) if sending == answer) {
            self.set(number, Phase::Quiet(Instant::now() + IDLE));
        }
    }
}

impl Inner {
    /// The connection's task ends it when it sees that its entry is gone.
    fn close(&mut self, number: u64) {
        if let Some(entry) = self.open.remove(&number) {
            entry.changed.notify_one();
        }
    }
}

/// The entry of an open connection; dropping it removes the entry.
#[derive(Debug)]
pub struct ConnectionGuard {
    connections: Arc<Connections>,
    number: u64,
    changed: Arc<Notify>,
}

impl ConnectionGuard {
    /// From now on the client waits for an answer.
    pub fn serve(&self) {
        self.connections.set(self.number, Phase::Served);
    }

    /// From now on `answer` is being sent, until every copy of the returned bytes has been dropped.
    #[must_use]
    pub fn send(&self, answer: Bytes) -> Bytes {
        let mut inner = self.connections.lock();
        inner.last_answer += 1;
        let number = inner.last_answer;
        let sending = |entry: &Entry| match entry.phase {
            Phase::Sending(answer, _) => Some(answer),
            _ => None,
        };
        let others = inner.open.iter().filter(|(number, _)| **number != self.number);
        let slow: Vec<(u64, u64)> =
            others.filter_map(|(number, entry)| Some((sending(entry)?, *number))).collect();
        if slow.len() >= MOST_SENDING
            && let Some((_, slowest)) = slow.iter().min()
        {
            inner.close(*slowest);
        }
        drop(inner);
        self.connections.set(self.number, Phase::Sending(number, Instant::now() + SENDING));
        let connections = Arc::clone(&self.connections);
        Bytes::from_owner(Answer { bytes: answer, connections, connection: self.number, number })
    }

    /// Waits until this connection has to end: its client was too slow, or another connection needs the room.
    pub async fn overdue(&self) {
        loop {
            let phase = self.connections.lock().open.get(&self.number).map(|entry| entry.phase);
            let deadline = match phase {
                None => return,
                Some(Phase::Served) => None,
                Some(Phase::Quiet(deadline) | Phase::Sending(_, deadline)) => Some(deadline),
            };
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = late => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
        self.connections.left.notify_waiters();
    }
}

/// An answer in memory.
struct Answer {
    bytes: Bytes,
    connections: Arc<Connections>,
    connection: u64,
    number: u64,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connections.sent(self.connection, self.number);
    }
}

/// What counts as one client: an IPv4 address, or a /64 of IPv6.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    network(address, 32, 64)
}

/// The network of so many bits, of IPv4 or of IPv6, that an address is in.
#[must_use]
pub fn network(address: IpAddr, bits4: u8, bits6: u8) -> IpAddr {
    let address = address.to_canonical();
    let bits = if address.is_ipv4() { bits4 } else { bits6 };
    Cidr::new(address, bits).map_or(address, |within| within.network().address())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    /// Whether the connection has to end now.
    async fn is_out(guard: &ConnectionGuard) -> bool {
        tokio::time::timeout(Duration::ZERO, guard.overdue()).await.is_ok()
    }

    #[test]
    fn the_oldest_quiet_client_makes_room() {
        run(async {
            let connections = Arc::new(Connections::new(3));
            let guards = [0; 3].map(|_| connections.admit(CLIENT).unwrap());
            guards[0].serve();
            let fourth = connections.admit(CLIENT).unwrap();
            assert!(!is_out(&guards[0]).await, "it waits for us");
            assert!(is_out(&guards[1]).await);
            assert!(!is_out(&guards[2]).await && !is_out(&fourth).await);
        });
    }

    #[test]
    fn clients_with_many_connections_make_room_for_one_with_few() {
        run(async {
            let connections = Arc::new(Connections::new(4));
            let slow = connections.admit(IpAddr::from([192, 0, 2, 2])).unwrap();
            let flood: Vec<ConnectionGuard> = (0..20).map(|_| connections.admit(CLIENT).unwrap()).collect();
            assert!(!is_out(&slow).await, "its connection is the oldest, and the only one that it has");
            assert!(is_out(&flood[16]).await && !is_out(&flood[17]).await);
            let networks = [1, 2].map(|last| format!("2001:db8::{last}").parse().unwrap());
            let _guards = networks.map(|client| connections.admit(client).unwrap());
            assert!(!is_out(&slow).await);
        });
    }

    #[test]
    fn a_client_that_does_not_read_makes_room_after_the_quiet_ones() {
        run(async {
            let connections = Arc::new(Connections::new(2));
            let guards = [0; 2].map(|_| connections.admit(CLIENT).unwrap());
            let _answer = guards[0].send(Bytes::from_static(b"slow"));
            let third = connections.admit(CLIENT).unwrap();
            assert!(!is_out(&guards[0]).await && is_out(&guards[1]).await);
            third.serve();
            let fourth = connections.admit(CLIENT).unwrap();
            assert!(is_out(&guards[0]).await);
            fourth.serve();
            assert!(connections.admit(CLIENT).is_none(), "everybody waits for us");
        });
    }

    #[test]
    fn only_so_many_answers_are_kept_for_those_who_do_not_read() {
        run(async {
            let connections = Arc::new(Connections::new(100));
            let guards: Vec<ConnectionGuard> =
                (0..=MOST_SENDING).map(|_| connections.admit(CLIENT).unwrap()).collect();
            let mut answers: Vec<Bytes> = Vec::new();
            for guard in &guards {
                assert!(!is_out(&guards[0]).await);
                answers.push(guard.send(Bytes::from_static(b"answer")));
            }
            assert!(is_out(&guards[0]).await, "the one who has kept us waiting for longest");
            assert!(!is_out(&guards[1]).await);
        });
    }

    #[test]
    fn a_client_has_read_its_answer_when_nobody_holds_it_any_more() {
        run(async {
            let connections = Arc::new(Connections::new(1));
            let guard = connections.admit(CLIENT).unwrap();
            let (first, half) = {
                let mut answer = guard.send(Bytes::from_static(b"answer"));
                (answer.split_to(3), answer)
            };
            drop(first);
            let phase =
                |connections: &Connections| connections.lock().open.values().next().map(|entry| entry.phase);
            assert!(matches!(phase(&connections), Some(Phase::Sending(..))));
            guard.serve();
            drop(half);
            assert_eq!(
                phase(&connections),
                Some(Phase::Served),
                "an older answer says nothing about the next request"
            );
            drop(guard.send(Bytes::from_static(b"next")));
            assert!(matches!(phase(&connections), Some(Phase::Quiet(_))));
        });
    }

    #[test]
    fn whoever_waits_for_the_last_to_leave_is_told() {
        run(async {
            let connections = Arc::new(Connections::new(1));
            connections.emptied().await;
            let guard = connections.admit(CLIENT).unwrap();
            assert!(tokio::time::timeout(Duration::ZERO, connections.emptied()).await.is_err());
            drop(guard);
            connections.emptied().await;
        });
    }

    #[test]
    fn one_client_is_an_ipv4_address_or_an_ipv6_network() {
        let same = |a: &str, b: &str| subscriber(a.parse().unwrap()) == subscriber(b.parse().unwrap());
        assert!(same("192.0.2.1", "::ffff:192.0.2.1") && same("2001:db8::1", "2001:db8::2"));
        assert!(!same("192.0.2.1", "192.0.2.2") && !same("2001:db8::1", "2001:db8:0:1::1"));
    }
}
