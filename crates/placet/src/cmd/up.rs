//! `placet up`: the node as a service that stays, with HTTP beside its own socket.

use std::io::IsTerminal as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use placet_api::config::Settings;
use placet_api::log::{Level, Logger, Value};
use placet_api::{Server, Stage};
use placet_authority::node::wire::{Request, Response};
use placet_authority::node::{Host, ServeOptions, Service};
use placet_process::attest::{self, OwnProgram};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::{Global, Up};
use crate::cmd::config::settings;
use crate::cmd::node::{has_room, raise_descriptors};
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::Out;

/// How long a node that was started on demand may take to leave, and how often it is looked at.
const LEAVING_LOOKS: usize = 100;
const LEAVING_LOOK: Duration = Duration::from_millis(50);

pub(crate) fn up(global: &Global, args: &Up, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let settings = settings(domain.dir.root(), args.config.as_deref(), args.listen)?;
    take_over(&domain)?;
    let serving = Serving {
        domain: &domain,
        settings,
        stage: None,
        lifetime: None,
    };
    // What goes to a journal is read by others.
    let asked = args.link || std::io::stderr().is_terminal();
    serving.run(&|link| {
        if let Some(link) = link.filter(|_| asked) {
            out.note(format!("the console, once, within ten minutes: {link}"));
        }
    })
}

/// A domain that is served, and what for.
pub(crate) struct Serving<'a> {
    pub(crate) domain: &'a Domain,
    pub(crate) settings: Settings,
    /// What its page can play, where it is a demo.
    pub(crate) stage: Option<Arc<dyn Stage>>,
    /// When it leaves by itself.
    pub(crate) lifetime: Option<Duration>,
}

impl Serving<'_> {
    /// Serves until a signal or the end of its lifetime; says first where the console is.
    pub(crate) fn run(self, say: &dyn Fn(Option<String>)) -> Result<Status, Failure> {
        let Self {
            domain,
            settings,
            stage,
            lifetime,
        } = self;
        serve(domain, &settings, stage, lifetime, say)
    }
}

fn serve(
    domain: &Domain,
    settings: &Settings,
    stage: Option<Arc<dyn Stage>>,
    lifetime: Option<Duration>,
    say: &dyn Fn(Option<String>),
) -> Result<Status, Failure> {
    has_room(&domain.dir.log())?;
    raise_descriptors();
    let environment =
        attest::environment(&domain.name, OwnProgram::Unmeasured).map_err(Failure::new)?;
    let policy = std::fs::read_to_string(domain.dir.policy_file())?;
    let host = Host::open(&domain.dir, clock()).map_err(Failure::unverified)?;
    domain.dir.offer_gateways(settings.gateways)?;
    let service = host.service();
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let server = Server::start(
        settings.clone(),
        service.clone(),
        policy,
        environment,
        stage,
    )
    .map_err(Failure::new)?;
    say_where(domain, &server, settings, &service);
    say(server.link(rustix::process::getuid().as_raw()));
    let grace = settings.grace;
    let leaver = service.clone();
    let waiting = thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut grace = grace;
            for _ in signals.forever() {
                notify("STOPPING=1");
                leaver.leave(grace);
                // Asked a second time, it does not wait for what runs.
                grace = Duration::ZERO;
            }
        })?;
    let alarm = lifetime.map(|lifetime| leave_after(lifetime, service.clone()));
    notify("READY=1");
    let served = host.run(ServeOptions {
        idle: None,
        checks: Some(settings.checks),
    });
    server.stop();
    domain.dir.withdraw_gateways();
    handle.close();
    // They have nothing to say.
    drop(alarm);
    drop(waiting.join());
    served.map_err(Failure::unverified)?;
    Ok(Status::Ok)
}

/// Leaves once the time is over, unless it is dropped before.
fn leave_after(lifetime: Duration, service: Service) -> mpsc::Sender<()> {
    let (sender, dropped) = mpsc::channel();
    thread::spawn(move || {
        if dropped.recv_timeout(lifetime) == Err(mpsc::RecvTimeoutError::Timeout) {
            service.leave(Duration::ZERO);
        }
    });
    sender
}

fn say_where(domain: &Domain, server: &Server, settings: &Settings, service: &Service) {
    let address = server
        .address()
        .map(|it| it.to_string())
        .unwrap_or_default();
    let socket = server.socket().display().to_string();
    let fields = [
        ("domain", Value::Text(domain.name.as_str())),
        ("listen", Value::Text(&address)),
        ("socket", Value::Text(&socket)),
        ("pid", Value::Number(std::process::id().into())),
    ];
    let logger = Logger::new(settings.log.level, settings.log.format);
    logger.say(Level::Info, service.clock().wall(), "serving", &fields);
}

/// A node that was started on demand makes room, unless something runs under it. A service does not,
/// wherever it listens.
fn take_over(domain: &Domain) -> Result<(), Failure> {
    let Some(mut link) = domain.running_node()? else {
        return Ok(());
    };
    let status = link.ask(&Request::Status)?;
    let busy = matches!(&status, Response::Status(status) if status.running > 0);
    let stays = matches!(&status, Response::Status(status) if status.stays);
    if !busy && !stays && matches!(link.ask(&Request::Stop)?, Response::Stopping) {
        drop(link);
        for _ in 0..LEAVING_LOOKS {
            if domain.running_node()?.is_none() {
                return Ok(());
            }
            thread::sleep(LEAVING_LOOK);
        }
    }
    Err(Failure::new("a node serves this domain already")
        .hint("there is one at a time; `placet node stop` ends it once nothing runs under it"))
}

/// Tells systemd, where it asked to be told (sd_notify(3)).
fn notify(word: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let path = path.to_string_lossy();
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes()),
        None => SocketAddr::from_pathname(path.as_ref()),
    };
    let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) else {
        return;
    };
    // Whoever does not listen need not know.
    drop(socket.send_to_addr(word.as_bytes(), &address));
}
