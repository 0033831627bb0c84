//! The certificate of a region with TLS: signed by an authority that is made for it and whose key
//! is thrown away. Both stay in the region's directory, so that a client that trusts one start
//! trusts the next.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::{RegionError, at};
use crate::state::replace_file;

/// Whom the certificate is for.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// What listeners with TLS need.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// The authority's certificate.
    pub(crate) ca: PathBuf,
}

impl Tls {
    /// Reads the certificate of a region, or makes it.
    pub(crate) fn open(directory: &Path) -> Result<Self, RegionError> {
        let ca = directory.join("ca.pem");
        let (certificate, key) =
            (directory.join("tls/server.pem"), directory.join("tls/server.key"));
        // The authority is written last: where it is, the others are.
        if !ca.exists() {
            let made = make().map_err(|error| RegionError::Certificate {
                action: "make a certificate",
                reason: error.to_string(),
            })?;
            fs::create_dir_all(directory.join("tls")).map_err(at("create", &certificate))?;
            replace_file(&key, made.key.as_bytes())?;
            replace_file(&certificate, made.certificate.as_bytes())?;
            replace_file(&ca, made.authority.as_bytes())?;
        }
        let config = config(&certificate, &key)
            .map_err(|reason| RegionError::Certificate { action: "use the certificate", reason })?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca })
    }
}

struct Made {
    authority: String,
    certificate: String,
    key: String,
}

fn make() -> Result<Made, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Simulated region");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let server = CertificateParams::new(NAMES.map(str::to_owned))?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok(Made {
        authority: authority.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn config(certificate: &Path, key: &Path) -> Result<ServerConfig, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}", certificate.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())
}
