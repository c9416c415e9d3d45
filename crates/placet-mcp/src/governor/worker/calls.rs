//! Calls, on their way to a ruling: asked about together, or one at once, and admitted.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

use std::sync::Arc;
use std::time::Duration;

use placet_authority::node::wire::{AttestedBody, BegunBody, CallsBody, Request, Response};
use placet_evidence::RunEnd;
use placet_types::{Denial, DenialCode};

use super::{
    Asked, Failed, Released, Waiting, Worker, denial_of, other_ruling, unavailable, unexpected,
};
use crate::governor::lane::hears;
use crate::governor::party::Party;
use crate::governor::{Call, Ended, Held, Over, Ruling, end_of};

/// Calls that are asked about together.
pub(in crate::governor) const CALLS_MAX: usize = 64;
/// Bytes of their parameters; a single call may have more.
const CALLS_BYTES_MAX: usize = 1 << 20;

/// What became of a call that was tried at once.
pub(in crate::governor) enum Tried {
    /// It was ruled.
    Done,
    /// Its answer is awaited, by the lane's thread.
    Waits,
    /// It was not asked, or the connection is lost.
    Lost(Call),
}

impl Worker {
    /// Has calls decided, as many at a time as fit one request.
    pub(super) fn decide_all(&mut self, calls: Vec<Waiting>) {
        let mut rest = calls.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut bytes = first.held.body.params.len();
            let party = Arc::clone(first.seat.party());
            let mut batch = vec![first];
            while let Some(next) = rest.next_if(|next| {
                bytes = bytes.saturating_add(next.held.body.params.len());
                bytes <= CALLS_BYTES_MAX && next.seat.party().goes_with(&party)
            }) {
                batch.push(next);
            }
            let answers = self.twice(|worker| worker.put(&batch));
            self.rule_all(batch, answers);
        }
    }

    /// Whether a call can be asked about without connecting, measuring, or waiting for an earlier answer.
    pub(in crate::governor) fn can_ask_at_once(&self) -> bool {
        let now = self.setting.clock.wall();
        let link = self.link.as_ref();
        self.asked.is_none() && link.is_some_and(|link| link.node.has_fresh_nonce(now))
    }

    /// Asks about one call, and waits so long for the answer.
    pub(in crate::governor) fn try_call(&mut self, call: Call, patience: Duration) -> Tried {
        let Some(waiting) = Waiting::of(call) else {
            return Tried::Done;
        };
        match self.ask_within(&waiting, patience) {
            Ok(Some(response)) => {
                let ended = self.ended.len();
                let answers = self.called(response, 1, ended);
                self.is_heard();
                self.rule_all(vec![waiting], answers);
                // What was pushed before the answer may be about what has begun with it.
                let has_pushed = self.link.as_ref().is_some_and(|it| it.node.has_pushed());
                if has_pushed {
                    self.hear();
                    self.end_what_must();
                }
                Tried::Done
            }
            Ok(None) => {
                self.asked = Some(Asked {
                    calls: vec![waiting],
                    ended: self.ended.len(),
                });
                Tried::Waits
            }
            Err(_) => {
                self.lose_link();
                Tried::Lost(waiting.again())
            }
        }
    }

    fn ask_within(
        &mut self,
        waiting: &Waiting,
        patience: Duration,
    ) -> Result<Option<Response>, Failed> {
        let request = self.request(std::slice::from_ref(waiting))?;
        let events = Arc::clone(&self.events);
        let link = self.link()?;
        hears(&events, &link.node, false, false);
        link.node.send(&request)?;
        Ok(link.node.answer_within(patience)?)
    }

    /// The lane's thread hears what comes on the connection again.
    fn is_heard(&self) {
        if let Some(link) = &self.link {
            hears(&self.events, &link.node, false, true);
        }
    }

    /// Waits for the answer to what was asked at once.
    pub(super) fn await_answer(&mut self) {
        let Some(Asked { calls, ended }) = self.asked.take() else {
            return;
        };
        let Some(link) = &mut self.link else {
            // It was lost, and the answer with it.
            return self.decide_all(calls);
        };
        let answer = link.node.answer().map_err(Failed::from);
        let answers = answer.and_then(|response| self.called(response, calls.len(), ended));
        if matches!(answers, Err(Failed::Link(_))) {
            self.lose_link();
            // On another connection, as for any request whose answer did not come.
            return self.decide_all(calls);
        }
        self.is_heard();
        self.rule_all(calls, answers);
    }

    /// Asks about calls; what is over goes with them.
    pub(super) fn put(&mut self, calls: &[Waiting]) -> Result<Vec<Response>, Failed> {
        let request = self.request(calls)?;
        let ended = self.ended.len();
        let response = self.link()?.node.ask(&request)?;
        self.called(response, calls.len(), ended)
    }

    /// For calls that go together.
    fn request(&mut self, calls: &[Waiting]) -> Result<Request, Failed> {
        let (attestation, environment) = self.attested()?;
        let ended = self.ended.iter().map(|over| over.body.clone()).collect();
        let party = calls.first().map(|first| first.seat.party());
        let bearer = party.and_then(|party| party.bearer.as_deref().cloned());
        let link = self.link()?;
        // What was attested counts at the node that gave the nonce, and is said to it once.
        let attested = (link.said.as_ref() != Some(&attestation)).then(|| AttestedBody {
            attestation: attestation.clone(),
            environment,
            holder: link.pep.holder(),
        });
        link.said = Some(attestation);
        Ok(Request::Calls(Box::new(CallsBody {
            attested,
            bearer: bearer.map(Box::new),
            calls: calls.iter().map(|call| call.held.body.clone()).collect(),
            door: None,
            ended,
        })))
    }

    /// The answers, one for each call. The ends that went with them are recorded.
    fn called(
        &mut self,
        response: Response,
        calls: usize,
        ended: usize,
    ) -> Result<Vec<Response>, Failed> {
        match response {
            Response::Called(answers) if answers.len() == calls => {
                self.ended.drain(..ended.min(self.ended.len()));
                Ok(answers)
            }
            other => Err(unexpected(other)),
        }
    }

    fn rule_all(&mut self, calls: Vec<Waiting>, answers: Result<Vec<Response>, Failed>) {
        let answers = match answers {
            Ok(answers) => answers,
            Err(failed) => {
                let denial = denial_of(failed);
                return calls
                    .into_iter()
                    .for_each(|call| (call.then)(Ruling::Unavailable(denial.clone())));
            }
        };
        for (Waiting { held, then, seat }, answer) in calls.into_iter().zip(answers) {
            let ruling = self.ruled(held, seat.party(), answer);
            then(ruling.unwrap_or_else(unavailable));
        }
    }

    pub(super) fn ruled(
        &mut self,
        held: Held,
        party: &Arc<Party>,
        answer: Response,
    ) -> Result<Ruling, Failed> {
        match answer {
            Response::Begun(begun) => self.begun(&held, &begun, party),
            Response::Deferred(deferred) => Ok(Ruling::Deferred(deferred, Box::new(held))),
            other => other_ruling(other),
        }
    }

    fn begun(
        &mut self,
        held: &Held,
        begun: &BegunBody,
        party: &Arc<Party>,
    ) -> Result<Ruling, Failed> {
        let released = Released {
            active: &begun.active,
            artifact: &begun.artifact,
            entry: &begun.entry,
            proof: &begun.proof,
        };
        let admitted = self.admit(held, &released)?;
        // An obligation that cannot be met is a permit that does not count.
        let admitted = admitted.and_then(|permit| {
            let redactor = self.redactors.of(&permit.scope().redact);
            let unmet = |reason| Denial::new(DenialCode::Unenforceable, reason);
            Ok((redactor.map_err(unmet)?, permit))
        });
        match admitted {
            Ok((redactor, permit)) => {
                let mut ticket = self.started(&permit, held, begun.index, party);
                ticket.redactor = redactor;
                Ok(Ruling::Started(ticket))
            }
            Err(denial) => {
                self.refused(&denial, begun.exec, &begun.artifact);
                let over = Ended {
                    outcome: RunEnd::Failed,
                    cause: None,
                    output: None,
                };
                let body = end_of(begun.exec, &over, Duration::ZERO);
                let since = self.now();
                self.ended.push(Over { body, since });
                self.report();
                Err(Failed::Denied(denial))
            }
        }
    }
}
