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

use super::{Asked, Failed, Released, Worker, denial_of, held, unavailable, unexpected};
use crate::governor::lane::hears;
use crate::governor::{Ended, Held, Job, Over, Ruling, Then, end_of};

/// Calls that are asked about together.
pub(in crate::governor) const CALLS_MAX: usize = 64;
/// Bytes of their parameters; a single call may have more.
const CALLS_BYTES_MAX: usize = 1 << 20;

/// What became of a call that was tried at once.
pub(in crate::governor) enum Tried {
    /// It was ruled.
    Done,
    /// Its answer is awaited, by [`Job::Await`].
    Waits,
    /// It was not asked, or the connection is lost.
    Lost(Job),
}

impl Worker {
    /// Has calls decided, as many at a time as fit one request.
    pub(super) fn decide_all(&mut self, calls: Vec<(Held, Then)>) {
        let mut rest = calls.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0_usize);
            while let Some(next) = rest.next_if(|(held, _)| {
                bytes = bytes.saturating_add(held.body.params.len());
                batch.is_empty() || bytes <= CALLS_BYTES_MAX
            }) {
                batch.push(next);
            }
            let (held, thens): (Vec<Held>, Vec<Then>) = batch.into_iter().unzip();
            let answers = self.twice(|worker| worker.put(&held));
            self.rule_all(held, thens, answers);
        }
    }

    /// Whether a call can be asked about without connecting, measuring, or waiting for an earlier answer.
    pub(in crate::governor) fn can_ask_at_once(&self) -> bool {
        let now = self.setting.clock.wall();
        let link = self.link.as_ref();
        self.asked.is_none() && link.is_some_and(|link| link.node.has_fresh_nonce(now))
    }

    /// Asks about one call, and waits so long for the answer.
    pub(in crate::governor) fn try_call(&mut self, job: Job, patience: Duration) -> Tried {
        let (held, then) = match job {
            Job::Submit(call, then) => match held(*call) {
                Ok(held) => (held, then),
                Err(denial) => {
                    then(Ruling::Unavailable(denial));
                    return Tried::Done;
                }
            },
            Job::Again(held, then) => (*held, then),
            other => return Tried::Lost(other),
        };
        match self.ask_within(&held, patience) {
            Ok(Some(response)) => {
                let ended = self.ended.len();
                let answers = self.called(response, 1, ended);
                self.is_heard();
                self.rule_all(vec![held], vec![then], answers);
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
                    calls: vec![(held, then)],
                    ended: self.ended.len(),
                });
                Tried::Waits
            }
            Err(_) => {
                self.lose_link();
                Tried::Lost(Job::Again(Box::new(held), then))
            }
        }
    }

    fn ask_within(&mut self, held: &Held, patience: Duration) -> Result<Option<Response>, Failed> {
        let request = self.request(std::slice::from_ref(held))?;
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
        let (held, thens): (Vec<Held>, Vec<Then>) = calls.into_iter().unzip();
        self.rule_all(held, thens, answers);
    }

    /// Asks about calls; what is over goes with them.
    pub(super) fn put(&mut self, held: &[Held]) -> Result<Vec<Response>, Failed> {
        let request = self.request(held)?;
        let ended = self.ended.len();
        let response = self.link()?.node.ask(&request)?;
        self.called(response, held.len(), ended)
    }

    fn request(&mut self, held: &[Held]) -> Result<Request, Failed> {
        let (attestation, environment) = self.attested()?;
        let ended = self.ended.iter().map(|over| over.body.clone()).collect();
        let bearer = self.setting.bearer.as_deref().cloned().map(Box::new);
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
            bearer,
            calls: held.iter().map(|held| held.body.clone()).collect(),
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

    fn rule_all(
        &mut self,
        held: Vec<Held>,
        thens: Vec<Then>,
        answers: Result<Vec<Response>, Failed>,
    ) {
        let answers = match answers {
            Ok(answers) => answers,
            Err(failed) => {
                let denial = denial_of(failed);
                return thens
                    .into_iter()
                    .for_each(|then| then(Ruling::Unavailable(denial.clone())));
            }
        };
        for ((held, then), answer) in held.into_iter().zip(thens).zip(answers) {
            let ruling = self.ruled(held, answer);
            then(ruling.unwrap_or_else(unavailable));
        }
    }

    pub(super) fn ruled(&mut self, held: Held, answer: Response) -> Result<Ruling, Failed> {
        match answer {
            Response::Begun(begun) => self.begun(&held, &begun),
            Response::Denied {
                denial,
                exec,
                index,
            } => Ok(Ruling::Denied {
                denial,
                exec,
                index,
            }),
            Response::Deferred(deferred) => Ok(Ruling::Deferred(deferred, Box::new(held))),
            other => Err(unexpected(other)),
        }
    }

    fn begun(&mut self, held: &Held, begun: &BegunBody) -> Result<Ruling, Failed> {
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
                let mut ticket = self.started(&permit, held, begun.index);
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
