//! Whether gateways go on attesting what they run on.
//!
//! What was permitted in an environment that was appraised holds as long as it can be appraised like that. So a gateway that
//! attested attests again before its word is too old for the bundle in force. The node asks those that have a connection, with
//! their beats; those that renew over HTTP bring it along. One that says nothing any more is appraised as nobody: what needs no
//! trust in the machine goes on, the rest is ended. One that says something else runs elsewhere than what was decided about.
//!
//! It is in memory, as leases are: a good word stands in no record, one that is refused does, and so does what follows from a
//! missing or another one. A node that was started anew begins with what the decisions recorded, and gives gateways one age to
//! find it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_evidence::{Appraisal, Attestation, Environment, SignalKind};
use placet_policy::Presented;
use placet_types::{Denial, DenialCode, ExecutionId, Fixed, Millis};

use super::answer::refuse;
use super::registry::Outlet;
use super::server::Node;
use super::wire::{AppraiseBody, LifecycleBody, Response};
use crate::environment::Attested;
use crate::submission::SignalReport;

/// How often it is looked who is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Executions that are taken up, and that are decided about, in one look.
const TOGETHER: usize = 128;

/// What gateways attested last, for each execution that runs.
#[derive(Debug)]
pub(super) struct Attestations {
    known: Mutex<BTreeMap<ExecutionId, Known>>,
    /// Why the last word was refused, of those whose last word was: one that is said again with every beat is one record.
    refused: Mutex<BTreeMap<ExecutionId, Denial>>,
    looked: Mutex<(Duration, Arc<BTreeSet<ExecutionId>>)>,
    /// When this node began, on the monotonic clock.
    opened: Duration,
}

/// Of one execution.
#[derive(Clone, Debug)]
enum Known {
    /// Its gateway did not attest when it was decided, and has not since.
    Unattested,
    Attested(Box<Last>),
}

/// The last word of a gateway.
#[derive(Clone, Debug)]
struct Last {
    said: Attested,
    attestation: Attestation,
    /// When the nonce was given out, on the monotonic clock; for one of a node before, not before this one began.
    since: Duration,
    /// Whether it grew too old, and what follows from that was done.
    judged: bool,
}

/// How an execution's gateway was appraised last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// By the bundle in force, now.
    pub appraisal: Appraisal,
    /// How long it counts yet, in milliseconds.
    pub left_ms: u64,
}

impl Attestations {
    pub(super) fn new(opened: Duration) -> Self {
        Self {
            known: Mutex::default(),
            refused: Mutex::default(),
            looked: Mutex::new((opened, Arc::default())),
            opened,
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, Denial>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, exec: ExecutionId) -> Option<Known> {
        self.known().get(&exec).cloned()
    }
}

impl Last {
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }
}

impl Node {
    /// Takes up what runs, decides about what nobody attests any more, and says of which executions the gateways are to attest again.
    pub(super) fn keep_attested(&self, now: Duration) -> Arc<BTreeSet<ExecutionId>> {
        let (looked, due) = {
            let looked = self.attestations.looked.lock();
            looked.unwrap_or_else(PoisonError::into_inner).clone()
        };
        if now.saturating_sub(looked) < LOOK_EVERY {
            return due;
        }
        self.take_up(now);
        let age_max = self.authority.attestation_age_max();
        let (mut due, mut lapsed) = (BTreeSet::new(), Vec::new());
        for (exec, known) in self.attestations.known().iter_mut() {
            let Known::Attested(last) = known else {
                continue;
            };
            let age = last.age(now);
            if age >= age_max / 2 {
                due.insert(*exec);
            }
            if age > age_max && !last.judged && lapsed.len() < TOGETHER {
                last.judged = true;
                lapsed.push((*exec, (**last).clone()));
            }
        }
        self.end_unattested(&lapsed, age_max);
        let due = Arc::new(due);
        let mut looked = self.attestations.looked.lock();
        if let Ok(looked) = &mut looked {
            **looked = (now, Arc::clone(&due));
        }
        due
    }

    /// Forgets what is over, and reads of what began to run how it was attested.
    fn take_up(&self, now: Duration) {
        let mut known = self.attestations.known();
        let new: Vec<ExecutionId> = self.authority.with_state(|state| {
            known.retain(|exec, _| state.execution(exec).is_some());
            let mut refused = self.attestations.refused();
            refused.retain(|exec, _| state.execution(exec).is_some());
            let new = state
                .executions()
                .filter(|(exec, execution)| execution.is_live() && !known.contains_key(*exec));
            new.map(|(exec, _)| *exec).take(TOGETHER).collect()
        });
        drop(known);
        for exec in new {
            self.take_up_one(exec, now);
        }
    }

    /// What the decision of an execution recorded of its environment.
    fn take_up_one(&self, exec: ExecutionId, now: Duration) -> Option<Attested> {
        let said = self.authority.attested_for(exec)?;
        let known = match &said.attestation {
            None => Known::Unattested,
            Some(attestation) => Known::Attested(Box::new(Last {
                attestation: attestation.clone(),
                said: said.clone(),
                since: self
                    .given_out(attestation, now)
                    .max(self.attestations.opened),
                judged: false,
            })),
        };
        self.attestations.known().entry(exec).or_insert(known);
        Some(said)
    }

    /// When a nonce was given out, on the monotonic clock.
    fn given_out(&self, attestation: &Attestation, now: Duration) -> Duration {
        let age = self.clock.wall().since(attestation.nonce.time());
        now.saturating_sub(Duration::from_millis(age))
    }

    /// Ends what is not permitted in an environment that nobody attests. What would not be permitted anyway by now is no matter of
    /// the environment: a permit stands until its bundle is replaced.
    fn end_unattested(&self, lapsed: &[(ExecutionId, Last)], age_max: Duration) {
        if lapsed.is_empty() {
            return;
        }
        let unattested = lapsed.iter().map(|(exec, last)| {
            // Of the wall clock nothing is believed here that would make it younger.
            let old = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
            let then = last.attestation.nonce.time().get();
            let then = Millis::new(then.saturating_add(old).saturating_add(1000));
            (*exec, &last.attestation, self.clock.wall().max(then))
        });
        for (exec, reason) in self.authority.not_without_attestation(unattested) {
            let secs = age_max.as_secs();
            let detail = format!(
                "the gateway has not attested its environment again within {secs} s: {reason}"
            );
            self.end_untrusted(exec, detail, None);
        }
    }

    fn end_untrusted(&self, exec: ExecutionId, detail: String, kind: Option<SignalKind>) {
        let report = SignalReport {
            exec,
            code: DenialCode::EnvironmentUntrusted,
            count: 1,
            detail,
            ends: true,
            kind,
            trip: None,
        };
        // What is not queued is the log's failure, which ends the node anyway.
        self.authority.signal_then(report, |_| ()).unwrap_or(());
    }

    /// A gateway attests again, for all that its connection carries under the key that it signs with.
    pub(super) fn attest(&self, body: &AppraiseBody, outlet: &Arc<Outlet>) -> Response {
        let Some(attestation) = &body.attestation else {
            return refuse(DenialCode::Malformed, "nothing is attested");
        };
        let presented = Some((attestation, &attestation.key));
        let appraised = match self.authority.appraise(&body.environment, presented) {
            Ok(appraised) => appraised,
            Err(denial) => {
                for exec in self.registry.carried_by(outlet).into_iter().take(TOGETHER) {
                    self.record_refused(exec, &denial);
                }
                return Response::Error(denial);
            }
        };
        let now = self.clock.monotonic();
        let holder = attestation.key.thumbprint();
        for exec in self.registry.carried_by(outlet) {
            let said = self.said_of(exec, now);
            if let Some(said) = said.filter(|said| said.holder == holder) {
                // What ends is told on the same connection.
                self.take_word(exec, said, (attestation, &body.environment), now)
                    .unwrap_or(());
            }
        }
        Response::Appraised(Box::new(appraised))
    }

    /// A gateway attests again for one execution, by the claims that are given or those that were decided about.
    ///
    /// # Errors
    ///
    /// The attestation does not count, or is of another environment: then the execution is ended.
    pub(super) fn attest_one(
        &self,
        exec: ExecutionId,
        attestation: &Attestation,
        environment: Option<Fixed<Environment>>,
    ) -> Result<(), Denial> {
        let now = self.clock.monotonic();
        let said = self.said_of(exec, now).ok_or_else(|| {
            let reason = "no such execution is authorized or runs";
            Denial::new(DenialCode::AuthorizationDiscontinuity, reason)
        })?;
        let environment = environment.unwrap_or_else(|| said.environment.clone());
        if attestation.key.thumbprint() != said.holder {
            let reason = "the attestation is signed by another key than the one that the artifact is bound to";
            let denial = Denial::new(DenialCode::EnvironmentUntrusted, reason);
            self.record_refused(exec, &denial);
            return Err(denial);
        }
        let presented = Some((attestation, &attestation.key));
        if let Err(denial) = self.authority.appraise(&environment, presented) {
            self.record_refused(exec, &denial);
            return Err(denial);
        }
        self.take_word(exec, said, (attestation, &environment), now)
    }

    /// Records that a word was refused, which by itself ends nothing: the word before it counts as long as it does.
    fn record_refused(&self, exec: ExecutionId, denial: &Denial) {
        let before = self.attestations.refused().insert(exec, denial.clone());
        if before.as_ref() == Some(denial) {
            return;
        }
        let report = SignalReport {
            exec,
            code: denial.code,
            count: 1,
            detail: format!("what the gateway attests was refused: {}", denial.reason),
            ends: false,
            kind: None,
            trip: None,
        };
        // What is not queued is the log's failure, which ends the node anyway.
        self.authority.signal_then(report, |_| ()).unwrap_or(());
    }

    fn said_of(&self, exec: ExecutionId, now: Duration) -> Option<Attested> {
        match self.attestations.of(exec) {
            Some(Known::Attested(last)) => Some(last.said),
            Some(Known::Unattested) | None => self.take_up_one(exec, now),
        }
    }

    /// Takes a word that was verified.
    fn take_word(
        &self,
        exec: ExecutionId,
        said: Attested,
        (attestation, environment): (&Attestation, &Fixed<Environment>),
        now: Duration,
    ) -> Result<(), Denial> {
        let differing = said.environment.differing(environment);
        if !differing.is_empty() {
            let what = differing.join(", ");
            let reason =
                format!("the environment is not the one that was decided about: other {what}");
            self.end_untrusted(exec, reason.clone(), Some(SignalKind::Drift));
            return Err(Denial::new(DenialCode::EnvironmentUntrusted, reason));
        }
        self.attestations.refused().remove(&exec);
        let since = self.given_out(attestation, now);
        let last = Last {
            said,
            attestation: attestation.clone(),
            since,
            judged: false,
        };
        let mut known = self.attestations.known();
        // One that was signed before takes nothing back.
        if let Some(Known::Attested(before)) = known.get(&exec)
            && before.attestation.nonce.time() > attestation.nonce.time()
        {
            return Ok(());
        }
        known.insert(exec, Known::Attested(Box::new(last)));
        Ok(())
    }

    /// Which bundles are in use, and where; of each gateway, how it was appraised last.
    pub(super) fn lifecycle(&self) -> LifecycleBody {
        let mut body = self.authority.lifecycle();
        let all: Vec<ExecutionId> = self.attestations.known().keys().copied().collect();
        for exec in all {
            let Some(standing) = self.attested(exec) else {
                continue;
            };
            let of = self.authority.with_state(|state| {
                let it = state.execution(&exec)?;
                Some((it.machine, it.intent.gateway.clone(), it.bundle))
            });
            let mut gateways = body.gateways.iter_mut();
            let held = gateways.find(|it| {
                of.as_ref().is_some_and(|(machine, gateway, bundle)| {
                    (it.machine, &it.gateway, it.bundle) == (*machine, gateway, *bundle)
                })
            });
            if let Some(held) = held {
                let status = standing.appraisal.status;
                held.appraisal = Some(held.appraisal.map_or(status, |it| it.min(status)));
                held.attested_secs = held.attested_secs.max(standing.appraisal.age_secs);
            }
        }
        body
    }

    /// How the gateway of an execution is appraised now by what it attested last; absent where it did not.
    pub(super) fn attested(&self, exec: ExecutionId) -> Option<Standing> {
        let now = self.clock.monotonic();
        let known = self.attestations.of(exec).or_else(|| {
            self.take_up_one(exec, now)?;
            self.attestations.of(exec)
        });
        let Known::Attested(last) = known? else {
            return None;
        };
        let policy = self.authority.policy_in_force()?;
        let age_max = self.authority.attestation_age_max();
        let (action, resource) = self.authority.with_state(|state| {
            let intent = &state.execution(&exec)?.intent;
            Some((intent.action.clone(), intent.resource.clone()))
        })?;
        let of_process = action.as_str() == placet_types::ProcessParams::ACTION;
        let appraised = policy.references().appraise(&Presented {
            attestation: Some(&last.attestation),
            environment: &last.said.environment,
            executable: resource.digest.as_ref().filter(|_| of_process),
            time: self.clock.wall(),
        });
        let left = age_max.saturating_sub(last.age(now));
        Some(Standing {
            appraisal: appraised.appraisal,
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        })
    }
}
