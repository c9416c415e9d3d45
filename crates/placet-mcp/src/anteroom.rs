//! Where a client waits while its server needs an approval to be started or spoken to.
//!
//! There is no session yet, and nothing can be asked of the client before its first request is answered. So that one
//! is held for a while: whoever approves in this time is not noticed. After it the client is told how it is approved,
//! and may ask again: it is held anew, and goes on once the server is there. A client that can be answered
//! `input_required` is, and its second try is held for as long as it takes. What the client said meanwhile reaches the
//! session in its order; nothing of it is decided here.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use placet_types::{DenialCode, ExecutionId, Index};
use serde_json::json;

use crate::asked::{Before, Modes, goes_on, input_required, message, state_of, takes_input};
use crate::denial::Said;
use crate::emit;
use crate::frame::{Bounds, Frame, Kind, OwnedId, member, members};
use crate::pipe::{Line, Lines};

/// How often what is held is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Lines that are held, and their bytes; with more the client is not read.
const LINES_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;
/// Requests that were answered `input_required` and are remembered.
const TAKEN_MAX: usize = 256;
/// Of JSON-RPC: the client has to show a page first (revision 2025-11-25).
const PAGE_REQUIRED: i64 = -32_042;

/// What is waited for.
#[derive(Clone, Debug)]
pub struct Waits {
    /// The server, by its name.
    pub server: String,
    /// The execution that is to be approved.
    pub exec: ExecutionId,
    /// The record that says so.
    pub record: Index,
    /// Whose approval, and until when.
    pub whose: String,
    /// Where approvals are given in a browser, if there is such a place.
    pub console: Option<String>,
}

/// The client's way in, held shut.
pub struct Anteroom(Arc<Room>);

struct Room {
    waits: Waits,
    /// Number and name of the check that defers.
    check: (u8, &'static str),
    /// How many ticks a request is held that cannot be answered otherwise.
    ticks: u32,
    state: Mutex<State>,
    changed: Condvar,
    /// Until there is a session, which answers from then on.
    to_client: Mutex<Option<Box<dyn Write + Send>>>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Held>,
    bytes: usize,
    taken: VecDeque<(String, Before)>,
    modes: Modes,
    /// Once it is decided: whether there is a server.
    decided: Option<Result<(), Said>>,
    /// Whether everything that was held has gone on, so that more goes on at once.
    is_through: bool,
    /// Whether the client has closed its end.
    is_left: bool,
}

/// A line that the session will read.
struct Held {
    line: Vec<u8>,
    asked: Option<Asked>,
    /// Ticks after which a request in it is answered here.
    left: u32,
}

/// A request.
#[derive(Clone, Debug)]
struct Asked {
    id: OwnedId,
    is_call: bool,
    /// Whether its client knows that it waits, and does.
    is_patient: bool,
}

/// What a line is.
#[derive(Default)]
struct Look {
    /// What the session is to read in its place.
    instead: Option<Vec<u8>>,
    asked: Option<Asked>,
    /// What it is answered at once: then it goes no further.
    answer: Option<String>,
}

impl Anteroom {
    /// Reads the client from now on; what it says comes out of `into` once the server is there.
    ///
    /// # Errors
    ///
    /// What the operating system says of threads.
    pub fn open(
        waits: Waits,
        check: (u8, &'static str),
        patience: Duration,
        client: (impl Read + Send + 'static, impl Write + Send + 'static),
        into: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let ticks = patience.as_millis() / TICK.as_millis();
        let room = Arc::new(Room {
            waits,
            check,
            ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
            state: Mutex::default(),
            changed: Condvar::new(),
            to_client: Mutex::new(Some(Box::new(client.1))),
        });
        let into: Way = Arc::new(Mutex::new(Some(Box::new(into))));
        let (reads, goes) = (Arc::clone(&room), Arc::clone(&into));
        thread::Builder::new()
            .name("waiting-client".into())
            .spawn(move || reads.read(client.0, &goes))?;
        let ticks = Arc::clone(&room);
        thread::Builder::new()
            .name("waiting".into())
            .spawn(move || ticks.wait(&into))?;
        Ok(Self(room))
    }

    /// The server is there: everything goes on.
    pub fn started(&self) {
        self.0.decide(Ok(()));
    }

    /// There will be none: everything is answered with why.
    pub fn refused(&self, said: Said) {
        self.0.decide(Err(said));
    }

    /// Whether the client has closed its end: nobody waits any more.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.0.state().is_left
    }

    /// Does this once the client has closed its end, if nothing was decided by then.
    ///
    /// # Errors
    ///
    /// What the operating system says of threads.
    pub fn when_left(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let room = Arc::clone(&self.0);
        let wait = move || {
            let state = room.state();
            let waited = room
                .changed
                .wait_while(state, |state| !state.is_left && state.decided.is_none());
            let state = waited.unwrap_or_else(PoisonError::into_inner);
            let is_left = state.decided.is_none();
            drop(state);
            if is_left {
                work();
            }
        };
        thread::Builder::new()
            .name("left".into())
            .spawn(wait)
            .map(drop)
    }

    /// Waits until the client has closed its end.
    pub fn until_left(&self) {
        let state = self.0.state();
        let waited = self.0.changed.wait_while(state, |state| !state.is_left);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

type Way = Arc<Mutex<Option<Box<dyn Write + Send>>>>;

impl Room {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, decided: Result<(), Said>) {
        self.state().decided.get_or_insert(decided);
        self.changed.notify_all();
    }

    fn read(&self, client: impl Read, into: &Way) {
        let mut lines = Lines::new(client, Bounds::REQUEST.bytes_max);
        while let Ok(Some(line)) = lines.next_line() {
            let line = match line {
                Line::Whole(bytes) => bytes,
                // The session refuses it: it is too long for it too.
                Line::TooLong(begin) => {
                    let mut line = begin;
                    line.resize(Bounds::REQUEST.bytes_max.saturating_add(1), b' ');
                    line
                }
            };
            if !self.take(line, into) {
                break;
            }
        }
        self.state().is_left = true;
        self.changed.notify_all();
        // What is held has to go on first.
        let state = self.state();
        let waiting = self.changed.wait_while(state, |state| {
            !state.is_through && !matches!(state.decided, Some(Err(_))) && !state.lines.is_empty()
        });
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
        into.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Takes a line; `false` once nobody reads any more.
    fn take(&self, line: Vec<u8>, into: &Way) -> bool {
        let Look {
            instead,
            asked,
            answer,
        } = self.looked_at(&line);
        if let Some(answer) = answer {
            self.say(&answer);
            return true;
        }
        let line = instead.unwrap_or(line);
        let mut state = self.state();
        while !state.is_through {
            if let Some(Err(said)) = state.decided.clone() {
                drop(state);
                if let Some(asked) = asked {
                    self.say(&refusal(&said, &asked));
                }
                return true;
            }
            if state.has_room(line.len()) {
                state.bytes = state.bytes.saturating_add(line.len());
                let left = self.ticks;
                state.lines.push_back(Held { line, asked, left });
                return true;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        write(into, &line)
    }

    /// What a line is to whoever holds it.
    fn looked_at(&self, line: &[u8]) -> Look {
        let Ok(Frame { kind, extra }) = Frame::parse(line, Bounds::REQUEST) else {
            // The session will refuse it.
            return Look::default();
        };
        let Kind::Request { id, method, params } = kind else {
            return Look::default();
        };
        if method == "initialize" {
            self.state().modes = Modes::declared(params);
        }
        let asked = Asked {
            id: id.to_owned(),
            is_call: method == "tools/call",
            is_patient: false,
        };
        let given = params.and_then(|params| members(params).ok());
        let given = given.unwrap_or_default();
        if let Some(own) = state_of(&given).and_then(|token| self.taken(&token)) {
            // Once the server is there, nobody has to wait.
            if !goes_on(&given) && self.state().decided.is_none() {
                let answer = refusal(&self.said(), &asked);
                return Look {
                    answer: Some(answer),
                    ..Look::default()
                };
            }
            let params = own.back_in(&given);
            let kind = Kind::Request {
                id,
                method,
                params: Some(&params),
            };
            return Look {
                instead: Some(emit::frame(&Frame { kind, extra }).into_bytes()),
                asked: Some(Asked {
                    is_patient: true,
                    ..asked
                }),
                answer: None,
            };
        }
        let question = Modes::of_request(params)
            .filter(|_| takes_input(method) && self.state().decided.is_none())
            .and_then(|modes| self.question(modes));
        let answer = question.and_then(|question| {
            let token = token()?;
            let mut state = self.state();
            state.taken.push_back((token.clone(), Before::of(params)));
            while state.taken.len() > TAKEN_MAX {
                state.taken.pop_front();
            }
            Some(input_required(&asked.id, &question, &token))
        });
        Look {
            instead: None,
            asked: Some(asked),
            answer,
        }
    }

    /// What was taken out of the request that was given this state; once.
    fn taken(&self, token: &str) -> Option<Before> {
        let mut state = self.state();
        let at = state.taken.iter().position(|(known, _)| known == token)?;
        state.taken.remove(at).map(|(_, own)| own)
    }

    fn message(&self, by_page: bool) -> String {
        let what = format!("the server {}", self.waits.server);
        let exec = self.waits.exec.to_string();
        message(&what, &self.reason(), &exec, by_page)
    }

    fn question(&self, modes: Modes) -> Option<serde_json::Value> {
        let console = self.waits.console.as_deref();
        modes.question(&self.message(console.is_some() && modes.page()), console)
    }

    fn reason(&self) -> String {
        format!("it needs the approval of {}", self.waits.whose)
    }

    /// What whoever has waited long enough is told.
    fn said(&self) -> Said {
        let Waits {
            server,
            exec,
            record,
            ..
        } = &self.waits;
        Said {
            check: Some(self.check),
            remedy: Some(format!(
                "have somebody run `placet approve {exec}`, then ask again: the server is started once it is approved"
            )),
            exec: Some(*exec),
            record: Some(*record),
            ..Said::new(
                DenialCode::ApprovalRequired,
                format!("the server {server} is not started yet: {}", self.reason()),
            )
        }
    }

    /// The answer to a request that has waited long enough.
    fn too_long(&self, asked: &Asked, modes: Modes) -> String {
        let said = self.said();
        let Some(console) = self.waits.console.as_deref().filter(|_| modes.page()) else {
            return refusal(&said, asked);
        };
        // The client shows the page, and asks again.
        let mut data = said.value();
        if let Some(data) = data.as_object_mut() {
            let page = json!([{
                "mode": "url", "message": self.message(true), "url": console,
                "elicitationId": self.waits.exec.to_string(),
            }]);
            data.insert("elicitations".to_owned(), page);
        }
        emit::error(Some(&asked.id), PAGE_REQUIRED, &said.text(), Some(data))
    }

    /// Looks at what is held until it is decided, and then lets it go on or answers it.
    fn wait(&self, into: &Way) {
        loop {
            let state = self.state();
            let waited = self
                .changed
                .wait_timeout_while(state, TICK, |state| state.decided.is_none());
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            match state.decided.clone() {
                None => {
                    let late = state.tick();
                    let modes = state.modes;
                    drop(state);
                    for asked in late {
                        self.say(&self.too_long(&asked, modes));
                    }
                    self.changed.notify_all();
                }
                Some(Ok(())) => {
                    drop(state);
                    self.leave_to_session();
                    return self.let_go(into);
                }
                Some(Err(said)) => {
                    let held = std::mem::take(&mut state.lines);
                    drop(state);
                    for asked in held.into_iter().filter_map(|held| held.asked) {
                        self.say(&refusal(&said, &asked));
                    }
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    /// One line after the other, until none is held: then the client's lines go on as they come.
    fn let_go(&self, into: &Way) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.lines.pop_front();
                match &next {
                    Some(held) => state.bytes = state.bytes.saturating_sub(held.line.len()),
                    None => state.is_through = true,
                }
                next
            };
            self.changed.notify_all();
            match next {
                Some(held) => {
                    if !write(into, &held.line) {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    fn say(&self, frame: &str) {
        let mut to_client = self
            .to_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(to_client) = to_client.as_mut() {
            // Who does not read is told nothing.
            to_client
                .write_all(format!("{frame}\n").as_bytes())
                .and_then(|()| to_client.flush())
                .unwrap_or(());
        }
    }

    /// A session answers from now on: its end is the client's end.
    fn leave_to_session(&self) {
        let mut to_client = self
            .to_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        to_client.take();
    }
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        self.lines.len() < LINES_MAX && self.bytes.saturating_add(bytes) <= BYTES_MAX
    }

    /// Takes out the requests that were given up, with what says so; and those whose time is over, and gives these.
    fn tick(&mut self) -> Vec<Asked> {
        let given_up: Vec<OwnedId> = self
            .lines
            .iter()
            .filter_map(|held| given_up(&held.line))
            .collect();
        let mut late = Vec::new();
        self.lines.retain_mut(|held| match &held.asked {
            Some(asked) if given_up.contains(&asked.id) => false,
            Some(asked) if !asked.is_patient => {
                held.left = held.left.saturating_sub(1);
                if held.left == 0 {
                    late.push(asked.clone());
                }
                held.left > 0
            }
            Some(_) => true,
            None => self::given_up(&held.line).is_none(),
        });
        self.bytes = self.lines.iter().map(|held| held.line.len()).sum();
        late
    }
}

/// Which request a line gives up.
fn given_up(line: &[u8]) -> Option<OwnedId> {
    match Frame::parse(line, Bounds::REQUEST).ok()?.kind {
        Kind::Notification {
            method: "notifications/cancelled",
            params,
        } => OwnedId::read(member(&members(params?).ok()?, "requestId")?),
        Kind::Notification { .. } | Kind::Request { .. } | Kind::Answer { .. } => None,
    }
}

fn refusal(said: &Said, asked: &Asked) -> String {
    if asked.is_call {
        said.tool_error(&asked.id)
    } else {
        said.error(Some(&asked.id))
    }
}

/// Writes a line; `false` where nobody reads.
fn write(into: &Way, line: &[u8]) -> bool {
    let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(into) = into.as_mut() else {
        return false;
    };
    let mut whole = Vec::with_capacity(line.len().saturating_add(1));
    whole.extend_from_slice(line);
    whole.push(b'\n');
    into.write_all(&whole).and_then(|()| into.flush()).is_ok()
}

/// A state that nobody can guess.
fn token() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("placet-{hex}"))
}

impl std::fmt::Debug for Anteroom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anteroom").finish_non_exhaustive()
    }
}
