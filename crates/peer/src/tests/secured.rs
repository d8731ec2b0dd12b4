//! Who is let in, and what those who are not are told.

use super::*;
use crate::BindError;

/// What a caller with `own` hears from a node with `theirs`, and what that node logs.
async fn refused(own: Security, theirs: Security) -> (String, String) {
    let (lines, _guard) = Lines::capture();
    let node = Node::start(theirs).await;
    let transport = PeerTransport::with_settings(own, patient());
    let answer = call(&transport, &node.peer, "x").await;
    let Err(TransportError::Unreachable { reason, .. }) = answer else { panic!("{answer:?}") };
    lines.have("a connection of a peer was dropped").await;
    node.stop().await;
    (reason, lines.text())
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_on_both_sides() {
    let (ours, theirs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (own, other) = (certificate(ours.path(), "n1", &[]), certificate(theirs.path(), "n1", &[]));
    let (reason, log) = refused(own.clone(), other.clone()).await;
    assert!(reason.contains("from another CA than ca.pem: make one with `willow cluster certs`"), "{reason}");
    assert!(log.contains("does not accept this node's certificate"), "{log}");
    // One that does not look at the certificate of who it dials, to see that it is looked at too.
    let (reason, log) = refused(trusting(&own, &other), other).await;
    assert!(reason.contains("does not accept this node's certificate"), "{reason}");
    assert!(log.contains("from another CA than ca.pem"), "{log}");
}

/// Shows the certificate of `own`, and trusts whom `other` trusts.
fn trusting(own: &Security, other: &Security) -> Security {
    let (Security::Tls(own), Security::Tls(other)) = (own, other) else { panic!("both have certificates") };
    let mut client = (*other.client).clone();
    client.client_auth_cert_resolver = Arc::clone(&own.client.client_auth_cert_resolver);
    Security::Tls(PeerTls { client: Arc::new(client), server: Arc::clone(&own.server) })
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = certificate(folder.path(), "n1", &[]);
    let Security::Tls(tls) = &node else { panic!("it has a certificate") };
    let mut client = (*tls.client).clone();
    client.client_auth_cert_resolver = Arc::new(NoCertificate);
    let bare = Security::Tls(PeerTls { client: Arc::new(client), server: Arc::clone(&tls.server) });
    let (reason, log) = refused(bare, node).await;
    assert!(reason.contains("CertificateRequired"), "{reason}");
    assert!(log.contains("there is no certificate: make one with `willow cluster certs`"), "{log}");
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_peers_and_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = certificate(folder.path(), "n1", &[]);
    let long_ago = SystemTime::now() - Duration::from_secs(10 * 24 * 3600);
    let expired = NewNode { name: "n2".into(), hosts: Vec::new(), valid_for: Duration::from_secs(3600) };
    let own = certs::create_node_at(folder.path(), &expired, long_ago).expect("a certificate");
    let error = PeerTls::from_dir(&own).expect_err("it has expired").to_string();
    assert!(error.contains("node.pem: the certificate has expired: make one"), "{error}");

    let old = Security::Tls(PeerTls::unchecked(&own));
    let (reason, log) = refused(old.clone(), good.clone()).await;
    assert!(reason.contains("CertificateExpired"), "{reason}");
    assert!(log.contains("the certificate has expired: make one with `willow cluster certs`"), "{log}");
    let (reason, _) = refused(good, old).await;
    assert!(reason.contains("the certificate has expired"), "{reason}");
}

/// Nobody who checks a certificate looks when its CA ends.
#[test]
fn no_certificate_outlives_its_ca_and_an_expired_ca_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    certs::create_ca_at(folder.path(), hour, now - 2 * hour).expect("a CA");
    let node = |name: &str| NewNode { name: name.into(), hosts: Vec::new(), valid_for: certs::NODE_VALIDITY };
    let own = certs::create_node_at(folder.path(), &node("n1"), now - 2 * hour).expect("a certificate");
    let end = certs::last_end(&std::fs::read(own.join("node.pem")).expect("a file")).expect("an end");
    assert!(end <= now - hour, "{end:?}");
    let late = certs::create_node_at(folder.path(), &node("n2"), now);
    assert!(matches!(late, Err(certs::CertError::Expired(_))), "{late:?}");
    let error = PeerTls::from_dir(&own).expect_err("it has expired").to_string();
    assert!(error.contains("ca.pem: the CA has expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_names_hosts_is_good_for_those_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let caller = certificate(folder.path(), "caller", &["10.9.9.9"]);
    for hosts in [&[][..], &["127.0.0.1"], &["elsewhere.example", "127.0.0.1"]] {
        let node = Node::start(certificate(folder.path(), &format!("n{}", hosts.len()), hosts)).await;
        let transport = PeerTransport::with_settings(caller.clone(), patient());
        assert_eq!(call(&transport, &node.peer, "x").await, Ok(Bytes::from("x")), "{hosts:?}");
    }
    let (reason, _) = refused(caller, certificate(folder.path(), "n9", &["elsewhere.example"])).await;
    assert!(reason.contains("does not name the host that was dialled"), "{reason}");
}

#[tokio::test]
async fn two_cas_in_ca_pem_carry_a_cluster_from_one_to_the_next() {
    let (before, after) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (_old, _new) = (certificate(before.path(), "n1", &[]), certificate(after.path(), "n1", &[]));
    let ca = |folder: &Path| std::fs::read_to_string(folder.join("ca.pem")).expect("ca.pem");
    let both = ca(before.path()) + &ca(after.path());
    let nodes = [before.path(), after.path()].map(|folder| {
        std::fs::write(folder.join("n1/ca.pem"), &both).expect("write");
        Security::Tls(PeerTls::from_dir(folder.join("n1")).expect("its files"))
    });
    for (dials, listens) in [(0, 1), (1, 0)] {
        let node = Node::start(nodes[listens].clone()).await;
        let transport = PeerTransport::with_settings(nodes[dials].clone(), patient());
        assert_eq!(call(&transport, &node.peer, "x").await, Ok(Bytes::from("x")));
    }
}

#[tokio::test]
async fn tls_on_one_side_only_is_explained_on_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let secure = certificate(folder.path(), "n1", &[]);
    let (reason, log) = refused(Security::Insecure, secure.clone()).await;
    assert!(reason.contains("wants TLS, and this node is set to insecure"), "{reason}");
    assert!(log.contains("does not speak TLS"), "{log}");
    let (reason, log) = refused(secure, Security::Insecure).await;
    assert!(reason.contains("closed the connection during TLS"), "{reason}");
    assert!(log.contains("wants TLS, and this node is set to insecure"), "{log}");
}

#[tokio::test]
async fn insecure_stays_on_loopback() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7071"] {
        let error = PeerListener::bind(addr.parse().expect("an address"), Security::Insecure).await;
        assert!(matches!(error, Err(BindError::Insecure(_))), "{addr}: {error:?}");
    }
    let answer = call(&insecure(), &Peer { node: None, addr: "192.0.2.1:7071".into() }, "x").await;
    let Err(TransportError::Unreachable { reason, .. }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("only loopback addresses are dialled"), "{reason}");
}

#[test]
fn certificates_are_never_overwritten_and_keys_are_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let node = NewNode { name: "n1".into(), hosts: vec!["::1".into()], valid_for: certs::NODE_VALIDITY };
    assert!(!certs::has_ca(path).expect("none"));
    certs::create_ca(path, certs::CA_VALIDITY).expect("a CA");
    let ca = std::fs::read(path.join("ca.pem")).expect("ca.pem");
    certs::create_node(path, &node).expect("a certificate");
    let own = std::fs::read(path.join("n1/node.pem")).expect("node.pem");
    let again = [certs::create_ca(path, certs::CA_VALIDITY), certs::create_node(path, &node).map(drop)];
    assert!(again.iter().all(|again| matches!(again, Err(certs::CertError::Exists(_)))), "{again:?}");
    assert_eq!(std::fs::read(path.join("ca.pem")).expect("ca.pem"), ca);
    assert_eq!(std::fs::read(path.join("n1/node.pem")).expect("node.pem"), own);
    for key in ["ca.key", "n1/node.key"] {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path.join(key)).expect("a key"));
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    std::fs::remove_file(path.join("ca.key")).expect("remove");
    assert!(matches!(certs::has_ca(path), Err(certs::CertError::HalfCa { .. })));
}

#[test]
fn names_hosts_and_times_that_no_certificate_can_have_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    certs::create_ca(folder.path(), certs::CA_VALIDITY).expect("a CA");
    let with = |name: &str, host: &str, valid_for| {
        let node = NewNode { name: name.into(), hosts: vec![host.into()], valid_for };
        certs::create_node(folder.path(), &node)
    };
    for name in ["", ".", "..", "../n1", "a/b", "a b", &"n".repeat(64)] {
        assert!(matches!(with(name, "a.example", certs::NODE_VALIDITY), Err(certs::CertError::Name(_))), "{name}");
    }
    assert!(matches!(with("ca.key", "a.example", certs::NODE_VALIDITY), Err(certs::CertError::Name(_))));
    for host in ["", "a b", "a:7071", "http://a", "a\0b"] {
        assert!(matches!(with("n", host, certs::NODE_VALIDITY), Err(certs::CertError::Host(_))), "{host}");
    }
    for valid_for in [Duration::ZERO, certs::MAX_VALIDITY + Duration::from_secs(1), Duration::MAX] {
        assert!(matches!(with("n", "a.example", valid_for), Err(certs::CertError::Validity)), "{valid_for:?}");
    }
    with("n", "*.willow.svc", certs::MAX_VALIDITY).expect("a wildcard, for a hundred years");
}

#[test]
fn files_that_are_missing_or_do_not_fit_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let error = PeerTls::from_dir(path).expect_err("nothing there").to_string();
    assert!(error.contains("ca.pem") && error.contains("`willow cluster certs` makes"), "{error}");
    let (_one, _other) = (certificate(path, "n1", &[]), certificate(path, "n2", &[]));
    std::fs::copy(path.join("n2/node.key"), path.join("n1/node.key")).expect("copy");
    let error = PeerTls::from_dir(path.join("n1")).expect_err("the wrong key").to_string();
    assert!(error.contains("node.key") && error.contains("is it the key of node.pem?"), "{error}");
    std::fs::write(path.join("n2/node.pem"), "nothing").expect("write");
    let error = PeerTls::from_dir(path.join("n2")).expect_err("no certificate").to_string();
    assert!(error.contains("node.pem: it holds no certificate"), "{error}");
}
