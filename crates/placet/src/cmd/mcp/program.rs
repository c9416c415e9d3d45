//! A server that is a program on this machine: governed as by `placet run`, and held by its streams.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use placet_mcp::session::{Control, Over, Upstream};
use placet_process::door;
use placet_process::terminal::{Heard, Holder, Refused};
use placet_types::{ExecutionId, PrincipalId, ProfileName};

use super::lobby::Lobby;
use super::serve::{Down, Server, Up};
use crate::context::{Domain, program};
use crate::exit::{Failure, Status};
use crate::out::Out;

/// What the server said before it started, for whoever is told that it did not.
const SAID_MAX: usize = 4096;

/// Refusals that are kept for a client that waits.
const REFUSED_MAX: usize = 4;
/// How a supervisor's note of one begins.
const REFUSED: &str = "placet: refused, ";

/// The server's process, held by its streams.
struct Held {
    holder: Arc<Holder>,
    refused: Refusals,
}

/// What the server was refused last, as its supervisor says it.
type Refusals = Arc<Mutex<VecDeque<String>>>;

impl Control for Held {
    fn stop(&self) {
        self.holder.stop();
    }

    fn kill(&self) {
        self.holder.kill();
    }

    fn refused(&self) -> Vec<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().cloned().collect()
    }
}

/// What is started, and as whom.
pub(super) struct Wanted<'a> {
    pub(super) principal: &'a PrincipalId,
    pub(super) argv: &'a [String],
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) purpose: Option<&'a str>,
    pub(super) profile: Option<&'a ProfileName>,
    pub(super) cwd: Option<&'a Path>,
}

/// How it begins.
enum Start {
    Made(ExecutionId),
    Denied(Refused),
    /// Its supervisor is gone.
    Failed,
}

pub(super) fn start(
    domain: &Domain,
    wanted: &Wanted<'_>,
    lobby: &Lobby,
    out: Out,
) -> Result<Server, Failure> {
    let (holder, streams) = Holder::start(&mut supervisor(domain, wanted)?)?;
    let holder = Arc::new(holder);
    let said = Arc::new(Mutex::new(String::new()));
    let errors = pass_on(streams.errors, Arc::clone(&said))?;
    let begun = await_start(&holder, lobby, out)?;
    let Start::Made(exec) = begun else {
        let status = holder.wait()?.code();
        let code = status.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        // All of it was said. A thread that panicked has said what it could.
        drop(errors.join());
        return Ok(Server::Down(match begun {
            Start::Denied(refused) => Down::denied("the server itself", refused, None, code),
            Start::Made(_) | Start::Failed => {
                let said = said.lock().unwrap_or_else(PoisonError::into_inner);
                let reason = format!("the server was not started. {}", said.trim());
                Down::failed(reason, "see the messages of the gateway", code)
            }
        }));
    };
    let refused = Refusals::default();
    attend(&holder, Arc::clone(&refused), out)?;
    let upstream = Upstream {
        input: Box::new(streams.input),
        output: Box::new(streams.output),
        control: Box::new(Held {
            holder: Arc::clone(&holder),
            refused,
        }),
    };
    Ok(Server::Up(Box::new(Up {
        exec,
        workspace: workspace(wanted)?,
        upstream,
        end: Box::new(move |over| {
            let status = holder.wait()?;
            Ok(match over {
                Over::Client => Status::Ok,
                Over::Server => {
                    let code = status.code().and_then(|code| u8::try_from(code).ok());
                    Status::Code(code.unwrap_or(1))
                }
            })
        }),
    })))
}

/// What its scope calls the workspace, as its supervisor finds it.
fn workspace(wanted: &Wanted<'_>) -> io::Result<Option<String>> {
    let cwd = wanted.cwd.unwrap_or(Path::new("."));
    let workspace = placet_process::workspace(&std::fs::canonicalize(cwd)?);
    Ok(workspace.to_str().map(str::to_owned))
}

/// `placet run` of the server, with this process as its front.
fn supervisor(domain: &Domain, wanted: &Wanted<'_>) -> Result<Command, Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the supervisor is the process gateway itself"
    )]
    let mut command = Command::new(program()?);
    command
        .arg(door::FRONT_OPTION)
        .arg("--domain")
        .arg(domain.dir.root())
        .args(["run", "--hear", "--as", wanted.principal.as_str()]);
    if let Some(purpose) = wanted.purpose {
        command.args(["--purpose", purpose]);
    }
    if let Some(profile) = wanted.profile {
        command.args(["--profile", profile.as_str()]);
    }
    if let Some(cwd) = wanted.cwd {
        command.current_dir(cwd);
    }
    command.envs(wanted.env);
    command.arg("--").args(wanted.argv);
    Ok(command)
}

/// What the server and its supervisor say goes to whoever started the gateway; how it begins is kept.
fn pass_on(errors: io::PipeReader, said: Arc<Mutex<String>>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("errors".into()).spawn(move || {
        let mut errors = BufReader::new(errors);
        let mut line = Vec::new();
        while errors
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            // Who has closed that stream does not want to know.
            io::stderr().write_all(&line).unwrap_or(());
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() < SAID_MAX {
                said.push_str(&String::from_utf8_lossy(&line));
            }
            line.clear();
        }
    })
}

/// The execution of the server, once its start is recorded.
fn await_start(holder: &Arc<Holder>, lobby: &Lobby, out: Out) -> Result<Start, Failure> {
    let mut refused = None;
    loop {
        match holder.hear()? {
            Some(Heard::Started(exec)) => return Ok(Start::Made(exec)),
            // Its supervisor leaves once it was heard to the end.
            Some(Heard::Denied(why)) => refused = Some(why),
            Some(Heard::Waits(waits)) => {
                lobby.waits(waits)?;
                lobby.when_left({
                    let holder = Arc::clone(holder);
                    // Nobody wants it any more; what waits goes on to wait, and is found again.
                    move || holder.stop()
                })?;
            }
            Some(Heard::Note(text)) => out.note(text),
            None => return Ok(refused.map_or(Start::Failed, Start::Denied)),
        }
    }
}

/// Hears the supervisor until the server's end is recorded.
fn attend(holder: &Arc<Holder>, refused: Refusals, out: Out) -> io::Result<()> {
    let holder = Arc::clone(holder);
    thread::Builder::new()
        .name("server".into())
        .spawn(move || {
            while let Ok(Some(heard)) = holder.hear() {
                match heard {
                    Heard::Note(text) => {
                        if let Some(what) = text.strip_prefix(REFUSED) {
                            let mut refused =
                                refused.lock().unwrap_or_else(PoisonError::into_inner);
                            refused.push_back(what.to_owned());
                            let over = refused.len().saturating_sub(REFUSED_MAX);
                            refused.drain(..over);
                        }
                        out.note(text);
                    }
                    Heard::Started(_) | Heard::Waits(_) | Heard::Denied(_) => {}
                }
            }
        })
        .map(drop)
}
