//! The client's end of a connection to a node.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use placet_evidence::Nonce;
use placet_secrets::Secret;
use placet_types::{DenialCode, Digest, ExecutionId, Millis, SecretName};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::time::{ClockId, clock_gettime};
use zeroize::Zeroize as _;

use super::wire::{self, FRAME_MAX, Request, Response, VERSION, Welcome};

/// How long a request may take before the node counts as gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for one that beats meanwhile: it lives, and does not answer.
const PATIENCE_BEATING: Duration = Duration::from_secs(60);

/// What is read in one piece, at least.
const ROOM: usize = 16 << 10;

/// How much was read.
enum Filled {
    /// What there was.
    Some,
    /// As much as there was room for.
    Room,
}

/// A connection to a node. One request at a time; pushes are kept until they are taken.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// Bytes that were read and do not make a frame yet.
    partial: Vec<u8>,
    pushed: Vec<Pushed>,
    welcome: Welcome,
    nonce: Nonce,
    in_force: Option<Digest>,
    /// [`PATIENCE_BEATING`].
    patience: Duration,
}

/// An answer, and the secrets that followed it.
pub type Asked = (Response, Vec<(SecretName, Secret)>);

/// What a node says without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The conditions hold; leases are renewed.
    Beat {
        /// How long ago the node saw that its log can be read and written.
        age: Duration,
        /// Whether the gateway is to attest its environment again.
        attest: bool,
    },
    /// This execution must end.
    Ending {
        /// Which one.
        exec: ExecutionId,
        /// Why.
        cause: DenialCode,
    },
}

/// Why a node was not reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The connection failed.
    #[error("the connection to the node failed: {0}")]
    Io(#[from] io::Error),
    /// The node ended the connection.
    #[error("the node ended the connection")]
    Closed,
    /// The node says that it lives, and does not answer.
    #[error("the node does not answer")]
    Unanswered,
    /// The node refused to talk.
    #[error("the node refused to talk: {0}")]
    Refused(String),
    /// The node answered something that does not fit the request.
    #[error("the node gave an answer that does not fit the request")]
    Unexpected,
}

/// Time that only goes on.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// A node that leaves may close while it is greeted.
fn closed(error: io::Error) -> LinkError {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    ) {
        LinkError::Closed
    } else {
        LinkError::Io(error)
    }
}

impl Connection {
    /// Greets the node at the other end of `stream`.
    ///
    /// # Errors
    ///
    /// [`LinkError`]
    pub fn greet(stream: UnixStream) -> Result<Self, LinkError> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut stream = stream;
        wire::write(&mut stream, &Request::Hello { version: VERSION }).map_err(closed)?;
        let welcome = match wire::read(&mut stream).map_err(closed)? {
            Some(Response::Welcome(welcome)) => *welcome,
            Some(Response::Error(denial)) => return Err(LinkError::Refused(denial.reason)),
            Some(_) => return Err(LinkError::Unexpected),
            None => return Err(LinkError::Closed),
        };
        Ok(Self {
            stream,
            partial: Vec::new(),
            pushed: Vec::new(),
            nonce: welcome.nonce,
            welcome,
            in_force: None,
            patience: PATIENCE_BEATING,
        })
    }

    /// Greets the node again over a connection that was not used for a while: what it says of the domain is of now, and what it pushed
    /// meanwhile is forgotten.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn greet_again(&mut self) -> Result<(), LinkError> {
        self.pushed()?;
        let response = self.ask(&Request::Hello { version: VERSION })?;
        if let Response::Error(denial) = response {
            return Err(LinkError::Refused(denial.reason));
        }
        let Response::Welcome(welcome) = response else {
            return Err(LinkError::Unexpected);
        };
        self.pushed.clear();
        self.nonce = welcome.nonce;
        self.welcome = *welcome;
        Ok(())
    }

    /// Who is at the other end.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The policy bundle that the last beat said is in force.
    #[must_use]
    pub fn in_force(&self) -> Option<Digest> {
        self.in_force
    }

    /// Something to sign with an environment, which the node gave out not long before `now`.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn nonce(&mut self, now: Millis) -> Result<Nonce, LinkError> {
        if !self.has_fresh_nonce(now) {
            self.new_nonce()?;
        }
        Ok(self.nonce)
    }

    /// As [`Connection::nonce`], one that has not been given out before.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn new_nonce(&mut self) -> Result<Nonce, LinkError> {
        let response = self.ask(&Request::Nonce)?;
        if let Response::Error(denial) = response {
            return Err(LinkError::Refused(denial.reason));
        }
        let Response::Nonce(nonce) = response else {
            return Err(LinkError::Unexpected);
        };
        self.nonce = nonce;
        Ok(nonce)
    }

    /// The nonce that the node gave out last.
    #[must_use]
    pub fn nonce_at_hand(&self) -> Nonce {
        self.nonce
    }

    /// Asks, and waits for the answer. Pushes that come before it are kept.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn ask(&mut self, request: &Request) -> Result<Response, LinkError> {
        self.send(request)?;
        self.answer()
    }

    /// Sends a request whose answer is taken afterwards, by [`Connection::answer`].
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        Ok(wire::write(&mut self.stream, request)?)
    }

    /// Waits for the answer to what was sent. Pushes that come before it are kept.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn answer(&mut self) -> Result<Response, LinkError> {
        let until = monotonic().saturating_add(self.patience);
        loop {
            while let Some(response) = self.take_frame()? {
                match push_of(&response) {
                    Some(push) => self.pushed.push(push),
                    None => return Ok(response),
                }
            }
            if monotonic() >= until {
                return Err(LinkError::Unanswered);
            }
            self.fill(RecvFlags::empty())?;
        }
    }

    /// As [`Connection::ask`], and sends the bytes of a secret after the request.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn ask_with(&mut self, request: &Request, secret: &Secret) -> Result<Response, LinkError> {
        wire::write(&mut self.stream, request)?;
        self.stream.write_all(secret.expose())?;
        self.answer()
    }

    /// As [`Connection::ask`], for what is answered with secrets: gives those that follow the answer.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn ask_for_secrets(&mut self, request: &Request) -> Result<Asked, LinkError> {
        let response = self.ask(request)?;
        let mut secrets = Vec::new();
        let following = if let Response::Started { secrets, .. } = &response {
            secrets.as_slice()
        } else if let Response::Handed(one) = &response {
            std::slice::from_ref(one)
        } else if let Response::Taken(_, following) = &response {
            std::slice::from_ref(following)
        } else {
            &[]
        };
        for one in following {
            let early = self.partial.len().min(one.bytes as usize);
            let mut from = self
                .partial
                .get(..early)
                .unwrap_or_default()
                .chain(&self.stream);
            let value = wire::read_secret(&mut from, one.bytes)?;
            self.forget(early);
            secrets.push((one.name.clone(), value));
        }
        Ok((response, secrets))
    }

    /// Takes bytes away from the front of what was read, and wipes where all of it stood.
    fn forget(&mut self, bytes: usize) {
        let rest = self.partial.get(bytes..).unwrap_or_default().to_vec();
        self.partial.zeroize();
        self.partial = rest;
    }

    /// As [`Connection::answer`], as long as something comes within this time of what came before. `None` when
    /// nothing does: the answer is still to be taken.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn answer_within(&mut self, patience: Duration) -> Result<Option<Response>, LinkError> {
        let timeout = Timespec::try_from(patience).unwrap_or_default();
        loop {
            while let Some(response) = self.take_frame()? {
                match push_of(&response) {
                    Some(push) => self.pushed.push(push),
                    None => return Ok(Some(response)),
                }
            }
            let mut polled = [PollFd::new(&self.stream, PollFlags::IN)];
            // An interrupted wait is a short one.
            if poll(&mut polled, Some(&timeout)).unwrap_or(0) == 0 {
                return Ok(None);
            }
            self.fill(RecvFlags::empty())?;
        }
    }

    /// Whether the nonce at hand is still one to attest with.
    #[must_use]
    pub fn has_fresh_nonce(&self, now: Millis) -> bool {
        now.since(self.nonce.time()) <= self.welcome.nonce_secs.saturating_mul(1000)
    }

    /// Whether something was pushed that was not taken yet.
    #[must_use]
    pub fn has_pushed(&self) -> bool {
        !self.pushed.is_empty()
    }

    /// Takes what was pushed, without waiting.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection is of no use afterwards.
    pub fn pushed(&mut self) -> Result<Vec<Pushed>, LinkError> {
        let filled = self.fill_all();
        while let Some(response) = self.take_frame()? {
            // Nothing was asked, so anything but a push is out of turn.
            self.pushed
                .push(push_of(&response).ok_or(LinkError::Unexpected)?);
        }
        // What came before the end of the connection still counts.
        if self.pushed.is_empty() {
            filled?;
        }
        Ok(std::mem::take(&mut self.pushed))
    }

    fn fill_all(&mut self) -> Result<(), LinkError> {
        loop {
            match self.fill(RecvFlags::DONTWAIT) {
                Ok(Filled::Room) => {}
                // Whatever comes later makes it readable again.
                Ok(Filled::Some) => return Ok(()),
                Err(LinkError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn fill(&mut self, flags: RecvFlags) -> Result<Filled, LinkError> {
        if self.partial.capacity().saturating_sub(self.partial.len()) < ROOM {
            // Grown by hand: what was read may be a secret, and must not be left behind.
            let room = self.partial.len().saturating_mul(2).saturating_add(ROOM);
            let mut grown = Vec::with_capacity(room);
            grown.extend_from_slice(&self.partial);
            self.partial.zeroize();
            self.partial = grown;
        }
        let room = self.partial.capacity().saturating_sub(self.partial.len());
        let read = loop {
            match recv(&self.stream, spare_capacity(&mut self.partial), flags) {
                Err(Errno::INTR) => {}
                other => break other.map_err(io::Error::from)?.0,
            }
        };
        if read == 0 {
            return Err(LinkError::Closed);
        }
        Ok(if read < room {
            Filled::Some
        } else {
            Filled::Room
        })
    }

    fn take_frame(&mut self) -> Result<Option<Response>, LinkError> {
        let Some((length, rest)) = self.partial.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_MAX {
            return Err(LinkError::Unexpected);
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let response = wire::decode(body)?;
        if let Response::Beat { active, .. } = &response {
            self.in_force = *active;
        }
        self.partial.drain(..length + 4);
        Ok(Some(response))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn push_of(response: &Response) -> Option<Pushed> {
    match response {
        Response::Beat { age_ms, attest, .. } => Some(Pushed::Beat {
            age: Duration::from_millis(*age_ms),
            attest: *attest,
        }),
        Response::Ending { cause, exec } => Some(Pushed::Ending {
            exec: *exec,
            cause: *cause,
        }),
        Response::Welcome(_)
        | Response::Started { .. }
        | Response::Handed(_)
        | Response::Taken(..)
        | Response::Secrets(_)
        | Response::Permitted(_)
        | Response::Called(_)
        | Response::Begun(_)
        | Response::Denied { .. }
        | Response::Nonce(_)
        | Response::Appraised(_)
        | Response::Previewed(_)
        | Response::Recorded { .. }
        | Response::Attached { .. }
        | Response::Status(_)
        | Response::Executions(_)
        | Response::Principals(_)
        | Response::Deferred(_)
        | Response::Waiting(_)
        | Response::Definitions(_)
        | Response::Lifecycle(_)
        | Response::Stopping
        | Response::Error(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use placet_types::{DomainName, Index};

    use super::*;

    const BEAT: Duration = Duration::from_millis(10);

    fn nonce() -> Nonce {
        Nonce::new(Millis::new(1), [1; 16], [2; 16])
    }

    /// A node that beats as often as it can and answers after so many beats, if it ever does.
    fn beating(answers_after: usize) -> Connection {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || -> io::Result<()> {
            let _hello: Option<Request> = wire::read(&mut theirs)?;
            let welcome = Welcome {
                domain: DomainName::parse("placet.test/client").unwrap(),
                env: Vec::new(),
                genesis: String::new(),
                measures_gateways: false,
                nonce: nonce(),
                nonce_secs: 60,
                pid: std::process::id(),
            };
            wire::write(&mut theirs, &Response::Welcome(Box::new(welcome)))?;
            let _asked: Option<Request> = wire::read(&mut theirs)?;
            for beats in 0.. {
                if beats == answers_after {
                    wire::write(&mut theirs, &Response::Nonce(nonce()))?;
                }
                wire::write(
                    &mut theirs,
                    &Response::Beat {
                        active: None,
                        age_ms: 0,
                        attest: false,
                        size: Index::default(),
                    },
                )?;
                thread::sleep(BEAT);
            }
            Ok(())
        });
        Connection::greet(ours).unwrap()
    }

    #[test]
    fn a_node_that_beats_and_does_not_answer_is_given_up_and_not_before_its_time() {
        let mut connection = beating(usize::MAX);
        assert_eq!(connection.patience, PATIENCE_BEATING);
        connection.patience = 20 * BEAT;
        let began = monotonic();
        let answer = connection.ask(&Request::Nonce);
        assert!(matches!(answer, Err(LinkError::Unanswered)), "{answer:?}");
        let waited = monotonic().saturating_sub(began);
        assert!(waited >= connection.patience, "{waited:?}");
        // It lives: nothing was lost of what it said meanwhile.
        assert!(!connection.pushed().unwrap().is_empty());
    }

    #[test]
    fn an_answer_behind_beats_is_heard() {
        let mut connection = beating(5);
        let answer = connection.ask(&Request::Nonce);
        assert!(matches!(answer, Ok(Response::Nonce(_))), "{answer:?}");
        assert!(connection.pushed().unwrap().len() >= 5);
    }
}
