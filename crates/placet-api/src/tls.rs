//! TLS: the certificate and key that were given, and nothing chosen by the client.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file does not read as PEM.
    #[error("tls: {0}: {1}")]
    Pem(PathBuf, rustls::pki_types::pem::Error),
    /// Others can read the key.
    #[error("tls: {0} can be read by others than its owner; run `chmod 600` on it")]
    Open(PathBuf),
    /// The file holds no certificate.
    #[error("tls: {0} holds no certificate")]
    Empty(PathBuf),
    /// Certificate and key do not fit, or are of no kind that is taken.
    #[error("tls: {0}")]
    Refused(#[from] rustls::Error),
}

/// What accepts TLS connections.
///
/// # Errors
///
/// [`TlsError`] names the file.
pub fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    use std::os::unix::fs::MetadataExt as _;
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |error| TlsError::Pem(path, error)
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&tls.cert)
        .map_err(pem(&tls.cert))?
        .collect::<Result<_, _>>()
        .map_err(pem(&tls.cert))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(tls.cert.clone()));
    }
    if std::fs::metadata(&tls.key).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        return Err(TlsError::Open(tls.key.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem(&tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
