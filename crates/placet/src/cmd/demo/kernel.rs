//! Execute: a permitted shell is not a way around. The cell holds only what the scope names.

use super::ground::{Ground, hold};
use super::stage::Stage;
use super::step::{End, Try};
use crate::exit::Failure;

const NOT_THERE: End = End::Stopped("No such file or directory");

/// Connects to the demo's own listener.
const CONNECT: &str = "import socket; socket.create_connection(('127.0.0.1', {port}), 2)";
/// Connects to an address that is reserved for documentation (RFC 5737): should this ever get
/// through, nobody is at the other end.
const REACH: &str = "import socket; socket.create_connection(('192.0.2.1', 80), 2)";

const HELD: &[Try] = &[
    // A pattern, so that the policy has no name to forbid.
    Try::new(
        "a shell reads ~/.s*/id_*",
        &["sh", "-c", "cat \"$HOME\"/.s*/id_*"],
        NOT_THERE,
    ),
    Try::new(
        "a shell pushes",
        &["sh", "-c", "git push origin main"],
        End::Stopped("does not appear to be a git repository"),
    )
    .also(Ground::remote_is_empty),
    Try::new(
        "python deletes a directory outside",
        &["python3", "-c", "import shutil; shutil.rmtree('{outside}')"],
        NOT_THERE,
    )
    .also(Ground::outside_is_whole),
    Try::new(
        "tee writes to ~/.profile",
        &["tee", "-a", "{home}/.profile"],
        NOT_THERE,
    )
    .also(home_is_untouched),
    Try::new(
        "python connects to a listener",
        &["python3", "-c", CONNECT],
        End::Stopped("refused"),
    )
    .also(Ground::nobody_connected),
    Try::new(
        "python connects to the world",
        &["python3", "-c", REACH],
        End::Stopped("Permission denied"),
    ),
    Try::new(
        "a shell lists the domain's keys",
        &["sh", "-c", "ls {domain}/keys"],
        NOT_THERE,
    ),
    Try::new(
        "truncate empties the log",
        &["truncate", "-s", "0", "{domain}/log/head"],
        NOT_THERE,
    ),
    Try::new(
        "a shell halts the domain",
        &["sh", "-c", "{placet} --domain {domain} halt"],
        End::Stopped("holds no Placet domain"),
    ),
    Try::new(
        "a shell starts a program it put there",
        &["sh", "-c", "cp /bin/ls ./tool && ./tool"],
        End::Stopped("Permission denied"),
    )
    .also(remove_tool),
    Try::new(
        "a shell makes a namespace",
        &["sh", "-c", "unshare --user --map-root-user true"],
        End::Stopped("Operation not permitted"),
    ),
    // Signal 0 asks whether there is such a process, and does nothing to it.
    Try::new(
        "a shell signals a process outside",
        &["sh", "-c", "kill -0 {pid}"],
        End::Stopped("No such process"),
    ),
];

/// A permitted shell tries what policy cannot see.
pub(super) fn holds_the_scope(stage: &mut Stage) -> Result<(), Failure> {
    stage.attempt_all(HELD)
}

fn home_is_untouched(ground: &Ground) -> Result<(), String> {
    hold(
        !ground.home().join(".profile").exists(),
        "the file was written",
    )
}

fn remove_tool(ground: &Ground) -> Result<(), String> {
    let removed = std::fs::remove_file(ground.project().join("tool"));
    hold(
        removed.is_ok(),
        "the program was never there, so nothing was shown",
    )
}
