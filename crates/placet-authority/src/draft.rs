//! Drafting: from what was handed in to the record that will say so, one after the other.
//!
//! The drafter owns the speculative state: the fold of everything durable and of the drafts that
//! are on their way. Each intent is decided against exactly what stands before its record. If a
//! batch is not committed the drafter goes with it, and nothing of it was released.

mod begin;
mod questions;
mod refused;

use std::sync::Arc;

use placet_artifact::Unsigned;
use placet_artifact::jws::Algorithm;
use placet_decision::{Decision, Input, claims, decide};
use placet_evidence::{Born, Connections, Ended, Facts, Grant, Record, Signal, Stage, Started};
use placet_policy::Policy;
use placet_state::{PRINCIPALS_MAX, State};
use placet_types::{
    Commitment, DenialCode, Digest, ExecutionId, FixedIntent, FixedScope, Index, Millis,
    PrincipalId, PublicKey, Salt,
};

use crate::activate::Activation;
use crate::approvals;
use crate::clock::Clock;
use crate::control::ActError;
use crate::payload::encode_payload;
use crate::scopes::Scopes;
use crate::standing::{may_start, running, unknown_execution};
use crate::submission::{
    Answer, BornReport, ConnectionsReport, Deferred, Denied, EndReport, SignalReport, Unavailable,
};
use crate::work::{Attempt, Draft, Prepared, ReadyAct, Reply, StartRequest, Then, Work, answer};

pub(crate) use questions::decode_question;
use refused::refuse;

/// Makes drafts.
pub(crate) struct Drafter {
    state: State,
    policy: Option<Arc<Policy>>,
    scopes: Scopes,
    clock: Arc<dyn Clock>,
    artifact_key: PublicKey,
}

impl Drafter {
    pub(crate) fn new(
        state: State,
        policy: Option<Arc<Policy>>,
        scopes: Scopes,
        clock: Arc<dyn Clock>,
        artifact_key: PublicKey,
    ) -> Self {
        Self {
            state,
            policy,
            scopes,
            clock,
            artifact_key,
        }
    }

    /// The draft for one piece of work, or `None` when it was answered without a record.
    pub(crate) fn draft(&mut self, work: Work) -> Option<Draft> {
        // Record time never goes back, whatever the clock does.
        let now = self.clock.wall().max(self.state.time());
        let draft = match work {
            // What begins is drafted in two steps, of which this is the first.
            Work::Intent(prepared, reply) | Work::Begin(prepared, reply, _) => {
                self.decide(*prepared, now, reply)
            }
            Work::Question(prepared, reply) => self.answer(&prepared, now, reply),
            Work::Refuse(attempt, reply) => Some(refuse(attempt, now, |denied| Then::Refused {
                reply,
                denied,
            })),
            Work::Start(request, reply) => Some(self.start(*request, now, reply)),
            Work::Signal(report, reply) => self.signal(report, now, reply),
            Work::Connections(report, salt, reply) => self.connections(report, &salt, now, reply),
            Work::Born(report, salt, reply) => self.born(report, &salt, now, reply),
            Work::End(report, reply) => self.end(&report, now, reply),
            Work::Act(act, by, decided_by, reply) => self.act(act, by, decided_by, now, reply),
        }?;
        // A record that cannot follow would poison the log. The checks above leave none.
        match self.state.apply(self.state.next(), &draft.record) {
            Ok(_) => Some(draft),
            Err(_) => {
                draft.then.fail();
                None
            }
        }
    }

    fn decide(&mut self, prepared: Prepared, now: Millis, reply: Reply<Answer>) -> Option<Draft> {
        let Prepared {
            attestation,
            bearer,
            intent,
            params,
            holder,
            environment,
            caller,
            exec,
        } = prepared;
        // What waits keeps the id that it was deferred with.
        let waits = self.state.waits(&intent.digest());
        let waits = waits.filter(|waits| now < waits.waiting.until);
        let exec = waits.map_or(exec, |waits| waits.exec);
        let asked_before = waits.map(|waits| waits.decided);
        let facts = Facts {
            attestation,
            bearer,
            caller,
            environment,
            exec,
            holder,
            time: now,
        };
        let parent_scope = intent
            .parent
            .and_then(|parent| self.state.execution(&parent))
            .and_then(|parent| self.scopes.get(parent.grant.scope));
        let decision = decide(&Input {
            state: &self.state,
            policy: self.policy.as_deref(),
            intent: &intent,
            params: &params,
            parent_scope: parent_scope.as_ref(),
            facts: &facts,
        });
        let payload = Some(encode_payload(params.salt(), params.bytes()));
        let (record, then) = match self.permitted(&decision, &intent, &facts) {
            Ok(Some((unsigned, grant, scope))) => {
                let digest = unsigned.digest();
                let record = decision.into_record(intent, facts, Some(digest));
                (
                    record,
                    Then::Permit {
                        reply,
                        unsigned,
                        grant,
                        scope,
                    },
                )
            }
            Ok(None) => {
                let then = if let Some(waiting) = decision.deferral().cloned() {
                    if let Some(index) = asked_before {
                        // It is recorded already; asking again changes nothing.
                        let deferred = Deferred {
                            index,
                            exec,
                            waiting,
                        };
                        answer(reply, Ok(Answer::Deferred(Box::new(deferred))));
                        return None;
                    }
                    Then::Defer {
                        reply,
                        exec,
                        waiting,
                    }
                } else {
                    Then::Deny {
                        reply,
                        exec,
                        denial: decision.denial().cloned()?,
                    }
                };
                (decision.into_record(intent, facts, None), then)
            }
            // The scope could not be kept, so its permit could not be explained later: no permit.
            Err(Unavailable::Evidence | Unavailable::Overloaded) => {
                answer(reply, Err(Unavailable::Evidence));
                return None;
            }
        };
        Some(Draft {
            record: Record::Decided(Box::new(record)),
            payload,
            then,
        })
    }

    fn permitted(
        &mut self,
        decision: &Decision,
        intent: &FixedIntent,
        facts: &Facts,
    ) -> Result<Option<(Unsigned, Grant, FixedScope)>, Unavailable> {
        let Some((grant, scope)) = decision.permit() else {
            return Ok(None);
        };
        self.scopes.keep(scope).map_err(|_| Unavailable::Evidence)?;
        let domain = &self.state.genesis().domain;
        let claims = claims(domain, intent, facts, grant, decision.policy(), scope)
            .map_err(|_| Unavailable::Evidence)?;
        let unsigned = Unsigned::new(&claims, &self.artifact_key, Algorithm::EdDsa)
            .map_err(|_| Unavailable::Evidence)?;
        Ok(Some((unsigned, grant.clone(), scope.clone())))
    }

    fn start(
        &mut self,
        request: StartRequest,
        now: Millis,
        reply: Reply<Result<Index, Denied>>,
    ) -> Draft {
        let StartRequest {
            exec,
            artifact,
            gateway,
            caller,
            salt,
            credentials,
            pinned,
        } = request;
        match may_start(&self.state, exec, artifact, now) {
            Ok(intent) => {
                let payload = pinned
                    .as_ref()
                    .map(|files| encode_payload(files.salt(), files.bytes()));
                let committed =
                    pinned.map(|files| Commitment::to("pinned", files.bytes(), files.salt()));
                let record = Record::Started(Started {
                    credentials,
                    exec,
                    gateway,
                    intent,
                    pinned: committed,
                    time: now,
                });
                Draft {
                    record,
                    payload,
                    then: Then::Done { reply },
                }
            }
            Err(denial) => {
                let presented = exec.to_string().into_bytes();
                let stage = Stage::Artifact;
                let attempt = Attempt {
                    presented,
                    salt,
                    caller,
                    denial,
                    exec: Some(exec),
                    stage,
                };
                refuse(attempt, now, |denied| Then::NotDone { reply, denied })
            }
        }
    }

    fn signal(
        &self,
        report: SignalReport,
        now: Millis,
        reply: Reply<Result<Index, Denied>>,
    ) -> Option<Draft> {
        let SignalReport {
            exec,
            code,
            count,
            detail,
            ends,
            kind,
            trip,
        } = report;
        let Some(intent) = running(&self.state, exec) else {
            answer(reply, Ok(Err(unknown_execution(self.state.next(), exec))));
            return None;
        };
        let record = Record::Signal(Signal {
            code,
            count,
            detail,
            ends,
            exec,
            intent,
            kind,
            time: now,
            trip,
        });
        Some(Draft {
            record,
            payload: None,
            then: Then::Done { reply },
        })
    }

    fn connections(
        &self,
        report: ConnectionsReport,
        salt: &Salt,
        now: Millis,
        reply: Reply<Result<Index, Denied>>,
    ) -> Option<Draft> {
        let (exec, list) = (report.exec, report.list);
        self.listed(exec, (&list, salt), reply, |intent| {
            Record::Connections(Connections {
                count: report.count,
                exec,
                intent,
                list: Connections::commit(&list, salt),
                omitted: report.omitted,
                time: now,
                usage: report.usage,
            })
        })
    }

    fn born(
        &self,
        report: BornReport,
        salt: &Salt,
        now: Millis,
        reply: Reply<Result<Index, Denied>>,
    ) -> Option<Draft> {
        let (exec, list) = (report.exec, report.list);
        self.listed(exec, (&list, salt), reply, |intent| {
            Record::Born(Born {
                count: report.count,
                exec,
                intent,
                list: Born::commit(&list, salt),
                omitted: report.omitted,
                time: now,
            })
        })
    }

    /// A record of what a running execution did, whose list stands beside it and can be erased.
    fn listed(
        &self,
        exec: ExecutionId,
        (list, salt): (&[u8], &Salt),
        reply: Reply<Result<Index, Denied>>,
        record: impl FnOnce(Digest) -> Record,
    ) -> Option<Draft> {
        let Some(intent) = running(&self.state, exec) else {
            answer(reply, Ok(Err(unknown_execution(self.state.next(), exec))));
            return None;
        };
        Some(Draft {
            record: record(intent),
            payload: Some(encode_payload(salt, list)),
            then: Then::Done { reply },
        })
    }

    fn end(
        &self,
        report: &EndReport,
        now: Millis,
        reply: Reply<Result<Index, Denied>>,
    ) -> Option<Draft> {
        let EndReport {
            exec,
            outcome,
            cause,
            exit,
            usage,
        } = *report;
        // Ending what has ended already is answered and not recorded: a gateway that lost the
        // first answer asks again.
        let Some(execution) = self.state.execution(&exec) else {
            answer(reply, Ok(Err(unknown_execution(self.state.next(), exec))));
            return None;
        };
        let intent = execution.intent.digest();
        let record = Record::Ended(Ended {
            cause,
            exec,
            exit,
            intent,
            outcome,
            time: now,
            usage,
        });
        Some(Draft {
            record,
            payload: None,
            then: Then::Done { reply },
        })
    }

    fn act(
        &mut self,
        act: ReadyAct,
        by: PrincipalId,
        decided_by: Option<ExecutionId>,
        now: Millis,
        reply: Reply<Result<Index, ActError>>,
    ) -> Option<Draft> {
        let erase = if let ReadyAct::Erase(index, _) = &act {
            Some(*index)
        } else {
            None
        };
        let record = act.record(by, decided_by, now);
        match self.may_act(&act, &record, now) {
            Ok(()) => {
                if let ReadyAct::Activate(activation) = act {
                    self.policy = Some(activation.policy);
                }
                Some(Draft {
                    record,
                    payload: None,
                    then: Then::Acted { reply, erase },
                })
            }
            Err(error) => {
                answer(reply, Ok(Err(error)));
                None
            }
        }
    }

    /// What was ready may have been overtaken: its record must be able to follow.
    fn may_act(&self, act: &ReadyAct, record: &Record, now: Millis) -> Result<(), ActError> {
        if let Some(governed) = self.state.governed(record) {
            let permitted = governed
                .decided_by
                .is_some_and(|exec| self.state.permits(&governed, exec, now));
            if !permitted {
                let reason = "policy or permit changed meanwhile; run the command again";
                return Err(ActError::new(DenialCode::PolicyMismatch, reason));
            }
        } else if record.decided_by().is_some() {
            let reason = "administration is not governed any more; run the command again";
            return Err(ActError::new(DenialCode::PolicyMismatch, reason));
        }
        match act {
            ReadyAct::Activate(activation) => {
                has_not_expired(activation, now)?;
                self.revision_rises(activation)
            }
            ReadyAct::Secret(_, version) => self.secrets_follow(*version, record),
            ReadyAct::Approve(approval) => approvals::still_waits(&self.state, approval, now),
            ReadyAct::Principal(record) => self.has_room_for(&record.id),
            ReadyAct::Revoke(..)
            | ReadyAct::Halt(_)
            | ReadyAct::Resume(..)
            | ReadyAct::Erase(..)
            | ReadyAct::Changes(_)
            | ReadyAct::Definition(_) => Ok(()),
            ReadyAct::Shadow(bundle, _) => self.may_stand_beside(bundle.as_deref()),
        }
    }

    /// One principal too many is refused: each has a history.
    fn has_room_for(&self, id: &PrincipalId) -> Result<(), ActError> {
        if self.state.has_room_for(id) {
            return Ok(());
        }
        let reason = format!("the domain has {PRINCIPALS_MAX} principals, which is the most");
        Err(ActError::new(DenialCode::Overloaded, reason))
    }

    /// Whether this is decided beside the bundle in force from here on.
    fn may_stand_beside(&self, bundle: Option<&Activation>) -> Result<(), ActError> {
        let mismatch = |reason| Err(ActError::new(DenialCode::PolicyMismatch, reason));
        let Some(activation) = bundle else {
            if self.state.shadow().is_none() {
                return mismatch("no bundle is decided beside the one in force");
            }
            return Ok(());
        };
        let digest = activation.policy.digest();
        if self.state.policy().is_some_and(|it| it.bundle == digest) {
            return mismatch("this very bundle is in force; nothing would differ");
        }
        Ok(())
    }

    /// The store's next state was made from the one that this log speaks of.
    fn secrets_follow(&self, version: u64, record: &Record) -> Result<(), ActError> {
        if let Record::Secret(record) = record
            && !self.state.may_renew(record)
        {
            let reason = "the execution that it was handed to does not run any more";
            return Err(ActError::new(DenialCode::CredentialUnavailable, reason));
        }
        if Some(version) == self.state.secrets().version().checked_add(1) {
            return Ok(());
        }
        let reason = "the secrets were changed meanwhile; run the command again";
        Err(ActError::new(DenialCode::CredentialUnavailable, reason))
    }

    fn revision_rises(&self, activation: &Activation) -> Result<(), ActError> {
        let revision = activation.policy.revision();
        match self.state.policy() {
            Some(active) if revision <= active.revision => {
                let reason = format!(
                    "revision {revision} is not above the active revision {}; raise `revision` in bundle.toml",
                    active.revision
                );
                Err(ActError::new(DenialCode::PolicyMismatch, reason))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What has expired would deny everything from its activation on.
fn has_not_expired(activation: &Activation, now: Millis) -> Result<(), ActError> {
    match activation.policy.validity().expires {
        Some(end) if now >= end => {
            let reason = format!(
                "the bundle expired {end}, and would deny everything; set `expires` in bundle.toml, and sign it again"
            );
            Err(ActError::new(DenialCode::Expired, reason))
        }
        Some(_) | None => Ok(()),
    }
}
