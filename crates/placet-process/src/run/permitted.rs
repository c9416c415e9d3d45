//! From an intent to a permit that is verified, and the start of it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

use std::time::Duration;

use placet_artifact::verify::Refusal;
use placet_authority::node::Connection;
use placet_authority::node::wire::{PermittedBody, PinnedBody, Request, Response, SubmitBody};
use placet_enforce::{Pep, Permit};
use placet_evidence::{Environment, RunEnd, Stage};
use placet_secrets::Secret;
use placet_types::{Denial, Digest, Fixed, Salt, SecretName, Writes};

use super::ahead::Guess;
use super::{Admitted, Gateway, unexpected};
use crate::call::{Call, CallError, Waits};
use crate::drift::Pinned;
use crate::elsewhere::Notice;
use crate::ends::end_body;
use crate::outcome::{Outcome, RunError};
use crate::terminal::Front;

/// How often it is asked whether an intent that waits was approved.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What became of an intent.
enum Submitted {
    Permitted(Box<PermittedBody>),
    Otherwise(Outcome),
}

/// How a decision is asked for.
pub(super) struct Inquiry {
    pub(super) body: SubmitBody,
    /// Whether the start is to be recorded with the permit: where a cell waits, and so probably nothing has to be built between
    /// the two.
    pub(super) begins: bool,
    pub(super) waits: Waits,
    /// Under what its salt is kept while it waits.
    pub(super) remembered: Option<Digest>,
}

impl Gateway {
    /// A verified permit, or what there is instead. With [`Inquiry::begins`] its start is recorded as well, unless its record has to
    /// say more than one can know before: then the execution has ended without having run anything, and another is asked for.
    pub(super) fn permitted(
        &self,
        link: &mut Connection,
        (call, inquiry): (&Call, &mut Inquiry),
        (pep, environment): (&mut Pep, &Fixed<Environment>),
        (front, ahead): (&mut Option<&mut Front>, &mut Guess),
    ) -> Result<Result<Admitted, Outcome>, RunError> {
        loop {
            let waiting = (front.as_deref_mut(), &mut *ahead);
            let submitted = self.submit((link, pep), (call, inquiry), waiting)?;
            let permitted = match submitted {
                Submitted::Permitted(permitted) => permitted,
                Submitted::Otherwise(outcome) => return Ok(Err(outcome)),
            };
            let begun = permitted.started.is_some();
            let released = (&*permitted).into();
            let permit = match self.admit(pep, &call.asking(), environment, &released) {
                Ok(permit) => permit,
                Err(refusal) => {
                    report_refusal(link, &permitted, &refusal);
                    if begun {
                        let end =
                            end_body(permitted.exec, RunEnd::Failed, Some(refusal.code), None);
                        // Where that cannot be said, the node ends what nobody renews.
                        drop(link.ask(&Request::End(end)));
                    }
                    return Err(RunError::Refused(refusal));
                }
            };
            if !begun || may_begin(&permit) {
                return Ok(Ok(Admitted {
                    permit,
                    depth: permitted.grant.depth,
                    environment: environment.clone(),
                    begun,
                }));
            }
            // Its start should have said more. It has run nothing.
            let end = end_body(permitted.exec, RunEnd::Failed, None, None);
            link.ask(&Request::End(end))?;
            inquiry.begins = false;
        }
    }

    /// Submits an intent, and again while it waits for approvals and the command is willing to.
    fn submit(
        &self,
        (link, pep): (&mut Connection, &mut Pep),
        (call, inquiry): (&Call, &Inquiry),
        (mut front, ahead): (Option<&mut Front>, &mut Guess),
    ) -> Result<Submitted, RunError> {
        let mut told = false;
        loop {
            let mut body = Box::new(inquiry.body.clone());
            let body_environment = body.environment.clone();
            // What waits for long attests again.
            body.attestation = Some(self.attestation(&body.environment, link, pep)?);
            let request = if inquiry.begins {
                Request::Begin(body)
            } else {
                Request::Submit(body)
            };
            link.send(&request)?;
            if !told {
                self.make_ready(ahead, call, (&body_environment, front.as_deref()));
            }
            let response = link.answer()?;
            self.remember(inquiry, &response);
            match response {
                Response::Permitted(permitted) => return Ok(Submitted::Permitted(permitted)),
                Response::Denied {
                    denial,
                    exec,
                    index,
                } => {
                    return Ok(Submitted::Otherwise(Outcome::Denied {
                        denial,
                        exec,
                        index,
                    }));
                }
                Response::Deferred(deferred) => {
                    if inquiry.waits == Waits::No || self.clock.wall() >= deferred.waiting.until {
                        return Ok(Submitted::Otherwise(Outcome::Deferred(*deferred)));
                    }
                    ahead.forget();
                    if !std::mem::replace(&mut told, true) {
                        (self.tell)(&Notice::Deferred(&deferred));
                        if let Some(front) = front.as_deref_mut() {
                            front.waits(&deferred);
                        }
                    }
                    let gives_up = match front.as_deref_mut() {
                        Some(front) => front.gives_up_within(ASK_AGAIN),
                        None => {
                            std::thread::sleep(ASK_AGAIN);
                            false
                        }
                    };
                    if gives_up {
                        // It goes on to wait, only nobody at the terminal does.
                        return Ok(Submitted::Otherwise(Outcome::Deferred(*deferred)));
                    }
                }
                other => return Err(unexpected(other)),
            }
        }
    }
}

impl Gateway {
    /// What waits is remembered, and what does not is forgotten.
    fn remember(&self, inquiry: &Inquiry, response: &Response) {
        let (Some(key), asked) = (&inquiry.remembered, self.dir.asked()) else {
            return;
        };
        if matches!(response, Response::Deferred(_)) {
            // Without it the command has to be approved anew when it is asked for again.
            asked.keep(key, &inquiry.body.salt).unwrap_or(());
        } else {
            asked.forget(key);
        }
    }
}

/// Whether its start says nothing but that it starts: it pins no files, and takes no credentials.
pub(super) fn may_begin(permit: &Permit) -> bool {
    let scope = permit.scope();
    scope.pinned.is_empty() && scope.credentials.is_empty()
}

/// How far the record of a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It is asked for once the cell stands: it says more than that the execution starts, or a cell that does not stand can still come of it.
    Unasked,
    /// It may be asked for as soon as it is known how the cell is to be built, and is written meanwhile.
    Beside,
    /// It was asked for; the answer is to be taken.
    Asked,
    /// It is recorded.
    Recorded,
}

impl Start {
    /// Where `front` is a terminal, that has to be set up first.
    pub(super) fn of(admitted: &Admitted, front: Option<&Front>) -> Self {
        let scope = admitted.permit.scope();
        let at_terminal = front.is_some_and(|front| front.streams().is_some());
        if admitted.begun {
            Self::Recorded
        } else if may_begin(&admitted.permit)
            && scope.trips.is_empty()
            && scope.writes == Writes::Direct
            && !at_terminal
        {
            Self::Beside
        } else {
            Self::Unasked
        }
    }

    /// Asks, if it may by now.
    pub(super) fn ask_beside(&mut self, link: &mut Connection, permit: &Permit) {
        // A node that cannot be asked does not answer either.
        if *self == Self::Beside && link.send(&request(permit, None)).is_ok() {
            *self = Self::Asked;
        }
    }

    /// Whether an execution that comes to nothing has started by what is recorded.
    pub(super) fn is_recorded(self, link: &mut Connection) -> bool {
        match self {
            Self::Unasked | Self::Beside => false,
            Self::Asked => matches!(
                link.answer(),
                Ok(Response::Recorded { .. } | Response::Started { .. })
            ),
            Self::Recorded => true,
        }
    }
}

/// Has the start recorded; gives the values of credentials, or the denial.
pub(super) fn start(
    (link, how): (&mut Connection, Start),
    permit: &Permit,
    pinned: &Pinned,
) -> Result<Result<Vec<(SecretName, Secret)>, Outcome>, RunError> {
    let (started, secrets) = match how {
        Start::Recorded => return Ok(Ok(Vec::new())),
        Start::Asked => (link.answer()?, Vec::new()),
        Start::Unasked | Start::Beside => {
            link.ask_for_secrets(&request(permit, committed(pinned)?))?
        }
    };
    match started {
        Response::Recorded { .. } | Response::Started { .. } => Ok(Ok(secrets)),
        Response::Denied {
            denial,
            exec,
            index,
        } => Ok(Err(Outcome::Denied {
            denial,
            exec,
            index,
        })),
        other => Err(unexpected(other)),
    }
}

fn request(permit: &Permit, pinned: Option<PinnedBody>) -> Request {
    Request::Start {
        artifact: permit.artifact(),
        exec: permit.exec(),
        gateway: permit.claims().aud.clone(),
        pinned,
        takes_secrets: !permit.scope().credentials.is_empty(),
    }
}

/// The measurements of pinned files as they go into the record of the start.
fn committed(pinned: &Pinned) -> Result<Option<PinnedBody>, CallError> {
    let Some(measured) = pinned.to_canonical() else {
        return Ok(None);
    };
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|_| CallError::Random)?;
    let salt = Salt::new(salt);
    Ok(Some(PinnedBody { measured, salt }))
}

fn report_refusal(link: &mut Connection, permitted: &PermittedBody, refusal: &Refusal) {
    let request = Request::Refused {
        denial: Denial::new(refusal.code, refusal.reason.clone()),
        exec: Some(permitted.exec),
        presented: permitted.artifact.clone(),
        stage: Stage::Artifact,
    };
    // Nothing runs whether or not this is recorded.
    drop(link.ask(&request));
}
