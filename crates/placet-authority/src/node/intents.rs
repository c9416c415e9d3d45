//! Intents at the node: decided, or only looked at.

use std::sync::Arc;

use placet_types::DenialCode;

use super::answer::{denied_response, refuse, submission, unavailable_response};
use super::leave::leaving;
use super::registry::Outlet;
use super::server::{Node, Peer};
use super::wire::{DeferredBody, PermittedBody, Response, SubmitBody};
use crate::submission::Answer;

impl Node {
    pub(super) fn submit(&self, body: SubmitBody, peer: &Peer, outlet: &Arc<Outlet>) -> Response {
        if self.leave.is_asked() {
            return Response::Error(leaving());
        }
        match self.authority.submit(submission(body, peer.uid)) {
            Ok(Answer::Permitted(permitted)) => {
                // Lapses soon after this connection is gone, unless it has started by then.
                self.registry.attach(permitted.exec, outlet);
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let active = self
                    .authority
                    .with_state(|state| state.policy().map(|policy| policy.bundle));
                let Some(active) = active else {
                    return refuse(DenialCode::PolicyMismatch, "no policy bundle is in force");
                };
                Response::Permitted(Box::new(PermittedBody {
                    active,
                    artifact: permitted.artifact.as_str().to_owned(),
                    entry: text(permitted.receipt.entry),
                    exec: permitted.exec,
                    grant: permitted.grant,
                    index: permitted.index,
                    proof: text(permitted.receipt.proof),
                    scope: permitted.scope.clone(),
                }))
            }
            Ok(Answer::Denied(denied)) => denied_response(denied),
            Ok(Answer::Deferred(deferred)) => Response::Deferred(Box::new(DeferredBody {
                exec: deferred.exec,
                index: deferred.index,
                waiting: deferred.waiting,
            })),
            Err(unavailable) => unavailable_response(unavailable),
        }
    }

    pub(super) fn preview(&self, body: &SubmitBody, peer: &Peer) -> Response {
        match self
            .authority
            .preview(&submission(body.clone(), peer.uid), self.clock.wall())
        {
            Ok(preview) => Response::Previewed(Box::new(preview)),
            Err(denial) => Response::Error(denial),
        }
    }
}
