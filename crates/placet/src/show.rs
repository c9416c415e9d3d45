//! Records in words, for people, and as JSON, for programs.
//!
//! Names, reasons and arguments come from callers: whatever could move a cursor or change a colour
//! is shown as an escape.

use anstyle::Style;
use placet_evidence::{
    Born, Caller, Connections, Decided, Ended, Exit, NetworkUsage, PrincipalStatus,
    QuestionOutcome, Record, Refused, RunEnd, SecretChange, Verdict,
};
use placet_lineage::Charset;
use placet_types::{DenialCode, Digest, Millis};
use serde_json::{Value, json};

use crate::out::{BAD, DIM, GOOD, WARN};

/// A record in words.
pub(crate) struct Words {
    /// Who did it, as far as the record says.
    pub(crate) who: String,
    /// What was done.
    pub(crate) what: String,
    /// How it looks.
    pub(crate) style: Style,
}

/// A caller's text, safe to print.
pub(crate) fn shown(text: &str) -> String {
    Charset::Unicode.shown(text)
}

/// A text of several lines, each safe to print.
pub(crate) fn shown_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(shown)
}

/// A caller's text on one line, cut at `chars`.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    let text = shown(text);
    if text.chars().count() <= chars {
        return text;
    }
    let kept: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A command line as a shell would take it, as far as its characters are visible.
pub(crate) fn command_line(argv: &[String]) -> String {
    let word = |text: &String| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.clone()
        } else {
            format!("'{}'", shown(text).replace('\'', r"'\''"))
        }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// A length of time with as much detail as matters.
pub(crate) fn duration(ms: u64) -> String {
    let (secs, mins, hours, days) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{secs}.{} s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{mins} min"),
        3_600_000..86_400_000 => format!("{hours} h {:02} min", mins % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// How long ago `then` is at `now`.
pub(crate) fn age(now: Millis, then: Millis) -> String {
    let ms = now.since(then);
    if ms < 1_000 {
        "now".to_owned()
    } else {
        duration(ms)
    }
}

/// The first digits of a digest.
pub(crate) fn short(digest: &Digest) -> String {
    let hex: String = digest.hex().chars().take(12).collect();
    format!("sha256:{hex}…")
}

/// How a process ended.
pub(crate) fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// Texts in a row, or that there are none.
pub(crate) fn list(texts: impl IntoIterator<Item = impl ToString>) -> String {
    let texts: Vec<String> = texts
        .into_iter()
        .map(|text| shown(&text.to_string()))
        .collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}

/// What it means that an execution was ended for this cause, and what to do about it: the table of
/// `spec/causes.md`.
pub(crate) const fn cause(cause: DenialCode) -> (&'static str, &'static str) {
    match cause {
        DenialCode::Revoked => (
            "an operator revoked its authority, or that of its principal, policy or an ancestor",
            "ask the operator; `placet log tail` shows who revoked what, and why",
        ),
        DenialCode::Expired => (
            "its window is over",
            "start it again; ask for more time with --lifetime, within what the policy allows",
        ),
        DenialCode::Halted => (
            "an operator halted the domain",
            "start it again once the domain continues (`placet resume`)",
        ),
        DenialCode::LineageFragmented => (
            "the execution that started it has ended",
            "start it from something that lives as long as it needs to",
        ),
        DenialCode::AuthorizationDiscontinuity => (
            "its lease was not renewed: the node was not reached in time, or its supervisor was stopped",
            "start it again; `placet node status` tells whether there is a node",
        ),
        DenialCode::GovernanceDiscontinuity => (
            "the node could not vouch for its view of the log",
            "look at the log's disk and at `placet log fsck`, then start it again",
        ),
        DenialCode::PolicyMismatch => (
            "the policy in force permits it no longer",
            "start it again to see what denies it, or ask whoever keeps the bundle",
        ),
        DenialCode::RuntimeIntegrity => (
            "the program or a pinned file changed while it ran, or its tree was killed from outside",
            "start it again: what is there now is decided about anew",
        ),
        DenialCode::EnvironmentUntrusted => (
            "the machine or the gateway is not what was decided about any more",
            "start it again: the machine is appraised anew (`placet doctor` shows it)",
        ),
        DenialCode::Anomaly => (
            "it went beyond a trip limit of its profile",
            "see `placet explain`; if it was right to do so, raise the limit in the profile's [trips]",
        ),
        _ => ("its authority ended", cause.remedy()),
    }
}

/// A record in words.
pub(crate) fn words(record: &Record) -> Words {
    let words = |who: &dyn ToString, what: String, style| Words {
        who: who.to_string(),
        what,
        style,
    };
    match record {
        Record::Genesis(it) => words(&"", format!("{} began", it.domain), DIM),
        Record::Principal(it) => {
            let status = match it.status {
                PrincipalStatus::Active => "active",
                PrincipalStatus::Suspended => "suspended",
            };
            let what = format!("{} is {status}, groups: {}", it.id, list(&it.groups));
            words(&it.by, what, DIM)
        }
        Record::Policy(it) => {
            let what = format!(
                "{} revision {} in force, {}",
                it.name,
                it.revision,
                short(&it.bundle)
            );
            words(&it.by, what, WARN)
        }
        Record::Decided(it) => decided(it),
        Record::Approval(it) => {
            let what = format!("{} {}: {}", it.verdict.as_str(), it.exec, shown(&it.reason));
            let style = match it.verdict {
                Verdict::Approve => GOOD,
                Verdict::Reject => BAD,
            };
            words(&it.by, what, style)
        }
        Record::Answered(it) => {
            let why = it
                .denial
                .as_ref()
                .map(|denial| format!(", {}", denial.code));
            let found = it.found.map(|found| format!(", {} found", found.count));
            let what = format!(
                "{} a question{}{}",
                it.outcome.as_str(),
                why.unwrap_or_default(),
                found.unwrap_or_default()
            );
            let style = match it.outcome {
                QuestionOutcome::Permit => GOOD,
                QuestionOutcome::Deny | QuestionOutcome::Refused => BAD,
            };
            words(&it.asker, what, style)
        }
        Record::Refused(it) => {
            let what = format!("refused {}: {}", it.denial.code, shown(&it.denial.reason));
            words(&caller(it), what, BAD)
        }
        Record::Started(it) => {
            let handed = if it.credentials.is_empty() {
                String::new()
            } else {
                format!(", with {}", list(&it.credentials))
            };
            words(
                &"",
                format!("by gateway {}{handed}", it.gateway),
                Style::new(),
            )
        }
        Record::Signal(it) => {
            let what = format!("{} × {}: {}", it.code, it.count, shown(&it.detail));
            words(&"", what, WARN)
        }
        Record::Connections(it) => connections(it),
        Record::Born(it) => born(it),
        Record::Ended(it) => ended(it),
        Record::Revoked(it) => words(
            &it.by,
            format!("{}: {}", shown(&it.selector.to_string()), shown(&it.reason)),
            BAD,
        ),
        Record::Halted(it) => words(&it.by, format!("the domain: {}", shown(&it.reason)), BAD),
        Record::Resumed(it) => {
            let what = it
                .node
                .map_or_else(|| "the domain".to_owned(), |node| format!("node {node}"));
            words(&it.by, format!("{what}: {}", shown(&it.reason)), GOOD)
        }
        Record::Erased(it) => words(
            &it.by,
            format!("payload of {}: {}", it.index, shown(&it.reason)),
            WARN,
        ),
        Record::Secret(it) => {
            let what = match &it.change {
                SecretChange::Rekeyed => "all encrypted anew".to_owned(),
                SecretChange::Renewed { exec, name } => format!("{name} renewed by {exec}"),
                SecretChange::Removed(name) => format!("{name} removed"),
                SecretChange::Set(name) => format!("{name} set"),
            };
            words(&it.by, what, DIM)
        }
        Record::Definition(it) => {
            let what = format!(
                "{} is {}: {}",
                shown(&it.id),
                short(&it.digest),
                shown(&it.reason)
            );
            words(&it.by, what, WARN)
        }
        Record::Shadow(it) => {
            let what = it.bundle.as_ref().map_or_else(
                || "no bundle beside the one in force".to_owned(),
                |bundle| {
                    format!(
                        "{} revision {} beside the one in force",
                        shown(&bundle.name),
                        bundle.revision
                    )
                },
            );
            words(&it.by, format!("{what}: {}", shown(&it.reason)), DIM)
        }
        Record::Changes(it) => words(
            &it.by,
            format!(
                "{} {} of {}",
                it.act.as_str(),
                many(it.count, "change"),
                it.exec
            ),
            WARN,
        ),
    }
}

/// A number and what is counted.
pub(crate) fn many(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn decided(it: &Decided) -> Words {
    let (action, id) = (&it.intent.action, shown(&it.intent.resource.id));
    let who = it.intent.principal.to_string();
    if let Some(waits) = &it.waits {
        let what = format!("defer {action} {id}: {}", waits.in_words());
        let style = WARN;
        return Words { who, what, style };
    }
    match &it.denial {
        None => {
            let what = format!("permit {action} {id} by {}", list(&it.policy.determining));
            Words {
                who,
                what,
                style: GOOD,
            }
        }
        Some(denial) => {
            let what = format!(
                "deny {} {action} {id}: {}",
                denial.code,
                shown(&denial.reason)
            );
            Words {
                who,
                what,
                style: BAD,
            }
        }
    }
}

/// A number only: which programs is private.
fn born(it: &Born) -> Words {
    let more = match it.omitted {
        0 => String::new(),
        more => format!("; {} beyond what is listed", many(more, "start")),
    };
    let what = format!(
        "started {} of its writable places{more}",
        many(it.count, "program")
    );
    Words {
        who: String::new(),
        what,
        style: Style::new(),
    }
}

/// Numbers only: whom it talked to is private.
fn connections(it: &Connections) -> Words {
    let NetworkUsage {
        failed,
        opened,
        received_bytes,
        refused,
        sent_bytes,
    } = it.usage;
    let what = format!(
        "{opened} connections opened, {refused} refused, {failed} failed; {sent_bytes} bytes out, {received_bytes} in"
    );
    Words {
        who: String::new(),
        what,
        style: if refused > 0 { WARN } else { Style::new() },
    }
}

fn ended(it: &Ended) -> Words {
    let (word, style) = match it.outcome {
        RunEnd::Completed => ("completed", Style::new()),
        RunEnd::Failed => ("failed", WARN),
        RunEnd::Terminated => ("terminated", BAD),
        RunEnd::Lapsed => ("lapsed", WARN),
        RunEnd::Unseen => ("unseen", Style::new()),
    };
    let cause = it.cause.map(|code| format!(" {code}"));
    let exit = it.exit.map(|how| format!(", {}", exit(how)));
    let took = it
        .usage
        .map(|usage| format!(", {}", duration(usage.wall_ms)));
    let changed = it.usage.and_then(|usage| usage.changes).map(|changes| {
        let what = many(changes.count, "change");
        format!(", {what} in a copy, {}", changes.writes.as_str())
    });
    let details: String = [cause, exit, took, changed].into_iter().flatten().collect();
    Words {
        who: String::new(),
        what: format!("{word}{details}"),
        style,
    }
}

/// Who made an attempt that was refused.
pub(crate) fn caller(refused: &Refused) -> String {
    match &refused.caller {
        Some(Caller::Key(key)) => format!("key {key}"),
        Some(Caller::Spiffe(id)) => id.to_string(),
        Some(Caller::Token(token)) => {
            format!("{} of {}", shown(&token.subject), shown(&token.issuer))
        }
        Some(Caller::Execution(exec)) => exec.short(),
        Some(Caller::Unix(_)) | None => format!("uid {}", refused.caller_uid),
    }
}

/// A record with what every kind has in common, for programs.
pub(crate) fn value(index: placet_types::Index, record: &Record) -> serde_json::Result<Value> {
    Ok(json!({
        "index": index,
        "kind": record.kind().as_str(),
        "time": record.time(),
        "exec": record.exec(),
        "record": predicate(record)?,
    }))
}

/// The record as it stands in its entry.
pub(crate) fn predicate(record: &Record) -> serde_json::Result<Value> {
    match record {
        Record::Genesis(it) => serde_json::to_value(it),
        Record::Principal(it) => serde_json::to_value(it),
        Record::Policy(it) => serde_json::to_value(it),
        Record::Decided(it) => serde_json::to_value(it),
        Record::Approval(it) => serde_json::to_value(it),
        Record::Answered(it) => serde_json::to_value(it),
        Record::Refused(it) => serde_json::to_value(it),
        Record::Started(it) => serde_json::to_value(it),
        Record::Signal(it) => serde_json::to_value(it),
        Record::Connections(it) => serde_json::to_value(it),
        Record::Born(it) => serde_json::to_value(it),
        Record::Ended(it) => serde_json::to_value(it),
        Record::Revoked(it) => serde_json::to_value(it),
        Record::Halted(it) => serde_json::to_value(it),
        Record::Resumed(it) => serde_json::to_value(it),
        Record::Erased(it) => serde_json::to_value(it),
        Record::Secret(it) => serde_json::to_value(it),
        Record::Changes(it) => serde_json::to_value(it),
        Record::Definition(it) => serde_json::to_value(it),
        Record::Shadow(it) => serde_json::to_value(it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_about_a_cause_is_what_its_page_says() {
        let page = include_str!("../../../spec/causes.md").replace('`', "");
        let causes = [
            DenialCode::Revoked,
            DenialCode::Expired,
            DenialCode::Halted,
            DenialCode::LineageFragmented,
            DenialCode::PolicyMismatch,
            DenialCode::AuthorizationDiscontinuity,
            DenialCode::GovernanceDiscontinuity,
            DenialCode::RuntimeIntegrity,
            DenialCode::EnvironmentUntrusted,
            DenialCode::Anomaly,
        ];
        for code in causes {
            let (meaning, remedy) = cause(code);
            let row = format!("| {code} | {meaning} | {remedy} |").replace('`', "");
            assert!(page.contains(&row), "{row}");
        }
        // No other cause has a page of its own, and none is left without words.
        for code in DenialCode::ALL {
            let (meaning, remedy) = cause(*code);
            assert!(!meaning.is_empty() && !remedy.is_empty(), "{code}");
            let listed = page.contains(&format!("\n| {code} |"));
            assert_eq!(listed, causes.contains(code), "{code}");
        }
    }

    #[test]
    fn a_command_line_cannot_pretend_to_be_several() {
        let argv = ["git", "commit", "-m", "a b\nplacet: permitted", "it's", ""];
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        let line = command_line(&argv);
        assert_eq!(line, r"git commit -m 'a b\nplacet: permitted' 'it'\''s' ''");
    }

    #[test]
    fn texts_of_callers_cannot_move_the_cursor() {
        assert_eq!(cut("a\u{1b}[2Jb", 40), r"a\u{1b}[2Jb");
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn lengths_of_time_have_the_detail_that_matters() {
        let cases = [
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (61_000, "1 min"),
            (3_660_000, "1 h 01 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
    }
}
