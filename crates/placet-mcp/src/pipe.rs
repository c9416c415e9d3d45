//! The two ends of a stream of lines: bounded reading, and writing that nobody else waits for.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};

/// Frames that wait to be written.
const WAITING_MAX: usize = 2048;
/// How long what waits may take to be written at the end.
const FLUSH: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// Lines of at most so many bytes.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
}

/// A line, or that it was longer than it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// It was passed over; this is how it begins.
    TooLong(Vec<u8>),
}

/// What is kept of a line that is too long.
const BEGINNING: usize = 1024;

impl<R: Read> Lines<R> {
    /// Reads lines of at most `bytes_max` bytes.
    pub fn new(reader: R, bytes_max: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            bytes_max,
        }
    }

    /// Whether another line was read already.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The next line that is not empty; `None` at the end.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut line = Vec::new();
            let mut is_long = false;
            if !self.fill(&mut line, &mut is_long)? {
                return Ok(None);
            }
            while matches!(line.last(), Some(b'\r' | b'\n')) {
                line.pop();
            }
            if is_long {
                return Ok(Some(Line::TooLong(line)));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(Line::Whole(line)));
            }
        }
    }

    /// Reads to the end of the line; `false` when there is none.
    fn fill(&mut self, line: &mut Vec<u8>, is_long: &mut bool) -> io::Result<bool> {
        let mut any = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                return Ok(any);
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            if !*is_long {
                line.extend_from_slice(buffer.get(..taken).unwrap_or_default());
                // The end of the line is no part of it.
                if line.len() > self.bytes_max.saturating_add(2) {
                    *is_long = true;
                    line.truncate(BEGINNING);
                }
            }
            self.reader.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

/// Where frames go.
pub trait Sink: Write + Send {
    /// The pipe or socket behind it, where bytes go without being kept on the way: then a small frame can be
    /// written by whoever has it, without waiting.
    fn direct(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Sink for PipeWriter {
    fn direct(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Sink for File {
    fn direct(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

/// Writes frames: a small one at once where there is room for it, the others in a thread of its own. To wake
/// that thread for each frame would take as long as everything else.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing more will come.
    filled: Condvar,
    /// There is room, or nobody reads any more.
    room: Condvar,
}

struct State {
    /// `None` while the thread writes: what comes meanwhile waits behind it.
    to: Option<Box<dyn Sink>>,
    waiting: VecDeque<Vec<u8>>,
    /// Whether it was found to be no socket.
    is_pipe: bool,
    is_closed: bool,
    is_broken: bool,
}

impl Outbox {
    /// Writes to `to` until it is closed.
    ///
    /// # Errors
    ///
    /// What the operating system says of the thread.
    pub fn new(name: &str, to: Box<dyn Sink>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                to: Some(to),
                waiting: VecDeque::new(),
                is_pipe: false,
                is_closed: false,
                is_broken: false,
            }),
            filled: Condvar::new(),
            room: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 << 10)
            .spawn(move || own.run())?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Gives a frame, waiting until there is room. `false`: nobody reads any more.
    pub fn push(&self, frame: String) -> bool {
        let mut state = self.shared.state();
        while state.is_open() && state.waiting.len() >= WAITING_MAX {
            let waited = self.shared.room.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        self.shared.put(state, frame)
    }

    /// Gives a frame if there is room. `false`: there is none, or nobody reads any more.
    pub fn offer(&self, frame: String) -> bool {
        let state = self.shared.state();
        state.waiting.len() < WAITING_MAX && self.shared.put(state, frame)
    }

    /// Takes no more, and waits a little until what waits is written.
    pub fn close(&self) {
        self.shared.state().is_closed = true;
        self.shared.filled.notify_all();
        self.shared.room.notify_all();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return };
        let mut left = FLUSH;
        while !thread.is_finished() && !left.is_zero() {
            thread::sleep(LOOK);
            left = left.saturating_sub(LOOK);
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // The thread writes what waits, and ends.
        self.shared.state().is_closed = true;
        self.shared.filled.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut state: MutexGuard<'_, State>, frame: String) -> bool {
        if !state.is_open() {
            return false;
        }
        let mut bytes = frame.into_bytes();
        bytes.push(b'\n');
        let written = state.write_at_once(&bytes);
        if written == bytes.len() {
            return true;
        }
        bytes.drain(..written);
        state.waiting.push_back(bytes);
        drop(state);
        self.filled.notify_one();
        true
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            let Some(bytes) = state.waiting.pop_front() else {
                if state.is_closed {
                    // The other end sees that nothing more comes.
                    state.to = None;
                    return;
                }
                let waited = self.filled.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(mut to) = state.to.take() else {
                return;
            };
            drop(state);
            self.room.notify_one();
            let written = to.write_all(&bytes).and_then(|()| to.flush());
            state = self.state();
            if written.is_err() {
                state.is_broken = true;
                state.waiting.clear();
                drop(state);
                self.room.notify_all();
                return;
            }
            state.to = Some(to);
        }
    }
}

impl State {
    fn is_open(&self) -> bool {
        !self.is_closed && !self.is_broken
    }

    /// Writes as much of a small frame as there is room for, if it is its turn; how much that was.
    fn write_at_once(&mut self, bytes: &[u8]) -> usize {
        let direct = self.to.as_ref().and_then(|to| to.direct());
        let Some(direct) = direct.filter(|_| self.waiting.is_empty()) else {
            return 0;
        };
        if bytes.len() > AT_ONCE_MAX {
            return 0;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if !self.is_pipe {
            match send(direct, bytes, flags) {
                Ok(written) => return written,
                Err(Errno::NOTSOCK) => self.is_pipe = true,
                // The thread finds out what it is.
                Err(_) => return 0,
            }
        }
        let direct = self.to.as_ref().and_then(|to| to.direct());
        direct.map_or(0, |direct| write_to_pipe(direct, bytes))
    }
}

/// A pipe that can be written to has room for this much, and takes it as a whole (`PIPE_BUF`).
const AT_ONCE_MAX: usize = 4096;

fn write_to_pipe(pipe: BorrowedFd<'_>, bytes: &[u8]) -> usize {
    let mut polled = [PollFd::new(&pipe, PollFlags::OUT)];
    let has_room = poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready == 1)
        && polled.iter().all(|it| it.revents() == PollFlags::OUT);
    if has_room {
        write(pipe, bytes).unwrap_or(0)
    } else {
        0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_the_next_one_is_read_all_the_same() {
        let long = "x".repeat(5000);
        let text = format!("one\r\n\n  \n{long}\ntwo\nthree");
        let mut lines = Lines::new(text.as_bytes(), 100);
        let whole = |text: &str| Some(Line::Whole(text.as_bytes().to_vec()));
        assert_eq!(lines.next_line().unwrap(), whole("one"));
        match lines.next_line().unwrap() {
            Some(Line::TooLong(begin)) => assert_eq!(begin.len(), BEGINNING),
            other => panic!("{other:?}"),
        }
        assert_eq!(lines.next_line().unwrap(), whole("two"));
        assert_eq!(lines.next_line().unwrap(), whole("three"));
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn frames_arrive_in_their_order_whether_there_was_room_or_not() {
        for is_socket in [false, true] {
            let (mut from, to): (Box<dyn Read>, Box<dyn Sink>) = if is_socket {
                let (from, to) = std::os::unix::net::UnixStream::pair().unwrap();
                (
                    Box::new(from),
                    Box::new(File::from(std::os::fd::OwnedFd::from(to))),
                )
            } else {
                let (from, to) = io::pipe().unwrap();
                (Box::new(from), Box::new(to))
            };
            let outbox = Outbox::new("test", to).unwrap();
            // More than a pipe or a socket holds, so some have to wait; some are too long to go at once.
            let frames: Vec<String> = (0..900)
                .map(|number: usize| format!("{number}{}", "x".repeat(number % 7 * 900)))
                .collect();
            let mut expected = String::new();
            for frame in &frames {
                assert!(outbox.push(frame.clone()));
                expected.push_str(frame);
                expected.push('\n');
            }
            let mut read = String::new();
            thread::scope(|scope| {
                scope.spawn(|| outbox.close());
                from.read_to_string(&mut read).unwrap();
            });
            assert!(read == expected, "frames were lost or changed places");
            assert!(!outbox.push("late".to_owned()));
        }
    }

    #[test]
    fn who_does_not_read_is_not_waited_for_and_who_is_gone_is_told() {
        let (from, to) = io::pipe().unwrap();
        let outbox = Outbox::new("test", Box::new(to)).unwrap();
        let frame = "x".repeat(AT_ONCE_MAX + 1);
        while outbox.offer(frame.clone()) {}
        drop(from);
        // The thread that writes hears of it.
        while outbox.push("more".to_owned()) {
            thread::sleep(LOOK);
        }
        assert!(!outbox.offer("more".to_owned()));
    }
}
