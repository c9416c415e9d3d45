//! Calls that wait for approvals while their client waits for them.
//!
//! A client that shows forms or pages is asked to show one: where the approval can be given. What it
//! answers is no approval; that is signed by an approver and stands in the log. While the request is
//! open the node is asked again, and the moment that it permits, the request goes on. A client of
//! before is asked by a request of the gateway's own; one without sessions is answered
//! `input_required`, and waits with its second try.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use placet_types::{DenialCode, Digest};
use serde_json::{Value, json};

use super::requests::Request;
use super::{HELD_MAX, Key, Open, Own, Session, State};
use crate::asked::{
    Before, Modes, goes_on, input_required, is_accepted, message, state_of, takes_input,
};
use crate::denial::Said;
use crate::emit;
use crate::frame::{Answer, OwnedId, members};
use crate::governor::{Held, Pace, Ruling};
use crate::method::Direction;

/// How often the node is asked what became of what waits.
const LOOK: Duration = Duration::from_millis(250);
/// A request, and what stands in the way of it.
pub(super) struct Pending {
    key: Key,
    request: Request,
    digest: Digest,
    /// What is said if nobody waits any longer.
    said: Said,
    held: Held,
    /// The gateway's own request to the client, while it has not been answered.
    asked: Option<OwnedId>,
    /// Whether the client was shown a page, and is told when it has served.
    is_page: bool,
    /// Whether the node is being asked in this moment.
    is_asking: bool,
}

/// What was taken out of a request for the time that its client is asked, by the state it was given.
#[derive(Clone)]
pub(super) struct Taken {
    own: Before,
    said: Said,
}

/// A request that may be the second try of one that was answered `input_required`.
pub(super) enum Resumed {
    /// It is none.
    No,
    /// It is: these are its own parameters, and its client waits.
    Yes(Option<String>),
    /// It is, and its user does not want to wait.
    Declined(Box<Said>),
}

impl Pending {
    pub(super) fn new(
        key: Key,
        request: Request,
        (digest, held): (Digest, Held),
        said: Said,
    ) -> Self {
        Self {
            key,
            request,
            digest,
            said,
            held,
            asked: None,
            is_page: false,
            is_asking: false,
        }
    }

    /// Whether it is still the same question, or one that could not be asked.
    fn goes_on(&self, ruling: &Ruling) -> bool {
        match ruling {
            Ruling::Deferred(deferred, _) => Some(deferred.exec) == self.said.exec,
            // The node may be on its way back: what waits has time.
            Ruling::Unavailable(denial) => matches!(
                denial.code,
                DenialCode::EvidenceUnavailable | DenialCode::Overloaded
            ),
            Ruling::Started(_) | Ruling::Denied { .. } => false,
        }
    }
}

impl Session {
    /// A request needs approvals: its client is asked to wait with it, where it can, and else told.
    pub(super) fn await_approval(self: &Arc<Self>, pending: Pending) {
        let modes = Modes::of_request(pending.request.params.as_deref());
        match modes {
            Some(_) if pending.request.is_resumed => self.wait_for(pending),
            Some(modes) => self.require_input(pending, modes),
            None => {
                let modes = self.state().modes;
                match self.question(modes, &pending) {
                    Some(question) => self.elicit(pending, question),
                    None => self.give_up(pending),
                }
            }
        }
    }

    fn question(&self, modes: Modes, pending: &Pending) -> Option<Value> {
        if modes == Modes::default() {
            return None;
        }
        let console = (self.config.console)();
        let what = format!(
            "a request ({} of {})",
            pending.request.method, self.config.who.name
        );
        let exec = pending.said.exec.map(|exec| exec.to_string());
        let by_page = console.is_some() && modes.page();
        let reason = &pending.said.reason;
        let message = message(&what, reason, &exec.unwrap_or_default(), by_page);
        modes.question(&message, console.as_deref())
    }

    /// Asks the client by a request of the gateway's own.
    fn elicit(self: &Arc<Self>, mut pending: Pending, mut question: Value) {
        let id = {
            let mut state = self.state();
            let id = state.own_id();
            state
                .own
                .insert(id.clone(), Own::Approval(pending.key.clone()));
            id
        };
        pending.is_page = question.get("mode").is_some_and(|mode| mode == "url");
        if pending.is_page
            && let (Some(exec), Some(members)) = (pending.said.exec, question.as_object_mut())
        {
            members.insert("elicitationId".into(), json!(exec.to_string()));
        }
        let frame = emit::request(
            id.as_str(),
            "elicitation/create",
            Some(&question.to_string()),
        );
        pending.asked = Some(id);
        // It waits before it is asked about: the answer may be here at once.
        let key = pending.key.clone();
        self.wait_for(pending);
        if !self.to_client.offer(frame) {
            self.nobody_waits(&key);
        }
    }

    /// Answers `input_required`, and remembers what the second try will lack.
    fn require_input(&self, pending: Pending, modes: Modes) {
        let is_asked_by_client = pending.key.0 == Direction::ToServer;
        let Some(question) = self
            .question(modes, &pending)
            .filter(|_| is_asked_by_client && takes_input(&pending.request.method))
        else {
            return self.give_up(pending);
        };
        let taken = Taken {
            own: Before::of(pending.request.params.as_deref()),
            said: pending.said.clone(),
        };
        let token = {
            let mut state = self.state();
            state.open.remove(&pending.key);
            let token = state.token();
            state.taken.push_back((token.clone(), taken));
            while state.taken.len() > HELD_MAX {
                state.taken.pop_front();
            }
            token
        };
        let frame = input_required(&pending.key.1, &question, &token);
        self.reply(pending.key.0, frame);
    }

    /// Whether this is the second try of a request that the gateway itself answered `input_required`.
    /// What it was answered is taken out again, so that what is decided about is what was asked first.
    pub(super) fn resumed(&self, params: Option<&str>) -> Resumed {
        let Some(given) = params.and_then(|params| members(params).ok()) else {
            return Resumed::No;
        };
        let Some(token) = state_of(&given) else {
            return Resumed::No;
        };
        let taken = {
            let mut state = self.state();
            let at = state.taken.iter().position(|(known, _)| *known == token);
            let Some((_, taken)) = at.and_then(|at| state.taken.remove(at)) else {
                return Resumed::No;
            };
            taken
        };
        if goes_on(&given) {
            Resumed::Yes(Some(taken.own.back_in(&given)))
        } else {
            Resumed::Declined(Box::new(taken.said))
        }
    }

    /// Keeps a request open, and looks again and again until something is said of it.
    fn wait_for(self: &Arc<Self>, pending: Pending) {
        let is_first = {
            let mut state = self.state();
            if state.pending.len() >= HELD_MAX {
                drop(state);
                return self.give_up(pending);
            }
            let number = state.next();
            state.pending.insert(number, pending);
            !std::mem::replace(&mut state.is_looking, true)
        };
        if is_first && !self.begin_looking() {
            let given_up = {
                let mut state = self.state();
                state.is_looking = false;
                std::mem::take(&mut state.pending)
            };
            given_up
                .into_values()
                .for_each(|pending| self.give_up(pending));
        }
    }

    fn begin_looking(self: &Arc<Self>) -> bool {
        let session = Arc::downgrade(self);
        let look = move || {
            loop {
                thread::sleep(LOOK);
                match session.upgrade() {
                    Some(session) if session.look() => {}
                    Some(_) | None => return,
                }
            }
        };
        let thread = thread::Builder::new().name("approvals".into());
        thread.stack_size(256 << 10).spawn(look).is_ok()
    }

    /// Asks the node about everything that waits. `false` once nothing does.
    fn look(self: &Arc<Self>) -> bool {
        let (mut asked, mut unwanted) = (Vec::new(), Vec::new());
        {
            let mut state = self.state();
            let State { pending, open, .. } = &mut *state;
            for (number, one) in pending.iter_mut() {
                match open.get(&one.key) {
                    Some(Open::Deciding {
                        is_cancelled: false,
                    }) => {
                        if !std::mem::replace(&mut one.is_asking, true) {
                            asked.push((*number, one.held.clone()));
                        }
                    }
                    _ => unwanted.push(*number),
                }
            }
            if pending.is_empty() {
                state.is_looking = false;
                return false;
            }
        }
        for number in unwanted {
            let unwanted = self.state().pending.remove(&number);
            if let Some(pending) = unwanted {
                self.give_up(pending);
            }
        }
        let Some(governor) = self.governor.get() else {
            return false;
        };
        for (number, held) in asked {
            let session = Arc::clone(self);
            let then = move |ruling| session.looked(number, ruling);
            governor.submit_again(held, Pace::Aside, Box::new(then));
        }
        true
    }

    /// What the node says now of a request that waited.
    fn looked(self: &Arc<Self>, number: u64, ruling: Ruling) {
        let pending = {
            let mut state = self.state();
            let goes_on = match (state.pending.get_mut(&number), &ruling) {
                (Some(pending), ruling) if pending.goes_on(ruling) => {
                    pending.is_asking = false;
                    true
                }
                _ => false,
            };
            if goes_on {
                return;
            }
            state.pending.remove(&number)
        };
        match (pending, ruling) {
            (Some(mut pending), Ruling::Deferred(..)) => {
                // It would wait anew, as another execution: that is for whoever asks to begin.
                pending.said.remedy = None;
                self.give_up(pending);
            }
            (Some(mut pending), ruling) => {
                if pending.is_page && matches!(ruling, Ruling::Started(_)) {
                    self.has_served(&pending);
                }
                self.withdraw(&mut pending);
                self.ruled(pending.key, pending.request, pending.digest, ruling);
            }
            // Nobody waits for it any more, and nothing was forwarded.
            (None, Ruling::Started(ticket)) => self.end_failed(ticket),
            (None, _) => {}
        }
    }

    /// Tells the client that its page has served.
    fn has_served(&self, pending: &Pending) {
        let Some(exec) = pending.said.exec else {
            return;
        };
        let params = json!({ "elicitationId": exec.to_string() }).to_string();
        let method = "notifications/elicitation/complete";
        self.to_client
            .offer(emit::notification(method, Some(&params)));
    }

    /// Takes back what the client was asked, if it has not answered.
    fn withdraw(&self, pending: &mut Pending) {
        let Some(asked) = pending.asked.take() else {
            return;
        };
        let mut state = self.state();
        if state.own.remove(&asked).is_none() {
            return;
        }
        state.is_late((Direction::ToClient, asked.clone()));
        drop(state);
        let params = emit::object([
            ("requestId", asked.as_str()),
            ("reason", "\"nobody waits for it any more\""),
        ]);
        let method = "notifications/cancelled";
        self.to_client
            .offer(emit::notification(method, Some(&params)));
    }

    /// The client has answered: whoever does not want to wait is told how it can be approved.
    pub(super) fn approval_answered(&self, key: &Key, answer: Answer<'_>) {
        if matches!(answer, Answer::Result(result) if is_accepted(result)) {
            return;
        }
        self.nobody_waits(key);
    }

    /// Gives up what waits under this key.
    fn nobody_waits(&self, key: &Key) {
        let given_up = {
            let mut state = self.state();
            let found = state.pending.iter().find(|(_, one)| one.key == *key);
            let number = found.map(|(number, _)| *number);
            number.and_then(|number| state.pending.remove(&number))
        };
        if let Some(pending) = given_up {
            self.give_up(pending);
        }
    }

    /// Answers that the request needs an approval, and forgets it.
    fn give_up(&self, mut pending: Pending) {
        self.withdraw(&mut pending);
        let was_open = self.state().open.remove(&pending.key);
        if let Some(Open::Deciding {
            is_cancelled: false,
        }) = was_open
        {
            let (direction, id) = &pending.key;
            self.say(*direction, id, pending.request.is_call(), &pending.said);
        }
    }
}
