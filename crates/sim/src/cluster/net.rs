//! The network between the hosts.
//!
//! It behaves as connections do: a request that cannot get through is tried again for a while, and then fails
//! as undelivered; an answer that cannot get back fails as unknown; a crash at the other end is noticed at
//! once, a cut only after a while. What the nodes of a group say to each other may also come twice, late or
//! out of order; what they ask on behalf of clients, not twice: no connection does that.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use willow_node::{Lane, Peer, Reception, Service, Transport, TransportError};

use super::life::Life;
use crate::faults::Shape;
use crate::history::Micros;
use crate::time;

/// A message that cannot get through is given up after so long.
const GIVE_UP_US: Micros = 1_500_000;
/// How often a message that cannot get through tries again.
const AGAIN_US: Micros = 50_000;
/// How often a long call looks whether its connection still stands.
const LOOK_US: Micros = 400_000;
/// A cut that lasts so long breaks connections.
const BREAKS_US: Micros = 2_000_000;

/// The network. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Net(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: StdRng,
    hosts: Vec<Listener>,
    by_addr: BTreeMap<String, usize>,
    /// Hosts that shapes speak of: those from the start.
    founders: usize,
    cuts: BTreeMap<u64, (Shape, Micros)>,
    lossy: BTreeMap<u64, u32>,
    frozen: BTreeMap<usize, Micros>,
    next_fault: u64,
    messages: u64,
    hasher: DefaultHasher,
}

/// Who listens at an address.
#[derive(Clone, Debug)]
struct Listener {
    reception: Reception,
    life: Life,
}

/// What became of one message.
enum Fate {
    Arrives,
    /// The other end is not there.
    NobodyThere,
    /// No way through.
    Lost,
}

impl Net {
    pub(super) fn new(seed: u64, founders: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed ^ 0x0e7),
            hosts: Vec::new(),
            by_addr: BTreeMap::new(),
            founders,
            cuts: BTreeMap::new(),
            lossy: BTreeMap::new(),
            frozen: BTreeMap::new(),
            next_fault: 0,
            messages: 0,
            hasher: DefaultHasher::new(),
        })))
    }

    /// A node begins to listen on a host.
    pub(super) fn listen(&self, host: usize, addr: &str, life: Life) -> Reception {
        let reception = Reception::default();
        let listener = Listener { reception: reception.clone(), life };
        let mut state = self.0.lock();
        match state.hosts.get_mut(host) {
            Some(known) => *known = listener,
            None => state.hosts.push(listener),
        }
        state.by_addr.insert(addr.to_owned(), host);
        reception
    }

    /// What a node in this life reaches others by.
    pub(super) fn transport(&self, host: usize, life: Life) -> Arc<dyn Transport> {
        Arc::new(Wire { net: self.clone(), host, life })
    }

    /// The network falls apart; returns the name to mend it by.
    pub(super) fn cut(&self, shape: Shape) -> u64 {
        let mut state = self.0.lock();
        state.next_fault += 1;
        let name = state.next_fault;
        state.cuts.insert(name, (shape, time::now_us()));
        name
    }

    /// Messages get lost; returns the name to mend it by.
    pub(super) fn lose(&self, percent: u32) -> u64 {
        let mut state = self.0.lock();
        state.next_fault += 1;
        let name = state.next_fault;
        state.lossy.insert(name, percent);
        name
    }

    pub(super) fn mend(&self, name: u64) {
        let mut state = self.0.lock();
        state.cuts.remove(&name);
        state.lossy.remove(&name);
    }

    /// Nothing reaches or leaves a host until then.
    pub(super) fn freeze(&self, host: usize, until_us: Micros) {
        let mut state = self.0.lock();
        let until = state.frozen.entry(host).or_default();
        *until = until_us.max(*until);
    }

    pub(super) fn heal(&self) {
        let mut state = self.0.lock();
        state.cuts.clear();
        state.lossy.clear();
        state.frozen.clear();
    }

    /// Waits while a host is frozen.
    pub(super) async fn thawed(&self, host: usize) {
        loop {
            let until_us = self.0.lock().frozen.get(&host).copied().unwrap_or(0);
            if until_us <= time::now_us() {
                return;
            }
            time::sleep_us((until_us - time::now_us()).min(100_000)).await;
        }
    }

    /// Everything that was ever sent, as a hash, and how many messages that were.
    pub(super) fn trace(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.hasher.finish(), state.messages)
    }

    fn listener(&self, host: usize) -> Option<Listener> {
        self.0.lock().hosts.get(host).cloned()
    }

    /// Since when nothing gets from one host to the other.
    fn cut_since_us(&self, from: usize, to: usize) -> Option<Micros> {
        let state = self.0.lock();
        let place = |host: usize| host % state.founders.max(1);
        let apart = |(shape, _): &&(Shape, Micros)| !shape.lets_through(place(from), place(to), state.founders);
        state.cuts.values().filter(apart).map(|(_, since_us)| *since_us).min()
    }

    /// A message is on its way; ends when it has arrived or will not.
    async fn travel(&self, from: usize, to: usize, lane: Lane, bytes: &Bytes) -> Fate {
        let (delay_us, is_lost) = {
            let mut state = self.0.lock();
            state.messages += 1;
            let State { rng, hasher, lossy, .. } = &mut *state;
            (time::now_us(), from, to, bytes).hash(hasher);
            let percent = lossy.values().copied().max().unwrap_or(0);
            let is_late = rng.random_range(0..100) < percent;
            let is_lost = rng.random_range(0..100) < percent;
            let delay_us = rng.random_range(100..1500) + if is_late { rng.random_range(0..400_000) } else { 0 };
            (delay_us, is_lost)
        };
        time::sleep_us(delay_us).await;
        self.thawed(from).await;
        let give_up_us = time::now_us() + GIVE_UP_US;
        while self.cut_since_us(from, to).is_some() {
            if time::now_us() >= give_up_us {
                return Fate::Lost;
            }
            time::sleep_us(AGAIN_US).await;
        }
        if is_lost {
            if lane != Lane::Client {
                time::sleep_us(delay_us).await;
                return Fate::Lost;
            }
            // The connection sends it again.
            time::sleep_us(200_000).await;
        }
        self.thawed(to).await;
        match self.listener(to) {
            Some(listener) if !listener.life.is_over() => Fate::Arrives,
            _ => Fate::NobodyThere,
        }
    }

    /// Whether a message of the group comes a second time.
    fn is_doubled(&self, lane: Lane) -> bool {
        let mut state = self.0.lock();
        let percent = state.lossy.values().copied().max().unwrap_or(0);
        lane != Lane::Client && state.rng.random_range(0..200) < percent
    }

    /// Ends when the connection between two hosts has broken.
    async fn broken(&self, from: usize, to: usize) {
        loop {
            time::sleep_us(LOOK_US).await;
            let since_us = self.cut_since_us(from, to).into_iter().chain(self.cut_since_us(to, from)).min();
            if since_us.is_some_and(|since_us| since_us + BREAKS_US <= time::now_us()) {
                return;
            }
        }
    }

    async fn call(
        self,
        from: usize,
        to: usize,
        addr: String,
        lane: Lane,
        request: Bytes,
    ) -> Result<Bytes, TransportError> {
        let unreachable = |reason: &str| TransportError::Unreachable { addr: addr.clone(), reason: reason.to_owned() };
        let broken = |reason: &str| TransportError::Broken { addr: addr.clone(), reason: reason.to_owned() };
        match self.travel(from, to, lane, &request).await {
            Fate::Arrives => {}
            Fate::NobodyThere => return Err(unreachable("nobody listens there")),
            Fate::Lost => return Err(unreachable("it does not answer")),
        }
        let Some(Listener { reception, life }) = self.listener(to) else {
            return Err(unreachable("nobody listens there"));
        };
        if self.is_doubled(lane) {
            let (reception, request, life) = (reception.clone(), request.clone(), life.clone());
            let late_us = self.0.lock().rng.random_range(0..600_000);
            time::spawn(async move {
                time::sleep_us(late_us).await;
                let _unheard = life.run(async move { reception.answer(request).await }).await;
            });
        }
        let answer = std::pin::pin!(life.run(async move { reception.answer(request).await }));
        let cut = std::pin::pin!(self.broken(from, to));
        let answer = match futures_util::future::select(answer, cut).await {
            futures_util::future::Either::Left((Some(answer), _)) => answer,
            futures_util::future::Either::Left((None, _)) => return Err(broken("it went away")),
            futures_util::future::Either::Right(((), _)) => return Err(broken("it is silent")),
        };
        match self.travel(to, from, lane, &answer).await {
            Fate::Arrives => Ok(answer),
            Fate::NobodyThere | Fate::Lost => Err(broken("its answer did not come")),
        }
    }
}

/// Closes the connection when the caller goes away.
struct HangUp(AbortHandle);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One node's end of the network.
#[derive(Debug)]
struct Wire {
    net: Net,
    host: usize,
    life: Life,
}

impl Transport for Wire {
    fn call(&self, to: &Peer, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (net, from, life, addr) = (self.net.clone(), self.host, self.life.clone(), to.addr.clone());
        let to = net.0.lock().by_addr.get(&addr).copied();
        Box::pin(async move {
            let unreachable =
                |reason: &str| Err(TransportError::Unreachable { addr: addr.clone(), reason: reason.to_owned() });
            let Some(to) = to else { return unreachable("no such host") };
            // A task of its own: what is on its way goes on while the caller stands still. It ends with who waits.
            let (hang_up, registration) = AbortHandle::new_pair();
            let _hang_up = HangUp(hang_up);
            let (sender, answer) = oneshot::channel();
            time::spawn(async move {
                let called = Abortable::new(net.call(from, to, addr, lane, request), registration);
                if let Some(Ok(answer)) = life.bound(called).await {
                    let _gone = sender.send(answer);
                }
            });
            match answer.await {
                Ok(answer) => answer,
                // What is left of a node that has crashed hears nothing any more.
                Err(_over) => std::future::pending().await,
            }
        })
    }
}
