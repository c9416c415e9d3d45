//! `placet`: governed execution on the command line.
//!
//! One file per command in `cmd`. Nothing is decided here: this is configuration and wiring.

#![forbid(unsafe_code)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what this program has no words of its own for, it treats as unexpected: the stricter way"
)]

mod born;
mod bundle;
mod cli;
mod cmd;
mod connections;
mod context;
mod exit;
mod find;
mod out;
mod resident;
mod show;

use std::process::ExitCode;

use clap::error::ErrorKind;

/// Deciding makes and drops thousands of small values, on several threads at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = context::arguments();
    let cli = match cli::Cli::read(&arguments) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => {
            let failure = context::not_text(&arguments);
            out::Out::new(false).failure(&failure);
            return failure.status.leave();
        }
        // Help is one of them.
        Err(error) => error.exit(),
    };
    let out = out::Out::new(cli.global.json);
    match cmd::dispatch(&cli, &out) {
        Ok(status) => status.leave(),
        Err(failure) => {
            out.failure(&failure);
            failure.status.leave()
        }
    }
}
