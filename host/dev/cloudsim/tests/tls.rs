//! A region whose endpoints speak TLS. Needs no root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use client::{Client, FORM, read_answer, request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use wharf_cloudsim::{Delays, Devices, Fault, FaultRule, Region, RegionOptions};

fn region(directory: &Path) -> Region {
    let options = RegionOptions {
        tls: true,
        devices: Devices::Absent,
        delays: Delays::none(),
        ..RegionOptions::new(directory)
    };
    Region::start(options).unwrap()
}

/// A call over TLS by a client that trusts the authority in that file alone.
fn call(region: &Region, ca: &Path, action: &str) -> std::io::Result<(u16, String)> {
    let base = &region.description().endpoints.ecs;
    let host = base.strip_prefix("https://").unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(host)?);
    let form = Client::ecs(region).sign(action, &[]);
    stream.write_all(request(host, "POST", "/", &[FORM], &form).as_bytes())?;
    read_answer(&mut stream)
}

fn ca(region: &Region) -> std::path::PathBuf {
    region.description().ca.clone().unwrap()
}

#[test]
fn a_client_that_trusts_the_regions_authority_is_served_and_no_other() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let region = region(directory.path());
    let (status, body) = call(&region, &ca(&region), "DescribeRegions").unwrap();
    assert!(status == 200 && body.contains("cn-wharf-1"), "{body}");
    let stranger = self::region(other.path());
    let error = call(&region, &ca(&stranger), "DescribeRegions").unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let endpoints = &region.description().endpoints;
    assert!(endpoints.sts.starts_with("https://"));
    assert!(endpoints.metadata.starts_with("http://"), "as on real instances");
}

#[test]
fn the_authority_outlives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = region(directory.path());
    let kept = directory.path().join("kept.pem");
    std::fs::copy(ca(&first), &kept).unwrap();
    first.stop().unwrap();
    let second = region(directory.path());
    assert_eq!(call(&second, &kept, "DescribeRegions").unwrap().0, 200);
}

#[test]
fn a_handshake_that_never_ends_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let region = region(directory.path());
    let host = region.description().endpoints.ecs.trim_start_matches("https://").to_owned();
    let silent = TcpStream::connect(&host).unwrap();
    assert_eq!(call(&region, &ca(&region), "DescribeRegions").unwrap().0, 200);
    drop(silent);
    let mut plain = TcpStream::connect(&host).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "nothing is told in the clear");
}

#[test]
fn an_answer_can_be_dropped_and_truncated_over_tls_too() {
    let directory = tempfile::tempdir().unwrap();
    let region = region(directory.path());
    for fault in [Fault::DropAnswer, Fault::TruncateAnswer] {
        region.set_faults(vec![FaultRule::new("DescribeRegions", fault.clone())]);
        assert!(call(&region, &ca(&region), "DescribeRegions").is_err(), "{fault:?}");
        assert_eq!(region.journal().last().unwrap().status, 200);
    }
}
