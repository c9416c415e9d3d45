//! Operators' acts at the node: who may, and what is recorded of one that was refused.

use placet_evidence::{PrincipalStatus, Stage};
use placet_types::{Denial, DenialCode, PrincipalId};

use super::answer::{act, refuse, unavailable_response};
use super::server::{Node, Peer};
use super::wire::{ActBody, Response};
use crate::authority::REASON_BYTES_MAX;
use crate::control::ActError;

impl Node {
    pub(super) fn act(&self, body: ActBody, peer: &Peer) -> Response {
        let presented = serde_json::to_vec(&body).unwrap_or_default();
        let done = match self.operator(peer.uid) {
            Some(by) => self.authority.act(act(body), by),
            None => Ok(Err(ActError::new(
                DenialCode::IdentityUnverified,
                "only an active principal of the group `operators` may do this",
            ))),
        };
        match done {
            Ok(Ok(index)) => Response::Recorded { index },
            Ok(Err(ActError { code, reason })) => self.refuse_act(presented, code, reason, peer),
            Err(unavailable) => unavailable_response(unavailable),
        }
    }

    /// An act that was refused is an attempt, and recorded as one.
    pub(super) fn refuse_act(
        &self,
        presented: Vec<u8>,
        code: DenialCode,
        reason: String,
        peer: &Peer,
    ) -> Response {
        let short: String = reason.chars().take(REASON_BYTES_MAX / 4).collect();
        let denial = Denial::new(code, short);
        match self
            .authority
            .refused(presented, None, denial, peer.uid, Stage::Control)
        {
            Ok(_) => refuse(code, reason),
            Err(unavailable) => unavailable_response(unavailable),
        }
    }

    /// The operator that a Unix user is.
    pub(super) fn operator(&self, uid: u32) -> Option<PrincipalId> {
        self.authority.with_state(|state| {
            state
                .principals()
                .find(|(_, principal)| {
                    principal.status == PrincipalStatus::Active
                        && principal.groups.contains("operators")
                        && principal.uids.contains(&uid)
                })
                .map(|(id, _)| id.clone())
        })
    }
}
