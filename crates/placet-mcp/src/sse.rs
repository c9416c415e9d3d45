//! Server-sent events, read as they come and within a bound.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What it is called; `message` where nothing is said.
    pub name: Option<String>,
    /// Its data, lines joined.
    pub data: String,
}

/// Reads events out of pieces of a stream.
#[derive(Debug)]
pub struct Reader {
    line: Vec<u8>,
    had_cr: bool,
    event: Event,
    has_data: bool,
    last_id: Option<String>,
    retry_ms: Option<u64>,
    bytes_max: usize,
}

/// Why a stream is read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SseError {
    /// An event is longer than the bound.
    #[error("an event is too long")]
    TooLong,
    /// Not UTF-8.
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// Longest id of an event, in bytes; a longer one is none.
const ID_BYTES_MAX: usize = 1024;

impl Reader {
    /// Reads events of at most so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            had_cr: false,
            event: Event::default(),
            has_data: false,
            last_id: None,
            retry_ms: None,
            bytes_max,
        }
    }

    /// The id of the last event that had one.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long to wait before asking again, where the server says so.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// What was begun and not ended is no event.
    pub fn begin_again(&mut self) {
        self.line.clear();
        self.had_cr = false;
        self.event = Event::default();
        self.has_data = false;
    }

    /// Takes a piece and gives the events that it completes.
    ///
    /// # Errors
    ///
    /// [`SseError`]
    pub fn take(&mut self, piece: &[u8]) -> Result<Vec<Event>, SseError> {
        let mut events = Vec::new();
        for byte in piece {
            let was_cr = std::mem::take(&mut self.had_cr);
            match byte {
                b'\n' if was_cr => {}
                b'\n' | b'\r' => {
                    self.had_cr = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&line)?);
                }
                _ => {
                    if self.line.len().saturating_add(self.event.data.len()) >= self.bytes_max {
                        return Err(SseError::TooLong);
                    }
                    self.line.push(*byte);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<Event>, SseError> {
        let line = std::str::from_utf8(line).map_err(|_| SseError::NotUtf8)?;
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "event" => self.event.name = Some(value.to_owned()),
            "id" if value.len() <= ID_BYTES_MAX && !value.contains('\0') => {
                self.last_id = (!value.is_empty()).then(|| value.to_owned());
            }
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_in_whatever_pieces_they_come() {
        let text = ": hello\r\nid: 7\r\nretry: 20\r\ndata:\r\n\r\nevent: message\ndata: {\"a\":\ndata: 1}\n\ndata: x\r\r";
        for size in 1..text.len() {
            let mut reader = Reader::new(1000);
            let events: Vec<Event> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| reader.take(piece).unwrap())
                .collect();
            let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
            assert_eq!(data, ["", "{\"a\":\n1}", "x"], "{size}");
            assert_eq!((reader.last_id(), reader.retry_ms()), (Some("7"), Some(20)));
        }
        let mut reader = Reader::new(10);
        assert_eq!(reader.take(b"data: 0123456789"), Err(SseError::TooLong));
    }
}
