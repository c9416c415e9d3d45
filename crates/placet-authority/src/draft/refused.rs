//! Attempts that never became decisions, as records.

use placet_evidence::{Caller, CheckedDenial, NETWORK_UID, Record, Refused};
use placet_types::{Commitment, Index, Millis};

use crate::payload::encode_payload;
use crate::submission::Denied;
use crate::work::{Attempt, Draft, Then};

pub(super) fn refuse(attempt: Attempt, now: Millis, then: impl FnOnce(Denied) -> Then) -> Draft {
    let Attempt {
        presented,
        salt,
        caller,
        denial,
        exec,
        stage,
    } = attempt;
    let (caller_uid, caller) = match caller {
        Caller::Unix(uid) => (uid, None),
        Caller::Execution(_) | Caller::Key(_) | Caller::Spiffe(_) | Caller::Token(_) => {
            (NETWORK_UID, Some(caller))
        }
    };
    let commitment = Commitment::to("attempt", &presented, &salt);
    let denied = Denied {
        index: Index::default(),
        exec,
        denial: CheckedDenial {
            check: 1,
            code: denial.code,
            reason: denial.reason.clone(),
        },
    };
    let refused = Refused {
        attempt: commitment,
        caller,
        caller_uid,
        denial,
        exec,
        stage,
        time: now,
    };
    // What was presented is kept beside the record, within a bound: it can be as long as a frame.
    let kept: Vec<u8> = presented.into_iter().take(64 << 10).collect();
    let payload = Some(encode_payload(&salt, &kept));
    Draft {
        record: Record::Refused(refused),
        payload,
        then: then(denied),
    }
}
