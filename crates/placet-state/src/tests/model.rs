//! A second, naive reading of the log: every question goes through all records again. It shares
//! no code with the fold, only the definitions in the documentation.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each question is about a few kinds of records"
)]

use std::collections::{BTreeMap, BTreeSet};

use placet_evidence::{
    Decided, History, Outcome, PrincipalStatus, Record, RunEnd, Selector, SignalKind,
};
use placet_types::{DenialCode, ExecutionId, Millis, PrincipalId, ResourceRef};
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use super::fixture::*;
use crate::{Phase, State, resource_digest};

/// All records so far, the genesis first.
struct Model(Vec<Record>);

/// An execution as the model sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    decided: u64,
    phase: Phase,
    ending: Option<DenialCode>,
}

impl Model {
    fn permits(&self) -> impl Iterator<Item = (usize, &Decided)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(at, record)| match record {
                Record::Decided(decided) if decided.outcome == Outcome::Permit => {
                    Some((at, decided.as_ref()))
                }
                _ => None,
            })
    }

    fn permit_of(&self, id: ExecutionId) -> Option<&Decided> {
        self.permits()
            .map(|(_, permit)| permit)
            .find(|permit| permit.facts.exec == id)
    }

    fn has_ended(&self, id: ExecutionId) -> bool {
        self.0
            .iter()
            .any(|record| matches!(record, Record::Ended(end) if end.exec == id))
    }

    fn is_below(&self, id: ExecutionId, root: ExecutionId) -> bool {
        let mut above = self.permit_of(id).and_then(|permit| permit.intent.parent);
        while let Some(parent) = above {
            if parent == root {
                return true;
            }
            above = self
                .permit_of(parent)
                .and_then(|permit| permit.intent.parent);
        }
        false
    }

    /// Whoever the execution acts as or for: its principal and those of its ancestors.
    fn actors(&self, permit: &Decided) -> BTreeSet<PrincipalId> {
        let mut actors = BTreeSet::from([permit.intent.principal.clone()]);
        let mut above = permit.intent.parent;
        while let Some(parent) = above.and_then(|id| self.permit_of(id)) {
            actors.insert(parent.intent.principal.clone());
            above = parent.intent.parent;
        }
        actors
    }

    /// The cause that a record gives to an execution that was permitted before it.
    fn cause(&self, record: &Record, permit: &Decided) -> Option<DenialCode> {
        let id = permit.facts.exec;
        let (hit, cause) = match record {
            Record::Halted(_) => (true, DenialCode::Halted),
            Record::Ended(end) => (self.is_below(id, end.exec), DenialCode::LineageFragmented),
            Record::Principal(record) => (
                record.status == PrincipalStatus::Suspended
                    && self.actors(permit).contains(&record.id),
                DenialCode::Revoked,
            ),
            Record::Revoked(revoked) => (
                match &revoked.selector {
                    Selector::Artifact(named) | Selector::Execution(named) => *named == id,
                    Selector::Everything => true,
                    Selector::Group(group) => self
                        .actors(permit)
                        .iter()
                        .any(|actor| self.is_in_before(actor, group, record)),
                    Selector::Node(machine) => permit.facts.environment.machine == *machine,
                    Selector::Policy(named) => permit.policy.determining.contains(named),
                    Selector::Principal(named) => self.actors(permit).contains(named),
                    Selector::Subtree(root) => *root == id || self.is_below(id, *root),
                },
                DenialCode::Revoked,
            ),
            _ => return None,
        };
        hit.then_some(cause)
    }

    /// Every execution that has not ended.
    fn executions(&self) -> BTreeMap<ExecutionId, Seen> {
        let alive = self
            .permits()
            .filter(|(_, permit)| !self.has_ended(permit.facts.exec));
        alive
            .map(|(at, permit)| {
                let after = &self.0[at + 1..];
                let id = permit.facts.exec;
                let start = after.iter().find_map(|record| match record {
                    Record::Started(start) if start.exec == id => Some(start.time),
                    _ => None,
                });
                let seen = Seen {
                    decided: at as u64,
                    phase: start.map_or(Phase::Authorized, Phase::Running),
                    ending: after.iter().find_map(|record| self.cause(record, permit)),
                };
                (id, seen)
            })
            .collect()
    }

    fn subtree(&self, root: ExecutionId) -> BTreeSet<ExecutionId> {
        self.executions()
            .into_keys()
            .filter(|id| *id == root || self.is_below(*id, root))
            .collect()
    }

    /// Whether a principal was registered as one of this group before a record.
    fn is_in_before(&self, id: &PrincipalId, group: &str, record: &Record) -> bool {
        let before = self.0.iter().take_while(|one| !std::ptr::eq(*one, record));
        let mut groups: &[String] = &[];
        for one in before {
            if let Record::Principal(one) = one
                && one.id == *id
            {
                groups = &one.groups;
            }
        }
        groups.iter().any(|own| own == group)
    }

    fn is_halted(&self) -> bool {
        let last = self.0.iter().rfind(|r| match r {
            Record::Halted(_) => true,
            Record::Resumed(resumed) => resumed.node.is_none(),
            _ => false,
        });
        matches!(last, Some(Record::Halted(_)))
    }

    fn is_node_revoked(&self) -> bool {
        let last = self.0.iter().rev().find_map(|record| match record {
            Record::Revoked(one) if one.selector == Selector::Node(machine()) => Some(true),
            Record::Resumed(one) if one.node == Some(machine()) => Some(false),
            _ => None,
        });
        last == Some(true)
    }

    fn revision(&self) -> Option<u64> {
        self.0.iter().rev().find_map(|record| match record {
            Record::Policy(policy) => Some(policy.revision),
            _ => None,
        })
    }

    fn is_policy_revoked(&self, name: &str) -> bool {
        self.0
            .iter()
            .rev()
            .take_while(|record| !matches!(record, Record::Policy(_)))
            .any(|record| {
                matches!(record, Record::Revoked(revoked)
                if revoked.selector == Selector::Policy(name.into()))
            })
    }

    fn status(&self, id: &PrincipalId) -> Option<PrincipalStatus> {
        let mut status = None;
        for record in &self.0 {
            match record {
                Record::Principal(record) if record.id == *id => status = Some(record.status),
                Record::Revoked(revoked) if revoked.selector == Selector::Principal(id.clone()) => {
                    status = status.map(|_| PrincipalStatus::Suspended);
                }
                Record::Revoked(revoked)
                    if revoked.selector == Selector::Group("agents".into()) =>
                {
                    status = status.map(|_| PrincipalStatus::Suspended);
                }
                _ => {}
            }
        }
        status
    }

    fn history(&self, id: &PrincipalId, resource: &ResourceRef, now: Millis) -> History {
        let decisions: Vec<&Decided> = self
            .0
            .iter()
            .enumerate()
            .filter_map(|(at, record)| match record {
                // A denial counts once its principal is registered.
                Record::Decided(decided) if decided.intent.principal == *id => {
                    let known = Self(self.0[..at].to_vec()).status(id).is_some();
                    (known || decided.outcome == Outcome::Permit).then_some(decided.as_ref())
                }
                _ => None,
            })
            .collect();
        let permits = || decisions.iter().filter(|d| d.outcome == Outcome::Permit);
        let step = |time: Millis| time.get() / 300_000;
        let within = |outcome, length: u64, steps: u64| {
            let recent = |d: &&&Decided| d.facts.time.get() / length + steps > now.get() / length;
            decisions
                .iter()
                .filter(|d| d.outcome == outcome)
                .filter(recent)
                .count() as u64
        };
        let count = |outcome| within(outcome, 300_000, 12);
        let of_resource = |steps| {
            permits()
                .filter(|d| step(d.facts.time) + steps > step(now))
                .filter(|d| d.intent.resource == *resource)
                .count() as u64
        };
        let runs = self.executions();
        let running = permits().filter(|d| {
            matches!(
                runs.get(&d.facts.exec),
                Some(Seen {
                    phase: Phase::Running(_),
                    ..
                })
            )
        });
        let signals = |kinds: &[SignalKind]| {
            let counted = self.0.iter().filter_map(|record| match record {
                Record::Signal(it) if step(it.time) + 12 > step(now) => {
                    let by = &self.permit_of(it.exec)?.intent.principal;
                    (by == id && kinds.contains(&it.kind?)).then_some(it.count)
                }
                _ => None,
            });
            counted.sum()
        };
        // Ends of what ran. What lapsed after its start does not count as a failure.
        let ends: Vec<_> = self
            .0
            .iter()
            .filter_map(|record| match record {
                Record::Ended(end) if end.outcome != RunEnd::Lapsed => {
                    let by = &self.permit_of(end.exec)?.intent.principal;
                    let ran = |it: &Record| matches!(it, Record::Started(s) if s.exec == end.exec);
                    (by == id && self.0.iter().any(ran)).then_some(end)
                }
                _ => None,
            })
            .collect();
        History {
            denial_streak: decisions
                .iter()
                .rev()
                .take_while(|d| d.outcome == Outcome::Deny)
                .count() as u64,
            denials_hour: count(Outcome::Deny),
            drifts_hour: signals(&[SignalKind::Drift]),
            permits_hour: count(Outcome::Permit),
            permits_minute: within(Outcome::Permit, 10_000, 7),
            permits_60m: within(Outcome::Permit, 300_000, 13),
            permits_day: within(Outcome::Permit, 3_600_000, 25),
            denials_60m: within(Outcome::Deny, 300_000, 13),
            denials_day: within(Outcome::Deny, 3_600_000, 25),
            permits_resource_60m: of_resource(13),
            permits_resource_hour: of_resource(12),
            failure_streak: ends
                .iter()
                .rev()
                .take_while(|end| end.outcome != RunEnd::Completed)
                .count() as u64,
            since_last_success_secs: ends
                .iter()
                .rev()
                .find(|end| end.outcome == RunEnd::Completed)
                .map(|end| (now.get() - end.time.get()) / 1000),
            seen_action: permits().next().is_some(),
            refused_connects_hour: signals(&[SignalKind::RefusedConnect]),
            refused_execs_hour: signals(&[SignalKind::RefusedExec]),
            refused_reads_hour: signals(&[SignalKind::RefusedRead]),
            refused_writes_hour: signals(&[SignalKind::RefusedWrite]),
            running: running.count() as u64,
            seen_resource: permits().any(|d| d.intent.resource == *resource),
            since_last_permit_secs: permits()
                .next_back()
                .map(|d| (now.get() - d.facts.time.get()) / 1000),
            signals_hour: signals(&KINDS),
            trips_hour: signals(&[SignalKind::Trip]),
        }
    }
}

/// What happens next, in terms that always lead to a valid record.
#[derive(Clone, Debug)]
enum Step {
    Permit {
        name: usize,
        below: Option<Pick>,
        tool: usize,
        policy: usize,
    },
    Deny {
        name: usize,
    },
    Start(Pick),
    /// The last kind is none at all, as records of an earlier version have it.
    Signal {
        kind: usize,
        count: u64,
        about: Pick,
    },
    End(Pick),
    Revoke {
        kind: usize,
        pick: Pick,
        name: usize,
    },
    Principal {
        name: usize,
        active: bool,
    },
    Policy(u64),
    Halt,
    Resume,
    ResumeNode,
}

/// The last one is never registered by the log's beginning.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const TOOLS: [&str; 3] = ["git", "curl", "make"];
const POLICIES: [&str; 2] = ["p", "q"];
const KINDS: [SignalKind; 7] = [
    SignalKind::Drift,
    SignalKind::Limit,
    SignalKind::RefusedConnect,
    SignalKind::RefusedExec,
    SignalKind::RefusedRead,
    SignalKind::RefusedWrite,
    SignalKind::Trip,
];

fn any_step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let below = prop::option::weighted(0.7, any::<Pick>());
    prop_oneof![
        8 => (name.clone(), below, 0..TOOLS.len(), 0..POLICIES.len())
            .prop_map(|(name, below, tool, policy)| Step::Permit { name, below, tool, policy }),
        2 => name.clone().prop_map(|name| Step::Deny { name }),
        8 => any::<Pick>().prop_map(Step::Start),
        4 => (0..=KINDS.len(), 1..9_u64, any::<Pick>())
            .prop_map(|(kind, count, about)| Step::Signal { kind, count, about }),
        3 => any::<Pick>().prop_map(Step::End),
        3 => (0..9_usize, any::<Pick>(), name.clone())
            .prop_map(|(kind, pick, name)| Step::Revoke { kind, pick, name }),
        1 => (name, any::<bool>()).prop_map(|(name, active)| Step::Principal { name, active }),
        1 => (1..4_u64).prop_map(Step::Policy),
        1 => Just(Step::Halt),
        1 => Just(Step::Resume),
        1 => Just(Step::ResumeNode),
    ]
}

impl Step {
    /// The record, or `None` where nothing fits the step now.
    fn record(&self, model: &Model, log: &Log) -> Option<Record> {
        let (now, alive) = (log.now, model.executions());
        let pick = |pick: &Pick, of: Vec<u64>| (!of.is_empty()).then(|| *pick.get(&of));
        let those = |keep: fn(&Seen) -> bool| -> Vec<u64> {
            alive
                .iter()
                .filter(|(_, seen)| keep(seen))
                .map(|(id, _)| number(*id))
                .collect()
        };
        let fresh = model.0.len() as u64;
        Some(match self {
            Self::Permit {
                name,
                below,
                tool: of,
                policy,
            } => {
                let live =
                    those(|seen| seen.ending.is_none() && matches!(seen.phase, Phase::Running(_)));
                let mut decided = match below.as_ref().and_then(|below| pick(below, live)) {
                    Some(parent) => log.child(parent, fresh, NAMES[*name]),
                    None => permit(fresh, NAMES[*name], now),
                };
                decided.intent = decided
                    .intent
                    .changed(|intent| intent.resource = tool(TOOLS[*of]))
                    .unwrap();
                decided.policy.determining = vec![POLICIES[*policy].into()];
                Record::Decided(Box::new(decided))
            }
            Self::Deny { name } => Record::Decided(Box::new(denial(fresh, NAMES[*name], now))),
            Self::Start(of) => started(
                pick(of, those(|seen| seen.phase == Phase::Authorized))?,
                now,
            ),
            Self::Signal { kind, count, about } => {
                let about = pick(about, those(|seen| matches!(seen.phase, Phase::Running(_))))?;
                signal(about, KINDS.get(*kind).copied(), *count, now)
            }
            Self::End(of) => ended(pick(of, those(|_| true))?, now),
            Self::Revoke { kind, pick, name } => {
                // Any number that was ever drawn, alive or not.
                let any = exec(pick.index(model.0.len()) as u64);
                let selector = match kind {
                    0 => Selector::Artifact(any),
                    1 => Selector::Execution(any),
                    2 => Selector::Subtree(any),
                    3 => Selector::Policy(POLICIES[*name % 2].into()),
                    4 => Selector::Everything,
                    5 => Selector::Group(["agents", "nobodies"][*name % 2].into()),
                    6 => Selector::Node(machine()),
                    _ => Selector::Principal(who(NAMES[*name])),
                };
                revoked(selector, now)
            }
            Self::Principal { name, active } => {
                let status = match active {
                    true => PrincipalStatus::Active,
                    false => PrincipalStatus::Suspended,
                };
                principal(NAMES[*name], status, now)
            }
            Self::Policy(by) => policy(model.revision().unwrap_or(0) + by, now),
            Self::Halt => Record::Halted(halt(now)),
            Self::Resume => resumed(None, now),
            Self::ResumeNode => resumed(Some(machine()), now),
        })
    }
}

fn check(state: &State, model: &Model) -> Result<(), TestCaseError> {
    let executions: BTreeMap<ExecutionId, Seen> = state
        .executions()
        .map(|(id, execution)| {
            let seen = Seen {
                decided: execution.decided.get(),
                phase: execution.phase,
                ending: execution.ending,
            };
            (*id, seen)
        })
        .collect();
    prop_assert_eq!(executions, model.executions());
    prop_assert_eq!(state.next().get(), model.0.len() as u64);
    prop_assert_eq!(Some(state.time()), model.0.last().map(Record::time));
    prop_assert_eq!(state.is_halted(), model.is_halted());
    prop_assert_eq!(state.is_node_revoked(&machine()), model.is_node_revoked());
    prop_assert_eq!(
        state.policy().map(|policy| policy.revision),
        model.revision()
    );
    for name in POLICIES {
        prop_assert_eq!(state.is_policy_revoked(name), model.is_policy_revoked(name));
    }
    for (i, name) in NAMES.into_iter().enumerate() {
        let (id, resource) = (who(name), tool(TOOLS[i % TOOLS.len()]));
        prop_assert_eq!(
            state.principal(&id).map(|known| known.status),
            model.status(&id)
        );
        let now = Millis::new(state.time().get() + 1_500);
        let history = state.history(&id, ("process:run", resource_digest(&resource)), now);
        prop_assert_eq!(
            history,
            model.history(&id, &resource, now),
            "history of {}",
            name
        );
    }
    Ok(())
}

/// What this record ends, by the model: whatever has a cause now and had none before.
fn newly_ending(before: &BTreeMap<ExecutionId, Seen>, model: &Model) -> Vec<(u64, DenialCode)> {
    let started = match model.0.last() {
        Some(Record::Started(start)) => Some(start.exec),
        _ => None,
    };
    let new = |id: &ExecutionId| {
        started == Some(*id) || before.get(id).is_some_and(|seen| seen.ending.is_none())
    };
    model
        .executions()
        .into_iter()
        .filter(|(id, _)| new(id))
        .filter_map(|(id, seen)| Some((number(id), seen.ending?)))
        .collect()
}

proptest! {
    #[test]
    fn fold_matches_model(steps in prop::collection::vec((any_step(), 0..1_200_000_u64), 1..60)) {
        let start = Millis::new(1_000_000);
        let mut log = Log { state: State::begin(&genesis(start)).unwrap(), now: start };
        let mut model = Model(vec![genesis(start)]);
        for name in &NAMES[..3] {
            let record = principal(name, PrincipalStatus::Active, start);
            log.push(&record);
            model.0.push(record);
        }
        for (step, passes) in steps {
            log.now = Millis::new(log.now.get() + passes);
            let Some(record) = step.record(&model, &log) else { continue };
            let before = model.executions();
            let ending = log.push(&record);
            model.0.push(record);
            prop_assert_eq!(ending, newly_ending(&before, &model));
            check(&log.state, &model)?;
        }
        for number in 0..model.0.len() as u64 {
            prop_assert_eq!(log.state.subtree(exec(number)), model.subtree(exec(number)));
        }
        let bytes = log.state.to_snapshot().unwrap();
        prop_assert_eq!(State::from_snapshot(&bytes).unwrap(), log.state);
    }
}
