//! Faults: drawn from a seed, done to processes and links, undone again.

use std::time::Duration;

use anyhow::Context;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use willow_sim::history::Micros;

use crate::{
    cluster::{Cluster, NODES},
    failover::{self, FailOver, Victim},
    net::Link,
    recorder::Recorder,
};

/// How long a cluster may take to be whole again once nothing is done to it.
pub(crate) const WHOLE: Duration = Duration::from_secs(90);
/// Between two faults, ms.
const GAP_MS: std::ops::Range<u64> = 300..2000;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// `kill -9` of the leader; started again after a while.
    KillLeader,
    /// `kill -9` of another node.
    KillFollower,
    /// `kill -9` of all nodes at once.
    KillAll,
    /// SIGSTOP of the leader for a while.
    PauseLeader,
    /// SIGSTOP of another node.
    PauseFollower,
    /// The leader and the others reach each other no more.
    IsolateLeader,
    /// The same with another node.
    IsolateFollower,
    /// Two nodes reach each other only by way of the third.
    Bridge,
    /// What a node says arrives nowhere, but it hears the others.
    Mute,
    /// A node hears nobody, but is heard.
    Deaf,
    /// All messages are late.
    Slow,
    /// `kill -9`, disk wiped, removed from the cluster, and joined anew with an empty disk.
    Replace,
}

/// Each with how often it is drawn, in a hundred.
const WEIGHTS: [(Kind, u32); 12] = [
    (Kind::KillLeader, 30),
    (Kind::KillFollower, 8),
    (Kind::KillAll, 3),
    (Kind::PauseLeader, 10),
    (Kind::PauseFollower, 5),
    (Kind::IsolateLeader, 12),
    (Kind::IsolateFollower, 5),
    (Kind::Bridge, 8),
    (Kind::Mute, 6),
    (Kind::Deaf, 6),
    (Kind::Slow, 4),
    (Kind::Replace, 3),
];

/// A fault that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// When, µs since the run began.
    pub at_us: Micros,
    /// Until when.
    pub until_us: Micros,
    /// What.
    pub kind: Kind,
    /// To which node, from 0; the first of two.
    pub node: usize,
}

/// All that was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) faults: Vec<Fault>,
    pub(crate) fail_overs: Vec<FailOver>,
}

/// Makes faults.
#[derive(Debug)]
pub(crate) struct Nemesis<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) recorder: &'a Recorder,
    pub(crate) rng: StdRng,
    /// These only, one after the other; all, as their weights have it, if there is none.
    pub(crate) only: &'a [Kind],
}

impl Nemesis<'_> {
    /// One fault after the other until the time is up; `done` has what was made so far, whatever comes of the next.
    pub(crate) async fn run(&mut self, until: Instant, done: &mut Done) -> anyhow::Result<()> {
        loop {
            let gap_ms = self.rng.random_range(GAP_MS);
            sleep(Duration::from_millis(gap_ms)).await;
            if Instant::now() >= until {
                return Ok(());
            }
            let kind = self.draw(done.faults.len());
            let at_us = self.recorder.now_us();
            let made = self.make(kind).await.with_context(|| format!("fault {kind:?}"))?;
            let Some((node, fail_over)) = made else { continue };
            done.fail_overs.extend(fail_over);
            done.faults.push(Fault { at_us, until_us: self.recorder.now_us(), kind, node });
        }
    }

    /// What comes after `made` faults.
    fn draw(&mut self, made: usize) -> Kind {
        if let Some(place) = made.checked_rem(self.only.len()) {
            return self.only[place];
        }
        let kinds = WEIGHTS.choose_weighted(&mut self.rng, |(_, weight)| *weight);
        kinds.map_or(Kind::KillLeader, |(kind, _)| *kind)
    }

    /// Undoes all there may be, and waits until the cluster is whole.
    pub(crate) async fn heal(&self) -> anyhow::Result<()> {
        self.cluster.net().heal();
        for node in 0..NODES {
            if !self.cluster.runs(node) {
                self.cluster.relaunch(node)?;
            }
            self.cluster.resume(node)?;
        }
        self.cluster.await_whole(WHOLE).await
    }

    /// Makes one fault and undoes it; `None` if there is nothing to make it of.
    async fn make(&mut self, kind: Kind) -> anyhow::Result<Option<(usize, Option<FailOver>)>> {
        let Some(leader) = self.cluster.leader().await else { return Ok(None) };
        let other = (leader + self.rng.random_range(1..NODES)) % NODES;
        let any = self.rng.random_range(0..NODES);
        let node = match kind {
            Kind::KillLeader | Kind::PauseLeader | Kind::IsolateLeader => leader,
            Kind::KillFollower | Kind::PauseFollower | Kind::IsolateFollower => other,
            Kind::KillAll | Kind::Bridge | Kind::Mute | Kind::Deaf | Kind::Slow | Kind::Replace => any,
        };
        let mut fail_over = None;
        match kind {
            Kind::KillLeader => fail_over = Some(self.kill_leader(node).await?),
            Kind::KillFollower => self.kill(&[node]).await?,
            Kind::KillAll => self.kill(&[0, 1, 2]).await?,
            Kind::PauseLeader | Kind::PauseFollower => {
                self.cluster.pause(node)?;
                self.last(300..5000).await;
                self.cluster.resume(node)?;
            }
            Kind::IsolateLeader | Kind::IsolateFollower => {
                let cut = self.cut();
                self.link(cut, |from, to| from == node || to == node).await;
            }
            Kind::Bridge => {
                let (cut, far) = (self.cut(), (node + 1) % NODES);
                self.link(cut, |from, to| (from, to) == (node, far) || (from, to) == (far, node)).await;
            }
            Kind::Mute => self.link(Link::Silent, |from, _| from == node).await,
            Kind::Deaf => self.link(Link::Silent, |_, to| to == node).await,
            Kind::Slow => {
                let late = Duration::from_millis(self.rng.random_range(10..150));
                self.link(Link::Slow(late), |_, _| true).await;
            }
            Kind::Replace => self.replace(node).await?,
        }
        Ok(Some((node, fail_over)))
    }

    /// A while.
    async fn last(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.rng.random_range(ms);
        sleep(Duration::from_millis(ms)).await;
    }

    /// How a link fails: mostly without a word.
    fn cut(&mut self) -> Link {
        if self.rng.random_ratio(3, 4) { Link::Silent } else { Link::Refused }
    }

    async fn link(&mut self, link: Link, concerns: impl Fn(usize, usize) -> bool) {
        for from in 0..NODES {
            for to in (0..NODES).filter(|to| *to != from && concerns(from, *to)) {
                self.cluster.net().set(from, to, link);
            }
        }
        self.last(500..6000).await;
        self.cluster.net().heal();
    }

    async fn kill(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        for node in nodes {
            self.cluster.kill(*node)?;
        }
        self.last(100..3000).await;
        for node in nodes {
            self.cluster.relaunch(*node)?;
        }
        Ok(())
    }

    async fn kill_leader(&mut self, leader: usize) -> anyhow::Result<FailOver> {
        let from_whole = self.cluster.is_whole().await.is_ok();
        let victim = Victim::start(self.cluster, leader).await?;
        let died = Instant::now();
        self.cluster.kill(leader)?;
        let fail_over = failover::measure(self.cluster, victim, leader, died).await;
        let fail_over = FailOver { from_whole, ..fail_over };
        if fail_over.through_survivors_ms.len() + 1 < NODES || fail_over.reconnecting_ms.is_none() {
            self.recorder.stuck(format!("node {leader} led and died, and locks are not granted: {fail_over:?}"));
        }
        self.last(0..2500).await;
        self.cluster.relaunch(leader)?;
        Ok(fail_over)
    }

    /// Only while the other two have all there is: what is acknowledged is on two disks, and one is wiped.
    async fn replace(&mut self, node: usize) -> anyhow::Result<()> {
        self.cluster.await_whole(WHOLE).await?;
        let Some(id) = self.cluster.id(node).await else { return Ok(()) };
        self.cluster.kill(node)?;
        self.cluster.wipe(node)?;
        self.cluster.remove(id, node).await?;
        self.cluster.relaunch(node)?;
        self.cluster.listens(node).await?;
        self.cluster.await_whole(WHOLE).await
    }
}
