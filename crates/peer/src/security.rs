//! Who may talk: mutual TLS 1.3 with the cluster's own CA, or nothing at all on loopback.
//!
//! The CA *is* the membership: whoever shows a certificate of it, for both client and server use, is a node of
//! the cluster, and nodes trust each other fully. Beyond that, the certificate of a node that is dialled must
//! name the host that was dialled, or [`ANY_HOST`]; so a stolen certificate cannot stand in for another node's
//! address. The certificate of a node that dials is not held against its address, which NAT and containers
//! change. No certificate of the web's CAs counts, there is no resumption, and no revocation list: replacing
//! the CA shuts a node out (`ca.pem` may hold the old and the new one during the change).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};

use crate::certs::last_end;

/// A name in certificates of nodes that may be dialled at any address. `invalid` is reserved (RFC 2606), so no
/// host has it.
pub(crate) const ANY_HOST: &str = "any-host.willow.invalid";

/// The cluster's CA certificates, in the folder of [`PeerTls::from_dir`].
pub(crate) const CA_FILE: &str = "ca.pem";
/// The node's certificate.
pub(crate) const NODE_FILE: &str = "node.pem";
/// Its private key.
pub(crate) const KEY_FILE: &str = "node.key";

/// When to begin to warn of a certificate's end.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How connections between nodes are protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// Mutual TLS.
    Tls(PeerTls),
    /// Not at all; only between loopback addresses.
    Insecure,
}

/// A node's certificate and whom it trusts.
#[derive(Clone, Debug)]
pub struct PeerTls {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

/// Why a node has no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}; `willow cluster certs` makes ca.pem, node.pem and node.key")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl PeerTls {
    /// Reads `ca.pem`, `node.pem` and `node.key`, once: a node notices new files when it starts. A certificate
    /// that peers would refuse is refused here.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn from_dir(folder: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::load(folder.as_ref(), true)
    }

    /// A node that does not look at its own certificate, for tests of how others look at it.
    #[cfg(test)]
    pub(crate) fn unchecked(folder: &Path) -> Self {
        Self::load(folder, false).expect("readable files")
    }

    fn load(folder: &Path, check: bool) -> Result<Self, TlsError> {
        let (ca, node, key) = (folder.join(CA_FILE), folder.join(NODE_FILE), folder.join(KEY_FILE));
        let roots = Arc::new(roots(&ca)?);
        let chain = certificates(&node)?;
        let private = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(|error| content(&key, error))?;
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| content(&ca, error))?;
        if check {
            check_mode(&key);
            check_ca(&ca)?;
            check_own(&chain, &*clients, &node)?;
        }
        let client = client_config(&provider, roots, chain.clone(), private.clone_key());
        let server = server_config(&provider, clients, chain, private);
        let fault = |error: Error| content(&key, format!("{error}; is it the key of {NODE_FILE}?"));
        Ok(Self { client: Arc::new(client.map_err(fault)?), server: Arc::new(server.map_err(fault)?) })
    }
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeVerifier::new(roots, provider)?))
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// What peers would say to this node's certificate, said at its start.
fn check_own(chain: &[CertificateDer<'_>], verifier: &dyn ClientCertVerifier, file: &Path) -> Result<(), TlsError> {
    let Some((leaf, between)) = chain.split_first() else {
        return Err(content(file, "it holds no certificate"));
    };
    let now = UnixTime::now();
    if let Err(error) = verifier.verify_client_cert(leaf, between, now) {
        return Err(content(file, advice(&error)));
    }
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + WARN_BEFORE);
    if verifier.verify_client_cert(leaf, between, soon).is_err() {
        tracing::warn!(
            file = %file.display(),
            "this node's certificate ends within 30 days: make a new one with `willow cluster certs`"
        );
    }
    Ok(())
}

/// The CA's own end, which nobody looks at when certificates are checked. Of several, the last counts: that is the
/// one to which the cluster changes.
fn check_ca(file: &Path) -> Result<(), TlsError> {
    let end = last_end(&read(file)?).map_err(|reason| content(file, reason))?;
    let left = end
        .duration_since(SystemTime::now())
        .map_err(|_past| content(file, "the CA has expired: make a new one, and a certificate of it for every node"))?;
    if left < WARN_BEFORE {
        tracing::warn!(file = %file.display(), "the cluster's CA ends within 30 days: make a new one for all nodes");
    }
    Ok(())
}

/// Others of this machine must not read the key. It is no more than a warning, for mounts choose modes themselves.
fn check_mode(key: &Path) {
    #[cfg(unix)]
    if let Ok(data) = std::fs::metadata(key)
        && std::os::unix::fs::MetadataExt::mode(&data) & 0o077 != 0
    {
        tracing::warn!(file = %key.display(), "others on this machine may use this node's private key: chmod 600 it");
    }
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| content(file, error))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| content(file, error))?;
    if found.is_empty() {
        return Err(content(file, "it holds no certificate"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn content(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Content { path: path.to_owned(), reason: reason.to_string() }
}

/// The usual checks, but that [`ANY_HOST`] stands for every host.
#[derive(Debug)]
struct NodeVerifier {
    usual: Arc<WebPkiServerVerifier>,
    any_host: ServerName<'static>,
}

impl NodeVerifier {
    fn new(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let usual = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let any_host = ServerName::try_from(ANY_HOST).map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { usual, any_host })
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error @ Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => self
                .usual
                .verify_server_cert(end_entity, intermediates, &self.any_host, ocsp_response, now)
                .map_err(|_| error),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// What went wrong between two nodes, and what to do about it.
pub(crate) fn io_advice(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.map_or_else(|| error.to_string(), advice)
}

fn advice(error: &Error) -> String {
    const RENEW: &str = "make one with `willow cluster certs` from this cluster's CA, and start the node with it";
    match error {
        Error::NoCertificatesPresented => format!("there is no certificate: {RENEW}"),
        Error::InvalidCertificate(fault) => match fault {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                format!("the certificate is from another CA than ca.pem: {RENEW}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate has expired: {RENEW}")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet: are the clocks right?".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate does not name the host that was dialled: {fault}; {RENEW} (--host)")
            }
            fault => format!("the certificate is refused: {fault}; {RENEW}"),
        },
        Error::AlertReceived(alert) => alert_advice(*alert),
        Error::InvalidMessage(_) => "it does not speak TLS: is it set to insecure, or is it no Willow node?".to_owned(),
        error => format!("TLS failed: {error}"),
    }
}

fn alert_advice(alert: AlertDescription) -> String {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateUnknown, DecryptError,
        UnknownCA, UnsupportedCertificate,
    };
    match alert {
        UnknownCA
        | BadCertificate
        | CertificateExpired
        | CertificateRequired
        | CertificateUnknown
        | DecryptError
        | AccessDenied
        | UnsupportedCertificate => format!(
            "the peer does not accept this node's certificate ({alert:?}): both need one from the same CA that is \
             still valid, and made for the host by which the node is dialled (--host); its log says more"
        ),
        alert => format!("the peer ended TLS: {alert:?}"),
    }
}
