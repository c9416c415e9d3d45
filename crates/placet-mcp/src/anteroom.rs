//! Where a client waits while its server needs an approval to be started or spoken to.
//!
//! There is no session yet, and nothing can be asked of the client before its first request is answered. So that one
//! is held for a while: whoever approves in this time is not noticed. After it the client is told how it is approved,
//! and may ask again: it is held anew, and goes on once the server is there. A client that can be answered
//! `input_required` is, and its second try is held for as long as it takes. What the client said meanwhile reaches the
//! session in its order; nothing of it is decided here.

mod held;
mod waits;

use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::asked::{Before, Modes, goes_on, input_required, state_of, takes_input};
use crate::denial::Said;
use crate::emit;
use crate::frame::{Bounds, Frame, Kind, members};
use crate::pipe::{Line, Lines};
use held::{Asked, Held, State};
pub use waits::Waits;
use waits::{Check, refusal};

/// How often what is held is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Requests that were answered `input_required` and are remembered.
const TAKEN_MAX: usize = 256;

/// The client's way in, held shut.
pub struct Anteroom(Arc<Room>);

struct Room {
    waits: Waits,
    check: Check,
    /// How many ticks a request is held that cannot be answered otherwise.
    ticks: u32,
    state: Mutex<State>,
    changed: Condvar,
    /// Until there is a session, which answers from then on.
    to_client: Mutex<Option<Box<dyn Write + Send>>>,
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
        check: Check,
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
                let answer = refusal(&self.waits.said(self.check), &asked);
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
            .and_then(|modes| self.waits.question(modes));
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
                        self.say(&self.waits.too_long(self.check, &asked, modes));
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

#[cfg(test)]
mod tests;
