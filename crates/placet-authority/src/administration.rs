//! Acts: what operators and approvers do, and how an act that the bundle in force governs comes by its
//! permit.
//!
//! Such an act is an intent like any other. What it is about is computed here, from the log and the
//! bundles, and never taken from the caller; its resource has the digest of the record that is to be.
//! The ten checks decide it, approvals bind to it, and the fold takes the record only with the permit,
//! once. What waits is found again by whoever asks for the same, while nothing that policies see of it
//! has changed; else it is asked for anew, and approved anew.

mod facts;
mod record;

use std::sync::{MutexGuard, PoisonError};

use placet_decision::Params;
use placet_evidence::{AdministrativeAct, Caller, DOMAIN_KIND, GATEWAY, RunEnd};
use placet_log::Payload;
use placet_state::Phase;
use placet_types::{
    ActionName, Asked, Commitment, DenialCode, ExecutionId, Fixed, FixedIntent, GatewayName, Index,
    Intent, PrincipalId, ResourceRef, Salt,
};

use crate::authority::{Authority, wait};
use crate::control::{Act, ActError, NotPermitted};
use crate::payload::decode_payload;
use crate::random;
use crate::submission::{Answer, EndReport, Unavailable};
use crate::work::{Prepared, ReadyAct, Work};

impl Authority {
    /// Does an act for whoever runs this process: where the domain is embedded.
    ///
    /// # Errors
    ///
    /// As for [`Authority::act_for`].
    pub fn act(&self, act: Act, by: PrincipalId) -> Result<Result<Index, ActError>, Unavailable> {
        let caller = Caller::Unix(rustix::process::geteuid().as_raw());
        self.act_for(act, by, caller)
    }

    /// Does an act for `caller`, as `by`. Where the bundle in force governs it, it is decided first.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded; [`ActError`] when the act was refused, denied,
    /// or waits for approvals.
    pub fn act_for(
        &self,
        act: Act,
        by: PrincipalId,
        caller: Caller,
    ) -> Result<Result<Index, ActError>, Unavailable> {
        let activates = matches!(act, Act::Activate { .. });
        let ready = match self.ready(act, &by) {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(error)),
        };
        if ready.takes_trust_away() {
            return self.urgent(|reply| Work::Act(ready, by, None, reply));
        }
        let _alone = self.administering();
        let decided_by = match self.permit_act(&ready, &by, caller)? {
            Ok(decided_by) => decided_by,
            Err(error) => return Ok(Err(error)),
        };
        let done = self.urgent(|reply| Work::Act(ready, by, decided_by, reply))?;
        self.settle_act(decided_by, done.is_ok())?;
        if activates && done.is_ok() {
            self.decide_again()?;
        }
        Ok(done)
    }

    /// Nobody else changes what policies see of an act before it is done.
    pub(crate) fn administering(&self) -> MutexGuard<'_, ()> {
        self.acting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The decision that permits the act; `None` where it needs none.
    pub(crate) fn permit_act(
        &self,
        act: &ReadyAct,
        by: &PrincipalId,
        caller: Caller,
    ) -> Result<Result<Option<ExecutionId>, ActError>, Unavailable> {
        let record = act.record(by.clone(), None, placet_types::Millis::default());
        let Some(governed) = self.with_state(|state| state.governed(&record)) else {
            return Ok(Ok(None));
        };
        let params = match self.facts_of(act, by) {
            Ok(params) => params,
            Err(error) => return Ok(Err(error)),
        };
        let (intent, params) = self.intent_of(&governed, params)?;
        let prepared = Prepared {
            bearer: None,
            attestation: None,
            intent,
            params,
            holder: self.keys.record.public().thumbprint(),
            environment: self.host.clone(),
            caller,
            exec: random::execution_id().map_err(|_| Unavailable::Evidence)?,
        };
        let answer = wait(|reply| {
            self.queue
                .push_urgent(Work::Intent(Box::new(prepared), reply))
        })?;
        Ok(match answer {
            Answer::Permitted(permitted) => Ok(Some(permitted.exec)),
            Answer::Denied(denied) => {
                let placet_evidence::CheckedDenial { code, reason, .. } = denied.denial;
                let reason = format!("{reason} (record {})", denied.index);
                Err(ActError {
                    decided: Some(NotPermitted::Denied(denied.index)),
                    ..ActError::new(code, reason)
                })
            }
            Answer::Deferred(deferred) => {
                let reason = format!(
                    "it waits for approvals as {}; once it is approved, do the same again",
                    deferred.exec
                );
                Err(ActError {
                    decided: Some(NotPermitted::Waits(deferred)),
                    ..ActError::new(DenialCode::ApprovalRequired, reason)
                })
            }
        })
    }

    /// The intent of the act: the one that waits, if one does and nothing changed of it, else a new one.
    fn intent_of(
        &self,
        act: &AdministrativeAct,
        params: Vec<u8>,
    ) -> Result<(FixedIntent, Params), Unavailable> {
        if let Some(waits) = self.waiting_act(act, &params) {
            return Ok(waits);
        }
        let salt: Salt = random::salt().map_err(|_| Unavailable::Evidence)?;
        let odd = |_| Unavailable::Evidence;
        let domain = self.with_state(|state| state.genesis().domain.clone());
        let intent = Intent {
            action: ActionName::parse(act.action).map_err(odd)?,
            asked: Asked::default(),
            gateway: GatewayName::parse(GATEWAY).map_err(odd)?,
            params: Commitment::to(act.action, &params, &salt),
            parent: None,
            principal: act.by.clone(),
            resource: ResourceRef {
                digest: Some(act.digest),
                id: domain.as_str().to_owned(),
                kind: DOMAIN_KIND.to_owned(),
            },
        };
        let intent = Fixed::new(intent).map_err(|_| Unavailable::Evidence)?;
        Ok((intent, Params::new(params, salt)))
    }

    fn waiting_act(&self, act: &AdministrativeAct, params: &[u8]) -> Option<(FixedIntent, Params)> {
        let now = self.clock.wall();
        let waiting: Vec<(Index, FixedIntent)> = self.with_state(|state| {
            let waiting = state.waiting(now.max(state.time())).into_iter();
            waiting
                .filter(|(_, waits)| {
                    waits.intent.action.as_str() == act.action
                        && waits.intent.principal == act.by
                        && waits.intent.resource.digest == Some(act.digest)
                })
                .map(|(_, waits)| (waits.decided, waits.intent.clone()))
                .collect()
        });
        // The latest: an earlier one was asked for under other circumstances.
        waiting.into_iter().rev().find_map(|(decided, intent)| {
            let payload = self.reader().payload(decided).ok()?;
            let Payload::Present(bytes) = payload else {
                return None;
            };
            let kept = decode_payload(&bytes)?;
            (kept.bytes() == params).then_some((intent, kept))
        })
    }

    /// A permit whose act was not done lapses: it is for now and nothing else.
    pub(crate) fn settle_act(
        &self,
        decided_by: Option<ExecutionId>,
        done: bool,
    ) -> Result<(), Unavailable> {
        match decided_by.filter(|_| !done) {
            Some(exec) => self.lapse(exec),
            None => Ok(()),
        }
    }

    /// Permits of acts that a lost node did not get to.
    pub(crate) fn lapse_acts(&self) -> Result<(), Unavailable> {
        let left: Vec<ExecutionId> = self.with_state(|state| {
            let acts = state.executions().filter(|(_, execution)| {
                execution.intent.gateway.as_str() == GATEWAY && execution.phase == Phase::Authorized
            });
            acts.map(|(exec, _)| *exec).collect()
        });
        left.into_iter().try_for_each(|exec| self.lapse(exec))
    }

    fn lapse(&self, exec: ExecutionId) -> Result<(), Unavailable> {
        let report = EndReport {
            exec,
            outcome: RunEnd::Lapsed,
            cause: None,
            exit: None,
            usage: None,
        };
        // One that ended meanwhile is over, which is all that is wanted.
        self.end(report).map(drop)
    }
}
