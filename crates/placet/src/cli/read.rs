//! From the words of a command line to what they say.
//!
//! To describe every command there is, with its options and their help, takes longer than to understand one. Most command lines are `placet run`,
//! each the start of a process; so that one is described by itself first.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::{Cli, Command, Global, Run};

/// A command line that is `placet run`, as it stands in [`Cli`].
#[derive(Debug, Parser)]
#[command(name = "placet")]
struct OnlyRun {
    #[command(flatten)]
    global: Global,
    #[arg(long, hide = true)]
    front: bool,
    #[command(subcommand)]
    command: Only,
}

#[derive(Debug, Subcommand)]
enum Only {
    Run(Run),
}

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    ///
    /// What clap says, help among it.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        // What this one does not understand, or is asked for help about, is for the whole: its words are those to be said.
        let Ok(only) = OnlyRun::try_parse_from(arguments) else {
            return Self::try_parse_from(arguments);
        };
        let Only::Run(run) = only.command;
        Ok(Self {
            global: only.global,
            front: only.front,
            command: Command::Run(run),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_command_line_means_the_same_by_itself_and_among_all() {
        for line in [
            "placet run -- true",
            "placet --json run --as agent:coder --purpose x --profile p --lifetime 3 -- sh -c true",
            "placet run --domain d --no-wait --decide -- true --json",
            "placet --front --domain d run --announce -- true",
        ] {
            let by_itself = OnlyRun::try_parse_from(words(line)).unwrap();
            let Only::Run(run) = by_itself.command;
            let among_all = Cli::try_parse_from(words(line)).unwrap();
            let Command::Run(of_all) = among_all.command else {
                panic!("{line}");
            };
            assert_eq!(format!("{run:?}"), format!("{of_all:?}"), "{line}");
            assert_eq!(
                format!("{:?} {}", by_itself.global, by_itself.front),
                format!("{:?} {}", among_all.global, among_all.front),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_no_run_is_read_and_said_as_by_the_whole() {
        for line in ["placet log tail", "placet node status --json"] {
            assert!(!matches!(
                Cli::read(&words(line)).unwrap().command,
                Command::Run(_)
            ));
        }
        for line in [
            "placet",
            "placet --help",
            "placet run --help",
            "placet help run",
            "placet --version",
            "placet run",
            "placet run --lifetime x -- true",
            "placet rum -- true",
            "placet run --parent exec_1 --nonsense -- true",
        ] {
            let said = Cli::read(&words(line)).unwrap_err().to_string();
            let whole = Cli::try_parse_from(words(line)).unwrap_err().to_string();
            assert_eq!(said, whole, "{line}");
        }
    }
}
