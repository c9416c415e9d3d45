//! Presentations with the outcome that the specification gives them. The tests run all of them; the
//! published vectors are those that show something to another implementation.

#![expect(
    clippy::unwrap_used,
    reason = "test code: a broken fixture should stop the test"
)]

use placet_artifact::jws::Algorithm;
use placet_artifact::verify::Step;
use placet_artifact::{HolderProof, Receipt};
use placet_types::DenialCode;

use super::{ARTIFACT_SEED, Call, call, claims, hold, intent, issued, key, receipt_for};

mod of_calls;
mod of_receipts;
mod of_texts;

pub(crate) type Outcome = Result<(), (Step, DenialCode)>;

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) artifact: String,
    pub(crate) receipt: Receipt,
    pub(crate) holder: HolderProof,
    pub(crate) call: Call,
    pub(crate) outcome: Outcome,
    /// Whether it stands in the published vectors.
    pub(crate) published: bool,
}

const MALFORMED: Outcome = Err((Step::Parse, DenialCode::Malformed));
const BAD_RECEIPT: Outcome = Err((Step::Receipt, DenialCode::ReceiptInvalid));

/// A case about the text alone: its own receipt if it comes to that, its own holder proof, the good
/// call.
fn of_text(name: impl Into<String>, artifact: String, outcome: Outcome) -> Case {
    let read_before_receipt = outcome.is_err_and(|(step, _)| step < Step::Receipt);
    let receipt = receipt_for(if read_before_receipt {
        "any"
    } else {
        &artifact
    });
    let holder = hold(&artifact, &call());
    Case {
        name: name.into(),
        artifact,
        receipt,
        holder,
        call: call(),
        outcome,
        published: true,
    }
}

/// A case about the call alone: the good artifact.
fn of_call(name: &str, change: impl FnOnce(&mut Call), outcome: Outcome) -> Case {
    let mut case = of_text(name, issued(), outcome);
    change(&mut case.call);
    case
}

fn of_receipt(name: &str, receipt: Receipt) -> Case {
    Case {
        receipt,
        ..of_text(format!("receipt: {name}"), issued(), BAD_RECEIPT)
    }
}

pub(crate) fn all() -> Vec<Case> {
    let groups = [
        good(),
        of_texts::altered_bytes(),
        of_texts::attacker_keys(),
        of_texts::signed_by_the_domain(),
        of_texts::malformed_claims(),
        of_texts::headers(),
        of_texts::encodings(),
        of_calls::windows(),
        of_receipts::receipts(),
        of_calls::other_calls(),
        of_calls::holders(),
    ];
    groups.into_iter().flatten().collect()
}

fn good() -> Vec<Case> {
    let newer = placet_artifact::issue(&claims(), &key(ARTIFACT_SEED), Algorithm::Ed25519).unwrap();
    vec![
        of_text("good", issued(), Ok(())),
        of_text("good, alg Ed25519", newer.to_string(), Ok(())),
    ]
}

/// The good call, for tests that need nothing altered.
pub(crate) fn good_case() -> Case {
    assert_eq!(call().intent.digest(), intent().digest());
    good().remove(0)
}
