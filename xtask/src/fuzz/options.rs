//! What `cargo xtask fuzz` is asked to do.

use std::path::PathBuf;

/// Seconds for each target unless told otherwise.
const SECONDS: u32 = 3;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) job: Job,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Fuzz these targets, or all of them, each for so many seconds.
    Fuzz { targets: Vec<String>, seconds: u32 },
    /// Name the targets.
    List,
    /// Run one input.
    Replay { file: PathBuf, target: String },
    /// Make the corpus anew.
    WriteSeeds,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let job = match args.as_slice() {
            ["--list"] => Job::List,
            ["--write-seeds"] => Job::WriteSeeds,
            ["--replay", file, target] => Job::Replay {
                file: file.into(),
                target: (*target).to_owned(),
            },
            ["--seconds", number, targets @ ..] => Self::fuzz(targets, seconds(number)?)?,
            targets => Self::fuzz(targets, SECONDS)?,
        };
        Ok(Self { job })
    }

    fn fuzz(targets: &[&str], seconds: u32) -> Result<Job, String> {
        if let Some(option) = targets.iter().find(|name| name.starts_with('-')) {
            return Err(format!("`{option}` is not expected here; see cargo xtask"));
        }
        let targets = targets.iter().map(|name| (*name).to_owned()).collect();
        Ok(Job::Fuzz { targets, seconds })
    }
}

/// Zero would mean "for ever" to libFuzzer.
fn seconds(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("`{text}` is not a number of seconds, 1 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Job, String> {
        let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::parse(&args).map(|options| options.job)
    }

    #[test]
    fn each_job_is_told_from_its_words() {
        let fuzz = |targets: &[&str], seconds| {
            let targets = targets.iter().map(|name| (*name).to_owned()).collect();
            Ok(Job::Fuzz { targets, seconds })
        };
        assert_eq!(parse(""), fuzz(&[], SECONDS));
        assert_eq!(parse("--seconds 9 json note"), fuzz(&["json", "note"], 9));
        assert_eq!(parse("--list"), Ok(Job::List));
        let replay = Job::Replay {
            file: "a".into(),
            target: "json".into(),
        };
        assert_eq!(parse("--replay a json"), Ok(replay));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "--seconds 0",
            "--seconds x",
            "--seconds",
            "--replay a",
            "json --list",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
