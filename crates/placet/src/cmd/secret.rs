//! `placet secret`: what profiles hand over to executions.

mod ask;

use std::io::{self, IsTerminal as _};

use placet_authority::node::wire::{Request, Response, SecretBody, SecretsBody};
use placet_secrets::{BYTES_MAX, Secret as Value};
use placet_types::{Denial, Millis, SecretName};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use zeroize::Zeroizing;

use crate::cli::{Global, Secret};
use crate::cmd::revoke::recorded;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{Out, WARN, paint};
use crate::show::{age, list as listed};

pub(crate) fn secret(global: &Global, command: &Secret, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    match command {
        Secret::Set { name, raw } => set(&domain, name, *raw, out),
        Secret::List => list(&domain, out),
        Secret::Rm { name } => {
            let request = Request::RemoveSecret { name: name.clone() };
            done(&domain.ask(&request)?, name.as_str(), "removed", out)
        }
        Secret::RotateKey => {
            let response = domain.ask(&Request::RotateSecretsKey)?;
            done(&response, "the secrets", "encrypted with a new key", out)
        }
    }
}

/// No core dump of this process, and its memory is nobody's to read but root's.
pub(crate) fn keep_unreadable() {
    // A kernel that refuses leaves what the permissions of the domain directory give.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or(());
}

fn set(domain: &Domain, name: &SecretName, raw: bool, out: Out) -> Result<Status, Failure> {
    keep_unreadable();
    let value = if io::stdin().is_terminal() {
        ask::at_terminal(&format!("value of {name}: "))?
    } else {
        from_pipe(raw)?
    };
    let value = Value::new(value).map_err(Failure::new)?;
    let request = Request::SetSecret {
        name: name.clone(),
        bytes: u32::try_from(value.len()).map_err(Failure::new)?,
    };
    let response = domain.node()?.ask_with(&request, &value)?;
    done(&response, name.as_str(), "set", out)
}

/// All of standard input, read into one buffer that is wiped. Tools like to end with a newline that
/// is no part of a token.
fn from_pipe(raw: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Two bytes more than the longest value and its line end: so what is too long is noticed.
    let mut value = Zeroizing::new(vec![0; BYTES_MAX + 3]);
    let mut length = 0_usize;
    loop {
        let room = value.get_mut(length..).unwrap_or_default();
        // Not through the standard library, which keeps what it has read in a buffer of its own.
        match rustix::io::read(rustix::stdio::stdin(), room) {
            Ok(0) => break,
            Ok(read) => length = length.saturating_add(read),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
    value.truncate(length);
    if !raw && value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok(value)
}

fn done(response: &Response, what: &str, became: &str, out: Out) -> Result<Status, Failure> {
    let index = match response {
        Response::Error(denial) => return Err(Denial::clone(denial).into()),
        other => recorded(other)?,
    };
    out.value(&serde_json::json!({ "secret": what, "done": became, "index": index }));
    out.line(format!("{what} {became} (record {index})"));
    Ok(Status::Ok)
}

fn list(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let Response::Secrets(body) = domain.ask(&Request::Secrets)? else {
        return Err(Failure::unverified(
            "the node gave an answer that does not fit",
        ));
    };
    out.value(&body);
    let SecretsBody { secrets, trouble } = *body;
    let now = clock().wall();
    let ago = |time: Option<Millis>, none: &str| match time {
        Some(time) => age(now, time),
        None => none.to_owned(),
    };
    let row = |secret: &SecretBody| {
        let unset = if secret.held { "" } else { "not set" };
        vec![
            secret.name.to_string(),
            ago(secret.set, unset),
            ago(secret.used, "never"),
            listed(&secret.profiles),
        ]
    };
    let rows: Vec<Vec<String>> = secrets.iter().map(row).collect();
    out.table(&["SECRET", "SET", "USED", "PROFILES"], &rows);
    match trouble {
        None => Ok(Status::Ok),
        Some(trouble) => {
            out.note(format!(
                "{} {trouble}",
                paint(WARN, "none can be handed over:")
            ));
            Ok(Status::Unverified)
        }
    }
}
