//! Whose certificate is good, against a real TLS server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use wharf_core::{Effect, Error, ErrorKind};
use wharf_runtime::{Endpoint, HttpEgress};

use crate::fixture::Bench;

/// Answers `ok` to everything, under a certificate for `localhost` from an authority of its own.
struct TlsServer {
    port: u16,
    directory: TempDir,
}

impl TlsServer {
    fn start() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
        let (listener, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(StreamOwned::new(
                    ServerConnection::new(Arc::clone(&config)).unwrap(),
                    stream,
                ));
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
                let _ = reader.get_mut().write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                );
            }
        });
        Self { port, directory }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn answers(&self, host: &str, authorities: Option<&Path>) -> Error {
        let endpoint = Endpoint::new("cloud", &format!("https://{host}:{}", self.port))
            .unwrap()
            .allow_private();
        let endpoint = authorities
            .into_iter()
            .fold(endpoint, |endpoint, file| endpoint.with_authorities(file));
        let mut bench = Bench::new();
        bench.ports.egress = Some(Arc::new(HttpEgress::new([endpoint], None)));
        bench.does("send cloud - mutate - POST /ok").unwrap_err()
    }
}

#[test]
fn an_endpoint_under_the_authority_that_it_was_given_is_answered() {
    let server = TlsServer::start();
    let answer = server.answers("localhost", Some(&server.file("ca.pem")));
    assert!(answer.message.starts_with("status 200 with 2 bytes"), "{answer}");
}

#[test]
fn an_endpoint_under_an_unknown_authority_gets_nothing() {
    let (server, other) = (TlsServer::start(), TlsServer::start());
    for authorities in [None, Some(other.file("ca.pem"))] {
        let error = server.answers("localhost", authorities.as_deref());
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::None), "{error}");
        assert!(error.message.contains("certificate"), "{error}");
    }
}

#[test]
fn a_certificate_for_another_name_is_not_good() {
    let server = TlsServer::start();
    let error = server.answers("127.0.0.1", Some(&server.file("ca.pem")));
    assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::None), "{error}");
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let server = TlsServer::start();
    std::fs::write(server.file("empty.pem"), "").unwrap();
    std::fs::write(
        server.file("broken.pem"),
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    for name in ["missing.pem", "empty.pem", "broken.pem"] {
        let error = server.answers("localhost", Some(&server.file(name)));
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::FailedPrecondition, Effect::None),
            "{error}"
        );
        assert!(error.message.contains(name), "{error}");
    }
}
