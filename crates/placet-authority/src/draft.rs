//! Drafting: from what was handed in to the record that will say so, one after the other.
//!
//! The drafter owns the speculative state: the fold of everything durable and of the drafts that
//! are on their way. Each intent is decided against exactly what stands before its record. If a
//! batch is not committed the drafter goes with it, and nothing of it was released.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use placet_artifact::Unsigned;
use placet_artifact::jws::Algorithm;
use placet_decision::{Decision, Input, Params, claims, decide};
use placet_evidence::{
    Caller, CheckedDenial, Ended, Environment, Erased, Facts, Grant, Halt, PolicyActivated,
    PrincipalRecord, Record, Refused, Revoked, Signal, Stage, Started,
};
use placet_policy::Policy;
use placet_state::{Execution, Phase, State};
use placet_types::{
    Commitment, Denial, DenialCode, Digest, ExecutionId, GatewayName, Index, Intent, Millis,
    PrincipalId, PublicKey, Salt, Scope,
};

use crate::activate::Activation;
use crate::clock::Clock;
use crate::control::ActError;
use crate::scopes::Scopes;
use crate::submission::{Answer, Denied, EndReport, Unavailable};

/// Where an answer goes. The receiver may be gone; the record stands all the same.
pub(crate) type Reply<T> = SyncSender<Result<T, Unavailable>>;

/// One thing that waits for its record.
#[derive(Debug)]
pub(crate) enum Work {
    /// An intent that parses.
    Intent(Box<Prepared>, Reply<Answer>),
    /// An attempt that will be refused whatever the state says.
    Refuse(Attempt, Reply<Denied>),
    /// A gateway is about to start an execution.
    Start(StartRequest, Reply<Result<Index, Denied>>),
    /// Something notable happened.
    Signal(SignalReport, Reply<Result<Index, Denied>>),
    /// An execution is over.
    End(EndReport, Reply<Result<Index, Denied>>),
    /// An operator's act.
    Act(ReadyAct, PrincipalId, Reply<Result<Index, ActError>>),
}

/// An intent that parses, with what belongs to it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) intent: Intent,
    pub(crate) params: Params,
    pub(crate) holder: String,
    pub(crate) environment: Environment,
    pub(crate) caller: Caller,
    pub(crate) exec: ExecutionId,
}

/// An attempt that never became a decision.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) presented: Vec<u8>,
    pub(crate) salt: Salt,
    pub(crate) caller_uid: u32,
    pub(crate) denial: Denial,
    pub(crate) exec: Option<ExecutionId>,
    pub(crate) stage: Stage,
}

/// A gateway is about to start an execution.
#[derive(Debug)]
pub(crate) struct StartRequest {
    pub(crate) exec: ExecutionId,
    pub(crate) artifact: Digest,
    pub(crate) gateway: GatewayName,
    pub(crate) caller_uid: u32,
    pub(crate) salt: Salt,
}

/// Something notable happened while an execution ran.
#[derive(Debug)]
pub(crate) struct SignalReport {
    pub(crate) exec: ExecutionId,
    pub(crate) code: DenialCode,
    pub(crate) count: u64,
    pub(crate) detail: String,
}

/// An act whose costly part is done.
#[derive(Debug)]
pub(crate) enum ReadyAct {
    Revoke(placet_evidence::Selector, String),
    Halt(String),
    Resume(String),
    Principal(PrincipalRecord),
    Activate(Box<Activation>),
    Erase(Index, String),
}

/// A record that is on its way, and what happens once it is durable.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) record: Record,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) then: Then,
}

/// What happens once a record is durable.
#[derive(Debug)]
pub(crate) enum Then {
    Permit {
        reply: Reply<Answer>,
        unsigned: Unsigned,
        grant: Grant,
        scope: Arc<Scope>,
    },
    Deny {
        reply: Reply<Answer>,
        exec: ExecutionId,
        denial: CheckedDenial,
    },
    Refused {
        reply: Reply<Denied>,
        denied: Denied,
    },
    /// A start, signal or end that was refused: recorded as an attempt.
    NotDone {
        reply: Reply<Result<Index, Denied>>,
        denied: Denied,
    },
    Done {
        reply: Reply<Result<Index, Denied>>,
    },
    Acted {
        reply: Reply<Result<Index, ActError>>,
        erase: Option<Index>,
    },
}

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
            Work::Intent(prepared, reply) => self.decide(*prepared, now, reply),
            Work::Refuse(attempt, reply) => Some(refuse(attempt, now, |denied| Then::Refused {
                reply,
                denied,
            })),
            Work::Start(request, reply) => Some(self.start(request, now, reply)),
            Work::Signal(report, reply) => self.signal(report, now, reply),
            Work::End(report, reply) => self.end(&report, now, reply),
            Work::Act(act, by, reply) => self.act(act, by, now, reply),
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
            intent,
            params,
            holder,
            environment,
            caller,
            exec,
        } = prepared;
        let facts = Facts {
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
            parent_scope: parent_scope.as_deref(),
            facts: &facts,
        });
        let payload = Some(encode_payload(&params));
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
                let denial = decision.denial().cloned()?;
                (
                    decision.into_record(intent, facts, None),
                    Then::Deny {
                        reply,
                        exec,
                        denial,
                    },
                )
            }
            // The scope could not be kept, so its permit could not be explained later: no permit.
            Err(Unavailable::Evidence | Unavailable::Overloaded) => {
                answer(&reply, Err(Unavailable::Evidence));
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
        intent: &Intent,
        facts: &Facts,
    ) -> Result<Option<(Unsigned, Grant, Arc<Scope>)>, Unavailable> {
        let Some((grant, scope)) = decision.permit() else {
            return Ok(None);
        };
        self.scopes
            .keep(grant.scope, scope)
            .map_err(|_| Unavailable::Evidence)?;
        let domain = &self.state.genesis().domain;
        let claims = claims(domain, intent, facts, grant, decision.policy(), scope)
            .map_err(|_| Unavailable::Evidence)?;
        let unsigned = Unsigned::new(&claims, &self.artifact_key, Algorithm::EdDsa)
            .map_err(|_| Unavailable::Evidence)?;
        Ok(Some((unsigned, grant.clone(), Arc::clone(scope))))
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
            caller_uid,
            salt,
        } = request;
        match may_start(&self.state, exec, artifact, now) {
            Ok(intent) => {
                let record = Record::Started(Started {
                    exec,
                    gateway,
                    intent,
                    time: now,
                });
                Draft {
                    record,
                    payload: None,
                    then: Then::Done { reply },
                }
            }
            Err(denial) => {
                let presented = exec.to_string().into_bytes();
                let stage = Stage::Artifact;
                let attempt = Attempt {
                    presented,
                    salt,
                    caller_uid,
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
        } = report;
        let Some(intent) = running(&self.state, exec) else {
            answer(&reply, Ok(Err(unknown_execution(self.state.next(), exec))));
            return None;
        };
        let record = Record::Signal(Signal {
            code,
            count,
            detail,
            exec,
            intent,
            time: now,
        });
        Some(Draft {
            record,
            payload: None,
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
            answer(&reply, Ok(Err(unknown_execution(self.state.next(), exec))));
            return None;
        };
        let intent = execution.intent_digest;
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
        now: Millis,
        reply: Reply<Result<Index, ActError>>,
    ) -> Option<Draft> {
        let erase = match &act {
            ReadyAct::Erase(index, _) => Some(*index),
            ReadyAct::Revoke(..)
            | ReadyAct::Halt(_)
            | ReadyAct::Resume(_)
            | ReadyAct::Principal(_)
            | ReadyAct::Activate(_) => None,
        };
        match self.act_record(act, by, now) {
            Ok(record) => Some(Draft {
                record,
                payload: None,
                then: Then::Acted { reply, erase },
            }),
            Err(error) => {
                answer(&reply, Ok(Err(error)));
                None
            }
        }
    }

    fn act_record(
        &mut self,
        act: ReadyAct,
        by: PrincipalId,
        time: Millis,
    ) -> Result<Record, ActError> {
        Ok(match act {
            ReadyAct::Revoke(selector, reason) => Record::Revoked(Revoked {
                by,
                reason,
                selector,
                time,
            }),
            ReadyAct::Halt(reason) => Record::Halted(Halt { by, reason, time }),
            ReadyAct::Resume(reason) => Record::Resumed(Halt { by, reason, time }),
            ReadyAct::Principal(record) => {
                Record::Principal(PrincipalRecord { by, time, ..record })
            }
            ReadyAct::Activate(activation) => self.activate(*activation, by, time)?,
            ReadyAct::Erase(index, reason) => Record::Erased(Erased {
                by,
                index,
                reason,
                time,
            }),
        })
    }

    fn activate(
        &mut self,
        activation: Activation,
        by: PrincipalId,
        time: Millis,
    ) -> Result<Record, ActError> {
        let revision = activation.policy.revision();
        if let Some(active) = self.state.policy()
            && revision <= active.revision
        {
            let reason = format!(
                "revision {revision} is not above the active revision {}; raise `revision` in bundle.toml",
                active.revision
            );
            return Err(ActError::new(DenialCode::PolicyMismatch, reason));
        }
        let record = PolicyActivated {
            bundle: activation.policy.digest(),
            by,
            name: activation.policy.name().to_owned(),
            revision,
            signers: activation.signers.into_iter().collect(),
            time,
        };
        self.policy = Some(activation.policy);
        Ok(Record::Policy(record))
    }
}

/// Sends an answer. Whoever asked may be gone: then nobody is left to be told.
pub(crate) fn answer<T>(reply: &Reply<T>, answer: Result<T, Unavailable>) {
    if reply.send(answer).is_err() {
        // The record stands; a permit that nobody took lapses.
    }
}

/// The private bytes beside a decision: the salt, then the parameters.
pub(crate) fn encode_payload(params: &Params) -> Vec<u8> {
    [params.salt.as_bytes().as_slice(), &params.bytes].concat()
}

/// Reads what [`encode_payload`] wrote.
pub(crate) fn decode_payload(bytes: &[u8]) -> Option<Params> {
    let (salt, bytes) = bytes.split_first_chunk::<32>()?;
    Some(Params {
        salt: Salt::new(*salt),
        bytes: bytes.to_vec(),
    })
}

fn refuse(attempt: Attempt, now: Millis, then: impl FnOnce(Denied) -> Then) -> Draft {
    let Attempt {
        presented,
        salt,
        caller_uid,
        denial,
        exec,
        stage,
    } = attempt;
    let commitment = Commitment::to("attempt", &presented, &salt);
    let denied = Denied {
        index: Index::default(),
        exec,
        denial: CheckedDenial {
            check: 1,
            code: denial.code,
            reason: denial.reason.clone(),
        },
    };
    let refused = Refused {
        attempt: commitment,
        caller_uid,
        denial,
        exec,
        stage,
        time: now,
    };
    // What was presented is kept beside the record, within a bound: it can be as long as a frame.
    let kept: Vec<u8> = presented.into_iter().take(64 << 10).collect();
    let payload = Some(encode_payload(&Params { salt, bytes: kept }));
    Draft {
        record: Record::Refused(refused),
        payload,
        then: then(denied),
    }
}

/// Whether an execution may start now; gives the digest of its intent.
fn may_start(
    state: &State,
    exec: ExecutionId,
    artifact: Digest,
    now: Millis,
) -> Result<Digest, Denial> {
    let replayed = || Denial::new(DenialCode::Replayed, "the artifact was used, or has lapsed");
    let execution = state.execution(&exec).ok_or_else(replayed)?;
    match execution.phase {
        Phase::Authorized => {}
        Phase::Running(_) => return Err(replayed()),
    }
    if execution.artifact != artifact {
        let reason = "the artifact is not the one that was issued for this execution";
        return Err(Denial::new(DenialCode::IntentMismatch, reason));
    }
    if state.is_halted() {
        return Err(Denial::new(DenialCode::Halted, "the domain is halted"));
    }
    if let Some(cause) = execution.ending {
        return Err(Denial::new(
            cause,
            "the authority was ended before the start",
        ));
    }
    if state.policy().map(|active| active.bundle) != Some(execution.bundle) {
        let reason = "another policy bundle came into force before the start";
        return Err(Denial::new(DenialCode::PolicyMismatch, reason));
    }
    if now >= execution.grant.not_after {
        return Err(Denial::new(DenialCode::Expired, "the window is over"));
    }
    parent_is_live(state, execution)?;
    Ok(execution.intent_digest)
}

fn parent_is_live(state: &State, execution: &Execution) -> Result<(), Denial> {
    let Some(parent) = execution.parent() else {
        return Ok(());
    };
    if state.execution(&parent).is_some_and(Execution::is_live) {
        return Ok(());
    }
    Err(Denial::new(
        DenialCode::LineageFragmented,
        "the parent does not run any more",
    ))
}

fn running(state: &State, exec: ExecutionId) -> Option<Digest> {
    let execution = state.execution(&exec)?;
    matches!(execution.phase, Phase::Running(_)).then_some(execution.intent_digest)
}

fn unknown_execution(index: Index, exec: ExecutionId) -> Denied {
    let reason = "no such execution is authorized or running".to_owned();
    let denial = CheckedDenial {
        check: 5,
        code: DenialCode::LineageFragmented,
        reason,
    };
    Denied {
        index,
        exec: Some(exec),
        denial,
    }
}

impl Then {
    /// Tells whoever waits that nothing was recorded.
    pub(crate) fn fail(self) {
        let gone = Unavailable::Evidence;
        match self {
            Self::Permit { reply, .. } | Self::Deny { reply, .. } => answer(&reply, Err(gone)),
            Self::Refused { reply, .. } => answer(&reply, Err(gone)),
            Self::NotDone { reply, .. } | Self::Done { reply } => answer(&reply, Err(gone)),
            Self::Acted { reply, .. } => answer(&reply, Err(gone)),
        }
    }
}

impl Work {
    /// Tells whoever waits that nothing was recorded.
    pub(crate) fn fail(self) {
        let gone = Unavailable::Evidence;
        match self {
            Self::Intent(_, reply) => answer(&reply, Err(gone)),
            Self::Refuse(_, reply) => answer(&reply, Err(gone)),
            Self::Start(_, reply) | Self::Signal(_, reply) | Self::End(_, reply) => {
                answer(&reply, Err(gone));
            }
            Self::Act(_, _, reply) => answer(&reply, Err(gone)),
        }
    }
}
