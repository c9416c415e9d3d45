//! What the issues ask for, beside what was measured in this run: one table at the end.
//!
//! Other programs of the same run leave what they measured in the file that `PLACET_FIGURES` names, a line each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What a figure must be.
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

/// A figure that an issue asks for.
struct Asked {
    name: &'static str,
    issue: u8,
    what: &'static str,
    bound: Bound,
    unit: &'static str,
}

const fn asked(
    name: &'static str,
    issue: u8,
    what: &'static str,
    bound: Bound,
    unit: &'static str,
) -> Asked {
    Asked {
        name,
        issue,
        what,
        bound,
        unit,
    }
}

const ASKED: &[Asked] = &[
    asked(
        "artifact",
        2,
        "artifact verified, beside one bare signature",
        AtMost(1.3),
        "x",
    ),
    asked(
        "policies",
        2,
        "evaluation, 10,000 policies beside 10, p50",
        AtMost(1.5),
        "x",
    ),
    asked(
        "permit-alone",
        2,
        "durable permit, 1 caller, beyond one fdatasync, p50",
        AtMost(150.0),
        "us",
    ),
    asked(
        "permit-many",
        2,
        "durable permits, 64 callers",
        AtLeast(20_000.0),
        "/s",
    ),
    asked("replay", 2, "replay, one core", AtLeast(20_000.0), "/s"),
    asked(
        "run-more",
        2,
        "placet run /bin/true beyond bare, p50",
        AtMost(10.0),
        "ms",
    ),
    asked(
        "log-open",
        2,
        "log of 10^6 entries opened",
        AtMost(3.0),
        "s",
    ),
    asked(
        "log-open-cold",
        2,
        "the same without derived files",
        AtMost(60.0),
        "s",
    ),
    asked(
        "at-rest",
        2,
        "at rest for one permitted execution",
        AtMost(6.0),
        "KiB",
    ),
    asked(
        "resident",
        3,
        "a resident gateway beside bwrap, p50",
        AtMost(1.3),
        "x",
    ),
    asked(
        "cold",
        3,
        "placet run from cold beside bwrap, p50",
        AtMost(3.0),
        "x",
    ),
    asked(
        "inside-verified",
        3,
        "a program inside beyond bare, verified, p50",
        AtMost(150.0),
        "us",
    ),
    asked(
        "inside-decided",
        3,
        "the same, decided and recorded",
        AtMost(600.0),
        "us",
    ),
    asked(
        "inside-connect",
        3,
        "a connection inside beyond bare, p50",
        AtMost(150.0),
        "us",
    ),
    asked(
        "gone-10",
        3,
        "revocation committed until 10 processes are gone, p99",
        AtMost(10.0),
        "ms",
    ),
    asked(
        "gone-500",
        3,
        "the same, a fork storm of 500",
        AtMost(60.0),
        "ms",
    ),
    asked(
        "question-1",
        4,
        "recorded question beside Cerbos without, 1 connection, p50",
        AtMost(1.0),
        "x",
    ),
    asked(
        "question-64",
        4,
        "the same, 64 connections",
        AtMost(1.0),
        "x",
    ),
    asked(
        "intent",
        4,
        "intent to artifact over HTTP, 64 connections",
        AtLeast(10_000.0),
        "/s",
    ),
    asked(
        "crowd",
        4,
        "revocation committed until killed, 1,000 others run, p99",
        AtMost(20.0),
        "ms",
    ),
    asked(
        "holders",
        4,
        "10,000 event streams and 10,000 leases",
        AtMost(500.0),
        "MiB",
    ),
    asked(
        "mcp-p50",
        5,
        "what the MCP gateway adds to a call, p50",
        AtMost(300.0),
        "us",
    ),
    asked("mcp-p99", 5, "the same, p99", AtMost(3_000.0), "us"),
    asked(
        "mcp-frame",
        5,
        "a frame read and written, p50",
        AtMost(2.0),
        "us",
    ),
    asked(
        "mcp-rate",
        5,
        "calls of 32 clients on all cores",
        AtLeast(3_000.0),
        "/s",
    ),
    asked(
        "mcp-memory",
        5,
        "one governed server, idle",
        AtMost(60.0),
        "MiB",
    ),
];

static MEASURED: Mutex<BTreeMap<&str, f64>> = Mutex::new(BTreeMap::new());

/// Takes a figure, by the name that it is asked for.
pub(crate) fn note(name: &'static str, value: f64) {
    let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    measured.insert(name, value);
}

/// The table of what was measured, and of what was not.
pub(crate) fn print() {
    let measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    let others = std::env::var_os("PLACET_FIGURES");
    let others = others.and_then(|path| std::fs::read_to_string(path).ok());
    let others: BTreeMap<&str, f64> = others
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let of = |asked: &Asked| measured.get(asked.name).or_else(|| others.get(asked.name));
    println!();
    println!(
        "{:<5} {:<60} {:>16} {:>14}",
        "issue", "what", "asked", "measured"
    );
    for asked in ASKED {
        let Some(value) = of(asked) else { continue };
        let (sign, bound, met) = match asked.bound {
            AtMost(bound) => ("<=", bound, *value <= bound),
            AtLeast(bound) => (">=", bound, *value >= bound),
        };
        let (unit, met) = (asked.unit, if met { "met" } else { "NOT MET" });
        println!(
            "{:<5} {:<60} {:>16} {:>14}  {met}",
            asked.issue,
            asked.what,
            format!("{sign} {} {unit}", shown(bound)),
            format!("{} {unit}", shown(*value)),
        );
    }
    let missing: Vec<&str> = ASKED
        .iter()
        .filter(|it| of(it).is_none())
        .map(|it| it.name)
        .collect();
    if !missing.is_empty() {
        println!("not measured in this run: {}", missing.join(", "));
    }
}

fn shown(value: f64) -> String {
    if value >= 1_000.0 {
        format!("{value:.0}")
    } else if value >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
