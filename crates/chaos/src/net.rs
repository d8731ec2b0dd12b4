//! The network between the nodes: a TCP proxy before each, whose links can be cut, slowed or made one-way.
//!
//! ```text
//!   node 0 ──► proxy of node 1 ──► node 1        link[0][1]: what node 0 says to node 1
//!          ◄──                 ◄──               link[1][0]: what node 1 says to node 0
//! ```
//! All nodes know a node by its proxy's address. Which node a connection comes from shows in `/proc`: the
//! socket belongs to one of the processes. A silent link holds what is sent, and gives it out when it is open
//! again, as TCP does after a partition that did not outlast its connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use crate::cluster::NODES;

/// Bytes moved at once.
const CHUNK: usize = 64 << 10;

/// How one node's messages to another fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// They arrive.
    Open,
    /// They arrive late.
    Slow(Duration),
    /// They do not arrive while it lasts.
    Silent,
    /// Connections break, and none can be made.
    Refused,
}

/// Proxies before all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Net(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    links: [[watch::Sender<Link>; NODES]; NODES],
    pids: [AtomicU32; NODES],
    proxies: [SocketAddr; NODES],
}

impl Net {
    /// Listens before the nodes that listen at `targets` for their peers.
    pub(crate) async fn start(targets: [SocketAddr; NODES]) -> anyhow::Result<Self> {
        let mut listeners = Vec::new();
        let mut proxies = targets;
        for proxy in &mut proxies {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            *proxy = listener.local_addr()?;
            listeners.push(listener);
        }
        let links = std::array::from_fn(|_| std::array::from_fn(|_| watch::Sender::new(Link::Open)));
        let net = Self(Arc::new(Inner { links, pids: std::array::from_fn(|_| AtomicU32::new(0)), proxies }));
        for (to, listener) in listeners.into_iter().enumerate() {
            tokio::spawn(net.clone().accept(listener, to, targets[to]));
        }
        Ok(net)
    }

    /// Where the others reach a node.
    pub(crate) fn proxy(&self, node: usize) -> SocketAddr {
        self.0.proxies[node]
    }

    /// Which process a node is.
    pub(crate) fn set_pid(&self, node: usize, pid: u32) {
        self.0.pids[node].store(pid, Ordering::Relaxed);
    }

    /// Sets one direction between two nodes.
    pub(crate) fn set(&self, from: usize, to: usize, link: Link) {
        self.0.links[from][to].send_replace(link);
    }

    /// All links open.
    pub(crate) fn heal(&self) {
        for link in self.0.links.iter().flatten() {
            link.send_replace(Link::Open);
        }
    }

    async fn accept(self, listener: TcpListener, to: usize, target: SocketAddr) {
        // An error is of the connection that was to come; the next may be fine.
        loop {
            if let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(self.clone().forward(stream, peer, to, target));
            }
        }
    }

    async fn forward(self, stream: TcpStream, peer: SocketAddr, to: usize, target: SocketAddr) {
        let proxy = self.proxy(to);
        let net = self.clone();
        let found = tokio::task::spawn_blocking(move || net.whose(peer, proxy)).await;
        // Who made it may be dead by now.
        let Ok(Some(from)) = found else { return };
        let (there, back) = (&self.0.links[from][to], &self.0.links[to][from]);
        if *there.borrow() == Link::Refused || *back.borrow() == Link::Refused {
            return;
        }
        let Ok(onward) = TcpStream::connect(target).await else { return };
        if stream.set_nodelay(true).is_err() || onward.set_nodelay(true).is_err() {
            return;
        }
        let (read, write) = stream.into_split();
        let (onward_read, onward_write) = onward.into_split();
        tokio::select! {
            () = pump(read, onward_write, there.subscribe()) => {}
            () = pump(onward_read, write, back.subscribe()) => {}
        }
    }

    /// The node whose process has the socket `local`, connected to `remote`.
    fn whose(&self, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        let inode = inode(local, remote).ok().flatten()?;
        (0..NODES).find(|node| has_socket(self.0.pids[*node].load(Ordering::Relaxed), &inode))
    }
}

/// Moves bytes one way, as the link allows, until either end is closed.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read.unwrap_or(0),
            _ = link.wait_for(|link| *link == Link::Refused) => return,
        };
        loop {
            let now = *link.borrow_and_update();
            match now {
                Link::Open => break,
                Link::Slow(late) => {
                    tokio::time::sleep(late).await;
                    break;
                }
                Link::Refused => return,
                Link::Silent if link.changed().await.is_err() => return,
                Link::Silent => {}
            }
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// The inode of a TCP socket, from the system's table.
fn inode(local: SocketAddr, remote: SocketAddr) -> anyhow::Result<Option<String>> {
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let row = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows = row.filter(|row| row.get(1) == Some(&&*local) && row.get(2) == Some(&&*remote));
    Ok(rows.next().and_then(|row| row.get(9).map(|inode| (*inode).to_owned())))
}

/// An address as `/proc/net/tcp` writes it.
fn in_table(address: SocketAddr) -> anyhow::Result<String> {
    let SocketAddr::V4(address) = address else { anyhow::bail!("{address} is not IPv4") };
    let ip = u32::from_ne_bytes(address.ip().octets());
    Ok(format!("{ip:08X}:{:04X}", address.port()))
}

fn has_socket(pid: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).context("the process is gone");
    let Ok(files) = files else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All three nodes are this very process, so that connections are taken for node 0's.
    async fn net() -> (Net, TcpListener) {
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
        let address = target.local_addr().expect("it is bound");
        let net = Net::start([address; NODES]).await.expect("loopback has free ports");
        net.set_pid(0, std::process::id());
        (net, target)
    }

    async fn connect(net: &Net, target: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(net.proxy(1)).await.expect("the proxy listens");
        let (far, _) = target.accept().await.expect("the proxy connects");
        (near, far)
    }

    async fn reads(stream: &mut TcpStream) -> Option<u8> {
        stream.read_u8().await.ok()
    }

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let (net, target) = net().await;
        let (mut near, mut far) = connect(&net, &target).await;
        near.write_all(&[1]).await.expect("open");
        assert_eq!(reads(&mut far).await, Some(1));
        far.write_all(&[2]).await.expect("open");
        assert_eq!(reads(&mut near).await, Some(2));
    }

    #[tokio::test]
    async fn a_silent_link_is_silent_one_way_and_gives_out_what_it_held() {
        let (net, target) = net().await;
        let (mut near, mut far) = connect(&net, &target).await;
        net.set(0, 1, Link::Silent);
        near.write_all(&[1]).await.expect("the proxy takes it");
        // The other way is open, and what came that way came after.
        far.write_all(&[2]).await.expect("open");
        assert_eq!(reads(&mut near).await, Some(2));
        let mut nothing = [0];
        assert!(far.try_read(&mut nothing).is_err(), "nothing has arrived");
        net.heal();
        assert_eq!(reads(&mut far).await, Some(1));
    }

    #[tokio::test]
    async fn a_refused_link_breaks_connections() {
        let (net, target) = net().await;
        let (mut near, _far) = connect(&net, &target).await;
        net.set(1, 0, Link::Refused);
        assert_eq!(reads(&mut near).await, None);
        let mut again = TcpStream::connect(net.proxy(1)).await.expect("the proxy listens");
        assert_eq!(reads(&mut again).await, None);
    }
}
