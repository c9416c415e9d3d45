//! Who is told: an address, the secret that signs, and the certificates that are believed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::Uri;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use sha2::Sha256;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Where the system keeps the certificates that it believes.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where a secret begins, as Standard Webhooks writes it.
const PREFIX: &str = "whsec_";
/// Most attempts for one message: with pauses that double up to a minute, a quarter of an hour.
const ATTEMPTS_MAX: u32 = 20;
/// Shortest and longest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A receiver, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Whether private parameters are sent.
    #[serde(default)]
    pub arguments: bool,
    /// How often one message is tried before the next one has its turn: 1 to 20.
    #[serde(default = "attempts")]
    pub attempts: u32,
    /// Certificates that are believed, in PEM (default: those of the system).
    pub ca: Option<PathBuf>,
    /// File with the secret: `whsec_` and base64.
    pub secret: PathBuf,
    /// `https`, or `http` to this machine.
    pub url: String,
}

const fn attempts() -> u32 {
    8
}

/// Why a receiver cannot be told anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The address does not read.
    #[error(
        "webhooks: `{0}` is not an http or https address of a host, without user, and fragment"
    )]
    Url(String),
    /// Messages could be overheard.
    #[error("webhooks: `{0}` is reachable from other machines and needs https")]
    Plain(String),
    /// The secret does not read.
    #[error("webhooks: {0} holds no secret: it must be `whsec_` and the base64 of 24 to 64 bytes")]
    Secret(PathBuf),
    /// A number of attempts that makes no sense.
    #[error("webhooks: attempts must be 1 to {ATTEMPTS_MAX}")]
    Attempts,
    /// A file could not be read.
    #[error("webhooks: {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// Others can read the secret.
    #[error("webhooks: {0} can be read by others than its owner; run `chmod 600` on it")]
    Open(PathBuf),
    /// The certificates do not read.
    #[error("webhooks: {0} holds no certificates that read: {1}")]
    Roots(PathBuf, String),
}

/// A receiver that can be told. Its secret is never shown.
pub struct Receiver {
    arguments: bool,
    attempts: u32,
    host: String,
    port: u16,
    /// What stands in the request line.
    path: String,
    secret: Zeroizing<Vec<u8>>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Receiver {
    /// Reads what is configured.
    ///
    /// # Errors
    ///
    /// [`ReceiverError`] names what does not stand.
    pub fn open(webhook: &Webhook) -> Result<Self, ReceiverError> {
        if !(1..=ATTEMPTS_MAX).contains(&webhook.attempts) {
            return Err(ReceiverError::Attempts);
        }
        let odd = || ReceiverError::Url(webhook.url.clone());
        let uri: Uri = webhook.url.parse().map_err(|_| odd())?;
        let authority = uri.authority().ok_or_else(odd)?;
        if authority.as_str().contains('@') || webhook.url.contains('#') {
            return Err(odd());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            Some("http") => return Err(ReceiverError::Plain(webhook.url.clone())),
            Some(_) | None => return Err(odd()),
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| odd())?;
        let tls = match encrypted {
            true => Some((connector(webhook.ca.as_deref())?, name)),
            false => None,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            arguments: webhook.arguments,
            attempts: webhook.attempts,
            port: authority
                .port_u16()
                .unwrap_or(if encrypted { 443 } else { 80 }),
            host,
            path: path.to_owned(),
            secret: secret(&webhook.secret)?,
            tls,
        })
    }

    /// The host alone: a path may be a secret of its own.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) const fn with_arguments(&self) -> bool {
        self.arguments
    }

    pub(super) fn tls(&self) -> Option<(&TlsConnector, ServerName<'static>)> {
        let (connector, name) = self.tls.as_ref()?;
        Some((connector, name.clone()))
    }

    /// The signature of a message, as Standard Webhooks has it.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        Some(format!(
            "v1,{}",
            STANDARD.encode(mac.finalize().into_bytes())
        ))
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// A host that is this machine, whatever a resolver says.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, ReceiverError> {
    use std::os::unix::fs::MetadataExt as _;
    let unread = |error| ReceiverError::Read(path.to_owned(), error);
    if std::fs::metadata(path).map_err(unread)?.mode() & 0o077 != 0 {
        return Err(ReceiverError::Open(path.to_owned()));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unread)?);
    let encoded = text.trim_end().strip_prefix(PREFIX);
    let bytes = encoded.and_then(|text| STANDARD.decode(text).ok().map(Zeroizing::new));
    bytes
        .filter(|bytes| SECRET_BYTES.contains(&bytes.len()))
        .ok_or_else(|| ReceiverError::Secret(path.to_owned()))
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, ReceiverError> {
    let path = ca.unwrap_or(Path::new(SYSTEM_ROOTS));
    let odd = |error: String| ReceiverError::Roots(path.to_owned(), error);
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(path).map_err(|error| odd(error.to_string()))?;
    let all: Vec<_> = all.filter_map(Result::ok).collect();
    let (taken, _) = roots.add_parsable_certificates(all);
    if taken == 0 {
        return Err(odd("none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| odd(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(dir: &Path, url: &str, secret: &str, mode: u32) -> Webhook {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join("secret");
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Webhook {
            arguments: false,
            attempts: attempts(),
            ca: None,
            secret: path,
            url: url.to_owned(),
        }
    }

    #[test]
    fn the_signature_is_the_one_of_the_standards_own_example() {
        // From the documents of Standard Webhooks.
        let dir = tempfile::tempdir().unwrap();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        let hook = webhook(dir.path(), "http://127.0.0.1:1/h", secret, 0o600);
        let receiver = Receiver::open(&hook).unwrap();
        let signed = receiver.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            b"{\"test\": 2432232314}",
        );
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed.as_deref(), Some(expected));
        assert!(!format!("{receiver:?}").contains("MfKQ"));
    }

    #[test]
    fn an_address_that_can_be_overheard_and_a_secret_that_is_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (url, secret, mode) in [
            ("http://hooks.example.org/h", good, 0o600),
            ("http://127.0.0.1.example.org/h", good, 0o600),
            ("ftp://127.0.0.1/h", good, 0o600),
            ("http://user@127.0.0.1/h", good, 0o600),
            ("/h", good, 0o600),
            (
                "http://127.0.0.1/h",
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                0o600,
            ),
            ("http://127.0.0.1/h", "whsec_c2hvcnQ=", 0o600),
            ("http://127.0.0.1/h", good, 0o644),
        ] {
            let hook = webhook(dir.path(), url, secret, mode);
            assert!(Receiver::open(&hook).is_err(), "{url} {secret} {mode:o}");
        }
        for attempts in [0, 21] {
            let hook = webhook(dir.path(), "http://127.0.0.1/h", good, 0o600);
            assert!(Receiver::open(&Webhook { attempts, ..hook }).is_err());
        }
        for url in [
            "http://localhost:9/h",
            "http://[::1]:9/h?a=b",
            "http://127.0.0.2",
        ] {
            assert!(
                Receiver::open(&webhook(dir.path(), url, good, 0o600)).is_ok(),
                "{url}"
            );
        }
    }
}
