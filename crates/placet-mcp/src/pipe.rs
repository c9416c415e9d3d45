//! The two ends of a stream of lines: bounded reading, and writing that nobody else waits for.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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

/// Writes frames in a thread of its own.
#[derive(Debug)]
pub struct Outbox {
    sender: Mutex<Option<SyncSender<String>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Outbox {
    /// Writes to `to` until it is closed.
    ///
    /// # Errors
    ///
    /// What the operating system says of the thread.
    pub fn new(name: &str, mut to: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<String>(WAITING_MAX);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                while let Ok(mut frame) = receiver.recv() {
                    frame.push('\n');
                    if to
                        .write_all(frame.as_bytes())
                        .and_then(|()| to.flush())
                        .is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    fn sender(&self) -> Option<SyncSender<String>> {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives a frame, waiting until there is room. `false`: nobody reads any more.
    pub fn push(&self, frame: String) -> bool {
        self.sender()
            .is_some_and(|sender| sender.send(frame).is_ok())
    }

    /// Gives a frame if there is room. `false`: there is none, or nobody reads any more.
    pub fn offer(&self, frame: String) -> bool {
        self.sender()
            .is_some_and(|sender| match sender.try_send(frame) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            })
    }

    /// Takes no more, and waits a little until what waits is written.
    pub fn close(&self) {
        drop(
            self.sender
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
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
}
