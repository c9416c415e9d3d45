//! The gateway as an HTTP server: whoever shows a token gets sessions as its principal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _, pipe};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use placet_api::config::Settings;
use placet_api::tls::Listener;
use placet_mcp::config::Entry;
use placet_mcp::listen::{self, Begin, Callers, Door, Ends, PATH, Patience, Secured, Stop, Token};
use placet_types::PrincipalId;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::bearers::Bearers;
use super::serve::{Front, on_signal, refusing};
use crate::cmd::config::settings;
use crate::cmd::secret::keep_unreadable;
use crate::context::clock;
use crate::exit::{Failure, Status};

/// Longest file that is taken for one with a token.
const TOKEN_FILE_MAX: u64 = 1024;
/// How often changed certificates are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// Threads that carry sessions.
type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

pub(super) fn serve(
    front: &Arc<Front>,
    entries: Vec<Entry>,
    address: SocketAddr,
) -> Result<Status, Failure> {
    keep_unreadable();
    let http = &front.args.http;
    if !http.tls && !address.ip().is_loopback() {
        let hint = "add --tls, and [tls] to placet.toml of the domain; or listen on 127.0.0.1";
        return Err(Failure::new("beyond loopback the gateway listens only with TLS").hint(hint));
    }
    let settings = settings(front.domain.dir.root(), None, None)?;
    let tls = http.tls.then(|| secured(&settings)).transpose()?;
    let listener = TcpListener::bind(address)
        .map_err(|error| Failure::new(format!("--listen {address}: {error}")))?;
    let own = listener.local_addr()?;
    let kept = TokenFile::new(front, own)?;
    let mut callers: Vec<Box<dyn Callers>> = vec![Box::new(kept.token(&front.principal)?)];
    for (principal, file) in &http.caller {
        callers.push(Box::new(TokenFile::kept(file.clone()).token(principal)?));
    }
    let mut hosts: Vec<String> = settings.hosts.iter().chain(&http.host).cloned().collect();
    if let Some(resource) = &http.resource {
        // After the others: what it says is what somebody without any token hears.
        let (providers, scopes) = (&settings.oidc, &http.require_scope);
        let bearers = Bearers::new(&front.domain, providers, resource, scopes)?;
        callers.push(Box::new(bearers));
        hosts.push(resource.host().to_owned());
    }
    let threads = Threads::default();
    let (front, governor) = &front.shared()?;
    let door = Door {
        callers,
        hosts,
        tls,
        sessions_max: http.sessions,
        idle: Duration::from_secs(http.idle),
        streams: http.streams,
        patience: Patience {
            head: Duration::from_secs(http.head_secs),
            body: Duration::from_secs(http.body_secs),
            write: Duration::from_secs(http.write_secs),
        },
        begin: beginning(front, entries, &threads),
        refuse: refusing(governor),
    };
    let stop = Stop::default();
    let stopping = stop.clone();
    on_signal(move || stopping.stop())?;
    say_where(front, own, &kept);
    listen::serve(listener, door, &stop)?;
    let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in threads {
        // A session that panicked has nothing left to record.
        drop(thread.join());
    }
    governor.close();
    Ok(Status::Ok)
}

fn say_where(front: &Front, own: SocketAddr, kept: &TokenFile) {
    let scheme = if front.args.http.tls { "https" } else { "http" };
    front.out.note(format!(
        "placet: listening on {scheme}://{own}{PATH}, as {}; clients show the token in {}",
        front.principal,
        kept.path.display()
    ));
    if let Some(resource) = &front.args.http.resource {
        front.out.note(format!(
            "placet: access tokens for {resource} are taken as well"
        ));
    }
}

/// Begins sessions, and remembers their threads.
fn beginning(front: &Arc<Front>, entries: Vec<Entry>, threads: &Threads) -> Begin {
    let (front, threads) = (Arc::clone(front), Arc::clone(threads));
    Box::new(move |caller| {
        let ((reader, to), (from, writer)) = (pipe()?, pipe()?);
        let session = front.acting_as(caller).session(&entries, reader, writer);
        let thread = session.map_err(|failure| {
            front.out.note(format!("placet: {}", failure.message));
            io::Error::other(failure.message)
        })?;
        let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(Ends { to, from })
    })
}

/// TLS as the node's configuration says, kept up to date.
fn secured(settings: &Settings) -> Result<Secured, Failure> {
    let hint = "`domain = true` lets the domain issue the certificate; or name `cert` and `key`";
    let tls = settings.tls.clone();
    let tls = tls.ok_or_else(|| {
        Failure::new("--tls needs a certificate: there is no [tls] in placet.toml of the domain")
            .hint(hint)
    })?;
    let clock = clock();
    let listener = Listener::new(tls, clock.wall()).map_err(Failure::new)?;
    let looked = Mutex::new(clock.monotonic());
    Ok(Box::new(move || {
        let now = clock.monotonic();
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(*looked) >= LOOK {
            *looked = now;
            // What does not read leaves what was good before.
            drop(listener.refresh(clock.wall()));
        }
        listener.acceptor()
    }))
}

/// Where a token is.
struct TokenFile {
    path: PathBuf,
    /// Whether it is made anew, and taken away at the end.
    is_fresh: bool,
}

impl TokenFile {
    fn new(front: &Front, own: SocketAddr) -> Result<Self, Failure> {
        if let Some(path) = &front.args.http.token_file {
            return Ok(Self::kept(path.clone()));
        }
        let name = format!("mcp-{}.token", own.port());
        let path = front.domain.dir.root().join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            path,
            is_fresh: true,
        })
    }

    fn kept(path: PathBuf) -> Self {
        Self {
            path,
            is_fresh: false,
        }
    }

    /// The token in it; a new one where there is no such file.
    fn token(&self, principal: &PrincipalId) -> Result<Token, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(format!("{}: {error}", self.path.display()))
        };
        let fresh = || Token::fresh(principal.clone()).map_err(|error| failed(&error));
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
        {
            Ok(mut file) => {
                let token = fresh()?;
                writeln!(file, "{}", token.expose()).map_err(|error| failed(&error))?;
                Ok(token)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !self.is_fresh => {
                let text = private(&self.path).map_err(|error| failed(&error))?;
                Token::parse(&text, principal.clone()).map_err(|error| failed(&error))
            }
            Err(error) => Err(failed(&error)),
        }
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if self.is_fresh {
            // It opens nothing any more.
            fs::remove_file(&self.path).unwrap_or(());
        }
    }
}

/// What stands in a file that is its owner's alone.
fn private(path: &Path) -> Result<Zeroizing<String>, String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(|error| error.to_string())?;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file: File = opened.map_err(|error| error.to_string())?;
    let known = file.metadata().map_err(|error| error.to_string())?;
    let is_own = known.uid() == rustix::process::geteuid().as_raw();
    if !known.is_file() || !is_own || known.mode() & 0o077 != 0 {
        return Err("it must be a file of yours that nobody else can read: chmod 600".into());
    }
    let mut text = Zeroizing::new(String::new());
    let mut bounded = file.take(TOKEN_FILE_MAX);
    bounded
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}
