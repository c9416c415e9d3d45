//! Where a client waits while its server waits for an approval. Until one is needed there is none, and the client's
//! streams are untouched.

use std::io::{Read, Write, pipe};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_mcp::anteroom::{Anteroom, Waits};
use placet_mcp::denial::Said;
use placet_process::terminal::WaitsFor;

use crate::exit::Failure;

/// The streams of a client.
pub(super) type Reader = Box<dyn Read + Send>;
pub(super) type Writer = Box<dyn Write + Send>;

/// What a client finds before there is a server.
pub(super) struct Lobby {
    server: String,
    patience: Duration,
    /// Where approvals are given in a browser, if there is such a place now.
    console: Box<dyn Fn() -> Option<String> + Send + Sync>,
    client: Mutex<Client>,
}

enum Client {
    /// Nobody has read anything of it.
    Untouched(Reader, Writer),
    /// It waits; what it says comes out of the reader.
    Waits(Anteroom, Reader),
    /// It was handed on.
    Gone,
}

impl Lobby {
    pub(super) fn new(
        server: &str,
        patience: Duration,
        console: Box<dyn Fn() -> Option<String> + Send + Sync>,
        client: (Reader, Writer),
    ) -> Self {
        Self {
            server: server.to_owned(),
            patience,
            console,
            client: Mutex::new(Client::Untouched(client.0, client.1)),
        }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server waits for approvals: from now on the client's requests are looked after.
    pub(super) fn waits(&self, waits: WaitsFor) -> Result<(), Failure> {
        let mut client = self.client();
        let (reader, writer) = match std::mem::replace(&mut *client, Client::Gone) {
            Client::Untouched(reader, writer) => (reader, writer),
            other @ (Client::Waits(..) | Client::Gone) => {
                *client = other;
                return Ok(());
            }
        };
        let waits = Waits {
            server: self.server.clone(),
            exec: waits.exec,
            record: waits.record,
            whose: waits.whose,
            console: (self.console)(),
        };
        let last = placet_decision::CHECKS.len();
        let number = u8::try_from(last).unwrap_or(u8::MAX);
        let name = placet_decision::CHECKS.last().copied().unwrap_or_default();
        let (held, into) = pipe()?;
        let room = Anteroom::open(waits, (number, name), self.patience, (reader, writer), into)?;
        *client = Client::Waits(room, Box::new(held));
        Ok(())
    }

    /// Does this once the client goes that waits, unless its server is there by then.
    pub(super) fn when_left(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        if let Client::Waits(room, _) = &*self.client() {
            room.when_left(work)?;
        }
        Ok(())
    }

    /// Whether the client that waits has gone.
    pub(super) fn is_left(&self) -> bool {
        matches!(&*self.client(), Client::Waits(room, _) if room.is_left())
    }

    /// The server is there: where its session reads the client.
    pub(super) fn started(&self) -> Option<Reader> {
        match std::mem::replace(&mut *self.client(), Client::Gone) {
            Client::Untouched(reader, _) => Some(reader),
            Client::Waits(room, reader) => {
                room.started();
                Some(reader)
            }
            Client::Gone => None,
        }
    }

    /// There will be no server. One that waits is answered, and waited for until it goes; the streams of any other are
    /// given back.
    pub(super) fn refused(&self, said: &Said) -> Option<(Reader, Writer)> {
        match std::mem::replace(&mut *self.client(), Client::Gone) {
            Client::Untouched(reader, writer) => Some((reader, writer)),
            Client::Waits(room, _) => {
                room.refused(said.clone());
                room.until_left();
                None
            }
            Client::Gone => None,
        }
    }
}
