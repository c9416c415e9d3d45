//! What a receiver is told: of which record, in which words.

use std::ops::Range;

use placet_authority::proofs;
use placet_evidence::{Approval, Decided, Entry, Outcome, Record};
use placet_types::{Digest, Index, Millis};
use serde_json::{Value, json};

use super::Receiver;
use crate::call::Shared;
use crate::problem::Problem;
use crate::routes::approving::Stage;

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    /// The record that it tells of.
    pub(super) index: Index,
    /// The same for the same record, whenever it is told.
    pub(super) id: String,
    /// JSON.
    pub(super) body: Vec<u8>,
    /// Afterwards it says nothing of use to anybody.
    pub(super) until: Option<Millis>,
}

/// The first record of these that is to be told.
pub(super) fn read(
    shared: &Shared,
    receiver: &Receiver,
    range: Range<Index>,
) -> Result<Option<Message>, Problem> {
    let reader = shared.service.authority().reader();
    for entry in reader.entries(range) {
        let (index, bytes) = entry?;
        let id = format!("msg_{}", hex(&Digest::of(&bytes)));
        let record = Entry::from_bytes(bytes)
            .read()
            .map_err(|_| Problem::internal())?;
        let Some(stage) = Stage::of(&record) else {
            continue;
        };
        let (data, until) = if let Record::Approval(approval) = &record {
            (said(approval, index), None)
        } else if let Record::Decided(decided) = &record {
            let params = if receiver.with_arguments() && stage == Stage::Waiting {
                let disclosed = proofs::disclosed(&reader, index)?;
                disclosed.and_then(|it| serde_json::from_str(&it.params).ok())
            } else {
                None
            };
            let until = decided.waits.as_ref().map(|waits| waits.until);
            (about(decided, index, params.as_ref()), until)
        } else {
            continue;
        };
        let domain = shared
            .service
            .authority()
            .with_state(|state| state.genesis().domain.clone());
        let body = json!({
            "type": format!("approval.{}", stage.as_str()), "timestamp": record.time().to_string(),
            "data": data, "domain": domain,
        });
        return Ok(Some(Message {
            index,
            id,
            body: body.to_string().into_bytes(),
            until,
        }));
    }
    Ok(None)
}

fn hex(digest: &Digest) -> String {
    digest.hex().chars().take(32).collect()
}

/// An intent that waits, or waited. Its parameters are private: only where that is configured.
fn about(decided: &Decided, index: Index, params: Option<&Value>) -> Value {
    let intent = &decided.intent;
    let outcome = match decided.outcome {
        Outcome::Permit => "permit",
        Outcome::Deny => "deny",
        Outcome::Defer => "defer",
    };
    let mut data = json!({
        "action": intent.action, "asked_by": decided.policy.determining, "decision": outcome,
        "exec": decided.facts.exec, "index": index, "intent": intent.digest(),
        "principal": intent.principal, "resource": intent.resource,
    });
    let mut put = |name: &str, value: Value| {
        if let Value::Object(members) = &mut data {
            members.insert(name.to_owned(), value);
        }
    };
    if let Some(waits) = &decided.waits {
        put("needs", waits.in_words().into());
        put("until", json!(waits.until));
    }
    if let Some(grant) = &decided.grant {
        put("approved_by", json!(grant.approved_by));
    }
    if let Some(denial) = &decided.denial {
        put("reason", denial.reason.clone().into());
    }
    if let Some(params) = params {
        put("params", params.clone());
    }
    data
}

fn said(approval: &Approval, index: Index) -> Value {
    json!({
        "by": approval.by, "exec": approval.exec, "index": index, "intent": approval.intent,
        "reason": approval.reason, "verdict": approval.verdict,
    })
}
