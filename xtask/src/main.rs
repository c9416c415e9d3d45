//! `cargo xtask COMMAND`: chores of this repository that a shell script would do badly.
//!
//! One file per command. Nothing here is part of Placet, and nothing of Placet is compiled for it,
//! so that it starts in seconds.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for developers: it talks to its terminal"
)]

mod bench;
mod fuzz;
mod tidy;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy                                checks the source tree itself
  bench [PART]                        measures; PART is policies, decisions, http, runs, compare or ends
  fuzz [--seconds N] [TARGET…]        fuzzes decoders, each for N seconds (3)
  fuzz --list                         names the fuzz targets
  fuzz --replay FILE TARGET           runs one input, for instance a reproducer
  fuzz --write-seeds                  makes the seed corpus anew
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", args.as_slice()),
    };
    let result = match command {
        "tidy" => tidy::run(&root()),
        "bench" => bench::run(&root(), rest),
        "fuzz" => fuzz::run(&root(), rest),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// The repository: the directory above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
