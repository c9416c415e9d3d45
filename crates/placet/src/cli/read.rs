//! From the words of a command line to what they say.
//!
//! To describe every command there is, with its options and their help, takes longer than to understand one. Most command lines are `placet run`,
//! each the start of a process; so a plain one is understood word by word first, if it says what the whole command line would say of it. Everything else,
//! and whatever is wrong, is for the whole: its words are those to be said.

use std::ffi::OsString;
use std::str::FromStr;

use clap::Parser as _;

use super::{Call, Cli, Command, Global, Run};

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    ///
    /// What clap says, help among it.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        match plain_run(arguments) {
            Some(run) => Ok(run),
            None => Self::try_parse_from(arguments),
        }
    }
}

/// A `placet run` of options by their whole names, each once and with its value as a word of its own, and a command behind `--`. Nothing is wrong with it.
fn plain_run(arguments: &[OsString]) -> Option<Cli> {
    let words: Option<Vec<&str>> = arguments.iter().skip(1).map(|word| word.to_str()).collect();
    let words = words?;
    let end = words.iter().position(|word| *word == "--")?;
    let (options, argv) = words.split_at(end);
    let run = options.iter().position(|word| *word == "run")?;
    let (before, after) = options.split_at(run);
    let mut plain = Plain::default();
    plain.read(before, |plain, option| match option {
        "--front" => Some(Place::Flag(&mut plain.front)),
        _ => plain.global(option),
    })?;
    plain.read(after.get(1..)?, Plain::of_run)?;
    let argv: Vec<String> = argv.iter().skip(1).map(|&word| word.to_owned()).collect();
    if argv.is_empty() {
        return None;
    }
    plain.cli(argv)
}

/// The options of a run as they stand there.
#[derive(Default)]
struct Plain<'a> {
    front: bool,
    json: bool,
    no_wait: bool,
    decide: bool,
    announce: bool,
    hear: bool,
    domain: Option<&'a str>,
    principal: Option<&'a str>,
    purpose: Option<&'a str>,
    profile: Option<&'a str>,
    lifetime: Option<&'a str>,
    parent: Option<&'a str>,
    door: Option<&'a str>,
}

/// Where an option goes.
enum Place<'p, 'a> {
    Flag(&'p mut bool),
    Value(&'p mut Option<&'a str>),
}

impl<'a> Plain<'a> {
    /// Reads options; `None` where one of them is not plain.
    fn read(
        &mut self,
        words: &[&'a str],
        place: impl for<'p> Fn(&'p mut Self, &str) -> Option<Place<'p, 'a>>,
    ) -> Option<()> {
        let mut words = words.iter();
        while let Some(option) = words.next() {
            match place(self, option)? {
                Place::Flag(flag) => {
                    if std::mem::replace(flag, true) {
                        return None;
                    }
                }
                Place::Value(slot) => {
                    // What looks like an option, or is empty, is no plain value.
                    let value = words.next().filter(|word| !word.is_empty())?;
                    if value.starts_with('-') || slot.replace(value).is_some() {
                        return None;
                    }
                }
            }
        }
        Some(())
    }

    fn global(&mut self, option: &str) -> Option<Place<'_, 'a>> {
        match option {
            "--json" => Some(Place::Flag(&mut self.json)),
            "--domain" => Some(Place::Value(&mut self.domain)),
            _ => None,
        }
    }

    fn of_run(&mut self, option: &str) -> Option<Place<'_, 'a>> {
        match option {
            "--no-wait" => Some(Place::Flag(&mut self.no_wait)),
            "--decide" => Some(Place::Flag(&mut self.decide)),
            "--announce" => Some(Place::Flag(&mut self.announce)),
            "--hear" => Some(Place::Flag(&mut self.hear)),
            "--as" => Some(Place::Value(&mut self.principal)),
            "--purpose" => Some(Place::Value(&mut self.purpose)),
            "--profile" => Some(Place::Value(&mut self.profile)),
            "--lifetime" => Some(Place::Value(&mut self.lifetime)),
            "--parent" => Some(Place::Value(&mut self.parent)),
            "--door" => Some(Place::Value(&mut self.door)),
            _ => self.global(option),
        }
    }

    /// What it says; `None` where a value is not one of its kind, or two contradict each other.
    fn cli(self, argv: Vec<String>) -> Option<Cli> {
        if self.parent.is_some() && self.door.is_some() {
            return None;
        }
        Some(Cli {
            global: Global {
                domain: self.domain.map(Into::into),
                json: self.json,
            },
            front: self.front,
            command: Command::Run(Run {
                no_wait: self.no_wait,
                call: Call {
                    principal: parsed(self.principal)?,
                    purpose: self.purpose.map(str::to_owned),
                    profile: parsed(self.profile)?,
                    lifetime: parsed(self.lifetime)?,
                    parent: parsed(self.parent)?,
                    decide: self.decide,
                    announce: self.announce,
                    hear: self.hear,
                    door: parsed(self.door)?,
                    argv,
                },
            }),
        })
    }
}

/// The outer `None`: there is one, and it is not of its kind.
fn parsed<T: FromStr>(value: Option<&str>) -> Option<Option<T>> {
    value.map(T::from_str).transpose().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    /// What is understood of a line word by word, if it is, is what the whole says of it.
    fn is_plain_and_the_same(line: &[OsString]) -> bool {
        let Some(plain) = plain_run(line) else {
            return false;
        };
        let whole = Cli::try_parse_from(line).unwrap();
        assert_eq!(format!("{plain:?}"), format!("{whole:?}"), "{line:?}");
        true
    }

    #[test]
    fn a_command_line_means_the_same_by_itself_and_among_all() {
        for line in [
            "placet run -- true",
            "placet --json run --as agent:coder --purpose x --profile p --lifetime 3 -- sh -c true",
            "placet run --domain d --no-wait --decide -- true --json",
            "placet --front --domain d run --announce --hear -- true -- run",
            "placet --domain run run -- --",
        ] {
            let is_plain = is_plain_and_the_same(&words(line));
            // Where a value is the word itself, it is for the whole to say which is which.
            assert_eq!(is_plain, line != "placet --domain run run -- --", "{line}");
        }
    }

    proptest! {
        // Most of them are not plain.
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn whatever_is_understood_by_itself_is_what_the_whole_says(
            line in proptest::collection::vec(
                proptest::sample::select(vec![
                    "run", "run", "--", "--", "--as", "agent:coder", "--purpose", "x", "--profile",
                    "--lifetime", "3", "+3", "-1", "--parent", "--door",
                    "--decide", "--announce", "--hear", "--no-wait", "--domain", "--json", "--front",
                    "--purpose=x", "-h", "--help", "", "-", "true", "learn",
                ]),
                0..9,
            ),
        ) {
            let line: Vec<OsString> = std::iter::once("placet").chain(line).map(OsString::from).collect();
            is_plain_and_the_same(&line);
        }
    }

    #[test]
    fn what_is_no_plain_run_is_read_and_said_as_by_the_whole() {
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
            "placet run --",
            "placet run --lifetime x -- true",
            "placet run --as nobody -- true",
            "placet run --json --json -- true",
            "placet --as agent:coder run -- true",
            "placet rum -- true",
            "placet run --parent exec_1 --nonsense -- true",
        ] {
            assert!(plain_run(&words(line)).is_none(), "{line}");
            let said = Cli::read(&words(line)).unwrap_err().to_string();
            let whole = Cli::try_parse_from(words(line)).unwrap_err().to_string();
            assert_eq!(said, whole, "{line}");
        }
    }
}
