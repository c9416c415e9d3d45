//! One server behind the gateway: its process is governed as by `placet run`, and each call as well.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_authority::init::public_policy;
use placet_authority::node::connect_or_start;
use placet_evidence::Environment;
use placet_mcp::denial::Said;
use placet_mcp::frame::{Bounds, Frame, Kind};
use placet_mcp::governor::Setting;
use placet_mcp::pipe::{Line, Lines};
use placet_mcp::session::{Config, Control, Over, Session, Upstream};
use placet_mcp::subject::Who;
use placet_process::door;
use placet_process::terminal::{Heard, Holder};
use placet_types::{DenialCode, DomainName, ExecutionId, Fixed, PrincipalId};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{kept::Kept, name};
use crate::cli::{Global, Serve};
use crate::cmd::config::settings;
use crate::cmd::console::approvals;
use crate::cmd::run::principal_or_own;
use crate::context::{Domain, clock, program};
use crate::exit::{Failure, Status};
use crate::out::{DIM, Out, paint};

/// How long a client that was not served is waited for, to be told why.
const TELL_PATIENCE: Duration = Duration::from_secs(5);
/// What the server said before it started, for whoever is told that it did not.
const SAID_MAX: usize = 4096;

/// The server's process, held by its streams.
struct Held(Arc<Holder>);

impl Control for Held {
    fn stop(&self) {
        self.0.stop();
    }

    fn kill(&self) {
        self.0.kill();
    }
}

pub(super) fn serve(global: &Global, args: &Serve, out: Out) -> Result<Status, Failure> {
    if args.argv.is_empty() {
        return Err(Failure::new("which server?").hint("placet mcp -- SERVER COMMAND…"));
    }
    if door::is_inside() && global.domain.is_none() {
        return Err(
            Failure::new("the gateway cannot be started inside of a governed command")
                .hint("start it outside: in the configuration of the client, or of the agent"),
        );
    }
    let domain = Domain::open(global)?;
    let principal = principal_or_own(args.principal.as_ref())?;
    let name = args
        .name
        .as_deref()
        .map_or_else(|| name::of_command(&args.argv), name::clean);
    let (holder, streams) = Holder::start(&mut supervisor(&domain, args, &principal)?)?;
    let holder = Arc::new(holder);
    let said = Arc::new(Mutex::new(String::new()));
    let errors = pass_on(streams.errors, Arc::clone(&said))?;
    let Some(server) = await_start(&holder, out)? else {
        return not_started(&holder, errors, &said);
    };
    out.note(paint(
        DIM,
        format!("placet: {name} is {server}, as {principal}"),
    ));
    let streams = (streams.input, streams.output);
    let who = Who {
        principal,
        server,
        name,
    };
    let over = carry(&domain, args, who, (&holder, streams), out)?;
    let status = holder.wait()?;
    Ok(match over {
        Over::Client => Status::Ok,
        Over::Server => Status::Code(
            status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1),
        ),
    })
}

/// `placet run` of the server, with this process as its front.
fn supervisor(domain: &Domain, args: &Serve, principal: &PrincipalId) -> Result<Command, Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the supervisor is the process gateway itself"
    )]
    let mut command = Command::new(program()?);
    command
        .arg(door::FRONT_OPTION)
        .arg("--domain")
        .arg(domain.dir.root())
        .args(["run", "--no-wait", "--as", principal.as_str()]);
    if let Some(purpose) = &args.purpose {
        command.args(["--purpose", purpose]);
    }
    if let Some(profile) = &args.profile {
        command.args(["--profile", profile.as_str()]);
    }
    command.arg("--").args(&args.argv);
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
fn await_start(holder: &Holder, out: Out) -> Result<Option<ExecutionId>, Failure> {
    loop {
        match holder.hear()? {
            Some(Heard::Started(exec)) => return Ok(Some(exec)),
            Some(Heard::Note(text)) => out.note(text),
            None => return Ok(None),
        }
    }
}

/// The first thing that the client asks is answered with why it is not served.
fn not_started(
    holder: &Holder,
    errors: JoinHandle<()>,
    said: &Mutex<String>,
) -> Result<Status, Failure> {
    let status = holder.wait()?;
    // All of it was said. A thread that panicked has said what it could.
    drop(errors.join());
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let (sender, receiver) = channel();
    thread::Builder::new().name("first".into()).spawn(move || {
        let mut lines = Lines::new(io::stdin(), Bounds::REQUEST.bytes_max);
        while let Ok(Some(Line::Whole(bytes))) = lines.next_line() {
            if let Ok(Frame {
                kind: Kind::Request { id, .. },
                ..
            }) = Frame::parse(&bytes, Bounds::REQUEST)
            {
                drop(sender.send(id.to_owned()));
                return;
            }
        }
    })?;
    if let Ok(id) = receiver.recv_timeout(TELL_PATIENCE) {
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = format!("the server was not started. {}", said.trim());
        let mut answer = Said::new(DenialCode::NoPermit, reason);
        answer.remedy =
            Some("a policy has to permit the server itself to run; see above".to_owned());
        let mut frame = answer.error(Some(&id));
        frame.push('\n');
        io::stdout().write_all(frame.as_bytes()).unwrap_or(());
    }
    Ok(Status::Code(code.unwrap_or(1)))
}

fn carry(
    domain: &Domain,
    args: &Serve,
    who: Who,
    (holder, (input, output)): (&Arc<Holder>, (io::PipeWriter, io::PipeReader)),
    out: Out,
) -> Result<Over, Failure> {
    let kept = Kept(domain.dir.definitions());
    let config = Config {
        who,
        checks: placet_decision::CHECKS,
        grace: Duration::from_secs(args.grace),
        console: console(domain)?,
        keep: Box::new(move |tool, definition| {
            // Without it nothing can be shown of a change; what counts stands in the log.
            kept.put(tool, definition).unwrap_or(());
        }),
        tell: Box::new(move |text| out.note(format!("placet: {text}"))),
    };
    let upstream = Upstream {
        input: Box::new(input),
        output: Box::new(output),
        control: Box::new(Held(Arc::clone(holder))),
    };
    let setting = governing(domain)?;
    let (session, running) = Session::new(config, setting, io::stdout(), upstream)?;
    leave_on_signal(&session)?;
    attend(holder, out)?;
    Ok(session.run(running, io::stdin())?)
}

type Console = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Asks, each time, whether a node serves the console: it may be started at any time.
fn console(domain: &Domain) -> Result<Console, Failure> {
    let socket = settings(domain.dir.root(), None, None)?.socket;
    Ok(Box::new(move || approvals(&socket)))
}

/// Hears the supervisor until the server's end is recorded.
fn attend(holder: &Arc<Holder>, out: Out) -> io::Result<()> {
    let holder = Arc::clone(holder);
    thread::Builder::new()
        .name("server".into())
        .spawn(move || {
            while let Ok(Some(heard)) = holder.hear() {
                match heard {
                    Heard::Note(text) => out.note(text),
                    Heard::Started(_) => {}
                }
            }
        })
        .map(drop)
}

/// A signal that would end this process ends the session in order.
fn leave_on_signal(session: &Arc<Session>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let session = Arc::downgrade(session);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in &mut signals {
                match session.upgrade() {
                    Some(session) => session.leave(),
                    None => return,
                }
            }
        })
        .map(drop)
}

type Ending = Box<dyn Fn(ExecutionId, DenialCode) + Send + Sync>;

/// What the governor of a domain needs, but for what has to be ended.
fn governing(domain: &Domain) -> Result<impl FnOnce(Ending) -> Setting + use<>, Failure> {
    let (dir, own) = (domain.dir.clone(), program()?);
    let policy = public_policy(&domain.dir)?;
    let measured: OnceLock<Fixed<Environment>> = OnceLock::new();
    let environment = move |domain: &DomainName| {
        if let Some(measured) = measured.get() {
            return Ok(measured.clone());
        }
        let now = placet_process::attest::environment(domain).map_err(|error| error.to_string())?;
        Ok(measured.get_or_init(|| now).clone())
    };
    Ok(move |ending| Setting {
        connect: Box::new(move || connect_or_start(&dir, &own)),
        pins: Box::new(move |welcome| {
            placet_process::pins(&policy, welcome).map_err(|error| error.to_string())
        }),
        environment: Box::new(environment),
        clock: clock(),
        ending,
    })
}
