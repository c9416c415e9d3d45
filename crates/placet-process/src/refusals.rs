//! What is said to a person about a program that was not started.

use placet_sandbox::Refusal;
use placet_types::Index;

/// How much is said of one refusal.
pub(crate) const SAID_CHARS_MAX: usize = 400;
const LINE_CHARS_MAX: usize = 120;

/// Why something was refused, and where more is told.
pub(crate) fn why_not(what: &str, code: &str, why: &str, index: Index) -> String {
    let line = visible(what, LINE_CHARS_MAX);
    format!("{code}: {line}: {why} (placet explain {index})")
}

/// The text in one line, with everything escaped that could move a cursor or change a colour.
pub(crate) fn visible(text: &str, chars_max: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(chars_max)
        .flat_map(|c| {
            let plain = (!c.is_control()).then_some(c);
            let escaped = plain.is_none().then(|| c.escape_default());
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

pub(crate) fn words(why: Refusal) -> &'static str {
    match why {
        Refusal::Unreadable => "a program was not started, because its file cannot be read",
        Refusal::Changed => "a program was not started, because its file changed while it was read",
        Refusal::TooLarge => "a program was not started, because its file is larger than is read",
        Refusal::Nameless => {
            "a program was not started, because its file has no name in any directory"
        }
        Refusal::Interpreter => "a program was not started, because it is a program interpreter",
        Refusal::Unlisted => {
            "a program was not started, because its contents are not among those that may be started"
        }
        Refusal::Denied => "a program was not started, because policy denies it",
        Refusal::Unanswered => "a program was not started, because no answer came in time",
        _ => "a program was not started, for another reason",
    }
}
