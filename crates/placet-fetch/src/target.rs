//! Where a peer is: read from its URL, reached over TLS, in clear text on this machine only.

use std::io;
use std::net::{IpAddr, SocketAddr};

use hyper::Uri;
use placet_egress::Reach;
use placet_types::{Network, PeerRule, Scope};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};

use crate::trust::Trust;

/// Why an address is none, or leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not an address that may be used.
    #[error("{0}: it must be https://, or http:// on loopback, without a user or a fragment")]
    Address(String),
    /// It is outside of what was granted.
    #[error("the profile does not let it reach {0}; add it to its `network`")]
    Outside(String),
    /// It leads to an address where it has no business.
    #[error(
        "{0} leads to an address that is not of the public internet, and nothing names that address"
    )]
    LeadsInside(String),
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

/// Where names may lead.
#[derive(Clone, Debug)]
pub enum Leads {
    /// Wherever the machine's resolver says: the administrator of this node named the peer.
    Anywhere,
    /// To the public internet, and to addresses that are covered by themselves.
    Within(Box<Reach>),
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// In clear text, to this machine.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Leads {
    /// What a scope's network says.
    #[must_use]
    pub fn within(network: &Network) -> Self {
        Self::Within(Box::new(Reach::new(network)))
    }

    fn may(&self, to: SocketAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Within(reach) => reach.may_lead_to(to),
        }
    }
}

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

    /// Another path at the same host and port.
    ///
    /// # Errors
    ///
    /// [`TargetError::Address`]
    pub fn at(&self, path: &str) -> Result<Self, TargetError> {
        Self::parse(&format!("{}{path}", self.origin()))
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

    /// Scheme, host and port, in one spelling.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == if self.tls { 443 } else { 80 } {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }

    /// Path and query, as they are asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// The path alone.
    #[must_use]
    pub fn path_alone(&self) -> &str {
        self.uri.path()
    }

    /// Whether there is a query.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.uri.query().is_some()
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

    /// Connects, to an address that was judged. What says loopback and leads elsewhere is not reached.
    ///
    /// # Errors
    ///
    /// [`TargetError`]
    pub async fn connect(&self, trust: &Trust, leads: &Leads) -> Result<Stream, TargetError> {
        let stream = self.reach(leads).await?;
        stream.set_nodelay(true)?;
        if !self.tls {
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| TargetError::Address(self.url()))?;
        let stream = trust.0.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// One lookup: what is judged is what is connected to.
    async fn reach(&self, leads: &Leads) -> Result<TcpStream, TargetError> {
        let found = lookup_host((self.host.as_str(), self.port)).await?;
        let may = |to: &SocketAddr| leads.may(*to) && (self.tls || to.ip().is_loopback());
        let (judged, refused): (Vec<_>, Vec<_>) = found.partition(may);
        let mut last = None;
        for to in judged {
            match TcpStream::connect(to).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error.into()),
            None if !refused.is_empty() => Err(TargetError::LeadsInside(self.host.clone())),
            None => Err(io::Error::from(io::ErrorKind::NotFound).into()),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
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

    #[test]
    fn an_origin_has_one_spelling() {
        for (url, origin) in [
            ("https://MCP.example.com:443/mcp", "https://mcp.example.com"),
            (
                "https://mcp.example.com:8443",
                "https://mcp.example.com:8443",
            ),
            ("http://[::1]:9/mcp?x", "http://[::1]:9"),
        ] {
            assert_eq!(Target::parse(url).unwrap().origin(), origin);
        }
    }

    #[test]
    fn what_leads_inside_is_not_connected_to() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let trust = Trust::new(None).unwrap();
        let public = Leads::within(&Network::peers(&std::collections::BTreeSet::new()));
        for inside in [
            "https://10.0.0.1/",
            "https://169.254.169.254/latest",
            "https://[fd00:ec2::254]/",
            "http://127.0.0.1:1/",
            "http://localhost:1/",
        ] {
            let target = Target::parse(inside).unwrap();
            let error = runtime.block_on(target.connect(&trust, &public));
            assert!(
                matches!(error, Err(TargetError::LeadsInside(_))),
                "{inside}: {error:?}"
            );
        }
    }
}
