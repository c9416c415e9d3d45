//! TLS: a certificate that was given or that the domain issues to itself, and client certificates.
//!
//! The handshake proves that a client holds the key of the certificate that it shows, and nothing
//! else; whether that certificate makes it a workload is looked at behind it (`workload`), so that
//! who is refused is told why. Files that change are read again. What does not read leaves what was
//! good before in its place, and health and meters say so.

mod domain;
mod leaf;
pub(crate) mod workload;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use placet_types::{Digest, Millis};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::{Certificate, Tls};

pub use domain::AUTHORITY_FILE;
pub(crate) use workload::{Peer, Workload};

use workload::{AnyHolder, Trust};

/// How often a certificate of the domain's own is issued anew.
const REISSUE_SECS: u64 = 86_400;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file does not read as PEM.
    #[error("tls: {0}: {1}")]
    Pem(PathBuf, rustls::pki_types::pem::Error),
    /// A file cannot be read or written.
    #[error("tls: {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// Others can read the key.
    #[error("tls: {0} can be read by others than its owner; run `chmod 600` on it")]
    Open(PathBuf),
    /// The file holds no certificate.
    #[error("tls: {0} holds no certificate")]
    Empty(PathBuf),
    /// The trust bundle does not read.
    #[error("tls: {0} is no trust bundle: {1}")]
    Bundle(PathBuf, String),
    /// Certificate and key do not fit, or are of no kind that is taken.
    #[error("tls: {0}")]
    Refused(#[from] rustls::Error),
    /// The domain's certificate could not be made.
    #[error("tls: the domain's certificate: {0}")]
    Issue(#[from] rcgen::Error),
}

/// What accepts TLS connections, kept up to date.
#[derive(Debug)]
pub struct Listener {
    settings: Tls,
    now: RwLock<Current>,
    /// Times that files could not be taken since they last could.
    failing: AtomicU64,
}

/// What is in force.
#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    trust: Arc<Trust>,
    /// Digest of the files that it was made of.
    stamp: Option<Digest>,
    since_secs: u64,
    /// Counts what was in force before.
    generation: u64,
}

impl Listener {
    /// Reads what `settings` name.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file.
    pub fn new(settings: Tls, now: Millis) -> Result<Self, TlsError> {
        let stamp = stamp(&settings);
        let (config, trust) = load(&settings, now)?;
        Ok(Self {
            now: RwLock::new(Current {
                config,
                trust,
                stamp,
                since_secs: now.as_unix_secs(),
                generation: 0,
            }),
            settings,
            failing: AtomicU64::new(0),
        })
    }

    fn current(&self) -> Current {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    /// What accepts the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    /// Times that changed files could not be taken since the last that could.
    pub(crate) fn failing(&self) -> u64 {
        self.failing.load(Ordering::Relaxed)
    }

    /// Reads again what changed. `None` when nothing did.
    ///
    /// # Errors
    ///
    /// [`TlsError`]: what was in force stays so.
    pub fn refresh(&self, now: Millis) -> Option<Result<(), TlsError>> {
        let known = self.current();
        let stamp = stamp(&self.settings);
        let old = match &self.settings.certificate {
            Certificate::Domain { .. } => {
                now.as_unix_secs() >= known.since_secs.saturating_add(REISSUE_SECS)
            }
            Certificate::Files { .. } => false,
        };
        if stamp.is_some() && stamp == known.stamp && !old {
            self.failing.store(0, Ordering::Relaxed);
            return None;
        }
        Some(match load(&self.settings, now) {
            Ok((config, trust)) => {
                let mut current = self.now.write().unwrap_or_else(PoisonError::into_inner);
                *current = Current {
                    config,
                    trust,
                    stamp,
                    since_secs: now.as_unix_secs(),
                    generation: known.generation.saturating_add(1),
                };
                self.failing.store(0, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.failing.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        })
    }

    /// Who showed this chain, by the trust bundles in force now.
    pub(crate) fn peer(&self, chain: &[CertificateDer<'_>], now: Millis) -> Peer {
        let current = self.current();
        Peer::new(chain, &current.trust, current.generation, now)
    }

    /// The same, looked at again where trust bundles changed since, or time went on.
    pub(crate) fn still(
        &self,
        peer: &Peer,
        now: Millis,
    ) -> Result<Option<Workload>, placet_types::Denial> {
        let current = self.current();
        peer.workload(&current.trust, current.generation, now)
    }
}

/// Digest of every file that counts; `None` when one cannot be read, which is a change as well.
fn stamp(settings: &Tls) -> Option<Digest> {
    let mut paths: Vec<&Path> = match &settings.certificate {
        Certificate::Files { cert, key } => vec![cert, key],
        Certificate::Domain { .. } => Vec::new(),
    };
    paths.extend(settings.clients.iter().map(|one| one.bundle.as_path()));
    let mut digests = String::new();
    for path in paths {
        digests.push_str(&Digest::of(&std::fs::read(path).ok()?).to_string());
    }
    Some(Digest::of(digests.as_bytes()))
}

fn load(settings: &Tls, now: Millis) -> Result<(Arc<ServerConfig>, Arc<Trust>), TlsError> {
    let (chain, key) = match &settings.certificate {
        Certificate::Files { cert, key } => (certificates(cert)?, private_key(key)?),
        Certificate::Domain {
            directory,
            domain,
            names,
        } => domain::issue(directory, domain, names, now)?,
    };
    let trust = Arc::new(Trust::read(&settings.clients)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let mut config = if settings.clients.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_verifier(Arc::new(AnyHolder::new(provider)))
    }
    .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), trust))
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |error| TlsError::Pem(path.to_owned(), error);
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(pem)?
        .collect::<Result<_, _>>()
        .map_err(pem)?;
    if all.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        return Err(TlsError::Open(path.to_owned()));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::Pem(path.to_owned(), error))
}
