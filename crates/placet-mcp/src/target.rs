//! Where a server elsewhere is: read from its URL, reached over TLS, in clear text on this machine only.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use placet_types::{PeerRule, Scope};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where systems keep the authorities that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why an address is none, or leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not an address that may be used.
    #[error(
        "{0}: a server elsewhere is reached over https://, or over http:// on loopback, without a user or a fragment"
    )]
    Address(String),
    /// The authorities cannot be read.
    #[error("{0}: {1}")]
    Authorities(PathBuf, String),
    /// It is outside of what was granted.
    #[error("the profile does not let it reach {0}; add it to its `network`")]
    Outside(String),
    /// There is no connection.
    #[error("it is not reached: {0}")]
    Connect(#[from] io::Error),
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

/// Who may vouch for servers.
#[derive(Clone)]
pub struct Trust(TlsConnector);

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// [`TargetError::Address`]
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let bad = || TargetError::Address(text.chars().take(200).collect());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') || text.contains('#') {
            return Err(bad());
        }
        let host = authority.host().trim_matches(['[', ']']).to_lowercase();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            Some(_) | None => return Err(bad()),
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            uri,
            host,
            port,
            tls,
        })
    }

    /// The host, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as they are asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// What the `Host` header says.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |it| it.as_str())
    }

    /// The whole of it.
    #[must_use]
    pub fn url(&self) -> String {
        self.uri.to_string()
    }

    /// Whether a scope lets it be reached.
    ///
    /// # Errors
    ///
    /// [`TargetError::Outside`]
    pub fn within(&self, scope: &Scope) -> Result<(), TargetError> {
        let names: Vec<String> = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => vec![format!("{ip}:{}", self.port)],
            Ok(IpAddr::V6(ip)) => vec![format!("[{ip}]:{}", self.port)],
            // Both are the same peer, and a name of one label is none in a scope.
            Err(_) if self.host == "localhost" => {
                vec![
                    format!("127.0.0.1:{}", self.port),
                    format!("[::1]:{}", self.port),
                ]
            }
            Err(_) => vec![format!("{}:{}", self.host, self.port)],
        };
        let is_covered = names
            .iter()
            .filter_map(|name| name.parse::<PeerRule>().ok())
            .any(|peer| scope.network.rules().any(|rule| rule.covers(&peer)));
        if is_covered {
            return Ok(());
        }
        Err(TargetError::Outside(format!("{}:{}", self.host, self.port)))
    }

    /// Connects. What says loopback and leads elsewhere is not reached.
    pub(crate) async fn connect(&self, trust: &Trust) -> Result<Stream, TargetError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        if !self.tls {
            let peer: SocketAddr = stream.peer_addr()?;
            if !peer.ip().is_loopback() {
                return Err(TargetError::Address(self.url()));
            }
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| TargetError::Address(self.url()))?;
        let stream = trust.0.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// A connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Trust {
    /// Trusts these authorities, or the system's.
    ///
    /// # Errors
    ///
    /// [`TargetError::Authorities`]
    pub fn new(ca: Option<&Path>) -> Result<Self, TargetError> {
        let mut roots = RootCertStore::empty();
        let path = ca.map(Path::to_owned).or_else(|| {
            let mut usual = SYSTEM.iter().map(PathBuf::from);
            usual.find(|path| path.exists())
        });
        // A system without authorities reaches servers on loopback only.
        if let Some(path) = path {
            let bad = |error: String| TargetError::Authorities(path.clone(), error);
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
            .map_err(|error| TargetError::Authorities(PathBuf::new(), error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_stays_on_this_machine() {
        for good in [
            "https://mcp.example.com/mcp",
            "http://127.0.0.1:8080/mcp?x=1",
            "http://localhost/mcp",
            "http://[::1]:9/mcp",
        ] {
            assert!(Target::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://mcp.example.com/mcp",
            "http://10.0.0.1/mcp",
            "https://user:pass@mcp.example.com/",
            "https://mcp.example.com/#x",
            "ftp://localhost/",
            "/mcp",
            "http://127.0.0.1.example.com/",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
