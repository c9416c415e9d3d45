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
use crate::denial::Said;
use crate::emit;
use crate::frame::{Answer, OwnedId, member, members, text_of};
use crate::governor::{Held, Pace, Ruling};
use crate::method::Direction;

/// How often the node is asked what became of what waits.
const LOOK: Duration = Duration::from_millis(250);
/// Name of the one thing that is asked for with `input_required`.
const INPUT: &str = "placet-approval";
/// What can be answered `input_required`.
const TAKES_INPUT: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];
/// Where a client without sessions says with each request what it can do.
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// How a client can be asked something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Modes {
    form: bool,
    page: bool,
}

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
    responses: Option<String>,
    state: Option<String>,
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

impl Modes {
    /// Of `capabilities`: an empty `elicitation` is that of before, which had forms only.
    fn read(capabilities: &str) -> Self {
        let elicitation = members(capabilities)
            .ok()
            .and_then(|all| members(member(&all, "elicitation")?).ok());
        let Some(elicitation) = elicitation else {
            return Self::default();
        };
        let has = |name| member(&elicitation, name).is_some_and(|value| value != "null");
        Self {
            form: has("form") || !has("url"),
            page: has("url"),
        }
    }

    /// What the parameters of `initialize` declare.
    pub(super) fn declared(params: Option<&str>) -> Self {
        let params = params.and_then(|params| members(params).ok());
        let capabilities = params.as_ref().and_then(|all| member(all, "capabilities"));
        capabilities.map(Self::read).unwrap_or_default()
    }

    /// What a request without a session declares.
    fn of_request(params: Option<&str>) -> Option<Self> {
        let params = members(params?).ok()?;
        let meta = members(member(&params, "_meta")?).ok()?;
        member(&meta, CAPABILITIES).map(Self::read)
    }

    /// What the client is asked to show; `None` if it can show nothing of use.
    fn question(self, message: &str, console: Option<&str>) -> Option<Value> {
        match console {
            Some(console) if self.page => {
                Some(json!({ "mode": "url", "message": message, "url": console }))
            }
            Some(_) | None if self.form => Some(json!({
                "mode": "form", "message": message,
                "requestedSchema": { "type": "object", "properties": {} },
            })),
            Some(_) | None => None,
        }
    }
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
        let resource = format!("{} of {}", pending.request.method, self.config.who.name);
        let exec = pending.said.exec.map(|exec| exec.to_string());
        let exec = exec.unwrap_or_default();
        let how = match &console {
            Some(_) if modes.page => format!("There it is {exec}"),
            Some(_) | None => format!("Have it approved: `placet approve {exec}`"),
        };
        let message = format!(
            "Placet holds a request ({resource}): {}. {how}. It goes on by itself once it is approved.",
            pending.said.reason
        );
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
        let Some(question) = self.question(modes, &pending).filter(|_| {
            is_asked_by_client && TAKES_INPUT.contains(&pending.request.method.as_str())
        }) else {
            return self.give_up(pending);
        };
        let params = pending.request.params.as_deref();
        let given = params.and_then(|params| members(params).ok());
        let given = given.unwrap_or_default();
        let own = |name: &str| member(&given, name).map(str::to_owned);
        let taken = Taken {
            responses: own("inputResponses"),
            state: own("requestState"),
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
        let result = json!({
            "resultType": "input_required",
            "inputRequests": { INPUT: { "method": "elicitation/create", "params": question } },
            "requestState": token,
        });
        let frame = emit::result_of(pending.key.1.as_str(), &result.to_string());
        self.reply(pending.key.0, frame);
    }

    /// Whether this is the second try of a request that the gateway itself answered `input_required`.
    /// What it was answered is taken out again, so that what is decided about is what was asked first.
    pub(super) fn resumed(&self, params: Option<&str>) -> Resumed {
        let Some(given) = params.and_then(|params| members(params).ok()) else {
            return Resumed::No;
        };
        let Some(token) = member(&given, "requestState").and_then(text_of) else {
            return Resumed::No;
        };
        let taken = {
            let mut state = self.state();
            let at = state.taken.iter().position(|(known, _)| *known == *token);
            let Some((_, taken)) = at.and_then(|at| state.taken.remove(at)) else {
                return Resumed::No;
            };
            taken
        };
        let answer = member(&given, "inputResponses")
            .and_then(|responses| members(responses).ok())
            .and_then(|responses| member(&responses, INPUT).map(str::to_owned));
        if !answer.is_some_and(|answer| is_accepted(&answer)) {
            return Resumed::Declined(Box::new(taken.said));
        }
        let own = [
            ("inputResponses", taken.responses.as_deref()),
            ("requestState", taken.state.as_deref()),
        ];
        let rest = given
            .iter()
            .filter(|one| one.name != "inputResponses" && one.name != "requestState")
            .map(|one| (one.name.as_ref(), one.value));
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Resumed::Yes(Some(emit::object(rest.chain(own))))
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

/// Whether the answer to an elicitation says that somebody goes on with it.
fn is_accepted(result: &str) -> bool {
    members(result).is_ok_and(|all| member(&all, "action") == Some("\"accept\""))
}
