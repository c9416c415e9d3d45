//! Servers behind the gateway: each is an execution, and so is each call; one client in front of all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_authority::init::public_policy;
use placet_authority::node::connect_or_start;
use placet_authority::node::wire::Welcome;
use placet_evidence::{CheckedDenial, TokenIdentity};
use placet_mcp::config::{Entry, Pick, Reach};
use placet_mcp::denial::Said;
use placet_mcp::frame::{Bounds, Frame, Kind, OwnedId};
use placet_mcp::governor::{Ending, Governor, Setting};
use placet_mcp::hub::{Hub, Part, Refuse};
use placet_mcp::listen::Caller;
use placet_mcp::pipe::{Line, Lines, Sink};
use placet_mcp::session::{Config, Over, Session, Upstream};
use placet_mcp::subject::Who;
use placet_process::attest::{self, OwnProgram};
use placet_process::door;
use placet_process::terminal::Refused;
use placet_types::{DenialCode, ExecutionId, PrincipalId};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::lobby::{Lobby, Reader, Writer};
use super::program::{self, Wanted};
use super::{elsewhere, kept::Kept, listen, name};
use crate::cli::{Global, Serve};
use crate::cmd::config::settings;
use crate::cmd::console::approvals;
use crate::cmd::run::principal_or_own;
use crate::context::{Domain, clock, program as own_program};
use crate::exit::{Failure, Status};
use crate::out::{DIM, Out, paint};

/// How long a client that was not served is waited for, to be told why.
const TELL_PATIENCE: Duration = Duration::from_secs(5);

/// A server that is there, or why it is not.
pub(super) enum Server {
    Up(Box<Up>),
    Down(Down),
}

/// A server that is there.
pub(super) struct Up {
    pub(super) exec: ExecutionId,
    /// Of a program: the directory that it works on.
    pub(super) workspace: Option<String>,
    pub(super) upstream: Upstream,
    /// What is left to do when its session is over.
    pub(super) end: Box<dyn FnOnce(Over) -> Result<Status, Failure> + Send>,
}

/// Why a server is not there.
pub(super) struct Down {
    /// What its client is told.
    pub(super) said: Said,
    /// The status that the gateway ends with.
    pub(super) code: u8,
}

impl Down {
    /// Something failed, and nothing was decided that says so.
    pub(super) fn failed(reason: String, remedy: &str, code: u8) -> Self {
        let said = Said::failed(reason, remedy);
        Self { said, code }
    }

    /// What a code says, of which there is no record to show.
    pub(super) fn told(cause: DenialCode, reason: String, remedy: &str, code: u8) -> Self {
        let mut said = Said::new(cause, reason);
        said.remedy = Some(remedy.to_owned());
        Self { said, code }
    }

    /// What was decided, and more than its code says of a way out where somebody knows it.
    pub(super) fn denied(what: &str, refused: Refused, remedy: Option<&str>, code: u8) -> Self {
        let CheckedDenial {
            check,
            code: cause,
            reason,
        } = refused.denial;
        let name = placet_decision::CHECKS.get(usize::from(check).saturating_sub(1));
        let said = Said {
            check: name.map(|name| (check, *name)),
            remedy: remedy.map(str::to_owned),
            exec: refused.exec,
            record: Some(refused.record),
            ..Said::new(cause, format!("{what}: {reason}"))
        };
        Self { said, code }
    }
}

/// Sessions that may still be there.
type Sessions = Arc<Mutex<Vec<Weak<Session>>>>;

/// Everything that sessions of one principal share.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) domain: Arc<Domain>,
    pub(super) principal: PrincipalId,
    /// Whoever has shown an access token, where somebody has.
    pub(super) bearer: Option<Arc<TokenIdentity>>,
    pub(super) out: Out,
    pub(super) args: Serve,
    /// Whose connections to the node the sessions go over, where there are several.
    shared: Option<Governor>,
    sessions: Sessions,
}

pub(super) fn serve(global: &Global, args: &Serve, out: Out) -> Result<Status, Failure> {
    if door::is_inside() && global.domain.is_none() {
        return Err(
            Failure::new("the gateway cannot be started inside of a governed command")
                .hint("start it outside: in the configuration of the client, or of the agent"),
        );
    }
    let entries = entries(args)?;
    let front = Arc::new(Front {
        domain: Arc::new(Domain::open(global)?),
        principal: principal_or_own(args.principal.as_ref())?,
        bearer: None,
        out,
        args: args.clone(),
        shared: None,
        sessions: Sessions::default(),
    });
    if let Some(address) = args.http.listen {
        return listen::serve(&front, entries, address);
    }
    let sessions = Arc::clone(&front.sessions);
    on_signal(move || leave(&sessions))?;
    match entries.as_slice() {
        [entry] => front.one(entry),
        _ => front.several(&entries),
    }
}

/// The servers that are meant.
fn entries(args: &Serve) -> Result<Vec<Entry>, Failure> {
    if let Some(path) = &args.config {
        return configured(path, args.server.as_deref(), args.project.as_deref());
    }
    if args.argv.is_empty() {
        let hint = "placet mcp -- SERVER COMMAND…, or placet mcp --config mcp.json";
        return Err(Failure::new("which server?").hint(hint));
    }
    let name = args.name.as_deref();
    let name = name.map_or_else(|| name::of_command(&args.argv), name::clean);
    Ok(vec![Entry {
        name,
        reach: Reach::Program {
            argv: args.argv.clone(),
            env: BTreeMap::new(),
            cwd: None,
        },
        profile: None,
    }])
}

pub(super) fn configured(
    path: &Path,
    only: Option<&str>,
    project: Option<&str>,
) -> Result<Vec<Entry>, Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    let bytes = fs::read(path).map_err(|error| bad(&error))?;
    let variable = |name: &str| std::env::var(name).ok();
    let pick = Pick { only, project };
    placet_mcp::config::read(&bytes, pick, name::clean, variable).map_err(|error| bad(&error))
}

impl Front {
    /// One server: its session is the client's.
    fn one(&self, entry: &Entry) -> Result<Status, Failure> {
        let lobby = self.lobby(entry, (Box::new(io::stdin()), Box::new(io::stdout())))?;
        match self.start(entry, &lobby)? {
            Server::Down(down) => {
                if let Some((reader, writer)) = lobby.refused(&down.said) {
                    tell_first(&down, reader, writer)?;
                }
                Ok(Status::Code(down.code))
            }
            Server::Up(up) => match lobby.started() {
                Some(reader) => self.carry(entry, *up, reader, own_output()?),
                None => Ok(Status::Code(1)),
            },
        }
    }

    /// Where a client waits, should its server have to.
    fn lobby(&self, entry: &Entry, client: (Reader, Writer)) -> Result<Lobby, Failure> {
        let patience = Duration::from_secs(self.args.wait);
        let console = console(&self.domain)?;
        Ok(Lobby::new(&entry.name, patience, console, client))
    }

    /// Several servers: a session for each, and the hub between them and the client.
    fn several(self: &Arc<Self>, entries: &[Entry]) -> Result<Status, Failure> {
        let (front, governor) = self.shared()?;
        let (parts, threads) = front.parts(entries)?;
        Hub::run(parts, io::stdin(), own_output()?, refusing(&governor))?;
        for thread in threads {
            // A session that panicked has nothing left to record.
            drop(thread.join());
        }
        governor.close();
        Ok(Status::Ok)
    }

    /// The same, whose sessions go over common connections to the node; and what they are kept by.
    pub(super) fn shared(&self) -> Result<(Arc<Self>, Governor), Failure> {
        // Nothing is started by this one, so nothing has to end.
        let governor = self.governor(Box::new(|_, _| {}))?;
        let shared = Some(governor.clone());
        let front = Self {
            shared,
            ..self.clone()
        };
        Ok((Arc::new(front), governor))
    }

    /// The same, for somebody else.
    pub(super) fn acting_as(&self, caller: &Caller) -> Arc<Self> {
        Arc::new(Self {
            principal: caller.principal.clone(),
            bearer: caller.identity.clone(),
            ..self.clone()
        })
    }

    /// A client's session with these servers, in a thread of its own.
    pub(super) fn session(
        self: &Arc<Self>,
        entries: &[Entry],
        reader: PipeReader,
        writer: PipeWriter,
    ) -> Result<JoinHandle<()>, Failure> {
        let front = Arc::clone(self);
        let work: Box<dyn FnOnce() + Send> = if let [entry] = entries {
            let entry = entry.clone();
            Box::new(move || front.part(&entry, reader, writer))
        } else {
            let (parts, threads) = self.parts(entries)?;
            let governor = self.governor(Box::new(|_, _| {}))?;
            Box::new(move || {
                let refuse = refusing(&governor);
                if let Err(error) = Hub::run(parts, reader, Box::new(writer), refuse) {
                    front.out.note(format!("placet: {error}"));
                }
                for thread in threads {
                    // A session that panicked has nothing left to record.
                    drop(thread.join());
                }
                governor.close();
            })
        };
        Ok(thread::Builder::new().name("client".into()).spawn(work)?)
    }

    /// A session for each server, in a thread of its own.
    pub(super) fn parts(
        self: &Arc<Self>,
        entries: &[Entry],
    ) -> Result<(Vec<Part>, Vec<JoinHandle<()>>), Failure> {
        let (mut parts, mut threads) = (Vec::new(), Vec::new());
        for entry in entries {
            let ((reader, to), (from, writer)) = (pipe()?, pipe()?);
            let (front, entry) = (Arc::clone(self), entry.clone());
            parts.push(Part {
                name: entry.name.clone(),
                to: Box::new(to),
                from: Box::new(from),
            });
            let session = move || front.part(&entry, reader, writer);
            threads.push(
                thread::Builder::new()
                    .name("session".into())
                    .spawn(session)?,
            );
        }
        Ok((parts, threads))
    }

    fn part(&self, entry: &Entry, reader: PipeReader, writer: PipeWriter) {
        let name = &entry.name;
        let note = |text: &str| self.out.note(format!("placet: {name}: {text}"));
        let lobby = writer
            .try_clone()
            .map_err(Failure::from)
            .and_then(|answers| self.lobby(entry, (Box::new(reader), Box::new(answers))));
        let lobby = match lobby {
            Ok(lobby) => lobby,
            Err(failure) => return note(&failure.message),
        };
        let down = match self.start(entry, &lobby) {
            Ok(Server::Up(up)) => {
                if let Some(reader) = lobby.started()
                    && let Err(failure) = self.carry(entry, *up, reader, Box::new(writer))
                {
                    note(&failure.message);
                }
                return;
            }
            Ok(Server::Down(down)) => down,
            Err(failure) => Down::failed(failure.message, "see the messages of the gateway", 1),
        };
        note(&down.said.reason);
        // The last end that the client hears must not be ours.
        drop(writer);
        if let Some((reader, writer)) = lobby.refused(&down.said) {
            refuse_all(&down, reader, writer);
        }
    }

    fn start(&self, entry: &Entry, lobby: &Lobby) -> Result<Server, Failure> {
        let profile = self.args.profile.as_ref().or(entry.profile.as_ref());
        let server = match &entry.reach {
            Reach::Program { argv, env, cwd } => {
                let wanted = Wanted {
                    cwd: cwd.as_deref().or(self.args.cwd.as_deref()),
                    principal: &self.principal,
                    argv,
                    env,
                    purpose: self.args.purpose.as_deref(),
                    profile,
                };
                program::start(&self.domain, &wanted, lobby, self.out)?
            }
            Reach::Elsewhere {
                url, headers, ca, ..
            } => {
                let reached = (url.as_str(), headers, ca.as_deref());
                elsewhere::start(self, &entry.name, profile, reached, lobby)?
            }
        };
        if let Server::Up(up) = &server {
            let note = format!(
                "placet: {} is {}, as {}",
                entry.name, up.exec, self.principal
            );
            self.out.note(paint(DIM, note));
        }
        Ok(server)
    }

    /// Carries frames between a client and a server until one of them is gone.
    fn carry(
        &self,
        entry: &Entry,
        up: Up,
        input: impl Read + Send + 'static,
        output: Box<dyn Sink>,
    ) -> Result<Status, Failure> {
        let kept = Kept(self.domain.dir.definitions());
        let out = self.out;
        let config = Config {
            who: Who {
                principal: self.principal.clone(),
                server: up.exec,
                name: entry.name.clone(),
                workspace: up.workspace,
                meta: self.args.meta.iter().cloned().collect(),
            },
            checks: placet_decision::CHECKS,
            grace: Duration::from_secs(self.args.grace),
            console: console(&self.domain)?,
            keep: Box::new(move |tool, definition| {
                // Without it nothing can be shown of a change; what counts stands in the log.
                kept.put(tool, definition).unwrap_or(());
            }),
            tell: Box::new(move |text| out.note(format!("placet: {text}"))),
        };
        let govern = |ending| {
            self.governor(ending)
                .map_err(|failure| io::Error::other(failure.message))
        };
        let (session, running) = Session::new(config, govern, output, up.upstream)?;
        {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.retain(|session| session.strong_count() > 0);
            sessions.push(Arc::downgrade(&session));
        }
        let over = session.run(running, input)?;
        (up.end)(over)
    }
}

/// Standard output, without a buffer: what is written is written as a whole.
fn own_output() -> io::Result<Box<dyn Sink>> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(Box::new(fs::File::from(output)))
}

/// The first thing that the client asks is answered with why it is not served.
fn tell_first(down: &Down, reader: Reader, mut writer: Writer) -> Result<(), Failure> {
    let (sender, receiver) = channel();
    thread::Builder::new().name("first".into()).spawn(move || {
        let mut lines = Lines::new(reader, Bounds::REQUEST.bytes_max);
        while let Ok(Some(Line::Whole(bytes))) = lines.next_line() {
            if let Some(id) = asked(&bytes) {
                drop(sender.send(id));
                return;
            }
        }
    })?;
    if let Ok(id) = receiver.recv_timeout(TELL_PATIENCE) {
        let refusal = refusal(down, &id);
        writer.write_all(refusal.as_bytes()).unwrap_or(());
        writer.flush().unwrap_or(());
    }
    Ok(())
}

/// Whatever is asked is answered with why it is not served.
fn refuse_all(down: &Down, reader: impl Read, mut writer: impl Write) {
    let mut lines = Lines::new(reader, Bounds::REQUEST.bytes_max);
    while let Ok(Some(line)) = lines.next_line() {
        let id = match &line {
            Line::Whole(bytes) => asked(bytes),
            Line::TooLong(_) => None,
        };
        if let Some(id) = id
            && writer.write_all(refusal(down, &id).as_bytes()).is_err()
        {
            return;
        }
    }
}

fn asked(bytes: &[u8]) -> Option<OwnedId> {
    match Frame::parse(bytes, Bounds::REQUEST).ok()?.kind {
        Kind::Request { id, .. } => Some(id.to_owned()),
        Kind::Notification { .. } | Kind::Answer { .. } => None,
    }
}

fn refusal(down: &Down, id: &OwnedId) -> String {
    let mut frame = down.said.error(Some(id));
    frame.push('\n');
    frame
}

type Console = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Asks, each time, whether a node serves the console: it may be started at any time.
fn console(domain: &Domain) -> Result<Console, Failure> {
    let socket = settings(domain.dir.root(), None, None)?.socket;
    Ok(Box::new(move || approvals(&socket)))
}

/// Ends the sessions in order.
fn leave(sessions: &Sessions) {
    let living: Vec<Arc<Session>> = {
        let sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().filter_map(Weak::upgrade).collect()
    };
    living.iter().for_each(|session| session.leave());
}

/// Does this on each signal that would end this process.
pub(super) fn on_signal(work: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(|_| work()))
        .map(drop)
}

/// Records what was refused before any session saw it.
pub(super) fn refusing(governor: &Governor) -> Refuse {
    let records = governor.clone();
    Box::new(move |denial, presented| records.refused(denial, presented))
}

impl Front {
    /// The governor of a session of this principal.
    pub(super) fn governor(&self, ending: Ending) -> Result<Governor, Failure> {
        let bearer = self.bearer.clone();
        match &self.shared {
            Some(shared) => Ok(shared.beside(bearer, ending)),
            None => Ok(Governor::new(self.governing()?, bearer, ending)?),
        }
    }

    /// What governors need.
    pub(super) fn governing(&self) -> Result<Setting, Failure> {
        let (dir, own) = (self.domain.dir.clone(), own_program()?);
        let policy = public_policy(&self.domain.dir)?;
        let memory = self.domain.dir.digests();
        let environment = move |welcome: &Welcome| {
            let own = OwnProgram::as_asked(welcome, &memory);
            attest::lately(&welcome.domain, own).map_err(|error| error.to_string())
        };
        Ok(Setting {
            connect: Box::new(move || connect_or_start(&dir, &own)),
            pins: Box::new(move |welcome| {
                placet_process::pins(&policy, welcome).map_err(|error| error.to_string())
            }),
            environment: Box::new(environment),
            clock: clock(),
        })
    }
}
