//! What is answered, and what is said without an answer.

use std::sync::Arc;

use placet_evidence::RunEnd;
use placet_types::DenialCode;

use super::{Key, Open, Own, Session};
use crate::catalog::Catalog;
use crate::denial::Said;
use crate::emit;
use crate::frame::{Answer, Frame, FrameError, Id, Kind, OwnedId, items, member, members, text_of};
use crate::governor::{Ended, Pace, Ticket};
use crate::method::{Class, Direction};

/// Pages of tools that a server is asked for.
const TOOLS_MAX: usize = 4096;

impl Session {
    /// Takes an answer that goes this way: to whoever asked the other way.
    pub(super) fn answer(
        self: &Arc<Self>,
        direction: Direction,
        frame: &Frame<'_>,
        (id, answer): (Option<Id<'_>>, Answer<'_>),
    ) {
        let Some(id) = id.map(|id| id.to_owned()) else {
            // An error that names no request: whoever is at the other end may make sense of it.
            self.outbox(direction).push(emit::frame(frame));
            return;
        };
        let is_own = match direction {
            Direction::ToClient => self.own_answer(&id, answer),
            Direction::ToServer => self.client_answer(&id, answer),
        };
        if is_own {
            return;
        }
        let key = (direction.back(), id);
        let open = {
            let mut state = self.state();
            if let Some(Open::Deciding { .. }) = state.open.get(&key) {
                drop(state);
                // Nobody was asked yet.
                return self.unasked(&key, frame);
            }
            let open = state.open.remove(&key);
            if let Some(Open::Running { ticket, .. }) = &open {
                state.by_exec.remove(&ticket.exec);
            }
            open
        };
        match open {
            Some(Open::Running { ticket, .. }) => self.answered(direction, frame, answer, ticket),
            Some(Open::Passed(Class::Listed(listed))) => match answer {
                Answer::Result(result) => self.filter(listed, &key.1, result),
                Answer::Error(_) => drop(self.outbox(direction).push(emit::frame(frame))),
            },
            Some(Open::Passed(_)) => drop(self.outbox(direction).push(emit::frame(frame))),
            // It has stopped, and whoever asked was told already.
            Some(Open::Ending) => {}
            Some(Open::Deciding { .. }) | None => self.unasked(&key, frame),
        }
    }

    /// An execution has answered: the answer goes on, and its end is recorded.
    fn answered(
        &self,
        direction: Direction,
        frame: &Frame<'_>,
        answer: Answer<'_>,
        ticket: Ticket,
    ) {
        let (outcome, bytes) = match answer {
            Answer::Result(result) if is_error(result) => (RunEnd::Failed, result),
            Answer::Result(result) => (RunEnd::Completed, result),
            Answer::Error(error) => (RunEnd::Failed, error),
        };
        let mut output = ticket.output(bytes.as_bytes());
        let frame = match ticket.redactor() {
            None => emit::frame(frame),
            Some(redactor) => {
                let (shown, parts) = redactor.redact(bytes);
                output.redacted = (parts > 0).then_some(parts);
                without(frame, answer, &shown)
            }
        };
        self.outbox(direction).push(frame);
        self.end(
            ticket,
            Ended {
                outcome,
                cause: None,
                output: Some(output),
            },
        );
    }

    /// An answer to nothing: dropped, and recorded unless it only comes too late.
    fn unasked(&self, key: &Key, frame: &Frame<'_>) {
        if self.state().late.contains(key) {
            return;
        }
        let reason = "an answer to a request that nobody made".to_owned();
        self.record_attempt(DenialCode::Malformed, reason, emit::frame(frame));
    }

    /// An answer that broke a rule: whoever waits for it is told so.
    pub(super) fn answer_malformed(&self, id: &OwnedId, error: &FrameError) {
        let key = (Direction::ToServer, id.clone());
        let mut state = self.state();
        match state.open.remove(&key) {
            Some(Open::Running { ticket, is_call }) => {
                state.by_exec.remove(&ticket.exec);
                state.is_late(key.clone());
                drop(state);
                let said = Said {
                    exec: Some(ticket.exec),
                    record: Some(ticket.decided),
                    ..malformed(error)
                };
                self.end_failed(ticket);
                self.say(key.0, &key.1, is_call, &said);
            }
            Some(Open::Passed(_)) => {
                state.is_late(key.clone());
                drop(state);
                self.say(key.0, &key.1, false, &malformed(error));
            }
            Some(other @ (Open::Deciding { .. } | Open::Ending)) => {
                state.open.insert(key, other);
            }
            None => {}
        }
    }

    /// An answer of the client to what the gateway itself asked.
    fn client_answer(&self, id: &OwnedId, answer: Answer<'_>) -> bool {
        let key = {
            let mut state = self.state();
            let Some(Own::Approval(key)) = state.own.get(id).cloned() else {
                return false;
            };
            state.own.remove(id);
            key
        };
        self.approval_answered(&key, answer);
        true
    }

    /// An answer of the server to what the gateway itself asked.
    fn own_answer(self: &Arc<Self>, id: &OwnedId, answer: Answer<'_>) -> bool {
        let meta = {
            let mut state = self.state();
            let Some(Own::Tools { meta }) = state.own.get(id).cloned() else {
                return false;
            };
            state.own.remove(id);
            meta
        };
        let so_far = self.state().fetching.take().unwrap_or_default();
        let page = match answer {
            Answer::Result(result) => members(result).ok(),
            Answer::Error(_) => None,
        };
        let Some(page) = page else {
            self.retry_waiting(Some("the server did not list its tools"));
            return true;
        };
        let mut known = so_far;
        let listed = member(&page, "tools").and_then(|tools| items(tools).ok());
        known.extend(self.learned(listed.unwrap_or_default()));
        let cursor = member(&page, "nextCursor").filter(|cursor| text_of(cursor).is_some());
        match cursor {
            Some(cursor) if known.len() < TOOLS_MAX => self.fetch(meta, Some(cursor), known),
            _ if std::mem::take(&mut self.state().is_stale) => {
                // What was listed may be what was there before: once more, from the beginning.
                self.fetch(meta, None, Vec::new());
            }
            _ => {
                self.state().catalog = Catalog::whole(known);
                self.retry_waiting(None);
            }
        }
        true
    }

    /// Takes up the calls that waited for the list of tools, or tells them that there is none.
    fn retry_waiting(self: &Arc<Self>, trouble: Option<&str>) {
        let waiting = std::mem::take(&mut self.state().waiting);
        for call in waiting {
            let Some(trouble) = trouble else {
                self.call(
                    &call.id,
                    call.params.as_deref(),
                    call.is_resumed,
                    Pace::Aside,
                );
                continue;
            };
            let key = (Direction::ToServer, call.id);
            self.state().open.remove(&key);
            let presented = emit::request(key.1.as_str(), "tools/call", call.params.as_deref());
            self.record_attempt(DenialCode::NoPermit, trouble.to_owned(), presented);
            let said = Said::new(DenialCode::NoPermit, trouble);
            self.say(key.0, &key.1, true, &said);
        }
    }

    /// Takes something that is said and not answered.
    pub(super) fn notification(
        self: &Arc<Self>,
        direction: Direction,
        frame: &Frame<'_>,
        (method, params): (&str, Option<&str>),
    ) {
        match method {
            "notifications/cancelled" => self.cancelled(direction, frame, params),
            _ if !method.starts_with("notifications/") => {
                let reason = format!("`{method}` is asked without an id, so nobody can be told");
                self.record_attempt(DenialCode::Malformed, reason, emit::frame(frame));
            }
            _ => {
                if direction == Direction::ToClient && method == "notifications/tools/list_changed"
                {
                    let mut state = self.state();
                    state.catalog.forget();
                    state.is_stale = state.fetching.is_some();
                }
                let shown = match direction {
                    Direction::ToClient => self.shown(params),
                    Direction::ToServer => None,
                };
                self.outbox(direction).push(match shown {
                    Some(shown) => emit::notification(method, Some(&shown)),
                    None => emit::frame(frame),
                });
            }
        }
    }

    /// Parameters of what the server says or asks by itself, without what they must not show; `None` of what shows
    /// nothing, or while nothing is known that must not be shown.
    pub(super) fn shown(&self, params: Option<&str>) -> Option<String> {
        let hidden = self.state().hidden.clone()?;
        Some(hidden.redact_said(params?))
    }

    /// Whoever asked has given a request up.
    fn cancelled(&self, direction: Direction, frame: &Frame<'_>, params: Option<&str>) {
        let id = params
            .and_then(|params| members(params).ok())
            .and_then(|members| OwnedId::read(member(&members, "requestId")?));
        let Some(id) = id else {
            let reason = "a cancellation that names no request".to_owned();
            return self.record_attempt(DenialCode::Malformed, reason, emit::frame(frame));
        };
        let key = (direction, id);
        let mut state = self.state();
        match state.open.remove(&key) {
            Some(Open::Deciding { .. }) => {
                state
                    .open
                    .insert(key, Open::Deciding { is_cancelled: true });
            }
            Some(Open::Running { ticket, .. }) => {
                state.by_exec.remove(&ticket.exec);
                state.is_late(key);
                drop(state);
                self.outbox(direction).push(emit::frame(frame));
                self.end_failed(ticket);
            }
            Some(Open::Passed(_)) => {
                state.is_late(key);
                drop(state);
                self.outbox(direction).push(emit::frame(frame));
            }
            Some(Open::Ending) => drop(state.open.insert(key, Open::Ending)),
            // It was answered meanwhile.
            None => {}
        }
    }

    /// Records the end of what did not come to one by itself.
    pub(super) fn end_failed(&self, ticket: Ticket) {
        self.end(
            ticket,
            Ended {
                outcome: RunEnd::Failed,
                cause: None,
                output: None,
            },
        );
    }

    pub(super) fn end(&self, ticket: Ticket, ended: Ended) {
        if let Some(governor) = self.governor.get() {
            governor.end(ticket, ended);
        }
    }
}

/// The answer with this instead of what came; members of the envelope that nobody knows are not looked into, so they
/// go.
fn without(frame: &Frame<'_>, answer: Answer<'_>, shown: &str) -> String {
    let Kind::Answer { id, .. } = frame.kind else {
        return emit::frame(frame);
    };
    let answer = match answer {
        Answer::Result(_) => Answer::Result(shown),
        Answer::Error(_) => Answer::Error(shown),
    };
    emit::frame(&Frame {
        kind: Kind::Answer { id, answer },
        extra: Vec::new(),
    })
}

fn malformed(error: &FrameError) -> Said {
    let reason = format!("the server's answer was refused: {error}");
    let mut said = Said::new(DenialCode::Malformed, reason);
    said.remedy = Some("the server has to answer in strict JSON".to_owned());
    said.was_running = true;
    said
}

/// Whether the result of a call says that the tool failed.
fn is_error(result: &str) -> bool {
    members(result).is_ok_and(|members| member(&members, "isError") == Some("true"))
}
