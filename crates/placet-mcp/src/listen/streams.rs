//! The streams of one session: which event belongs to which, and what is kept so that one can be taken up.
//!
//! What is kept is bounded in bytes. What nobody hears makes room first; a client that hears and does not read
//! is waited for. Out of scope: connections, and time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::Waker;

use crate::frame::OwnedId;

/// Streams of one session, and requests that are open in it.
pub(super) const STREAMS_MAX: usize = 256;
/// Events that one stream keeps.
const KEPT_MAX: usize = 1024;
/// Bytes that the events of one session may take together, beside the last.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// The stream of the session itself.
pub(super) const OWN: u64 = 0;

/// All streams of a session.
pub(super) struct Streams {
    all: BTreeMap<u64, Stream>,
    /// Which stream waits for which answer.
    waiting: HashMap<OwnedId, u64>,
    next: u64,
    bytes: usize,
}

/// How a request was asked.
pub(super) struct Asked {
    /// The id in the session.
    pub(super) id: OwnedId,
    /// The id that the client gave, where that is another.
    pub(super) original: Option<OwnedId>,
    /// Where the client said that progress is told, as it stands.
    pub(super) token: Option<String>,
}

#[derive(Default)]
struct Stream {
    asked: Option<Asked>,
    kept: VecDeque<(u64, String)>,
    /// Number of the last event that there was, and of the last that somebody took.
    last: u64,
    taken: u64,
    /// Who hears it: the latest that came.
    reader: u64,
    is_heard: bool,
    is_done: bool,
    waker: Option<Waker>,
}

/// Somebody who hears a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) stream: u64,
    number: u64,
    after: u64,
}

impl Reader {
    /// Where it stands, as a client names it.
    pub(super) fn place(&self) -> String {
        format!("{}-{}", self.stream, self.after)
    }
}

/// What a stream says next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An event, as it is sent.
    Event(String),
    /// Nothing yet.
    Wait,
    /// Nothing more.
    Over,
}

/// Why a stream cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoStream {
    /// Another request with this id is open.
    InUse,
    /// Too many are open.
    TooMany,
    /// There is no such stream, or it does not reach back so far.
    Unknown,
    /// Somebody hears it.
    Heard,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            all: BTreeMap::from([(OWN, Stream::default())]),
            waiting: HashMap::new(),
            next: OWN,
            bytes: 0,
        }
    }
}

impl Streams {
    /// A stream for the answer to a request.
    pub(super) fn open(&mut self, asked: Asked) -> Result<Reader, NoStream> {
        if self.waiting.contains_key(&asked.id) {
            return Err(NoStream::InUse);
        }
        if self.waiting.len() >= STREAMS_MAX {
            return Err(NoStream::TooMany);
        }
        if self.all.len() > STREAMS_MAX {
            let done = self.all.iter().find(|(_, stream)| stream.is_done);
            let done = done.map(|(number, _)| *number);
            self.forget(done.ok_or(NoStream::TooMany)?);
        }
        self.next = self.next.saturating_add(1);
        self.waiting.insert(asked.id.clone(), self.next);
        let stream = Stream {
            asked: Some(asked),
            is_heard: true,
            ..Stream::default()
        };
        self.all.insert(self.next, stream);
        Ok(Reader {
            stream: self.next,
            number: 0,
            after: 0,
        })
    }

    /// Somebody else hears a stream, from after this event; whoever heard it before does no more.
    pub(super) fn take_up(&mut self, number: u64, after: Option<u64>) -> Result<Reader, NoStream> {
        let stream = self.all.get_mut(&number).ok_or(NoStream::Unknown)?;
        if stream.is_heard && after.is_none() {
            return Err(NoStream::Heard);
        }
        let after = after.unwrap_or(stream.taken);
        let oldest = stream.kept.front().map(|(number, _)| *number);
        let oldest = oldest.unwrap_or_else(|| stream.last.saturating_add(1));
        if after > stream.last || after.saturating_add(1) < oldest {
            return Err(NoStream::Unknown);
        }
        stream.reader = stream.reader.saturating_add(1);
        stream.is_heard = true;
        if let Some(waker) = stream.waker.take() {
            waker.wake();
        }
        Ok(Reader {
            stream: number,
            number: stream.reader,
            after,
        })
    }

    /// What a stream says next to this reader, who is woken when there is more.
    pub(super) fn next(&mut self, reader: &mut Reader, waker: &Waker) -> Next {
        let Some(stream) = self.all.get_mut(&reader.stream) else {
            return Next::Over;
        };
        if stream.reader != reader.number {
            return Next::Over;
        }
        let found = stream
            .kept
            .iter()
            .find(|(number, _)| *number > reader.after);
        let Some((number, text)) = found else {
            if stream.is_done {
                return Next::Over;
            }
            stream.waker = Some(waker.clone());
            return Next::Wait;
        };
        reader.after = *number;
        stream.taken = stream.taken.max(*number);
        Next::Event(event(&reader.place(), text))
    }

    /// Whether a reader has something to hear, or never will.
    pub(super) fn has_next(&mut self, reader: &Reader, waker: &Waker) -> bool {
        let Some(stream) = self.all.get_mut(&reader.stream) else {
            return true;
        };
        let is_there = stream.is_done || stream.last > reader.after;
        if !is_there {
            stream.waker = Some(waker.clone());
        }
        is_there
    }

    /// The only thing that a stream says, if that is all that it ever will and is wanted by itself: then it is
    /// forgotten. Otherwise the stream goes on to say it.
    pub(super) fn only(
        &mut self,
        reader: &Reader,
        is_wanted: impl FnOnce(&str) -> bool,
    ) -> Option<String> {
        let stream = self.all.get(&reader.stream)?;
        let (_, text) = stream.kept.back()?;
        if !stream.is_done || stream.last != 1 || !is_wanted(text) {
            return None;
        }
        self.forget(reader.stream)
    }

    /// Nobody hears a stream any more by this reader.
    pub(super) fn left(&mut self, reader: &Reader) {
        if let Some(stream) = self.all.get_mut(&reader.stream)
            && stream.reader == reader.number
        {
            stream.is_heard = false;
            stream.waker = None;
        }
    }

    /// A request is given up: nothing of it is kept. Gives its id, if no answer came.
    pub(super) fn give_up(&mut self, number: u64) -> Option<OwnedId> {
        let asked = self.all.get(&number)?.asked.as_ref()?.id.clone();
        let is_open = self.waiting.get(&asked) == Some(&number);
        self.forget(number);
        is_open.then(|| {
            self.waiting.remove(&asked);
            asked
        })
    }

    /// The stream that waits for this answer, once; and the id that its client knows it by.
    pub(super) fn answered(&mut self, id: &OwnedId) -> Option<(u64, Option<OwnedId>)> {
        let number = self.waiting.remove(id)?;
        let original = self.all.get(&number).and_then(|it| it.asked.as_ref());
        Some((number, original.and_then(|asked| asked.original.clone())))
    }

    /// The stream that something belongs to which answers nothing: of the request that it names, of the only
    /// one that is open, of the session where somebody hears that, of the latest request.
    pub(super) fn related(&self, is_named: impl Fn(&Asked) -> bool) -> u64 {
        let open = || self.waiting.values().copied();
        let asked = |number: &u64| self.all.get(number).and_then(|it| it.asked.as_ref());
        let named = open().find(|number| asked(number).is_some_and(&is_named));
        let is_own_heard = self.all.get(&OWN).is_some_and(|own| own.is_heard);
        match (named, self.waiting.len()) {
            (Some(named), _) => named,
            (None, 1) => open().next().unwrap_or(OWN),
            (None, _) if is_own_heard => OWN,
            (None, _) => open().max().unwrap_or(OWN),
        }
    }

    /// What was asked on a stream.
    pub(super) fn asked(&self, number: u64) -> Option<&Asked> {
        self.all.get(&number)?.asked.as_ref()
    }

    /// Adds to a stream.
    pub(super) fn say(&mut self, number: u64, text: String, is_last: bool) {
        let Some(stream) = self.all.get_mut(&number) else {
            return;
        };
        stream.last = stream.last.saturating_add(1);
        stream.is_done |= is_last;
        self.bytes = self.bytes.saturating_add(text.len());
        stream.kept.push_back((stream.last, text));
        if let Some(waker) = stream.waker.take() {
            waker.wake();
        }
    }

    /// Drops what may be dropped, as long as there is too much. `false`: somebody has to read first.
    pub(super) fn make_room(&mut self) -> bool {
        loop {
            let is_too_much = self.bytes > KEPT_BYTES_MAX;
            let may_go = |(_, stream): &(&u64, &Stream)| {
                let oldest = stream.kept.front().map(|(number, _)| *number);
                // Nobody waits for it, or somebody has it already; the last of a stream is kept longest.
                (is_too_much || stream.kept.len() > KEPT_MAX)
                    && oldest.is_some_and(|oldest| {
                        oldest <= stream.taken || (!stream.is_heard && oldest < stream.last)
                    })
            };
            let found = self.all.iter().find(may_go).map(|(number, _)| *number);
            if !is_too_much && found.is_none() {
                // A reader that is so many events behind is waited for.
                return self
                    .all
                    .values()
                    .all(|stream| stream.kept.len() <= KEPT_MAX);
            }
            if let Some(number) = found {
                self.drop_oldest(number);
            } else if self.all.values().any(|stream| stream.is_heard) && self.is_behind() {
                return false;
            } else {
                let unheard = self.all.iter().find(|(_, it)| !it.kept.is_empty());
                let Some(number) = unheard.map(|(number, _)| *number) else {
                    return true;
                };
                self.drop_oldest(number);
            }
        }
    }

    /// Whether somebody who hears has not taken all that there is.
    fn is_behind(&self) -> bool {
        let mut all = self.all.values();
        all.any(|stream| stream.is_heard && stream.taken < stream.last)
    }

    /// Whether somebody hears any of them, or waits for an answer.
    pub(super) fn is_in_use(&self) -> bool {
        !self.waiting.is_empty()
            || self
                .all
                .values()
                .any(|stream| stream.is_heard && !stream.is_done)
    }

    /// Nothing comes any more.
    pub(super) fn close(&mut self) {
        for stream in self.all.values_mut() {
            stream.is_done = true;
            if let Some(waker) = stream.waker.take() {
                waker.wake();
            }
        }
        self.waiting.clear();
    }

    fn drop_oldest(&mut self, number: u64) {
        let Some(stream) = self.all.get_mut(&number) else {
            return;
        };
        if let Some((_, text)) = stream.kept.pop_front() {
            self.bytes = self.bytes.saturating_sub(text.len());
        }
        if stream.kept.is_empty() && stream.is_done && !stream.is_heard && number != OWN {
            self.all.remove(&number);
        }
    }

    /// Takes a stream away; gives the last that it said.
    fn forget(&mut self, number: u64) -> Option<String> {
        let stream = self.all.remove(&number)?;
        let kept: usize = stream.kept.iter().map(|(_, text)| text.len()).sum();
        self.bytes = self.bytes.saturating_sub(kept);
        if let Some(waker) = stream.waker {
            waker.wake();
        }
        stream.kept.into_iter().next_back().map(|(_, text)| text)
    }
}

/// An event with an id.
pub(super) fn event(place: &str, text: &str) -> String {
    format!("id: {place}\ndata: {text}\n\n")
}

#[cfg(test)]
#[path = "streams/tests.rs"]
mod tests;
