//! Configuration: one TOML file, environment variables above it, the command line above those.
//!
//! Strict: an unknown key is an error, so that a mistyped limit is not a limit that is missing.
//! [`Config`] is what was written; [`Settings`] is what it means, and cannot be had without the checks.

mod checks;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use placet_authority::dir::GATEWAYS_MAX;
use placet_authority::node::checks::Schedule;
use placet_types::TrustDomain;
use serde::Deserialize;

use crate::log::{Format, Level};
use crate::traces::{Collector, CollectorError, Traces};
use crate::webhooks::{Receiver, ReceiverError, Webhook};

pub use checks::Checks;

/// Receivers of webhooks, at most.
const WEBHOOKS_MAX: usize = 16;
/// Gateways that wait where nothing is said of it: one for what runs, one for what is asked beside it.
const GATEWAYS: usize = 2;
use crate::oidc::{self, Oidc};

/// What can be written in the file. Every key may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// When the log is checked beside the service.
    #[serde(default)]
    pub checks: Checks,
    /// Gateways that may wait for commands of the domain's user, each with the next cell built; 0 for none (default: 2).
    pub gateways: Option<usize>,
    /// Seconds that running executions get to finish when the service stops.
    pub grace_secs: Option<u64>,
    /// Names, with port where it is not the usual one, that the listener answers to beside loopback.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// Address and port to listen on; absent for no TCP listener.
    pub listen: Option<SocketAddr>,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// Whether anybody may read `/metrics`.
    #[serde(default)]
    pub metrics_public: bool,
    /// Whether anybody may read the log: checkpoint, tiles, proofs.
    #[serde(default)]
    pub public: bool,
    /// Unix socket for HTTP (default: `http.sock` in the domain directory).
    pub socket: Option<PathBuf>,
    /// Permissions of that socket, in octal (default: 0600).
    pub socket_mode: Option<String>,
    /// Where spans of what was executed go; absent for nowhere.
    pub traces: Option<Traces>,
    /// Who is told what waits for approvals.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
    /// Identity providers whose tokens are taken.
    #[serde(default)]
    pub oidc: Vec<Oidc>,
    /// Certificate and key, and whose client certificates are taken.
    pub tls: Option<TlsFile>,
}

/// How TLS is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFile {
    /// The chain in PEM, the server's own certificate first.
    pub cert: Option<PathBuf>,
    /// Whose client certificates are taken.
    pub clients: Vec<Clients>,
    /// Whether the domain issues the certificate itself.
    pub domain: bool,
    /// The private key of `cert`, in PEM.
    pub key: Option<PathBuf>,
}

/// A trust domain whose workloads may connect (SPIFFE).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// Its authorities: PEM, or a SPIFFE trust bundle.
    pub bundle: PathBuf,
    /// Its name.
    pub trust_domain: TrustDomain,
}

/// What TLS means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate.
    pub certificate: Certificate,
    /// Whose client certificates are taken.
    pub clients: Vec<Clients>,
}

/// Where the server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Files in PEM.
    Files {
        /// The chain, the server's own certificate first.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// The domain issues it.
    Domain {
        /// The domain directory.
        directory: PathBuf,
        /// Its name, as it stands in the authority's certificate.
        domain: String,
        /// Names, beside loopback, that it is for.
        names: Vec<String>,
    },
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: Format,
    /// `error`, `warn`, `info` or `debug`.
    pub level: Level,
}

/// Bounds that every caller is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest body of an intent or a bundle, in bytes. Other bodies are held to 64 KiB.
    pub body_bytes: usize,
    /// Bodies that are held in memory at a time, in bytes, all together.
    pub bodies_bytes: usize,
    /// How long a body may take, in seconds.
    pub body_secs: u64,
    /// Connections at a time, on each listener.
    pub connections: usize,
    /// Longest head of a request, in bytes.
    pub header_bytes: usize,
    /// How long a head may take, and a connection may idle, in seconds.
    pub header_secs: u64,
    /// Most header fields.
    pub headers: usize,
    /// Intents that wait at a time.
    pub intents: usize,
    /// Event streams at a time.
    pub streams: usize,
    /// How long a client may take to read what is written to it, in seconds.
    pub write_secs: u64,
}

/// What the configuration means, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When the log is checked beside the service.
    pub checks: Schedule,
    /// Gateways that may wait.
    pub gateways: usize,
    /// How long running executions get to finish.
    pub grace: Duration,
    /// Names that the listener answers to.
    pub hosts: BTreeSet<String>,
    /// Where to listen for TCP.
    pub listen: Option<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// What is logged, and how.
    pub log: Log,
    /// Whether anybody may read `/metrics`.
    pub metrics_public: bool,
    /// Whether anybody may read the log.
    pub public: bool,
    /// Identity providers whose tokens are taken.
    pub oidc: Vec<Oidc>,
    /// The Unix socket.
    pub socket: PathBuf,
    /// Its permissions.
    pub socket_mode: u32,
    /// Certificate and key, and whose client certificates are taken.
    pub tls: Option<Tls>,
    /// Where spans of what was executed go.
    pub traces: Option<Arc<Collector>>,
    /// Who is told what waits for approvals.
    pub webhooks: Vec<Arc<Receiver>>,
}

/// Why a configuration does not stand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The file does not parse.
    #[error("{0}: {1}")]
    Syntax(PathBuf, String),
    /// An environment variable has a value that is none.
    #[error("{0}: `{1}` is not {2}")]
    Variable(&'static str, String, &'static str),
    /// A listener that anybody could overhear.
    #[error(
        "listen = \"{0}\" is reachable from other machines and needs TLS: set tls.cert and tls.key, or listen on 127.0.0.1"
    )]
    Plain(SocketAddr),
    /// A listener that knows no name of its own.
    #[error(
        "listen = \"{0}\" is reachable from other machines: set `hosts` to the names that it answers to"
    )]
    Nameless(SocketAddr),
    /// A receiver that cannot be told.
    #[error(transparent)]
    Webhook(#[from] ReceiverError),
    /// A collector that cannot be told.
    #[error(transparent)]
    Traces(#[from] CollectorError),
    /// More receivers than there may be.
    #[error("webhooks: at most {WEBHOOKS_MAX}")]
    Webhooks,
    /// Permissions that are none.
    #[error("socket_mode = \"{0}\" is not three octal digits such as 0660")]
    Mode(String),
    /// TLS that is not whole, or is said twice.
    #[error("tls: {0}")]
    Tls(&'static str),
    /// An identity provider that cannot be taken.
    #[error("oidc, issuer = \"{0}\": {1}")]
    Oidc(String, String),
    /// More gateways than may wait.
    #[error("gateways = {0} is more than the {GATEWAYS_MAX} that may wait")]
    Gateways(usize),
    /// Checks of the log that cannot be made so.
    #[error("checks.{0} is out of range: {1}")]
    Check(&'static str, &'static str),
    /// A bound that would bound nothing, or everything.
    #[error("limits.{0} is out of range: {1}")]
    Limit(&'static str, &'static str),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 << 20,
            bodies_bytes: 64 << 20,
            body_secs: 10,
            connections: 4096,
            header_bytes: 16 << 10,
            header_secs: 15,
            headers: 64,
            intents: 1024,
            streams: 2048,
            write_secs: 10,
        }
    }
}

/// Environment variables that count, with what each overrides.
pub const VARIABLES: [(&str, &str); 12] = [
    ("PLACET_GATEWAYS", "gateways"),
    ("PLACET_LISTEN", "listen"),
    ("PLACET_HTTP_SOCKET", "socket"),
    ("PLACET_HTTP_SOCKET_MODE", "socket_mode"),
    ("PLACET_PUBLIC", "public"),
    ("PLACET_METRICS_PUBLIC", "metrics_public"),
    ("PLACET_TLS_CERT", "tls.cert"),
    ("PLACET_TLS_KEY", "tls.key"),
    ("PLACET_TLS_DOMAIN", "tls.domain"),
    ("PLACET_LOG_LEVEL", "log.level"),
    ("PLACET_LOG_FORMAT", "log.format"),
    ("PLACET_GRACE_SECS", "grace_secs"),
];

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the place in the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read(path.to_owned(), error))?;
        Self::parse(&text).map_err(|error| ConfigError::Syntax(path.to_owned(), error))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// What does not parse, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Lets environment variables override what the file says. `variable` looks one up.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Variable`]
    pub fn overridden(
        mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(value) = given("PLACET_LISTEN") {
            self.listen = Some(parsed("PLACET_LISTEN", value, "an address with a port")?);
        }
        if let Some(value) = given("PLACET_HTTP_SOCKET") {
            self.socket = Some(value.into());
        }
        if let Some(value) = given("PLACET_HTTP_SOCKET_MODE") {
            self.socket_mode = Some(value);
        }
        if let Some(value) = given("PLACET_PUBLIC") {
            self.public = parsed("PLACET_PUBLIC", value, "true or false")?;
        }
        if let Some(value) = given("PLACET_METRICS_PUBLIC") {
            self.metrics_public = parsed("PLACET_METRICS_PUBLIC", value, "true or false")?;
        }
        if let Some(value) = given("PLACET_GATEWAYS") {
            self.gateways = Some(parsed("PLACET_GATEWAYS", value, "a number")?);
        }
        if let Some(value) = given("PLACET_GRACE_SECS") {
            self.grace_secs = Some(parsed("PLACET_GRACE_SECS", value, "a number of seconds")?);
        }
        if let Some(value) = given("PLACET_LOG_LEVEL") {
            self.log.level = parsed("PLACET_LOG_LEVEL", value, "error, warn, info or debug")?;
        }
        if let Some(value) = given("PLACET_LOG_FORMAT") {
            self.log.format = parsed("PLACET_LOG_FORMAT", value, "text or json")?;
        }
        for (name, path) in [
            ("PLACET_TLS_CERT", given("PLACET_TLS_CERT")),
            ("PLACET_TLS_KEY", given("PLACET_TLS_KEY")),
        ] {
            if let Some(path) = path {
                let tls = self.tls.get_or_insert_default();
                tls.domain = false;
                *(if name == "PLACET_TLS_CERT" {
                    &mut tls.cert
                } else {
                    &mut tls.key
                }) = Some(path.into());
            }
        }
        if let Some(value) = given("PLACET_TLS_DOMAIN") {
            let domain = parsed("PLACET_TLS_DOMAIN", value, "true or false")?;
            let tls = self.tls.get_or_insert_default();
            tls.domain = domain;
            if domain {
                (tls.cert, tls.key) = (None, None);
            }
        }
        Ok(self)
    }

    /// What it means, for the domain in this directory.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names what does not stand.
    pub fn settle(self, domain: &Path) -> Result<Settings, ConfigError> {
        if let Some(address) = self.listen
            && !address.ip().is_loopback()
        {
            if self.tls.is_none() {
                return Err(ConfigError::Plain(address));
            }
            if self.hosts.is_empty() {
                return Err(ConfigError::Nameless(address));
            }
        }
        oidc::check(&self.oidc)?;
        let tls = match self.tls {
            Some(tls) => Some(tls.settle(domain, &self.hosts)?),
            None => None,
        };
        self.limits.check()?;
        let gateways = self.gateways.unwrap_or(GATEWAYS);
        if gateways > GATEWAYS_MAX {
            return Err(ConfigError::Gateways(gateways));
        }
        let mode = self.socket_mode.unwrap_or_else(|| "0600".to_owned());
        let socket_mode = u32::from_str_radix(&mode, 8)
            .ok()
            .filter(|bits| *bits <= 0o777)
            .ok_or(ConfigError::Mode(mode))?;
        Ok(Settings {
            checks: self.checks.settle()?,
            gateways,
            grace: Duration::from_secs(self.grace_secs.unwrap_or(10)),
            hosts: self.hosts.iter().map(|name| name.to_lowercase()).collect(),
            listen: self.listen,
            limits: self.limits,
            log: self.log,
            metrics_public: self.metrics_public,
            oidc: self.oidc,
            public: self.public,
            socket: self.socket.unwrap_or_else(|| domain.join("http.sock")),
            socket_mode,
            traces: match &self.traces {
                Some(traces) => Some(Arc::new(Collector::open(traces)?)),
                None => None,
            },
            webhooks: receivers(&self.webhooks)?,
            tls,
        })
    }
}

fn receivers(webhooks: &[Webhook]) -> Result<Vec<Arc<Receiver>>, ConfigError> {
    if webhooks.len() > WEBHOOKS_MAX {
        return Err(ConfigError::Webhooks);
    }
    let open = |webhook| Ok(Arc::new(Receiver::open(webhook)?));
    webhooks.iter().map(open).collect()
}

impl TlsFile {
    fn settle(self, domain: &Path, hosts: &BTreeSet<String>) -> Result<Tls, ConfigError> {
        let certificate = match (self.cert, self.key, self.domain) {
            (Some(cert), Some(key), false) => Certificate::Files { cert, key },
            (None, None, true) => Certificate::Domain {
                directory: domain.to_owned(),
                domain: domain
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                names: hosts.iter().map(|host| bare(host).to_owned()).collect(),
            },
            (Some(_), None, false) => {
                return Err(ConfigError::Tls("`key` is missing beside `cert`"));
            }
            (None, Some(_), false) => {
                return Err(ConfigError::Tls("`cert` is missing beside `key`"));
            }
            (None, None, false) => {
                let what = "set `cert` and `key`, or `domain = true` for a certificate that the domain issues";
                return Err(ConfigError::Tls(what));
            }
            (_, _, true) => {
                return Err(ConfigError::Tls(
                    "`domain = true` goes without `cert` and `key`",
                ));
            }
        };
        let mut names = BTreeSet::new();
        if !self
            .clients
            .iter()
            .all(|one| names.insert(&one.trust_domain))
        {
            return Err(ConfigError::Tls(
                "each trust domain stands once in `clients`",
            ));
        }
        Ok(Tls {
            certificate,
            clients: self.clients,
        })
    }
}

/// A host without its port.
fn bare(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            name.trim_matches(['[', ']'])
        }
        _ => host.trim_matches(['[', ']']),
    }
}

impl Limits {
    fn check(&self) -> Result<(), ConfigError> {
        let limit = |name, what| Err(ConfigError::Limit(name, what));
        if !(1024..=8 << 20).contains(&self.body_bytes) {
            return limit("body_bytes", "1 KiB to 8 MiB");
        }
        if self.bodies_bytes < self.body_bytes || self.bodies_bytes > 4 << 30 {
            return limit("bodies_bytes", "at least body_bytes, at most 4 GiB");
        }
        if !(8192..=256 << 10).contains(&self.header_bytes) {
            return limit("header_bytes", "8 KiB to 256 KiB");
        }
        if !(8..=1024).contains(&self.headers) {
            return limit("headers", "8 to 1024");
        }
        for (name, count) in [
            ("connections", self.connections),
            ("intents", self.intents),
            ("streams", self.streams),
        ] {
            if !(1..=65_536).contains(&count) {
                return limit(name, "1 to 65536");
            }
        }
        for (name, secs) in [
            ("body_secs", self.body_secs),
            ("header_secs", self.header_secs),
            ("write_secs", self.write_secs),
        ] {
            if !(1..=600).contains(&secs) {
                return limit(name, "1 to 600");
            }
        }
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(
    name: &'static str,
    value: String,
    what: &'static str,
) -> Result<T, ConfigError> {
    value
        .parse()
        .map_err(|_| ConfigError::Variable(name, value, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(text: &str) -> Result<Settings, ConfigError> {
        Config::parse(text).unwrap().settle(Path::new("/d"))
    }

    #[test]
    fn an_empty_file_means_a_private_unix_socket_and_no_listener() {
        let settings = settled("").unwrap();
        assert_eq!(settings.socket, Path::new("/d/http.sock"));
        assert_eq!((settings.socket_mode, settings.listen), (0o600, None));
        assert!(!settings.public && !settings.metrics_public);
    }

    #[test]
    fn beyond_loopback_there_is_no_listener_without_tls_and_a_name() {
        let beyond = "listen = \"0.0.0.0:8790\"\n";
        assert!(matches!(settled(beyond), Err(ConfigError::Plain(_))));
        let tls = "[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n";
        let nameless = settled(&format!("{beyond}{tls}"));
        assert!(matches!(nameless, Err(ConfigError::Nameless(_))));
        let named = format!("{beyond}hosts = [\"node.example:8790\"]\n{tls}");
        assert!(settled(&named).is_ok());
        assert!(settled("listen = \"[::1]:8790\"").is_ok());
    }

    #[test]
    fn tls_is_whole_and_said_once() {
        for text in [
            "[tls]",
            "[tls]\ncert = \"c\"",
            "[tls]\nkey = \"k\"",
            "[tls]\ndomain = true\ncert = \"c\"\nkey = \"k\"",
            "[tls]\ndomain = true\n[[tls.clients]]\ntrust_domain = \"a\"\nbundle = \"b\"\n[[tls.clients]]\ntrust_domain = \"a\"\nbundle = \"c\"",
        ] {
            assert!(matches!(settled(text), Err(ConfigError::Tls(_))), "{text}");
        }
        let tls = settled("hosts = [\"node.example:8790\"]\n[tls]\ndomain = true")
            .unwrap()
            .tls;
        let names = match tls.unwrap().certificate {
            Certificate::Domain { names, .. } => names,
            Certificate::Files { .. } => Vec::new(),
        };
        assert_eq!(names, ["node.example"]);
        let over = Config::parse("[tls]\ndomain = true").unwrap();
        let over = over.overridden(|name| (name == "PLACET_TLS_CERT").then(|| "c".into()));
        let half = over.unwrap().settle(Path::new("/d"));
        assert!(matches!(half, Err(ConfigError::Tls(_))));
    }

    #[test]
    fn an_identity_provider_is_asked_over_tls_and_for_an_audience() {
        let oidc = |text: &str| settled(&format!("[[oidc]]\n{text}")).map(|it| it.oidc.len());
        let sound = "issuer = \"https://idp.example\"\naudience = [\"placet\"]";
        assert_eq!(oidc(sound).unwrap(), 1);
        assert!(oidc("issuer = \"http://127.0.0.1:9\"\naudience = [\"placet\"]").is_ok());
        for text in [
            "issuer = \"http://idp.example\"\naudience = [\"placet\"]".to_owned(),
            "issuer = \"https://u@idp.example\"\naudience = [\"placet\"]".to_owned(),
            "issuer = \"https://idp.example\"\naudience = []".to_owned(),
            format!("{sound}\nrefresh_secs = 0"),
            format!("{sound}\nrefresh_secs = 60\nstale_secs = 59"),
            format!("{sound}\nskew_secs = 301"),
            format!("{sound}\n[[oidc]]\n{sound}"),
        ] {
            assert!(matches!(oidc(&text), Err(ConfigError::Oidc(..))), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_at_any_depth() {
        for text in [
            "lisen = \"127.0.0.1:1\"",
            "[limits]\nbody_byte = 1",
            "[log]\nlevl = \"info\"",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_overrides_the_file_and_a_bad_one_is_named() {
        let config = Config::parse("public = false\n[log]\nformat = \"json\"").unwrap();
        let over = config.overridden(|name| match name {
            "PLACET_PUBLIC" => Some("true".into()),
            "PLACET_LISTEN" => Some("127.0.0.1:9".into()),
            _ => None,
        });
        let settings = over.unwrap().settle(Path::new("/d")).unwrap();
        assert!(settings.public && settings.listen.is_some());
        assert_eq!(settings.log.format, Format::Json);
        let bad = Config::default()
            .overridden(|name| (name == "PLACET_LOG_LEVEL").then(|| "loud".into()));
        assert!(bad.unwrap_err().to_string().contains("PLACET_LOG_LEVEL"));
    }

    #[test]
    fn a_limit_that_bounds_nothing_is_refused() {
        for text in [
            "body_bytes = 0",
            "headers = 100000",
            "connections = 0",
            "body_secs = 0",
        ] {
            let error = settled(&format!("[limits]\n{text}"));
            assert!(matches!(error, Err(ConfigError::Limit(..))), "{text}");
        }
    }
}
