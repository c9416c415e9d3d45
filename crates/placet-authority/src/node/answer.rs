//! Between what the authority knows and what stands on the wire.

use placet_decision::Params;
use placet_evidence::{Born, Caller, Connections};
use placet_types::{Denial, DenialCode, Index};

use super::acts::Acted;
use super::wire::{ActBody, BornBody, ConnectionsBody, DeferredBody, Response, SubmitBody};
use crate::authority::Authority;
use crate::control::Act;
use crate::submission::{
    BornReport, ConnectionsReport, Deferred, Denied, IntentForm, Submission, Unavailable,
};

pub(super) fn submission(body: SubmitBody, uid: u32) -> Submission {
    Submission {
        intent: IntentForm::Bytes(body.intent.into_bytes()),
        params: Params::new(body.params.into_bytes(), body.salt),
        holder: body.holder,
        environment: body.environment,
        attestation: body.attestation,
        bearer: body.bearer,
        caller: body.door.map_or(Caller::Unix(uid), Caller::Execution),
        caller_uid: uid,
    }
}

pub(super) fn act(body: ActBody) -> Act {
    match body {
        ActBody::Revoke { reason, selector } => Act::Revoke { selector, reason },
        ActBody::Halt { reason } => Act::Halt { reason },
        ActBody::Resume { node, reason } => Act::Resume { node, reason },
        ActBody::Principal(body) => Act::Principal {
            id: body.id,
            groups: body.groups,
            keys: body.keys,
            uids: body.uids,
            acts_for: body.acts_for,
            status: body.status,
        },
        ActBody::Activate { archive, bundle } => Act::Activate {
            archive: archive.into_bytes(),
            bundle,
        },
        ActBody::Shadow { bundle, reason } => Act::Shadow {
            bundle: bundle.map(|it| (it.archive.into_bytes(), it.bundle)),
            reason,
        },
        ActBody::Changes(review) => Act::Changes(review),
        ActBody::Definition(review) => Act::Definition(review),
        ActBody::Approve {
            by: _,
            exec,
            key,
            reason,
            signature,
            verdict,
        } => Act::Approve {
            exec,
            key,
            reason,
            signature,
            verdict,
        },
        ActBody::Erase { index, reason } => Act::Erase { index, reason },
    }
}

impl From<Deferred> for DeferredBody {
    fn from(deferred: Deferred) -> Self {
        Self {
            exec: deferred.exec,
            index: deferred.index,
            waiting: deferred.waiting,
        }
    }
}

impl From<Acted> for Response {
    fn from(acted: Acted) -> Self {
        match acted {
            Acted::Done(index) => Self::Recorded { index },
            Acted::Waits(deferred) => Self::Deferred(Box::new((*deferred).into())),
        }
    }
}

pub(super) fn refuse(code: DenialCode, reason: impl Into<String>) -> Response {
    Response::Error(Denial::new(code, reason))
}

pub(super) fn unavailable_response(unavailable: Unavailable) -> Response {
    refuse(unavailable.code(), unavailable.to_string())
}

pub(super) fn denied_response(denied: Denied) -> Response {
    let Denied {
        index,
        exec,
        denial,
    } = denied;
    Response::Denied {
        denial,
        exec,
        index,
    }
}

pub(super) fn recorded(outcome: Result<Result<Index, Denied>, Unavailable>) -> Response {
    match outcome {
        Ok(Ok(index)) => Response::Recorded { index },
        Ok(Err(denied)) => denied_response(denied),
        Err(unavailable) => unavailable_response(unavailable),
    }
}

/// Records what an execution did on the network. The list is read before anything is said about it, and
/// then kept as it came.
pub(super) fn connections(authority: &Authority, body: ConnectionsBody) -> Response {
    let list = body.list.into_bytes();
    let count = match Connections::read_list(&list) {
        Ok(entries) => u64::try_from(entries.len()).unwrap_or(u64::MAX),
        Err(error) => return refuse(DenialCode::Malformed, error.to_string()),
    };
    recorded(authority.connections(ConnectionsReport {
        exec: body.exec,
        list,
        count,
        omitted: body.omitted,
        usage: body.usage,
    }))
}

/// Records which programs an execution made and started; the list as [`connections`] does.
pub(super) fn born(authority: &Authority, body: BornBody) -> Response {
    let list = body.list.into_bytes();
    let count = match Born::read_list(&list) {
        Ok(entries) => u64::try_from(entries.len()).unwrap_or(u64::MAX),
        Err(error) => return refuse(DenialCode::Malformed, error.to_string()),
    };
    recorded(authority.born(BornReport {
        exec: body.exec,
        list,
        count,
        omitted: body.omitted,
    }))
}
