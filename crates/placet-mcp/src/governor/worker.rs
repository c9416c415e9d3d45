//! One connection to the node, and the executions that were started on it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

mod calls;
mod ends;
mod linked;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use placet_artifact::receipt::Receipt;
use placet_authority::node::wire::{CallBody, PermittedBody, Request, Response, SubmitBody};
use placet_authority::node::{Connection, LinkError, Pushed};
use placet_enforce::{Call, Event, Pep, Permit, Verdict, Watch};
use placet_evidence::{Attestation, Environment, Stage};
use placet_types::{Denial, DenialCode, Digest, ExecutionId, Fixed};
use zeroize::Zeroizing;

use super::lane::hears;
use super::party::{Party, Seat};
use super::{
    Answered, Asked as AskedFor, Call as Brought, Granted, Held, Job, Over, Ruling, Setting, Then,
    Ticket,
};
use crate::redact::Redactors;
use crate::subject::Sealed;

/// How often a lost node is looked for while something runs.
const RETRY: Duration = Duration::from_millis(100);
/// How long an idle thread sleeps at most.
const IDLE: Duration = Duration::from_secs(5);
/// How long the node may be gone before the record of an end is left to it.
const REPORT_PATIENCE: Duration = Duration::from_secs(15);

pub(super) struct Worker {
    setting: Arc<Setting>,
    /// What the lane's thread is woken by.
    events: Arc<OwnedFd>,
    at: usize,
    link: Option<Linked>,
    /// What artifacts for this worker are bound to, whichever connection they come on.
    seed: Option<Zeroizing<[u8; 32]>>,
    watched: BTreeMap<ExecutionId, Watched>,
    redactors: Redactors,
    /// Ends that the node has not said to be recorded.
    ended: Vec<Over>,
    /// Whoever waits until all of them are recorded.
    flushing: Vec<Sender<()>>,
    /// What was asked and not answered yet, for the lane's thread to wait for.
    asked: Option<Asked>,
    /// When the lane's thread looks again by itself.
    looks_at: Duration,
}

/// A connection, and what acts on it are checked with.
pub(super) struct Linked {
    pub(super) node: Connection,
    pep: Pep,
    environment: Fixed<Environment>,
    /// What was last attested on it.
    said: Option<Attestation>,
    /// Since when another environment was measured than was attested.
    differs: Option<Duration>,
}

/// Calls that the node was asked about, and how many ends went with them.
struct Asked {
    calls: Vec<Waiting>,
    ended: usize,
}

/// An execution that runs, and whose session is told when it has to end.
struct Watched {
    watch: Watch,
    party: Arc<Party>,
}

/// A call that waits for its ruling.
struct Waiting {
    held: Held,
    then: Then,
    seat: Seat,
}

/// Why something was not done.
pub(super) enum Failed {
    /// The node was not reached: it may be tried again.
    Link(String),
    /// It will not do, however often it is tried.
    Denied(Denial),
}

/// What the node released.
struct Released<'a> {
    active: &'a Digest,
    artifact: &'a str,
    entry: &'a str,
    proof: &'a str,
}

pub(super) use calls::{CALLS_MAX, Tried};

impl From<LinkError> for Failed {
    fn from(error: LinkError) -> Self {
        Self::Link(error.to_string())
    }
}

impl Worker {
    pub(super) fn new(setting: &Arc<Setting>, events: &Arc<OwnedFd>, at: usize) -> Self {
        Self {
            setting: Arc::clone(setting),
            events: Arc::clone(events),
            at,
            link: None,
            seed: None,
            watched: BTreeMap::new(),
            redactors: Redactors::default(),
            ended: Vec::new(),
            flushing: Vec::new(),
            asked: None,
            looks_at: Duration::MAX,
        }
    }

    fn now(&self) -> Duration {
        self.setting.clock.monotonic()
    }

    fn left(&self, now: Duration) -> Duration {
        let untils = self.watched.values().map(|of| of.watch.left(now));
        untils.min().unwrap_or(IDLE).min(IDLE)
    }

    /// How long the lane's thread may sleep.
    pub(super) fn patience(&mut self) -> Duration {
        let now = self.now();
        let mut patience = self.left(now);
        let is_lost = self.link.is_none() && !self.watched.is_empty();
        if is_lost || !self.ended.is_empty() {
            patience = patience.min(RETRY);
        }
        self.looks_at = now.saturating_add(patience);
        patience
    }

    /// Whether something has to be looked at before the lane's thread does so by itself.
    pub(super) fn looks_too_late(&self) -> bool {
        let now = self.now();
        now.saturating_add(self.left(now)) < self.looks_at
    }

    pub(super) fn work(&mut self, jobs: Vec<Job>) {
        // What comes first on the connection is the answer that is awaited.
        self.await_answer();
        let mut calls = Vec::new();
        for job in jobs {
            match job {
                Job::Await => {}
                Job::Call(call) => calls.extend(Waiting::of(call)),
                Job::Connect(call, then, seat) => {
                    let ruling = self.connect_elsewhere(*call, seat.party());
                    then(ruling.unwrap_or_else(unavailable));
                }
                Job::HandAgain(holding, name, then) => then(self.hand_again(holding, name)),
                Job::Renew(holding, name, value, then) => {
                    then(self.renew(holding, name, &value));
                }
                Job::Preview(calls, then, seat) => self.preview(calls, then, seat.party()),
                Job::Flush(sender) => self.flushing.push(sender),
                Job::End(body) => {
                    let since = self.now();
                    self.take_ended(vec![Over { body: *body, since }]);
                    self.report();
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
        self.decide_all(calls);
    }

    /// Records that what was released does not hold. Nothing happens whether or not this is recorded, and nothing
    /// has.
    fn refused(&mut self, denial: &Denial, exec: ExecutionId, artifact: &str) {
        drop(self.ask(&Request::Refused {
            denial: denial.clone(),
            exec: Some(exec),
            presented: artifact.to_owned(),
            stage: Stage::Artifact,
        }));
    }

    /// What asks about one call by itself.
    fn submission(&mut self, held: &Held, party: &Party) -> Result<Box<SubmitBody>, Failed> {
        let (attestation, environment) = self.attested()?;
        let bearer = party.bearer.as_deref().cloned();
        let CallBody {
            intent,
            params,
            salt,
        } = held.body.clone();
        Ok(Box::new(SubmitBody {
            attestation: Some(attestation),
            bearer: bearer.map(Box::new),
            door: None,
            environment,
            holder: self.link()?.pep.holder(),
            intent,
            params,
            salt,
        }))
    }

    /// A connection takes its credentials with the start, so that is asked for by itself.
    fn connect_elsewhere(&mut self, call: Sealed, party: &Arc<Party>) -> Result<Ruling, Failed> {
        let held = held(call).map_err(Failed::Denied)?;
        let response = self.twice(|worker| {
            let request = Request::Submit(worker.submission(&held, party)?);
            Ok(worker.link()?.node.ask(&request)?)
        })?;
        match response {
            Response::Permitted(permitted) => self.connected(&held, &permitted, party),
            other => self.ruled(held, party, other),
        }
    }

    /// Starts a connection to a server elsewhere, and takes the credentials that it was granted.
    fn connected(
        &mut self,
        held: &Held,
        permitted: &PermittedBody,
        party: &Arc<Party>,
    ) -> Result<Ruling, Failed> {
        let released = Released {
            active: &permitted.active,
            artifact: &permitted.artifact,
            entry: &permitted.entry,
            proof: &permitted.proof,
        };
        let permit = match self.admit(held, &released)? {
            Ok(permit) => permit,
            Err(denial) => {
                self.refused(&denial, permitted.exec, &permitted.artifact);
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
                let mut ticket = self.started(&permit, held, permitted.index, party);
                ticket.granted = Some(Box::new(Granted { scope, secrets }));
                Ok(Ruling::Started(ticket))
            }
            other => other_ruling(other),
        }
    }

    fn started(
        &mut self,
        permit: &Permit,
        held: &Held,
        decided: placet_types::Index,
        party: &Arc<Party>,
    ) -> Ticket {
        let (began, wall) = (self.now(), self.setting.clock.wall());
        let exec = permit.exec();
        let watch = Watch::begin(permit.claims(), began, wall);
        let party = Arc::clone(party);
        self.watched.insert(exec, Watched { watch, party });
        Ticket {
            exec,
            decided,
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
        held: &Held,
        released: &Released<'_>,
    ) -> Result<Result<Permit, Denial>, Failed> {
        let now = self.setting.clock.wall();
        let link = self.link()?;
        let receipt = Receipt {
            entry: released.entry.as_bytes().to_vec(),
            proof: released.proof.as_bytes().to_vec(),
        };
        let call = Call {
            intent: &held.intent,
            params: held.body.params.as_bytes(),
            salt: &held.body.salt,
            environment: &link.environment.digest(),
            policy: released.active,
            now,
        };
        let admitted = link.pep.admit(released.artifact, &receipt, &call);
        Ok(admitted.map_err(|refusal| Denial::new(refusal.code, refusal.reason)))
    }

    fn preview(&mut self, calls: Vec<Sealed>, then: Answered, party: &Party) {
        let answers = calls.into_iter().map(|call| self.previewed(call, party));
        then(answers.collect());
    }

    fn previewed(&mut self, call: Sealed, party: &Party) -> Result<(), DenialCode> {
        let unverified = DenialCode::GovernanceDiscontinuity;
        let held = held(call).map_err(|_| unverified)?;
        let body = self.submission(&held, party).map_err(|_| unverified)?;
        match self.ask(&Request::Preview(body)) {
            Ok(Response::Previewed(preview)) => match preview.denial {
                None => Ok(()),
                Some(denial) => Err(denial.code),
            },
            Ok(_) | Err(_) => Err(unverified),
        }
    }

    /// Asks; a connection that turns out to be dead is made anew once.
    fn ask(&mut self, request: &Request) -> Result<Response, Failed> {
        self.twice(|worker| Ok(worker.link()?.node.ask(request)?))
    }

    /// Does it again on another connection, once, where the one that there was turns out to be dead.
    fn twice<T>(
        &mut self,
        mut ask: impl FnMut(&mut Self) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        // What comes first on the connection is the answer that is awaited.
        self.await_answer();
        for had_link in [self.link.is_some(), false] {
            match ask(self) {
                Err(Failed::Link(reason)) => {
                    self.lose_link();
                    if !had_link {
                        return Err(Failed::Link(reason));
                    }
                }
                answer => return answer,
            }
        }
        Err(Failed::Link("no node was reached".to_owned()))
    }

    pub(super) fn lose_link(&mut self) {
        self.link = None;
        let now = self.now();
        for of in self.watched.values_mut() {
            of.watch.take(Event::LinkLost, now);
        }
    }

    /// The connection; a new one takes up what runs.
    pub(super) fn link(&mut self) -> Result<&mut Linked, Failed> {
        if self.link.is_none() {
            let mut linked = self.connect()?;
            let now = self.now();
            for (exec, Watched { watch, .. }) in &mut self.watched {
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

    pub(super) fn hear(&mut self) {
        if self.asked.is_some() {
            return;
        }
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
        let mut attest = false;
        for push in pushes {
            match push {
                Pushed::Beat { age, attest: asked } => {
                    attest |= asked;
                    for of in self.watched.values_mut() {
                        of.watch.take(Event::Beat { age }, now);
                    }
                }
                Pushed::Ending { exec, cause } => {
                    if let Some(of) = self.watched.get_mut(&exec) {
                        of.watch.take(Event::Ending(cause), now);
                    }
                }
            }
        }
        // What fails is asked for again.
        if attest && self.attest_again().is_err() {
            self.lose_link();
        }
    }

    pub(super) fn end_what_must(&mut self) {
        let now = self.now();
        let ending: Vec<(ExecutionId, DenialCode)> = self
            .watched
            .iter()
            .filter_map(|(exec, of)| match of.watch.verdict(now) {
                Verdict::End(cause) => Some((*exec, cause)),
                Verdict::Continue { .. } => None,
            })
            .collect();
        for (exec, cause) in ending {
            if let Some(Watched { party, .. }) = self.watched.remove(&exec) {
                party.must_end(exec, cause);
            }
        }
    }
}

impl Waiting {
    /// `None`, and answered, of what cannot be asked.
    fn of(call: Brought) -> Option<Self> {
        let Brought { asked, then, seat } = call;
        let held = match *asked {
            AskedFor::New(call) => held(call),
            AskedFor::Again(held) => Ok(held),
        };
        match held {
            Ok(held) => Some(Self { held, then, seat }),
            Err(denial) => {
                then(Ruling::Unavailable(denial));
                None
            }
        }
    }

    /// To be asked on another lane.
    fn again(self) -> Brought {
        Brought {
            asked: Box::new(AskedFor::Again(self.held)),
            then: self.then,
            seat: self.seat,
        }
    }
}

/// A call as it is asked about.
fn held(call: Sealed) -> Result<Held, Denial> {
    let malformed = |error: String| Denial::new(DenialCode::Malformed, error);
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| malformed(error.to_string()));
    let intent = call.intent.to_canonical();
    let intent = intent.map_err(|error| malformed(error.to_string()))?;
    Ok(Held {
        body: CallBody {
            intent: text(intent)?,
            params: text(call.params)?,
            salt: call.salt,
        },
        intent: call.intent,
    })
}

/// An answer that starts nothing.
fn other_ruling(answer: Response) -> Result<Ruling, Failed> {
    match answer {
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
