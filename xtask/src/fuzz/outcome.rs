//! What libFuzzer printed, read.

/// Fewer counters than this are no instrumentation: the smallest target's crates have thousands.
const COUNTERS_MIN: u64 = 1000;

/// The end of one target's run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing was found.
    Sound {
        /// Inputs that were run.
        inputs: u64,
        /// Edges of the code that were reached.
        edges: u64,
    },
    /// An input broke a promise, or the run itself is worth nothing.
    Failed {
        why: String,
        /// The input, where libFuzzer wrote it.
        reproducer: Option<String>,
    },
}

impl Outcome {
    /// Reads a log of a run that ended with `success`.
    pub(super) fn read(log: &str, success: bool) -> Self {
        let reproducer = after(log, "Test unit written to ").map(str::to_owned);
        let failed = |why: &str| Self::Failed {
            why: why.to_owned(),
            reproducer: reproducer.clone(),
        };
        if !success {
            return failed("an input broke a promise");
        }
        if number_before(log, " inline 8-bit counters").is_none_or(|found| found < COUNTERS_MIN) {
            return failed("the program counts no coverage: see fuzz/instrument.sh");
        }
        match number(after(log, "stat::number_of_executed_units:")) {
            Some(inputs) if inputs > 0 => Self::Sound {
                inputs,
                edges: number(after(log, " cov: ")).unwrap_or(0),
            },
            _ => failed("no input was run"),
        }
    }
}

/// What follows the last `mark`, to the end of its line.
fn after<'a>(log: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = log.rsplit_once(mark)?;
    rest.lines().next().map(str::trim)
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.split_whitespace().next()?.parse().ok()
}

/// The number that stands before the first `mark`, after a bracket.
fn number_before(log: &str, mark: &str) -> Option<u64> {
    let (before, _) = log.split_once(mark)?;
    before.rsplit_once('(')?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
INFO: Loaded 1 modules   (45123 inline 8-bit counters): 45123 [0x1, 0x2),
#2\tINITED cov: 310 ft: 400 corp: 5/1kb
#900\tNEW    cov: 325 ft: 420 corp: 6/1kb
stat::number_of_executed_units: 12345
";

    #[test]
    fn a_sound_run_says_how_much_was_run() {
        assert_eq!(
            Outcome::read(LOG, true),
            Outcome::Sound {
                inputs: 12345,
                edges: 325
            }
        );
    }

    #[test]
    fn a_crash_names_its_reproducer() {
        let log =
            format!("{LOG}artifact_prefix='a-'; Test unit written to a-crash-1\nBase64: eA==\n");
        let Outcome::Failed { reproducer, .. } = Outcome::read(&log, false) else {
            panic!()
        };
        assert_eq!(reproducer.as_deref(), Some("a-crash-1"));
    }

    #[test]
    fn a_run_without_counters_or_inputs_is_no_success() {
        let blind = LOG.replace("45123 inline", "3 inline");
        assert!(matches!(
            Outcome::read(&blind, true),
            Outcome::Failed { .. }
        ));
        let idle = LOG.replace("units: 12345", "units: 0");
        assert!(matches!(Outcome::read(&idle, true), Outcome::Failed { .. }));
        assert!(matches!(Outcome::read("", true), Outcome::Failed { .. }));
    }
}
