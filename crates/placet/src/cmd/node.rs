//! `placet node`: the node that serves a domain.

use std::io::Write as _;
use std::time::Duration;

use placet_authority::node::wire::{Request, Response};
use placet_authority::node::{READY, ServeOptions, serve};

use crate::cli::{Global, Node};
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{BOLD, Out, paint};

pub(crate) fn node(global: &Global, command: &Node, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
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
    out.value(&status);
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
    serve(&domain.dir, clock(), ServeOptions { idle }, ready).map_err(Failure::unverified)?;
    Ok(Status::Ok)
}

/// Started by another command, which waits at our standard output for a word.
fn serve_detached(domain: &Domain, idle: Option<Duration>) -> Result<Status, Failure> {
    // A session of our own: no terminal's signals, and nobody's job.
    if rustix::process::setsid().is_err() {
        // It leads a group already, so it is nobody's job as it is.
    }
    let ready = || say(READY);
    match serve(&domain.dir, clock(), ServeOptions { idle }, ready) {
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
