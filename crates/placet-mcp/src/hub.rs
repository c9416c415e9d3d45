//! Several servers behind one client: each has a session of its own, and this is between them and the
//! client.
//!
//! It routes, and decides nothing: what reaches a session is decided there, under the name that the
//! server itself uses. A name that two servers use is shown with the server's before it; one that only one
//! server uses is left alone. A name that has become two answers nothing until the client has listed again, so
//! that a later server cannot step into the place of an earlier one.

mod gather;
mod merge;
mod names;
mod route;

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use placet_types::{Denial, DenialCode};
use serde_json::json;

use crate::emit;
use crate::frame::{Bounds, Frame, FrameError, Id, Kind, OwnedId, member, members, text_of};
use crate::pipe::{Line, Lines, Outbox, Sink};
use gather::Gather;
use names::Names;

/// Requests that are open at once, both ways together.
const OPEN_MAX: usize = 1024;
/// Refusals that are recorded one by one; the rest is only answered.
const RECORDED_MAX: u32 = 256;

/// Records an attempt that nothing came of: what was wrong, and what was presented.
pub type Refuse = Box<dyn Fn(Denial, String) + Send + Sync>;

/// The client's end of one session.
pub struct Part {
    /// The server's name.
    pub name: String,
    /// What the session reads.
    pub to: Box<dyn Sink>,
    /// What it writes.
    pub from: Box<dyn Read + Send>,
}

/// Several servers, seen as one.
pub struct Hub {
    parts: Vec<(String, Outbox)>,
    client: Outbox,
    refuse: Refuse,
    state: Mutex<State>,
}

struct State {
    prefix: String,
    next: u64,
    /// What the client asked one server.
    open: HashMap<OwnedId, usize>,
    /// What the servers asked the client: under which id it was passed on.
    asked: HashMap<OwnedId, (usize, OwnedId)>,
    /// What all servers are asked together, by what the client asked, or by an id of the hub's own.
    gathers: HashMap<OwnedId, Gather>,
    /// One page of it, by the id that it was asked under.
    pages: HashMap<OwnedId, (OwnedId, usize)>,
    names: Names,
    /// What waits for names: frames, as they came.
    waiting: Vec<Vec<u8>>,
    tasks: HashMap<String, usize>,
    alive: Vec<bool>,
    recorded: u32,
}

/// What has ended.
enum Over {
    Client,
    Part(usize),
}

impl Hub {
    /// Carries frames between the client and these servers until one side is gone. What leads nowhere is refused
    /// here, and recorded.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn run(
        parts: Vec<Part>,
        input: impl Read + Send + 'static,
        output: Box<dyn Sink>,
        refuse: Refuse,
    ) -> io::Result<()> {
        let mut prefix = [0; 12];
        getrandom::fill(&mut prefix).map_err(io::Error::other)?;
        let (mut outboxes, mut readers) = (Vec::new(), Vec::new());
        for part in parts {
            outboxes.push((part.name, Outbox::new("to-session", part.to)?));
            readers.push(part.from);
        }
        let alive = vec![true; outboxes.len()];
        let names = Names::new(outboxes.iter().map(|(name, _)| name.clone()).collect());
        let hub = Arc::new(Self {
            parts: outboxes,
            client: Outbox::new("to-client", output)?,
            refuse,
            state: Mutex::new(State {
                prefix: prefix.iter().map(|byte| format!("{byte:02x}")).collect(),
                next: 0,
                open: HashMap::new(),
                asked: HashMap::new(),
                gathers: HashMap::new(),
                pages: HashMap::new(),
                names,
                waiting: Vec::new(),
                tasks: HashMap::new(),
                alive,
                recorded: 0,
            }),
        });
        let (sender, over) = channel();
        for (at, from) in readers.into_iter().enumerate() {
            hub.read_part(at, from, sender.clone())?;
        }
        hub.read_client(input, sender)?;
        hub.wait(&over);
        Ok(())
    }

    fn wait(&self, over: &Receiver<Over>) {
        let mut is_closed = false;
        while let Ok(ended) = over.recv() {
            match ended {
                Over::Client if !is_closed => {
                    is_closed = true;
                    self.parts.iter().for_each(|(_, part)| part.close());
                }
                Over::Client => {}
                Over::Part(at) => self.part_is_gone(at),
            }
            if !self.state().alive.contains(&true) {
                break;
            }
        }
        self.client.close();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_client(
        self: &Arc<Self>,
        input: impl Read + Send + 'static,
        over: Sender<Over>,
    ) -> io::Result<()> {
        let hub = Arc::clone(self);
        let reads = move || {
            let mut lines = Lines::new(input, Bounds::REQUEST.bytes_max);
            while let Ok(Some(line)) = lines.next_line() {
                match line {
                    Line::Whole(bytes) => hub.take_client(&bytes),
                    Line::TooLong(begin) => {
                        hub.malformed(&begin, &FrameError::TooLong(Bounds::REQUEST.bytes_max));
                    }
                }
            }
            // Nobody listens any more: it is over anyway.
            drop(over.send(Over::Client));
        };
        thread::Builder::new()
            .name("from-client".into())
            .spawn(reads)
            .map(drop)
    }

    fn read_part(
        self: &Arc<Self>,
        at: usize,
        from: Box<dyn Read + Send>,
        over: Sender<Over>,
    ) -> io::Result<()> {
        let hub = Arc::clone(self);
        let reads = move || {
            let mut lines = Lines::new(from, Bounds::ANSWER.bytes_max.saturating_mul(2));
            while let Ok(Some(Line::Whole(bytes))) = lines.next_line() {
                hub.take_part(at, &bytes);
            }
            drop(over.send(Over::Part(at)));
        };
        thread::Builder::new()
            .name("from-session".into())
            .spawn(reads)
            .map(drop)
    }

    fn take_client(&self, bytes: &[u8]) {
        match Frame::parse(bytes, Bounds::REQUEST) {
            Err(error) => self.malformed(bytes, &error),
            Ok(frame) => match &frame.kind {
                Kind::Request { id, method, params } => {
                    self.request(bytes, &frame, (*id, method, *params));
                }
                Kind::Notification { method, params } => self.said(&frame, method, *params),
                Kind::Answer { id, .. } => self.answered(&frame, *id),
            },
        }
    }

    /// A session refuses and records it: any of them does.
    fn malformed(&self, bytes: &[u8], _: &FrameError) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.to(self.first(), text.replace(['\n', '\r'], "\u{1}"));
        } else {
            self.to(self.first(), String::from_utf8_lossy(bytes).into_owned());
        }
    }

    fn first(&self) -> usize {
        let alive = self.state().alive.iter().position(|alive| *alive);
        alive.unwrap_or_default()
    }

    fn to(&self, part: usize, frame: String) -> bool {
        self.parts
            .get(part)
            .is_some_and(|(_, outbox)| outbox.push(frame))
    }

    fn to_all(&self, frame: &str) {
        for at in self.living() {
            self.to(at, frame.to_owned());
        }
    }

    fn living(&self) -> Vec<usize> {
        let state = self.state();
        let all = state.alive.iter().enumerate();
        all.filter(|(_, alive)| **alive).map(|(at, _)| at).collect()
    }

    /// Sends a request to one server.
    fn pass(&self, part: usize, id: &OwnedId, frame: String) {
        let (is_alive, is_room) = {
            let mut state = self.state();
            let is_alive = state.alive.get(part).copied().unwrap_or(false);
            let is_room = state.open.len() < OPEN_MAX && !state.open.contains_key(id);
            if is_alive && is_room {
                state.open.insert(id.clone(), part);
            }
            (is_alive, is_room)
        };
        if !is_alive {
            return self.error(id, -32_000, "the server has ended");
        }
        if !is_room {
            let why = "too many requests are open, or this id is in use";
            return self.refused(id, -32_600, DenialCode::Overloaded, why);
        }
        if !self.to(part, frame) {
            self.state().open.remove(id);
            self.error(id, -32_000, "the server has ended");
        }
    }

    fn error(&self, id: &OwnedId, code: i64, message: &str) {
        self.client.push(emit::error(Some(id), code, message, None));
    }

    /// Answers that nothing comes of a request, and records it as long as there are not too many.
    fn refused(&self, id: &OwnedId, code: i64, denial: DenialCode, why: &str) {
        let count = {
            let mut state = self.state();
            state.recorded = state.recorded.saturating_add(1);
            state.recorded
        };
        if count <= RECORDED_MAX {
            let denial = Denial::new(denial, why.to_owned());
            (self.refuse)(denial, format!("request {}", id.as_str()));
        }
        self.error(id, code, why);
    }

    /// A notification of the client.
    fn said(&self, frame: &Frame<'_>, method: &str, params: Option<&str>) {
        if method != "notifications/cancelled" {
            return self.to_all(&emit::frame(frame));
        }
        let id = params
            .and_then(|params| members(params).ok())
            .and_then(|members| OwnedId::read(member(&members, "requestId")?));
        let Some(id) = id else {
            return self.to_all(&emit::frame(frame));
        };
        let part = {
            let mut state = self.state();
            state.gathers.remove(&id);
            state.open.get(&id).copied()
        };
        if let Some(part) = part {
            self.to(part, emit::frame(frame));
        }
    }

    /// The client answers what a server asked.
    fn answered(&self, frame: &Frame<'_>, id: Option<Id<'_>>) {
        let Some(id) = id.map(|id| id.to_owned()) else {
            return self.to_all(&emit::frame(frame));
        };
        let Some((part, own)) = self.state().asked.remove(&id) else {
            // An answer to nothing: a session records it.
            self.to(self.first(), emit::frame(frame));
            return;
        };
        self.to(part, with_id(frame, &own));
    }

    fn take_part(&self, at: usize, bytes: &[u8]) {
        let bounds = Bounds {
            bytes_max: usize::MAX,
            depth_max: Bounds::ANSWER.depth_max.saturating_add(4),
        };
        let Ok(frame) = Frame::parse(bytes, bounds) else {
            return;
        };
        match &frame.kind {
            Kind::Request { id, .. } => {
                let new = {
                    let mut state = self.state();
                    if state.asked.len() >= OPEN_MAX {
                        drop(state);
                        let refused = emit::error(
                            Some(&id.to_owned()),
                            -32_600,
                            "too many requests are open",
                            None,
                        );
                        self.to(at, refused);
                        return;
                    }
                    let new = state.own_id();
                    state.asked.insert(new.clone(), (at, id.to_owned()));
                    new
                };
                self.client.push(with_id(&frame, &new));
            }
            Kind::Notification { method, params } => self.told(at, &frame, method, *params),
            Kind::Answer { id, answer } => match id.map(|id| id.to_owned()) {
                None => drop(self.client.push(emit::frame(&frame))),
                Some(id) => {
                    if !self.page(at, &id, *answer) {
                        self.state().learn_task(at, &id, *answer);
                        self.client.push(emit::frame(&frame));
                    }
                }
            },
        }
    }

    /// A notification of a server.
    fn told(&self, at: usize, frame: &Frame<'_>, method: &str, params: Option<&str>) {
        let out = match method {
            "notifications/cancelled" => {
                let id = params
                    .and_then(|params| members(params).ok())
                    .and_then(|members| OwnedId::read(member(&members, "requestId")?));
                let state = self.state();
                let mut asked = state.asked.iter();
                let known = asked.find(|(_, (part, own))| *part == at && Some(own) == id.as_ref());
                let Some((new, _)) = known else { return };
                replaced(params, "requestId", new.as_str())
            }
            "notifications/resources/updated" => {
                let uri = params
                    .and_then(|params| members(params).ok())
                    .and_then(|members| Some(text_of(member(&members, "uri")?)?.into_owned()));
                let Some(uri) = uri else { return };
                let shown = self.state().names.shown_uri(at, &uri);
                replaced(params, "uri", &json!(shown).to_string())
            }
            _ => {
                if method.ends_with("/list_changed") {
                    self.state().names.forget();
                }
                self.client.push(emit::frame(frame));
                return;
            }
        };
        if let Some(params) = out {
            self.client.push(emit::notification(method, Some(&params)));
        }
    }

    fn part_is_gone(&self, at: usize) {
        let unanswered: Vec<OwnedId> = {
            let mut state = self.state();
            if let Some(alive) = state.alive.get_mut(at) {
                *alive = false;
            }
            state.names.forget();
            // Its session has answered what it has read; the rest came too late for it.
            let of_part = state.open.iter().filter(|(_, part)| **part == at);
            let mut unanswered: Vec<OwnedId> = of_part.map(|(id, _)| id.clone()).collect();
            unanswered.sort();
            state.open.retain(|_, part| *part != at);
            state.asked.retain(|_, (part, _)| *part != at);
            unanswered
        };
        for id in unanswered {
            self.error(&id, -32_000, "the server has ended");
        }
        self.give_up_pages(at);
    }
}

impl State {
    /// An id of the hub's own, which nobody else can guess.
    fn own_id(&mut self) -> OwnedId {
        self.next = self.next.saturating_add(1);
        OwnedId::text(&format!("hub-{}-{}", self.prefix, self.next))
    }
}

/// The frame under another id.
fn with_id(frame: &Frame<'_>, id: &OwnedId) -> String {
    use crate::frame::Answer;
    match &frame.kind {
        Kind::Request { method, params, .. } => emit::request(id.as_str(), method, *params),
        Kind::Notification { .. } => emit::frame(frame),
        Kind::Answer { answer, .. } => match answer {
            Answer::Result(result) => emit::result_of(id.as_str(), result),
            Answer::Error(error) => {
                format!(
                    r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#,
                    id.as_str()
                )
            }
        },
    }
}

/// The object with another value for one member.
fn replaced(object: Option<&str>, name: &str, value: &str) -> Option<String> {
    let all = members(object?).ok()?;
    let each = all.iter().map(|one| {
        let value = if one.name == name { value } else { one.value };
        (one.name.as_ref(), value)
    });
    Some(emit::object(each))
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
