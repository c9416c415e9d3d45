//! `placet node`: the node that serves a domain.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use placet_authority::node::wire::{Request, Response};
use placet_authority::node::{READY, ServeOptions, serve};

use crate::cli::{Global, Node};
use crate::cmd::config::gateways;
use crate::cmd::policy::{attested, lifecycle};
use crate::cmd::{gateway, secret};
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{BOLD, Out, paint};
use crate::show;

/// Room that must be left for a node to begin: more than any one record takes.
const ROOM_BYTES: usize = 128 << 10;

pub(crate) fn node(global: &Global, command: &Node, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    if matches!(command, Node::Serve { .. }) {
        secret::keep_unreadable();
        raise_descriptors();
    }
    match command {
        Node::Status => status(&domain, out),
        Node::Stop => stop(&domain, out),
        Node::Serve { detached, idle } => {
            let idle = (*idle > 0).then(|| Duration::from_secs(*idle));
            if *detached {
                serve_detached(&domain, idle)
            } else {
                serve_here(&domain, idle, out)
            }
        }
    }
}

fn status(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let Some(mut link) = domain.running_node()? else {
        out.value(&serde_json::json!({ "running": false }));
        out.line("no node serves this domain; it starts with the next command that needs one");
        return Ok(Status::Ok);
    };
    let Response::Status(status) = link.ask(&Request::Status)? else {
        return Err(Failure::unverified(
            "the node gave an answer that does not fit",
        ));
    };
    let in_use = lifecycle(link)?;
    let mut value = serde_json::to_value(&status).map_err(Failure::new)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("gateways".into(), serde_json::json!(in_use.gateways));
    }
    out.value(&value);
    out.line(format!(
        "node {} serves {}",
        status.pid,
        paint(BOLD, &status.domain)
    ));
    out.line(format!("  records     {}", status.size));
    out.line(format!("  running     {}", status.running));
    out.line(format!("  authorized  {}", status.authorized));
    out.line(format!(
        "  halted      {}",
        if status.halted { "yes" } else { "no" }
    ));
    out.line(format!(
        "  writing     {}",
        if status.writing { "yes" } else { "NO" }
    ));
    if let Some(policy) = &status.policy {
        out.line(format!(
            "  policy      {} revision {}",
            policy.name, policy.revision
        ));
    }
    for gateway in &in_use.gateways {
        out.line(format!(
            "  gateway     {} on {}: {} running{}",
            gateway.gateway,
            show::short(&gateway.machine),
            gateway.running,
            attested(gateway)
        ));
    }
    gateway::show(domain, out);
    Ok(Status::Ok)
}

fn stop(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let Some(mut link) = domain.running_node()? else {
        out.line("no node serves this domain");
        return Ok(Status::Ok);
    };
    match link.ask(&Request::Stop)? {
        Response::Stopping => {
            out.line("the node ends once nothing runs under it");
            Ok(Status::Ok)
        }
        _ => Err(Failure::unverified(
            "the node gave an answer that does not fit",
        )),
    }
}

fn serve_here(domain: &Domain, idle: Option<Duration>, out: Out) -> Result<Status, Failure> {
    let ready = || out.note(format!("serving {}", domain.name));
    if let Ok(Some(mut link)) = domain.running_node() {
        let pid = match link.ask(&Request::Status)? {
            Response::Status(status) => format!(" (process {})", status.pid),
            _ => String::new(),
        };
        return Err(
            Failure::new(format!("a node serves this domain already{pid}"))
                .hint("there is one at a time; `placet node stop` ends it"),
        );
    }
    has_room(&domain.dir.log())?;
    offering(domain, || {
        serve(
            &domain.dir,
            clock(),
            ServeOptions { idle, checks: None },
            ready,
        )
        .map_err(Failure::unverified)
    })?;
    Ok(Status::Ok)
}

/// While a node serves, as many gateways may wait as the configuration says; none where it says nothing of it.
fn offering<T>(domain: &Domain, served: impl FnOnce() -> T) -> T {
    match gateways(domain.dir.root()) {
        Ok(bound) => domain.dir.offer_gateways(bound).unwrap_or(()),
        // What a node on demand does is not a matter of this file.
        Err(failure) => drop(writeln!(io::stderr(), "{}", failure.message)),
    }
    let result = served();
    domain.dir.withdraw_gateways();
    result
}

/// Tries whether the log's directory takes what is written. A node that cannot write must not begin:
/// it would renew leases until its first append fails, and so would the one after it.
pub(super) fn has_room(log: &Path) -> Result<(), Failure> {
    let path = log.join(".room");
    let written = fill(&path);
    // What could not be made need not be removed.
    drop(fs::remove_file(&path));
    written.map_err(|error| {
        Failure::unverified(format!("the evidence log cannot be written: {error}"))
            .hint("nothing runs without evidence; make room, or make the directory writable")
    })
}

/// As many descriptors as may be had: each connection takes two.
pub(super) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    // Without it there are fewer connections, and one too many is turned away.
    setrlimit(Resource::Nofile, most).unwrap_or(());
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; ROOM_BYTES])?;
    file.sync_data()
}

/// Started by another command, which waits at our standard output for a word.
fn serve_detached(domain: &Domain, idle: Option<Duration>) -> Result<Status, Failure> {
    // A session of our own: no terminal's signals, and nobody's job.
    if rustix::process::setsid().is_err() {
        // It leads a group already, so it is nobody's job as it is.
    }
    let ready = || say(READY);
    if let Err(failure) = has_room(&domain.dir.log()) {
        say(&failure.message);
        return Err(failure);
    }
    match offering(domain, || {
        serve(
            &domain.dir,
            clock(),
            ServeOptions { idle, checks: None },
            ready,
        )
    }) {
        Ok(()) => Ok(Status::Ok),
        Err(error) => {
            say(&error.to_string());
            Err(Failure::unverified(error))
        }
    }
}

/// Writes to standard output and closes it, so that whoever waits there goes on.
fn say(word: &str) {
    let mut stdout = std::io::stdout();
    drop(
        stdout
            .write_all(word.as_bytes())
            .and_then(|()| stdout.flush()),
    );
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        // Whoever waits would see our end at last anyway.
        rustix::stdio::dup2_stdout(null).unwrap_or(());
    }
}
