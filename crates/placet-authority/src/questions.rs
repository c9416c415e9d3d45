//! Questions: from what was asked to an answer whose record is durable.
//!
//! Yes or no is decided in log order, as intents are. A search looks at many candidates, so it is
//! made beside the sequencer, on the state as it was then, which its record names; whether it may be
//! asked is decided in log order too, and before that nothing of it is given out.

use placet_decision::{ASKED_AS_MAX, Asking, Searched, search, searched_at};
use placet_evidence::{Caller, CheckedDenial, Environment, QuestionOutcome};
use placet_policy::Policy;
use placet_state::State;
use placet_types::{Fixed, Index, Millis, PrincipalId, Question};

use crate::authority::Authority;
use crate::random;
use crate::submission::Unavailable;
use crate::work::{PreparedQuestion, Reply, Work};

/// A question and who asks it.
#[derive(Clone, Debug)]
pub struct Query {
    /// The question, within its bounds.
    pub question: Question,
    /// Principals that the caller is, by the server's own knowledge.
    pub askers: Vec<PrincipalId>,
    /// Who asks, by the server's own knowledge.
    pub caller: Caller,
    /// The machine of the node.
    pub environment: Fixed<Environment>,
}

/// An answer, durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The record that says so.
    pub index: Index,
    /// Yes, no, or that it may not be asked.
    pub outcome: QuestionOutcome,
    /// Why not.
    pub denial: Option<CheckedDenial>,
}

impl PreparedQuestion {
    fn new(query: Query) -> Result<Self, Unavailable> {
        let Query {
            question,
            mut askers,
            caller,
            environment,
        } = query;
        askers.truncate(ASKED_AS_MAX);
        Ok(Self {
            bytes: question.to_canonical(),
            salt: random::salt().map_err(|_| Unavailable::Evidence)?,
            question,
            askers,
            caller,
            environment,
            found: None,
        })
    }

    pub(crate) fn asking<'a>(
        &'a self,
        state: &'a State,
        policy: Option<&'a Policy>,
        time: Millis,
    ) -> Asking<'a> {
        Asking {
            state,
            policy,
            question: &self.question,
            askers: &self.askers,
            caller: &self.caller,
            environment: &self.environment,
            time,
        }
    }
}

impl Authority {
    /// Answers whether something may be done, or whether a search may be made. `then` is called once
    /// the answer is durable, or certainly not given, on a thread of the sequencer: it must not wait.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued; `then` is never called.
    pub fn ask_then(
        &self,
        query: Query,
        then: impl FnOnce(Result<Asked, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        let prepared = PreparedQuestion::new(query)?;
        self.sequence
            .hand_in(Work::Question(Box::new(prepared), Reply::new(then)))
    }

    /// Searches, and answers with what was found once it is durable that this may be asked. Takes a
    /// while; `then` as for [`Authority::ask_then`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued; `then` is never called.
    pub fn search_then(
        &self,
        query: Query,
        then: impl FnOnce(Result<(Asked, Searched), Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        let mut prepared = PreparedQuestion::new(query)?;
        let state = self.with_state(State::clone);
        let policy = state
            .policy()
            .and_then(|active| self.policy_of(active.bundle));
        let now = self.clock.wall().max(state.time());
        let asking = prepared.asking(&state, policy.as_deref(), now);
        // Whoever may not ask costs no search; that it was not asked is decided again, and recorded.
        let may = placet_decision::answer(&asking)
            .is_some_and(|answer| answer.outcome() == QuestionOutcome::Permit);
        let found = if may {
            search(&asking)
        } else {
            Searched::default()
        };
        prepared.found = Some(searched_at(&state, &found));
        let reply = Reply::new(move |asked: Result<Asked, Unavailable>| {
            then(asked.and_then(|asked| match (asked.outcome, may) {
                (QuestionOutcome::Permit, true) => Ok((asked, found)),
                // It may be asked since, and nothing was looked for.
                (QuestionOutcome::Permit, false) => Err(Unavailable::Overloaded),
                (QuestionOutcome::Deny | QuestionOutcome::Refused, _) => {
                    Ok((asked, Searched::default()))
                }
            }));
        });
        self.sequence
            .hand_in(Work::Question(Box::new(prepared), reply))
    }
}
