//! A decision and the start that follows it, one right after the other: both are durable with one write.

use placet_evidence::Record;

use super::Drafter;
use crate::work::{Beginning, Draft, StartRequest, Then, Work};

impl Drafter {
    /// The drafts for one piece of work, in their order: none where it was answered without a record.
    pub(crate) fn draft_all(&mut self, work: Work) -> impl Iterator<Item = Draft> + use<> {
        let Work::Begin(prepared, reply, beginning) = work else {
            return [self.draft(work), None].into_iter().flatten();
        };
        let decided = self.draft(Work::Intent(prepared, reply));
        let started = decided
            .as_ref()
            .and_then(|decided| start_of(decided, *beginning))
            .and_then(|start| self.draft(start));
        [decided, started].into_iter().flatten()
    }
}

/// The start of what was permitted. Of anything else there is none, and whoever waits for it is told.
fn start_of(decided: &Draft, beginning: Beginning) -> Option<Work> {
    let (Record::Decided(record), Then::Permit { unsigned, .. }) = (&decided.record, &decided.then)
    else {
        return None;
    };
    let request = StartRequest {
        exec: record.facts.exec,
        artifact: unsigned.digest(),
        gateway: record.intent.gateway.clone(),
        caller: record.facts.caller.clone(),
        salt: beginning.salt,
        credentials: std::collections::BTreeSet::new(),
        pinned: None,
    };
    Some(Work::Start(Box::new(request), beginning.reply))
}
