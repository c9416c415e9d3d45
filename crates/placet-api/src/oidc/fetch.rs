//! Asking a provider: one GET, over TLS but on loopback, within bounds, without redirects.

use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where systems keep the authorities that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a provider could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An address that is none, or one that anybody could answer for.
    #[error("an identity provider is asked over https://, or over http:// on loopback")]
    Address,
    /// The authorities cannot be read.
    #[error("oidc: {0}: {1}")]
    Authorities(PathBuf, String),
    /// No connection.
    #[error("the identity provider is not reached: {0}")]
    Connect(io::Error),
    /// No answer, or one that is too long.
    #[error("the identity provider does not answer as it should")]
    Answer,
    /// No discovery document.
    #[error("the identity provider's discovery document does not read")]
    Discovery,
    /// The document of somebody else.
    #[error("the discovery document names another issuer")]
    OtherIssuer,
    /// No keys.
    #[error("the identity provider has no keys that can be used")]
    Keys,
}

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

/// What asks.
pub(super) struct Client {
    connector: TlsConnector,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        let uri: Uri = text.parse().map_err(|_| FetchError::Address)?;
        let authority = uri.authority().ok_or(FetchError::Address)?;
        if authority.as_str().contains('@') {
            return Err(FetchError::Address);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            Some(_) | None => return Err(FetchError::Address),
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            host,
            port,
            tls,
            uri,
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Client {
    /// Trusts these authorities, or the system's.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, FetchError> {
        let mut roots = RootCertStore::empty();
        let path = ca.map(Path::to_owned).or_else(|| {
            let mut usual = SYSTEM.iter().map(PathBuf::from);
            usual.find(|path| path.exists())
        });
        // A system without authorities reaches providers on loopback only.
        if let Some(path) = path {
            let bad = |error: String| FetchError::Authorities(path.clone(), error);
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
            .map_err(|error| FetchError::Authorities(PathBuf::new(), error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// What stands at an address.
    pub(super) async fn get(&self, at: &Address, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let late = |_| FetchError::Connect(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(PATIENCE, self.ask(at, bytes_max))
            .await
            .map_err(late)?
    }

    async fn ask(&self, at: &Address, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let stream = TcpStream::connect((at.host.as_str(), at.port)).await;
        let stream = stream.map_err(FetchError::Connect)?;
        if at.tls {
            let name = ServerName::try_from(at.host.clone()).map_err(|_| FetchError::Address)?;
            let stream = self.connector.connect(name, stream).await;
            return exchange(stream.map_err(FetchError::Connect)?, at, bytes_max).await;
        }
        // A name that says loopback and leads elsewhere is not asked.
        let peer = stream.peer_addr().map_err(FetchError::Connect)?;
        if !peer.ip().is_loopback() {
            return Err(FetchError::Address);
        }
        exchange(stream, at, bytes_max).await
    }
}

/// A body with nothing in it.
struct Empty;

impl hyper::body::Body for Empty {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

async fn exchange<S>(stream: S, at: &Address, bytes_max: usize) -> Result<Vec<u8>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = |_| FetchError::Answer;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(16 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(answer)?;
    // It ends with the sender, or with the timeout that drops both.
    let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
    let path = at.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = at
        .uri
        .authority()
        .map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header("host", host)
        .header("accept", "application/json")
        .header("user-agent", "placet")
        .header("connection", "close")
        .body(Empty)
        .map_err(|_| FetchError::Address)?;
    let reply = sender.send_request(request).await.map_err(answer)?;
    if reply.status() != StatusCode::OK {
        return Err(FetchError::Answer);
    }
    let (mut body, mut all) = (reply.into_body(), Vec::new());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.map_err(answer)?.into_data() {
            if data.len() > bytes_max.saturating_sub(all.len()) {
                return Err(FetchError::Answer);
            }
            all.extend_from_slice(&data);
        }
    }
    drop(driver);
    Ok(all)
}

/// The task that carries a connection ends with whoever asks.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
