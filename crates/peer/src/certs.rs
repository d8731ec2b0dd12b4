//! Certificates of a cluster: its own CA, and one certificate for each node.
//!
//! ```text
//!  certs/ca.pem   certs/ca.key      the CA; its key stays where certificates are made
//!  certs/NODE/    ca.pem node.pem node.key      what one node is started with
//! ```
//! Nothing is ever overwritten. Private keys are written with mode 0600.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::security::{ANY_HOST, CA_FILE, KEY_FILE, NODE_FILE};

/// The CA's private key.
const CA_KEY_FILE: &str = "ca.key";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a CA is valid unless told otherwise: ten years.
pub const CA_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How long a node's certificate is valid unless told otherwise: two years.
pub const NODE_VALIDITY: Duration = Duration::from_secs(730 * 24 * 3600);

/// Longest validity: dates stay within what certificates can say.
pub const MAX_VALIDITY: Duration = Duration::from_secs(36_500 * 24 * 3600);

/// Certificates begin to be valid before they are made, for clocks that are behind.
const BEFORE: Duration = DAY;

/// A certificate to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Name of the node: of its folder, and in its certificate, for people.
    pub name: String,
    /// Names and IP addresses at which peers dial the node. With none, it may be dialled at any.
    pub hosts: Vec<String>,
    /// How long the certificate is valid.
    pub valid_for: Duration,
}

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// It would have to be overwritten.
    #[error("{0} is there already and is not overwritten: take another name, or move it away")]
    Exists(PathBuf),
    /// Half of the CA is missing.
    #[error("{missing} is missing beside the other half of the CA: bring it back, or move both away for a new CA")]
    HalfCa {
        /// Which file.
        missing: PathBuf,
    },
    /// The name cannot be a folder's.
    #[error(
        "{0:?} cannot be a node's name: 1 to 63 letters, digits, `-`, `_` and `.`, no `.` in front, and neither \
         `{CA_FILE}` nor `{CA_KEY_FILE}`"
    )]
    Name(String),
    /// The host cannot be in a certificate.
    #[error("{0:?} is neither a host name nor an IP address")]
    Host(String),
    /// The validity is out of bounds.
    #[error("a certificate is valid for 1 s to 36500 days")]
    Validity,
    /// The CA has ended.
    #[error("the CA in {0} has expired: move it away for a new one, from which every node needs a new certificate")]
    Expired(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CA's files do not hold a CA.
    #[error("{path}: {source}")]
    Ca {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// The CA's certificate cannot be read.
    #[error("{path}: {reason}")]
    NoCa {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be generated.
    #[error("the certificate could not be made: {0}")]
    Generate(#[from] rcgen::Error),
}

/// True when `folder` has a CA.
///
/// # Errors
/// [`CertError::HalfCa`].
pub fn has_ca(folder: &Path) -> Result<bool, CertError> {
    let (certificate, key) = (folder.join(CA_FILE), folder.join(CA_KEY_FILE));
    match (certificate.exists(), key.exists()) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(CertError::HalfCa { missing: key }),
        (false, true) => Err(CertError::HalfCa { missing: certificate }),
    }
}

/// Makes a cluster's CA in `folder`: `ca.pem` and `ca.key`.
///
/// # Errors
/// [`CertError`]; nothing that was there is changed.
pub fn create_ca(folder: &Path, valid_for: Duration) -> Result<(), CertError> {
    create_ca_at(folder, valid_for, SystemTime::now())
}

pub(crate) fn create_ca_at(folder: &Path, valid_for: Duration, now: SystemTime) -> Result<(), CertError> {
    if has_ca(folder)? {
        return Err(CertError::Exists(folder.join(CA_FILE)));
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // Told apart by its key, so that one CA is never taken for another of the same name.
    let tag: String = key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("Willow cluster CA {tag}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, valid_for, now)?;
    let certificate = params.self_signed(&key)?;
    create_folder(folder)?;
    write(&folder.join(CA_KEY_FILE), &key.serialize_pem(), true)?;
    write(&folder.join(CA_FILE), &certificate.pem(), false)
}

/// Makes a node's certificate from the CA in `folder`. Returns the folder of the node's three files, which
/// [`crate::PeerTls::from_dir`] reads.
///
/// # Errors
/// [`CertError`]; nothing that was there is changed.
pub fn create_node(folder: &Path, node: &NewNode) -> Result<PathBuf, CertError> {
    create_node_at(folder, node, SystemTime::now())
}

pub(crate) fn create_node_at(folder: &Path, node: &NewNode, now: SystemTime) -> Result<PathBuf, CertError> {
    check_name(&node.name)?;
    let (ca_file, ca_key_file) = (folder.join(CA_FILE), folder.join(CA_KEY_FILE));
    let ca_pem = read(&ca_file)?;
    let ca_key = KeyPair::from_pem(&read(&ca_key_file)?)
        .map_err(|source| CertError::Ca { path: ca_key_file.clone(), source })?;
    let issuer =
        Issuer::from_ca_cert_pem(&ca_pem, ca_key).map_err(|source| CertError::Ca { path: ca_file.clone(), source })?;
    let mut params = params_for(&node.hosts)?;
    params.distinguished_name.push(DnType::CommonName, node.name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    // Whoever checks a certificate does not look when its CA ends.
    let ca_end = last_end(ca_pem.as_bytes()).map_err(|reason| CertError::NoCa { path: ca_file.clone(), reason })?;
    let left = ca_end.duration_since(now).unwrap_or_default();
    if left < Duration::from_secs(1) {
        return Err(CertError::Expired(ca_file));
    }
    set_validity(&mut params, node.valid_for, now)?;
    params.not_after = params.not_after.min(ca_end.into());
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;

    let own = folder.join(&node.name);
    for file in [CA_FILE, NODE_FILE, KEY_FILE] {
        if own.join(file).exists() {
            return Err(CertError::Exists(own.join(file)));
        }
    }
    create_folder(&own)?;
    write(&own.join(KEY_FILE), &key.serialize_pem(), true)?;
    write(&own.join(NODE_FILE), &certificate.pem(), false)?;
    write(&own.join(CA_FILE), &ca_pem, false)?;
    Ok(own)
}

/// When the last of a PEM file's certificates ends.
pub(crate) fn last_end(pem: &[u8]) -> Result<SystemTime, String> {
    let mut last = SystemTime::UNIX_EPOCH;
    for block in x509_parser::pem::Pem::iter_from_buffer(pem) {
        let block = block.map_err(|error| error.to_string())?;
        let certificate = block.parse_x509().map_err(|error| error.to_string())?;
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end));
        last = last.max(end.ok_or("it ends beyond what clocks can say")?);
    }
    Ok(last)
}

fn params_for(hosts: &[String]) -> Result<CertificateParams, CertError> {
    for host in hosts {
        // The names in a certificate would take more (`a b`, the empty name); a host that is dialled would not.
        let name = host.strip_prefix("*.").unwrap_or(host);
        if rustls::pki_types::ServerName::try_from(name).is_err() {
            return Err(CertError::Host(host.clone()));
        }
    }
    let names = if hosts.is_empty() { vec![ANY_HOST.to_owned()] } else { hosts.to_vec() };
    Ok(CertificateParams::new(names)?)
}

fn set_validity(params: &mut CertificateParams, valid_for: Duration, now: SystemTime) -> Result<(), CertError> {
    if valid_for < Duration::from_secs(1) || valid_for > MAX_VALIDITY {
        return Err(CertError::Validity);
    }
    let start = now.checked_sub(BEFORE).ok_or(CertError::Validity)?;
    let end = now.checked_add(valid_for).ok_or(CertError::Validity)?;
    params.not_before = start.into();
    params.not_after = end.into();
    Ok(())
}

fn check_name(name: &str) -> Result<(), CertError> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty()
        || name.len() > 63
        || name.starts_with('.')
        || !name.bytes().all(is_fine)
        || [CA_FILE, CA_KEY_FILE].contains(&name)
    {
        return Err(CertError::Name(name.to_owned()));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, CertError> {
    fs::read_to_string(path).map_err(|source| CertError::Io { path: path.to_owned(), source })
}

fn create_folder(path: &Path) -> Result<(), CertError> {
    fs::create_dir_all(path).map_err(|source| CertError::Io { path: path.to_owned(), source })
}

/// Writes a new file; `private` ones only their owner may read.
fn write(path: &Path, text: &str, private: bool) -> Result<(), CertError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if private {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let fault = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CertError::Exists(path.to_owned()),
        _ => CertError::Io { path: path.to_owned(), source },
    };
    let mut file = options.open(path).map_err(fault)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)
}
