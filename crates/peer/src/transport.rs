//! [`PeerTransport`]: calls of this node to others.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use willow_node::{Lane, Peer, Transport, TransportError};

use crate::{
    link::{CallError, Link},
    security::Security,
    settings::{MAX_CONNECTIONS, MAX_FRAME_BYTES, Settings},
    throttle::Throttle,
};

/// Calls peers over TCP: one connection for each address and lane, made when a call needs it.
///
/// A clone uses the same connections; they are closed when the last clone and the last call are gone.
#[derive(Clone, Debug)]
pub struct PeerTransport {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    security: Security,
    settings: Settings,
    links: Mutex<HashMap<(String, Lane), Arc<Link>>>,
    log: Arc<Throttle>,
}

impl PeerTransport {
    /// A transport that protects its connections so.
    #[must_use]
    pub fn new(security: Security) -> Self {
        Self::with_settings(security, Settings::default())
    }

    /// The same with other times.
    #[must_use]
    pub fn with_settings(security: Security, settings: Settings) -> Self {
        let inner = Inner { security, settings, links: Mutex::default(), log: Arc::default() };
        Self { inner: Arc::new(inner) }
    }

    /// How many connections it has, those that are being made included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.links.lock().len()
    }
}

impl Transport for PeerTransport {
    fn call(&self, to: &Peer, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let inner = Arc::clone(&self.inner);
        let addr = to.addr.clone();
        Box::pin(async move {
            if request.len() > MAX_FRAME_BYTES {
                let reason = format!("a request of {} bytes, of {MAX_FRAME_BYTES} at most", request.len());
                return Err(TransportError::Unreachable { addr, reason });
            }
            loop {
                let link = inner.link(&addr, lane)?;
                match link.call(request.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(CallError::Failed(error)) => return Err(error),
                    Err(CallError::WasIdle) => {}
                }
            }
        })
    }
}

impl Inner {
    /// The link to use, which may be one that begins to connect now.
    fn link(self: &Arc<Self>, addr: &str, lane: Lane) -> Result<Arc<Link>, TransportError> {
        let mut links = self.links.lock();
        let key = (addr.to_owned(), lane);
        if let Some(link) = links.get(&key).filter(|link| !link.is_closed()) {
            return Ok(Arc::clone(link));
        }
        if links.len() >= MAX_CONNECTIONS && !links.contains_key(&key) {
            let reason = format!("this node has {MAX_CONNECTIONS} connections to peers already");
            return Err(TransportError::Unreachable { addr: addr.to_owned(), reason });
        }
        let link = Arc::new(Link::new(addr.to_owned()));
        links.insert(key.clone(), Arc::clone(&link));
        drop(links);
        let (security, settings, log) = (self.security.clone(), self.settings.clone(), Arc::clone(&self.log));
        // Weak, or the connections would keep alive the transport that is to close them.
        let (inner, running) = (Arc::downgrade(self), Arc::clone(&link));
        tokio::spawn(async move {
            running.run(&security, &settings, &log).await;
            if let Some(inner) = inner.upgrade() {
                inner.forget(&key, &running);
            }
        });
        Ok(link)
    }

    fn forget(&self, key: &(String, Lane), link: &Arc<Link>) {
        let mut links = self.links.lock();
        if links.get(key).is_some_and(|current| Arc::ptr_eq(current, link)) {
            links.remove(key);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for link in self.links.get_mut().values() {
            link.close("this node stops", false);
        }
    }
}
