//! Who may vouch for peers: the system's authorities, or those of one file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Where systems keep the authorities that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Who may vouch for peers.
#[derive(Clone)]
pub struct Trust(pub(crate) TlsConnector);

/// The authorities cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct TrustError {
    path: PathBuf,
    reason: String,
}

impl Trust {
    /// Trusts these authorities, or the system's.
    ///
    /// # Errors
    ///
    /// [`TrustError`]
    pub fn new(ca: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let path = ca.map(Path::to_owned).or_else(|| {
            let mut usual = SYSTEM.iter().map(PathBuf::from);
            usual.find(|path| path.exists())
        });
        // A system without authorities reaches peers on loopback only.
        if let Some(path) = path {
            let bad = |reason: String| TrustError {
                path: path.clone(),
                reason,
            };
            let certificates = CertificateDer::pem_file_iter(&path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| bad(error.to_string()))?;
            let (taken, _) = roots.add_parsable_certificates(certificates);
            if taken == 0 {
                return Err(bad("it holds no certificate".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TrustError {
                path: PathBuf::new(),
                reason: error.to_string(),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}
