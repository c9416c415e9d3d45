//! `placet console`: a one-time link that signs a browser in, as the user who asks for it.
//!
//! The link is asked for over the Unix socket of `placet up`, where the kernel says who asks. It is
//! printed and kept nowhere.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::{Console, Global};
use crate::cmd::config::settings;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, Out, WARN, paint};

/// How long the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// And where somebody waits for something else.
const PATIENCE_BRIEF: Duration = Duration::from_secs(1);
/// Longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 64 << 10;

const REQUEST: &[u8] = b"POST /v1/session/link HTTP/1.1\r\nhost: placet\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// What the node answers.
#[derive(Deserialize, Serialize)]
struct Link {
    built: bool,
    token: String,
    until: u64,
    url: Option<String>,
}

pub(crate) fn console(global: &Global, args: &Console, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let settings = settings(domain.dir.root(), args.config.as_deref(), None)?;
    let link = ask(&settings.socket, PATIENCE)??;
    out.value(&link);
    let Some(url) = &link.url else {
        return Err(Failure::new(
            "the node listens on its Unix socket only, where no browser gets",
        )
        .hint(
            "start it with `placet up --listen 127.0.0.1:8790`, or set `listen` in placet.toml",
        ));
    };
    out.line(paint(BOLD, url));
    let minutes = "opens once, within ten minutes, and signs that browser in as you";
    out.line(paint(DIM, minutes));
    if !link.built {
        let missing = "this build has no console: `make console`, then build placet again";
        out.note(paint(WARN, missing));
    }
    Ok(Status::Ok)
}

/// Where a browser finds the approvals, if a node serves the console now. It signs nobody in.
pub(crate) fn approvals(socket: &Path) -> Option<String> {
    let link = ask(socket, PATIENCE_BRIEF)
        .ok()?
        .ok()
        .filter(|link| link.built)?;
    // What comes after the mark is the token, which is for nobody but the operator.
    let url = link.url?;
    let (page, _) = url.split_once('#')?;
    Some(format!("{page}#/approvals"))
}

fn ask(socket: &Path, patience: Duration) -> Result<Result<Link, Failure>, Failure> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            Failure::new("no `placet up` serves this domain")
                .hint("start it: `placet up --listen 127.0.0.1:8790`")
        }
        _ => Failure::new(format!("{}: {error}", socket.display())),
    })?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    read(&answer).ok_or_else(|| Failure::new("the node's answer does not read"))
}

/// Reads an answer: a link, or the problem that stands in its place.
fn read(answer: &[u8]) -> Option<Result<Link, Failure>> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    if status == "201" {
        return serde_json::from_str(body).ok().map(Ok);
    }
    let problem: Problem = serde_json::from_str(body).ok()?;
    Some(Err(Failure::new(problem.detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_link_or_a_problem_or_nothing() {
        let link = b"HTTP/1.1 201 Created\r\nx: y\r\n\r\n{\"built\":true,\"token\":\"t\",\"until\":1,\"url\":null}";
        assert!(matches!(read(link), Some(Ok(Link { built: true, .. }))));
        let problem = b"HTTP/1.1 403 Forbidden\r\n\r\n{\"detail\":\"no\",\"status\":403}";
        assert!(matches!(read(problem), Some(Err(_))));
        for odd in [
            &b"HTTP/1.1 201 Created\r\n\r\n{"[..],
            b"",
            b"\xff\r\n\r\n{}",
        ] {
            assert!(read(odd).is_none());
        }
    }
}
