//! From an address to a connection that is ready for frames.

use std::{io, net::SocketAddr, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    hello::{self, HelloError},
    security::{Security, io_advice},
    settings::Settings,
};

/// A connection, protected or not.
pub(crate) type Stream = Box<dyn Duplex>;

/// Bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Connects to `addr` (`host:port`), or says why not. No byte of a request has been sent then.
pub(crate) async fn dial(addr: &str, security: &Security, settings: &Settings) -> Result<Stream, String> {
    let deadline = Instant::now() + settings.connect_timeout;
    let connected = timeout_at(deadline, async {
        let tcp = connect(addr, security, deadline).await?;
        let mut stream = protect(addr, tcp, security).await?;
        let version = hello::greet(&mut stream, &settings.versions).await.map_err(hello_reason)?;
        tracing::debug!(addr, version, "connected to a peer");
        Ok(stream)
    });
    let too_late = || format!("no connection within {} ms", settings.connect_timeout.as_millis());
    connected.await.unwrap_or_else(|_| Err(too_late()))
}

pub(crate) fn hello_reason(error: HelloError) -> String {
    match error {
        HelloError::Io(error) if has_hung_up(&error) => {
            "it closes connections at once: is it a Willow node, and is TLS on or off on both? its log says more"
                .to_owned()
        }
        HelloError::Io(error) => io_advice(&error),
        error => error.to_string(),
    }
}

fn has_hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

async fn connect(addr: &str, security: &Security, deadline: Instant) -> Result<TcpStream, String> {
    let found: Vec<SocketAddr> = lookup_host(addr).await.map_err(|error| error.to_string())?.collect();
    let is_insecure = matches!(security, Security::Insecure);
    if is_insecure && found.iter().any(|address| !address.ip().is_loopback()) {
        return Err("without TLS only loopback addresses are dialled: start the nodes with certificates".to_owned());
    }
    let mut failure = "the name has no address".to_owned();
    for (at, address) in found.iter().enumerate() {
        // An address that swallows packets must leave time for the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(found.len() - at).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return stream.set_nodelay(true).map(|()| stream).map_err(|error| error.to_string()),
            Ok(Err(error)) => failure = error.to_string(),
            Err(_) => failure = format!("{address} does not answer within {} ms", Duration::as_millis(&share)),
        }
    }
    Err(failure)
}

async fn protect(addr: &str, tcp: TcpStream, security: &Security) -> Result<Stream, String> {
    let Security::Tls(tls) = security else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(host(addr).to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(tls.client.clone());
    let stream = connector.connect(name, tcp).await.map_err(|error| match has_hung_up(&error) {
        true => "it closed the connection during TLS; its log says more".to_owned(),
        false => io_advice(&error),
    })?;
    Ok(Box::new(stream))
}

/// `host` of `host:port`, without the brackets of an IPv6 address.
fn host(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_addresses() {
        let hosts = ["a.example:7071", "10.0.0.1:7071", "[::1]:7071", "name"].map(host);
        assert_eq!(hosts, ["a.example", "10.0.0.1", "::1", "name"]);
    }
}
