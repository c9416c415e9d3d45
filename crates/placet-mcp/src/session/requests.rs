//! What is asked, on its way.

use std::sync::Arc;

use placet_types::DenialCode;
use placet_types::canonical::{Bounds as JsonBounds, Json};

use super::approvals::{Pending, Resumed};
use super::{Key, OPEN_MAX, Open, Own, Session, Waiting};
use crate::asked::Modes;
use crate::denial::Said;
use crate::emit;
use crate::frame::{Frame, FrameError, Id, Kind, OwnedId, member, members};
use crate::governor::{Pace, Ruling};
use crate::method::{Class, Direction, Governed};
use crate::subject::{Program, Subject, SubjectError, tool_name};

/// The error of JSON-RPC for what is no request.
const INVALID_REQUEST: i64 = -32_600;
/// And for what is no JSON.
const PARSE_ERROR: i64 = -32_700;
/// And for parameters that do not fit.
const INVALID_PARAMS: i64 = -32_602;
/// Beginning of the members of `_meta` that every request of a client without sessions carries.
const PROTOCOL_META: &str = "io.modelcontextprotocol/";

/// A governed request on its way.
struct Asking<'a> {
    id: &'a OwnedId,
    method: &'a str,
    params: Option<&'a str>,
    /// Whether its client was asked to wait with it, and does.
    is_resumed: bool,
    pace: Pace,
}

/// What is forwarded once it may be.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) params: Option<String>,
    /// Whether its client was asked to wait with it, and does.
    pub(super) is_resumed: bool,
}

impl Request {
    /// Whether it is a call of a tool, whose errors are results.
    pub(super) fn is_call(&self) -> bool {
        self.method == "tools/call"
    }
}

impl Session {
    /// Takes one frame that goes this way.
    pub(super) fn frame(self: &Arc<Self>, direction: Direction, frame: &Frame<'_>, pace: Pace) {
        match &frame.kind {
            Kind::Request { id, method, params } => {
                self.request(direction, frame, (*id, method, *params), pace);
            }
            Kind::Notification { method, params } => {
                self.notification(direction, frame, (method, *params));
            }
            Kind::Answer { id, answer } => self.answer(direction, frame, (*id, *answer)),
        }
    }

    fn request(
        self: &Arc<Self>,
        direction: Direction,
        frame: &Frame<'_>,
        (id, method, given): (Id<'_>, &str, Option<&str>),
        pace: Pace,
    ) {
        let (id, class) = (id.to_owned(), Class::of(direction, method));
        let key = (direction, id.clone());
        {
            let mut state = self.state();
            if state.open.contains_key(&key) {
                drop(state);
                // Whoever asked first gets the answer, and nobody can put another in its place.
                let shape =
                    FrameError::Shape("the id is that of a request that is not answered yet");
                return self.refuse_request(direction, None, &emit::frame(frame), &shape);
            }
            if state.open.len() >= OPEN_MAX {
                drop(state);
                let said = Said::new(DenialCode::Overloaded, "too many requests are open");
                return self.say(direction, &id, method == "tools/call", &said);
            }
            let open = match class {
                Class::Governed(_) => Open::Deciding {
                    is_cancelled: false,
                },
                Class::Listed(_) | Class::Opening | Class::Passed => Open::Passed(class),
            };
            state.open.insert(key, open);
        }
        let resumed = match direction {
            Direction::ToServer => self.resumed(given),
            Direction::ToClient => Resumed::No,
        };
        let (own, is_resumed) = match resumed {
            Resumed::No => (None, false),
            Resumed::Yes(own) => (own, true),
            Resumed::Declined(said) => {
                self.state().open.remove(&(direction, id.clone()));
                return self.say(direction, &id, method == "tools/call", &said);
            }
        };
        // What the server asks shows no more than what it says: what is decided about, and goes on, is without.
        let shown = match direction {
            Direction::ToServer => None,
            Direction::ToClient => self.shown(given),
        };
        let is_shown = shown.is_some();
        let params = own.or(shown);
        let params = params.as_deref().or(given);
        match class {
            Class::Governed(_) if !frame.extra.is_empty() => {
                self.state().open.remove(&(direction, id.clone()));
                let shape = FrameError::Shape("a governed request has no members of its own");
                self.refuse_request(direction, Some(&id), &emit::frame(frame), &shape);
            }
            Class::Governed(Governed::Call) => self.call(&id, params, is_resumed, pace),
            Class::Governed(governed) => {
                let asking = Asking {
                    id: &id,
                    method,
                    params,
                    is_resumed,
                    pace,
                };
                let client = match direction {
                    Direction::ToServer => Some(self.state().client.clone()),
                    Direction::ToClient => None,
                };
                let (who, asked) = (&self.config.who, (method, params));
                let subject = Subject::of(who, governed, asked, None, client.as_deref());
                self.govern(direction, &asking, subject);
            }
            Class::Listed(_) | Class::Opening | Class::Passed => {
                if method == "initialize" && direction == Direction::ToServer {
                    let client = Arc::new(opening(params));
                    let mut state = self.state();
                    state.modes = Modes::declared(params);
                    state.client = client;
                }
                let frame = if is_shown {
                    emit::request(id.as_str(), method, params)
                } else {
                    emit::frame(frame)
                };
                if !self.outbox(direction).push(frame) {
                    self.state().open.remove(&(direction, id));
                }
            }
        }
    }

    /// A call of a tool: what the tool is has to be known first.
    pub(super) fn call(
        self: &Arc<Self>,
        id: &OwnedId,
        params: Option<&str>,
        is_resumed: bool,
        pace: Pace,
    ) {
        let asking = Asking {
            id,
            method: "tools/call",
            params,
            is_resumed,
            pace,
        };
        let name = match tool_name(params) {
            Ok(name) => name,
            Err(error) => return self.govern(Direction::ToServer, &asking, Err(error)),
        };
        let (definition, client) = {
            let mut state = self.state();
            let client = Arc::clone(&state.client);
            match state.catalog.get(&name) {
                Some(definition) => (Some(definition.clone()), client),
                None if state.catalog.is_whole() => (None, client),
                None => {
                    state.waiting.push(Waiting {
                        id: id.clone(),
                        params: params.map(str::to_owned),
                        is_resumed,
                    });
                    let is_asked = state.fetching.is_some();
                    drop(state);
                    if !is_asked {
                        self.fetch(protocol_meta(params), None, Vec::new());
                    }
                    return;
                }
            }
        };
        match definition {
            Some(definition) => {
                let (who, asked) = (&self.config.who, ("tools/call", params));
                let subject =
                    Subject::of(who, Governed::Call, asked, Some(&definition), Some(&client));
                self.govern(Direction::ToServer, &asking, subject);
            }
            None => {
                self.state().open.remove(&(Direction::ToServer, id.clone()));
                let reason = format!(
                    "the server `{}` offers no one tool of this name",
                    self.config.who.name
                );
                let presented = emit::request(id.as_str(), "tools/call", params);
                self.record_attempt(DenialCode::NoPermit, reason.clone(), presented);
                let mut said = Said::new(DenialCode::NoPermit, reason);
                said.remedy = Some("call a tool of the list".to_owned());
                self.say(Direction::ToServer, id, true, &said);
            }
        }
    }

    /// Asks the server itself what its tools are.
    pub(super) fn fetch(
        &self,
        meta: Option<String>,
        cursor: Option<&str>,
        so_far: Vec<crate::catalog::Definition>,
    ) {
        let members = [("_meta", meta.as_deref()), ("cursor", cursor)];
        let members = members
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let params = emit::object(members);
        let id = {
            let mut state = self.state();
            let id = state.own_id();
            state.own.insert(id.clone(), Own::Tools { meta });
            state.fetching = Some(so_far);
            id
        };
        // A server that does not read any more is gone soon, and everything with it.
        self.to_server
            .offer(emit::request(id.as_str(), "tools/list", Some(&params)));
    }

    /// Has a request decided, and forwards it once its start is recorded.
    fn govern(
        self: &Arc<Self>,
        direction: Direction,
        asking: &Asking<'_>,
        subject: Result<Subject, SubjectError>,
    ) {
        let sealed = subject.and_then(|subject| {
            let sealed = subject.seal(&self.config.who)?;
            Ok((sealed.digest(), sealed))
        });
        let (digest, sealed) = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                self.state().open.remove(&(direction, asking.id.clone()));
                let presented = emit::request(asking.id.as_str(), asking.method, asking.params);
                self.record_attempt(DenialCode::Malformed, error.to_string(), presented);
                let error = emit::error(Some(asking.id), INVALID_PARAMS, &error.to_string(), None);
                self.reply(direction, error);
                return;
            }
        };
        let Some(governor) = self.governor.get() else {
            return;
        };
        let session = Arc::clone(self);
        let request = Request {
            method: asking.method.to_owned(),
            params: asking.params.map(str::to_owned),
            is_resumed: asking.is_resumed,
        };
        let key = (direction, asking.id.clone());
        let then = Box::new(move |ruling| {
            session.ruled(key, request, digest, ruling);
        });
        let held = self.state().held.get(&digest).cloned();
        match held {
            Some(held) => governor.submit_again(held, asking.pace, then),
            None => governor.submit(sealed, asking.pace, then),
        }
    }

    pub(super) fn ruled(
        self: &Arc<Self>,
        key: Key,
        request: Request,
        digest: placet_types::Digest,
        ruling: Ruling,
    ) {
        let said = match ruling {
            Ruling::Started(ticket) => {
                self.forget_held(&digest);
                self.state().hides(ticket.redactor());
                return self.forward(&key, &request, ticket);
            }
            Ruling::Denied {
                denial,
                exec,
                index,
            } => {
                self.forget_held(&digest);
                let name = usize::from(denial.check).checked_sub(1);
                let name = name.and_then(|at| self.config.checks.get(at)).copied();
                Said {
                    check: name.map(|name| (denial.check, name)),
                    exec,
                    record: Some(index),
                    ..Said::new(denial.code, denial.reason)
                }
            }
            Ruling::Deferred(deferred, held) => {
                self.state().hold(digest, (*held).clone());
                let reason = format!(
                    "it needs the approval of {}, until {}",
                    deferred.waiting.in_words(),
                    deferred.waiting.until
                );
                let remedy = format!(
                    "have somebody run `placet approve {}`, then make exactly the same call again",
                    deferred.exec
                );
                let said = Said {
                    check: self.config.checks.last().map(|name| (10, *name)),
                    remedy: Some(remedy),
                    exec: Some(deferred.exec),
                    record: Some(deferred.index),
                    ..Said::new(DenialCode::ApprovalRequired, reason)
                };
                let pending = Pending::new(key, request, (digest, *held), said);
                return self.await_approval(pending);
            }
            Ruling::Unavailable(denial) => Said::new(denial.code, denial.reason),
        };
        let was_open = self.state().open.remove(&key);
        if let Some(Open::Deciding {
            is_cancelled: false,
        }) = was_open
        {
            self.say(key.0, &key.1, request.is_call(), &said);
        }
    }

    fn forget_held(&self, digest: &placet_types::Digest) {
        let mut state = self.state();
        if state.held.remove(digest).is_some() {
            state.held_order.retain(|held| held != digest);
        }
    }

    /// Its start is recorded: it goes on, unless whoever asked has given it up.
    fn forward(&self, key: &Key, request: &Request, ticket: crate::governor::Ticket) {
        let is_call = request.is_call();
        let frame = emit::request(key.1.as_str(), &request.method, request.params.as_deref());
        let mut state = self.state();
        let is_wanted = !state.is_over
            && matches!(
                state.open.get(key),
                Some(Open::Deciding {
                    is_cancelled: false
                })
            );
        if !is_wanted {
            state.open.remove(key);
            drop(state);
            return self.end_failed(ticket);
        }
        state.by_exec.insert(ticket.exec, key.clone());
        let running = Open::Running { ticket, is_call };
        state.open.insert(key.clone(), running);
        drop(state);
        if !self.outbox(key.0).offer(frame) {
            self.undo_forward(key);
        }
    }

    /// There was no room to forward it.
    fn undo_forward(&self, key: &Key) {
        let mut state = self.state();
        if let Some(Open::Running { ticket, is_call }) = state.open.remove(key) {
            state.by_exec.remove(&ticket.exec);
            drop(state);
            self.end_failed(ticket);
            let said = Said::new(DenialCode::Overloaded, "the other end does not read");
            self.say(key.0, &key.1, is_call, &said);
        }
    }

    /// Answers a request that goes this way, to whoever asked.
    pub(super) fn say(&self, direction: Direction, id: &OwnedId, is_call: bool, said: &Said) {
        let frame = if is_call {
            said.tool_error(id)
        } else {
            said.error(Some(id))
        };
        self.reply(direction, frame);
    }

    /// Sends a frame back to where frames of this direction come from.
    pub(super) fn reply(&self, direction: Direction, frame: String) {
        // Who does not read is told nothing, and nobody waits for them.
        self.outbox(direction.back()).offer(frame);
    }

    /// Refuses a frame that breaks a rule, and records it.
    pub(super) fn refuse(&self, direction: Direction, bytes: &[u8], error: &FrameError) {
        let presented = String::from_utf8_lossy(bytes).into_owned();
        let id = self.salvaged(&presented);
        match direction {
            Direction::ToServer => {
                // An id that is in use belongs to another request.
                let id = id.filter(|id| {
                    let key = (direction, id.clone());
                    !self.state().open.contains_key(&key)
                });
                self.refuse_request(direction, id.as_ref(), &presented, error);
            }
            Direction::ToClient => {
                (self.config.tell)(&format!("a frame of the server was refused: {error}"));
                let reason = format!("a frame of the server: {error}");
                self.record_attempt(DenialCode::Malformed, reason, presented);
                if let Some(id) = id {
                    self.answer_malformed(&id, error);
                }
            }
        }
    }

    fn refuse_request(
        &self,
        direction: Direction,
        id: Option<&OwnedId>,
        presented: &str,
        error: &FrameError,
    ) {
        self.record_attempt(
            DenialCode::Malformed,
            error.to_string(),
            presented.to_owned(),
        );
        let is_no_json = matches!(error, FrameError::Syntax(_) | FrameError::NotUtf8);
        let code = if is_no_json {
            PARSE_ERROR
        } else {
            INVALID_REQUEST
        };
        let mut said = Said::new(DenialCode::Malformed, error.to_string());
        said.remedy = Some("send one strict JSON-RPC 2.0 message a line".to_owned());
        let frame = emit::error(id, code, &said.text(), Some(said.value()));
        self.reply(direction, frame);
    }

    /// The id of a frame that broke a rule, by the ordinary reader: only to tell somebody about it.
    fn salvaged(&self, text: &str) -> Option<OwnedId> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        OwnedId::read(&value.get("id")?.to_string())
    }
}

/// What a client says of itself when it begins.
fn opening(params: Option<&str>) -> Program {
    let params = params.unwrap_or("{}").as_bytes();
    Program::of_opening(Json::parse(params, JsonBounds::MESSAGE).ok().as_ref())
}

/// The members of `_meta` that a server without sessions needs with every request.
fn protocol_meta(params: Option<&str>) -> Option<String> {
    let given = members(params?).ok()?;
    let meta = members(member(&given, "_meta")?).ok()?;
    let kept: Vec<(&str, &str)> = meta
        .iter()
        .filter(|member| member.name.starts_with(PROTOCOL_META))
        .map(|member| (member.name.as_ref(), member.value))
        .collect();
    (!kept.is_empty()).then(|| emit::object(kept))
}
