//! A glance at an entry: its kind and its execution, without reading the rest.
//!
//! Both stand in the last bytes of the statement: canonical JSON orders its members by name, and
//! `predicateType` and `subject` come last. So the end of the payload is decoded, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use placet_types::ExecutionId;

use super::{Entry, PREDICATE_PREFIX, VERSION};
use crate::record::KindName;

/// What stands before the payload in an envelope.
const BEFORE: &[u8] = br#"{"payload":""#;
/// Base64 characters of the payload's end that hold what is looked for: more than the longest.
const TAIL_CHARS: usize = 360;

/// What an entry says of itself at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// The execution that it is about, for kinds that have one as their subject.
    pub exec: Option<ExecutionId>,
    /// The kind.
    pub kind: KindName,
}

impl Entry {
    /// Kind and execution of the entry, about ten times as fast as reading it. `None` when they
    /// are not where an entry has them.
    ///
    /// For passing over entries in a search. It checks next to nothing: whoever relies on an entry
    /// reads or opens it.
    #[must_use]
    pub fn glance(&self) -> Option<Glance> {
        let payload = self.0.strip_prefix(BEFORE)?;
        let end = payload.iter().position(|byte| *byte == b'"')?;
        let payload = payload.get(..end)?;
        // Groups of four characters, from the beginning.
        let start = payload.len().saturating_sub(TAIL_CHARS) / 4 * 4;
        let tail = STANDARD.decode(payload.get(start..)?).ok()?;
        let kind = between(&tail, PREDICATE_PREFIX.as_bytes(), VERSION.as_bytes())?;
        let kind = KindName::ALL
            .into_iter()
            .find(|known| known.as_str().as_bytes() == kind)?;
        let name = between(&tail, br#""name":""#, br#""}]}"#)?;
        let exec = std::str::from_utf8(name).ok()?.parse().ok();
        Some(Glance { exec, kind })
    }
}

/// What stands between the last `before` and the `after` that follows it.
fn between<'a>(text: &'a [u8], before: &[u8], after: &[u8]) -> Option<&'a [u8]> {
    let start = text
        .windows(before.len())
        .rposition(|part| part == before)?
        + before.len();
    let rest = text.get(start..)?;
    let end = rest.windows(after.len()).position(|part| part == after)?;
    rest.get(..end)
}
