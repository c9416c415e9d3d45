//! Intents at the node: decided, or only looked at; and how what they became ended.

use std::sync::{Arc, PoisonError};

use placet_types::{DenialCode, Digest, ExecutionId, Index};

use super::answer::{denied_response, recorded, refuse, submission, unavailable_response};
use super::leave::leaving;
use super::registry::Outlet;
use super::server::{Node, Peer};
use super::wire::{
    AppraiseBody, AttestedBody, BegunBody, CallsBody, EndBody, PermittedBody, Response, SubmitBody,
};
use crate::authority::Authority;
use crate::submission::{Answer, Denied, EndReport, Permitted, Unavailable};

impl Node {
    pub(super) fn submit(&self, body: SubmitBody, peer: &Peer, outlet: &Arc<Outlet>) -> Response {
        if self.leave.is_asked() {
            return Response::Error(leaving());
        }
        let answer = self.authority.submit(submission(body, peer.uid));
        self.decided(answer, None, outlet)
    }

    /// Decides, and records the start of what is permitted, with one write for both.
    pub(super) fn begin(&self, body: SubmitBody, peer: &Peer, outlet: &Arc<Outlet>) -> Response {
        if self.leave.is_asked() {
            return Response::Error(leaving());
        }
        match self.authority.begin(submission(body, peer.uid)) {
            Ok((answer, None)) => self.decided(Ok(answer), None, outlet),
            Ok((answer, Some(Ok(started)))) => self.decided(Ok(answer), Some(started), outlet),
            Ok((_, Some(Err(denied)))) => denied_response(denied),
            Err(unavailable) => unavailable_response(unavailable),
        }
    }

    /// Decides calls and records their starts, and what is over, with one write for all.
    pub(super) fn calls(&self, body: CallsBody, peer: &Peer, outlet: &Arc<Outlet>) -> Response {
        let CallsBody {
            attested,
            bearer,
            calls,
            door,
            ended,
        } = body;
        let Some(attested) = peer.attests(attested) else {
            return refuse(DenialCode::Malformed, "nothing was attested here before");
        };
        let is_leaving = self.leave.is_asked();
        let asked = calls.len();
        let submissions = calls.into_iter().filter(|_| !is_leaving).map(|call| {
            let body = SubmitBody {
                attestation: Some(attested.attestation.clone()),
                bearer: bearer.clone(),
                door,
                environment: attested.environment.clone(),
                holder: attested.holder,
                intent: call.intent,
                params: call.params,
                salt: call.salt,
            };
            submission(body, peer.uid)
        });
        let submissions = submissions.collect();
        let execs: Vec<ExecutionId> = ended.iter().map(|body| body.exec).collect();
        let over = ended.iter().map(report).collect();
        let begun = self.authority.begin_all(over, submissions);
        for exec in execs {
            self.registry.forget(exec);
        }
        if is_leaving {
            return Response::Called(vec![Response::Error(leaving()); asked]);
        }
        let answers = begun.into_iter().map(|begun| match begun {
            Ok((answer, None)) => self.decided(Ok(answer), None, outlet),
            Ok((Answer::Permitted(permitted), Some(Ok(started)))) => {
                self.begun(*permitted, started, outlet)
            }
            Ok((_, Some(Err(denied)))) => denied_response(denied),
            Ok((_, Some(Ok(_)))) => unavailable_response(Unavailable::Evidence),
            Err(unavailable) => unavailable_response(unavailable),
        });
        Response::Called(answers.collect())
    }

    /// What a gateway verifies a permit against.
    fn bundle_in_force(&self) -> Result<Digest, Response> {
        let active = self
            .authority
            .with_state(|state| state.policy().map(|policy| policy.bundle));
        active.ok_or_else(|| refuse(DenialCode::PolicyMismatch, "no policy bundle is in force"))
    }

    fn begun(&self, permitted: Permitted, started: Index, outlet: &Arc<Outlet>) -> Response {
        self.registry.attach(permitted.exec, outlet);
        self.tell_if_ending(permitted.exec);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let active = match self.bundle_in_force() {
            Ok(active) => active,
            Err(refusal) => return refusal,
        };
        Response::Begun(Box::new(BegunBody {
            active,
            artifact: permitted.artifact.as_str().to_owned(),
            entry: text(permitted.receipt.entry),
            exec: permitted.exec,
            index: permitted.index,
            proof: text(permitted.receipt.proof),
            started,
        }))
    }

    fn decided(
        &self,
        answer: Result<Answer, Unavailable>,
        started: Option<Index>,
        outlet: &Arc<Outlet>,
    ) -> Response {
        match answer {
            Ok(Answer::Permitted(permitted)) => {
                // Lapses soon after this connection is gone, unless it has started by then.
                self.registry.attach(permitted.exec, outlet);
                if started.is_some() {
                    self.tell_if_ending(permitted.exec);
                }
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let active = match self.bundle_in_force() {
                    Ok(active) => active,
                    Err(refusal) => return refusal,
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
                    started,
                }))
            }
            Ok(Answer::Denied(denied)) => denied_response(denied),
            Ok(Answer::Deferred(deferred)) => Response::Deferred(Box::new((*deferred).into())),
            Err(unavailable) => unavailable_response(unavailable),
        }
    }

    /// What ended it between its record and its connection had nowhere to go.
    fn tell_if_ending(&self, exec: ExecutionId) {
        let ending = self.authority.with_state(|state| {
            state
                .execution(&exec)
                .and_then(|execution| execution.ending)
        });
        if let Some(cause) = ending {
            self.registry.end(exec, cause);
        }
    }

    /// Records an end, as it is told.
    pub(super) fn end(
        &self,
        body: &EndBody,
        record: impl FnOnce(&Authority, EndReport) -> Result<Result<Index, Denied>, Unavailable>,
    ) -> Response {
        let exec = body.exec;
        let ended = record(&self.authority, report(body));
        if ended.is_ok() {
            self.registry.forget(exec);
        }
        recorded(ended)
    }

    pub(super) fn appraise(&self, body: &AppraiseBody) -> Response {
        let attestation = body.attestation.as_ref();
        let attestation = attestation.map(|it| (it, &it.key));
        match self.authority.appraise(&body.environment, attestation) {
            Ok(appraised) => Response::Appraised(Box::new(appraised)),
            Err(denial) => Response::Error(denial),
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

impl Peer {
    /// What is attested: what is said now, else what was said last.
    fn attests(&self, said: Option<AttestedBody>) -> Option<AttestedBody> {
        let mut attested = self.attested.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some() {
            *attested = said;
        }
        attested.clone()
    }
}

fn report(body: &EndBody) -> EndReport {
    EndReport {
        exec: body.exec,
        outcome: body.outcome,
        cause: body.cause,
        exit: body.exit,
        usage: body.usage,
    }
}
