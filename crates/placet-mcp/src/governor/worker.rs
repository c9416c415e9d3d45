//! One thread, one connection to the node, and the executions that were started on it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

mod linked;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use placet_artifact::receipt::Receipt;
use placet_authority::node::wire::{EndBody, PermittedBody, Request, Response, SubmitBody};
use placet_authority::node::{Connection, LinkError, Pushed};
use placet_enforce::{Call, Event, Pep, Permit, Verdict, Watch};
use placet_evidence::{Environment, RunEnd, Stage, Usage};
use placet_types::{Denial, DenialCode, ExecutionId, Fixed, Intent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zeroize::Zeroizing;

use super::{Answered, Ended, Granted, Held, Job, Lane, Ruling, Shared, Then, Ticket};
use crate::redact::Redactors;
use crate::subject::Sealed;

/// How often a lost node is looked for while something runs.
const RETRY: Duration = Duration::from_millis(100);
/// How long an idle thread sleeps at most.
const IDLE: Duration = Duration::from_secs(5);
/// How long the node may be gone before the record of an end is left to it.
const REPORT_PATIENCE: Duration = Duration::from_secs(15);

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    at: usize,
    link: Option<Linked>,
    /// What artifacts for this worker are bound to, whichever connection they come on.
    seed: Option<Zeroizing<[u8; 32]>>,
    watched: BTreeMap<ExecutionId, Watch>,
    redactors: Redactors,
}

/// A connection, and what acts on it are checked with.
pub(super) struct Linked {
    pub(super) node: Connection,
    pep: Pep,
    environment: Fixed<Environment>,
}

/// Why something was not done.
pub(super) enum Failed {
    /// The node was not reached: it may be tried again.
    Link(String),
    /// It will not do, however often it is tried.
    Denied(Denial),
}

impl From<LinkError> for Failed {
    fn from(error: LinkError) -> Self {
        Self::Link(error.to_string())
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared, at: usize) -> Self {
        // The caller has made as many lanes as there may be workers.
        #[expect(clippy::indexing_slicing, reason = "one lane for each worker")]
        let lane = &shared.lanes[at];
        Self {
            shared,
            lane,
            at,
            link: None,
            seed: None,
            watched: BTreeMap::new(),
            redactors: Redactors::default(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.lane.take() {
                Some(job) => {
                    self.work(job);
                    self.lane.busy.store(false, Ordering::SeqCst);
                }
                None if self.shared.closing.load(Ordering::SeqCst) => return,
                None => self.wait(),
            }
            self.hear();
            self.end_what_must();
        }
    }

    fn now(&self) -> Duration {
        self.shared.setting.clock.monotonic()
    }

    fn wait(&self) {
        let now = self.now();
        let untils = self.watched.values().map(|watch| watch.left(now));
        let mut patience = untils.min().unwrap_or(IDLE).min(IDLE);
        if self.link.is_none() && !self.watched.is_empty() {
            patience = patience.min(RETRY);
        }
        let mut polled = vec![PollFd::new(&self.lane.wake, PollFlags::IN)];
        if let Some(link) = &self.link {
            polled.push(PollFd::new(&link.node, PollFlags::IN));
        }
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        // An interrupted wait is a short one.
        poll(&mut polled, Some(&timeout)).unwrap_or(0);
        rustix::io::read(&self.lane.wake, &mut [0_u8; 8]).unwrap_or(0);
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Submit(call, then) => self.submit(*call, false, then),
            Job::Again(held, then) => self.decide(*held, then),
            Job::Connect(call, then) => self.submit(*call, true, then),
            Job::HandAgain(holding, name, then) => then(self.hand_again(holding, name)),
            Job::Renew(holding, name, value, then) => {
                then(self.renew(holding, name, &value));
            }
            Job::Preview(calls, then) => self.preview(&calls, then),
            Job::End(end) => {
                let (ticket, ended, wall) = *end;
                self.end(ticket.exec, &ended, wall);
            }
            Job::Signal(signal) => drop(self.ask(&Request::Signal(*signal))),
            Job::Refused(attempt) => {
                let (denial, presented) = *attempt;
                drop(self.ask(&Request::Refused {
                    denial,
                    exec: None,
                    presented,
                    stage: Stage::Intent,
                }));
            }
        }
    }

    fn submit(&mut self, call: Sealed, connects: bool, then: Then) {
        match self.body(&call) {
            Ok(body) => {
                let intent = call.intent;
                let held = Held {
                    intent,
                    body,
                    connects,
                };
                self.decide(held, then);
            }
            Err(failed) => then(unavailable(failed)),
        }
    }

    fn body(&mut self, call: &Sealed) -> Result<SubmitBody, Failed> {
        let malformed = |error: String| Failed::Denied(Denial::new(DenialCode::Malformed, error));
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| malformed(error.to_string()));
        let intent = call.intent.to_canonical();
        let intent = intent.map_err(|error| malformed(error.to_string()))?;
        let (attestation, environment) = self.attested()?;
        let link = self.link()?;
        Ok(SubmitBody {
            attestation: Some(attestation),
            door: None,
            environment,
            holder: link.pep.holder(),
            intent: text(intent)?,
            params: text(call.params.clone())?,
            salt: call.salt.clone(),
        })
    }

    fn decide(&mut self, mut held: Held, then: Then) {
        let ruling = match self.decided(&mut held) {
            Ok(ruling) => ruling,
            Err(failed) => unavailable(failed),
        };
        then(ruling);
    }

    /// Asks for the permit. What was attested counts at the node that gave the nonce: where the connection turns out to
    /// be dead, it is attested anew to the node behind the next one.
    fn put(&mut self, held: &mut Held) -> Result<Response, Failed> {
        let had_link = self.link.is_some();
        match self.put_once(held) {
            Err(Failed::Link(_)) if had_link => {
                self.lose_link();
                let again = self.put_once(held);
                if matches!(again, Err(Failed::Link(_))) {
                    self.lose_link();
                }
                again
            }
            answer => answer,
        }
    }

    fn put_once(&mut self, held: &mut Held) -> Result<Response, Failed> {
        // The key that an artifact is bound to is this connection's own, and so is what was attested.
        let (attestation, environment) = self.attested()?;
        held.body.holder = self.link()?.pep.holder();
        held.body.attestation = Some(attestation);
        held.body.environment = environment;
        // Its start is recorded with the permit, by one write. It is forwarded once that is verified too.
        // A connection takes its credentials with the start, so that is asked for by itself.
        let body = Box::new(held.body.clone());
        let request = if held.connects {
            Request::Submit(body)
        } else {
            Request::Begin(body)
        };
        Ok(self.link()?.node.ask(&request)?)
    }

    fn decided(&mut self, held: &mut Held) -> Result<Ruling, Failed> {
        match self.put(held)? {
            Response::Permitted(permitted) if held.connects => self.connected(held, &permitted),
            Response::Permitted(permitted) => self.permitted(held, &permitted),
            Response::Denied {
                denial,
                exec,
                index,
            } => Ok(Ruling::Denied {
                denial,
                exec,
                index,
            }),
            Response::Deferred(deferred) => Ok(Ruling::Deferred(deferred, Box::new(held.clone()))),
            other => Err(unexpected(other)),
        }
    }

    fn permitted(&mut self, held: &Held, permitted: &PermittedBody) -> Result<Ruling, Failed> {
        if permitted.started.is_none() {
            return Err(Failed::Link(LinkError::Unexpected.to_string()));
        }
        let admitted = self.admit(&held.intent, &held.body, permitted)?;
        // An obligation that cannot be met is a permit that does not count.
        let admitted = admitted.and_then(|permit| {
            let redactor = self.redactors.of(&permit.scope().redact);
            let unmet = |reason| Denial::new(DenialCode::Unenforceable, reason);
            Ok((redactor.map_err(unmet)?, permit))
        });
        match admitted {
            Ok((redactor, permit)) => {
                let mut ticket = self.started(&permit, held, permitted);
                ticket.redactor = redactor;
                Ok(Ruling::Started(ticket))
            }
            Err(denial) => {
                let request = Request::Refused {
                    denial: denial.clone(),
                    exec: Some(permitted.exec),
                    presented: permitted.artifact.clone(),
                    stage: Stage::Artifact,
                };
                // Nothing happens whether or not this is recorded, and nothing has.
                drop(self.ask(&request));
                let over = Ended {
                    outcome: RunEnd::Failed,
                    cause: None,
                    output: None,
                };
                self.end(permitted.exec, &over, Duration::ZERO);
                Err(Failed::Denied(denial))
            }
        }
    }

    /// Starts a connection to a server elsewhere, and takes the credentials that it was granted.
    fn connected(&mut self, held: &Held, permitted: &PermittedBody) -> Result<Ruling, Failed> {
        let permit = match self.admit(&held.intent, &held.body, permitted)? {
            Ok(permit) => permit,
            Err(denial) => {
                let request = Request::Refused {
                    denial: denial.clone(),
                    exec: Some(permitted.exec),
                    presented: permitted.artifact.clone(),
                    stage: Stage::Artifact,
                };
                // Nothing happens whether or not this is recorded.
                drop(self.ask(&request));
                return Err(Failed::Denied(denial));
            }
        };
        let start = Request::Start {
            artifact: permit.artifact(),
            exec: permit.exec(),
            gateway: permit.claims().aud.clone(),
            pinned: None,
            takes_secrets: !permit.scope().credentials.is_empty(),
        };
        // On the connection that the permit came on, and on no other.
        let (response, secrets) = self.link()?.node.ask_for_secrets(&start)?;
        match response {
            Response::Recorded { .. } | Response::Started { .. } => {
                let scope = permit.scope().clone();
                let mut ticket = self.started(&permit, held, permitted);
                ticket.granted = Some(Box::new(Granted { scope, secrets }));
                Ok(Ruling::Started(ticket))
            }
            Response::Denied {
                denial,
                exec,
                index,
            } => Ok(Ruling::Denied {
                denial,
                exec,
                index,
            }),
            other => Err(unexpected(other)),
        }
    }

    fn started(&mut self, permit: &Permit, held: &Held, permitted: &PermittedBody) -> Ticket {
        let (began, wall) = (self.now(), self.shared.setting.clock.wall());
        let exec = permit.exec();
        let watch = Watch::begin(permit.claims(), began, wall);
        self.watched.insert(exec, watch);
        Ticket {
            exec,
            decided: permitted.index,
            began,
            salt: held.body.salt.clone(),
            worker: self.at,
            redactor: None,
            granted: None,
        }
    }

    /// Verifies what the node released against the call that will be forwarded.
    fn admit(
        &mut self,
        intent: &Intent,
        body: &SubmitBody,
        permitted: &PermittedBody,
    ) -> Result<Result<Permit, Denial>, Failed> {
        let now = self.shared.setting.clock.wall();
        let link = self.link()?;
        let receipt = Receipt {
            entry: permitted.entry.clone().into_bytes(),
            proof: permitted.proof.clone().into_bytes(),
        };
        let call = Call {
            intent,
            params: body.params.as_bytes(),
            salt: &body.salt,
            environment: &link.environment.digest(),
            policy: &permitted.active,
            now,
        };
        let admitted = link.pep.admit(&permitted.artifact, &receipt, &call);
        Ok(admitted.map_err(|refusal| Denial::new(refusal.code, refusal.reason)))
    }

    fn preview(&mut self, calls: &[Sealed], then: Answered) {
        let answers = calls.iter().map(|call| self.previewed(call)).collect();
        then(answers);
    }

    fn previewed(&mut self, call: &Sealed) -> Result<(), DenialCode> {
        let unverified = DenialCode::GovernanceDiscontinuity;
        let body = self.body(call).map_err(|_| unverified)?;
        match self.ask(&Request::Preview(Box::new(body))) {
            Ok(Response::Previewed(preview)) => match preview.denial {
                None => Ok(()),
                Some(denial) => Err(denial.code),
            },
            Ok(_) | Err(_) => Err(unverified),
        }
    }

    fn end(&mut self, exec: ExecutionId, ended: &Ended, wall: Duration) {
        self.watched.remove(&exec);
        let usage = ended.output.map(|output| Usage {
            output: Some(output),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            ..Usage::default()
        });
        let outcome = match ended.cause {
            Some(_) => RunEnd::Terminated,
            None => ended.outcome,
        };
        let body = EndBody {
            cause: ended.cause,
            exec,
            exit: None,
            outcome,
            usage,
        };
        // An end by itself makes nobody wait; one with a cause is what somebody looks for.
        let request = match ended.cause {
            None => Request::EndAtLeisure(body),
            Some(_) => Request::End(body),
        };
        let began = self.now();
        // What the node does not hear it records by itself, once the lease has lapsed.
        while let Err(Failed::Link(_)) = self.ask(&request) {
            if self.now().saturating_sub(began) > REPORT_PATIENCE {
                return;
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Asks; a connection that turns out to be dead is made anew once.
    fn ask(&mut self, request: &Request) -> Result<Response, Failed> {
        let had_link = self.link.is_some();
        match self.link()?.node.ask(request) {
            Ok(response) => Ok(response),
            Err(error) => {
                self.lose_link();
                if !had_link {
                    return Err(error.into());
                }
                let again = self.link()?.node.ask(request);
                if again.is_err() {
                    self.lose_link();
                }
                Ok(again?)
            }
        }
    }

    pub(super) fn lose_link(&mut self) {
        self.link = None;
        let now = self.now();
        for watch in self.watched.values_mut() {
            watch.take(Event::LinkLost, now);
        }
    }

    /// The connection; a new one takes up what runs.
    pub(super) fn link(&mut self) -> Result<&mut Linked, Failed> {
        if self.link.is_none() {
            let mut linked = self.connect()?;
            let now = self.now();
            for (exec, watch) in &mut self.watched {
                let ending = match linked.node.ask(&Request::Attach { exec: *exec })? {
                    Response::Attached { ending } => ending,
                    Response::Error(denial) => Some(denial.code),
                    _ => Some(DenialCode::AuthorizationDiscontinuity),
                };
                if !watch.left(now).is_zero() {
                    watch.take(Event::LinkBack, now);
                }
                if let Some(cause) = ending {
                    watch.take(Event::Ending(cause), now);
                }
            }
            self.link = Some(linked);
        }
        let gone = || Failed::Link("no node was reached".to_owned());
        self.link.as_mut().ok_or_else(gone)
    }

    fn hear(&mut self) {
        if self.link.is_none() && !self.watched.is_empty() {
            // Looked for again at the next turn if it is not there.
            drop(self.link());
        }
        let Some(link) = &mut self.link else { return };
        let Ok(pushes) = link.node.pushed() else {
            self.lose_link();
            return;
        };
        let now = self.now();
        for push in pushes {
            match push {
                Pushed::Beat { age } => {
                    for watch in self.watched.values_mut() {
                        watch.take(Event::Beat { age }, now);
                    }
                }
                Pushed::Ending { exec, cause } => {
                    if let Some(watch) = self.watched.get_mut(&exec) {
                        watch.take(Event::Ending(cause), now);
                    }
                }
            }
        }
    }

    fn end_what_must(&mut self) {
        let now = self.now();
        let ending: Vec<(ExecutionId, DenialCode)> = self
            .watched
            .iter()
            .filter_map(|(exec, watch)| match watch.verdict(now) {
                Verdict::End(cause) => Some((*exec, cause)),
                Verdict::Continue { .. } => None,
            })
            .collect();
        for (exec, cause) in ending {
            self.watched.remove(&exec);
            (self.shared.setting.ending)(exec, cause);
        }
    }
}

fn unavailable(failed: Failed) -> Ruling {
    Ruling::Unavailable(denial_of(failed))
}

pub(super) fn denial_of(failed: Failed) -> Denial {
    match failed {
        Failed::Denied(denial) => denial,
        Failed::Link(reason) => Denial::new(DenialCode::EvidenceUnavailable, reason),
    }
}

pub(super) fn unexpected(response: Response) -> Failed {
    match response {
        Response::Error(denial) => Failed::Denied(denial),
        _ => Failed::Link(LinkError::Unexpected.to_string()),
    }
}
