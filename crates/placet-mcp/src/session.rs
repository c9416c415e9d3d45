//! One client and one server, and what stands between them.
//!
//! Every request is one of four: governed (decided, recorded, forwarded, watched, ended), listed (its
//! answer is filtered), opening or passed. An answer goes only to whoever asked, once; what answers
//! nothing is dropped. Nothing governed is forwarded before its start is recorded.

mod answers;
mod approvals;
mod endings;
mod lists;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use placet_types::{Denial, DenialCode, Digest, ExecutionId};

use crate::asked::Modes;
use crate::catalog::{Catalog, Definition};
use crate::frame::{Bounds, Frame, FrameError, OwnedId};
use crate::governor::{Ending, Governor, Held, Pace, Ticket};
use crate::method::{Class, Direction};
use crate::pipe::{Line, Lines, Outbox, Sink};
use crate::redact::Redactor;
use crate::subject::{Program, Who};
use approvals::{Pending, Taken};

/// Requests that are open at once, both ways together.
pub const OPEN_MAX: usize = 1024;
/// Intents that wait for approvals and are remembered.
const HELD_MAX: usize = 256;
/// Ids whose late answers are dropped without a record.
const LATE_MAX: usize = 1024;
/// Malformed frames that are recorded one by one; the rest is only counted.
const RECORDED_MAX: u64 = 256;

/// What can be done with a server's process.
pub trait Control: Send + Sync {
    /// Asks it to end.
    fn stop(&self);
    /// Ends it.
    fn kill(&self);
    /// What it was refused while it ran, the last of it, for whoever waits for an answer that does not come.
    fn refused(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A server that runs, as an execution of its own.
pub struct Upstream {
    /// What it reads.
    pub input: Box<dyn Sink>,
    /// What it writes.
    pub output: Box<dyn Read + Send>,
    /// Its process.
    pub control: Box<dyn Control>,
}

/// Keeps a definition for people to look at, by the tool's full name.
pub type Keep = Box<dyn Fn(&str, &Definition) + Send + Sync>;

/// What a session is given.
pub struct Config {
    /// Who asks, and of which server.
    pub who: Who,
    /// Names of the checks of a decision.
    pub checks: [&'static str; 10],
    /// How long a server may take to do what it is told.
    pub grace: Duration,
    /// Keeps a definition for people to look at, by the tool's full name.
    pub keep: Keep,
    /// Where approvals can be given in a browser, if there is such a place now. No secret is in it.
    pub console: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Tells whoever runs the gateway what they would otherwise not see.
    pub tell: Box<dyn Fn(&str) + Send + Sync>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The client went first.
    Client,
    /// The server ended, or was ended.
    Server,
}

/// A session. Threads share it.
pub struct Session {
    config: Config,
    governor: OnceLock<Governor>,
    to_client: Outbox,
    to_server: Outbox,
    control: Box<dyn Control>,
    state: Mutex<State>,
    events: Mutex<Sender<Over>>,
}

#[derive(Default)]
struct State {
    open: HashMap<Key, Open>,
    by_exec: HashMap<ExecutionId, Key>,
    /// What the client said that it can show, when it began.
    modes: Modes,
    /// What the client said that it is, when it began.
    client: Arc<Program>,
    /// What nothing that the server says by itself may show: the rules of all that was permitted so far.
    hidden: Option<Arc<Redactor>>,
    /// What waits for approvals while its client waits.
    pending: BTreeMap<u64, Pending>,
    is_looking: bool,
    /// What was answered `input_required`, by the state that the second try has to name.
    taken: VecDeque<(String, Taken)>,
    own: HashMap<OwnedId, Own>,
    own_prefix: String,
    own_next: u64,
    catalog: Catalog,
    /// What the server has listed so far for the gateway itself, while it lists.
    fetching: Option<Vec<Definition>>,
    /// Whether the server said meanwhile that its tools have changed.
    is_stale: bool,
    waiting: Vec<Waiting>,
    held: HashMap<Digest, Held>,
    held_order: VecDeque<Digest>,
    late: VecDeque<Key>,
    drifted: HashSet<(String, Digest)>,
    kept: BTreeSet<Digest>,
    malformed: u64,
    is_over: bool,
}

/// What a request is known by: who asked, and the id.
type Key = (Direction, OwnedId);

/// A request that has not been answered.
enum Open {
    /// It is decided about.
    Deciding {
        /// Whether whoever asked has given it up.
        is_cancelled: bool,
    },
    /// It was forwarded.
    Running { ticket: Ticket, is_call: bool },
    /// It was forwarded without being decided about.
    Passed(Class),
    /// It was ended, and whoever carries it out has not said that it stopped.
    Ending,
}

/// What the gateway asks of the server itself.
#[derive(Clone, Debug)]
enum Own {
    /// A page of tools, with what every request of this client carries.
    Tools { meta: Option<String> },
    /// Of the client, while this request waits for an approval.
    Approval(Key),
}

/// A call whose tool is not known yet.
struct Waiting {
    id: OwnedId,
    params: Option<String>,
    is_resumed: bool,
}

impl Session {
    /// A session between these ends. `govern` makes its governor, which tells it what has to end.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn new(
        config: Config,
        govern: impl FnOnce(Ending) -> io::Result<Governor>,
        client: Box<dyn Sink>,
        server: Upstream,
    ) -> io::Result<(Arc<Self>, Running)> {
        let (sender, receiver) = channel();
        let mut prefix = [0; 12];
        getrandom::fill(&mut prefix).map_err(io::Error::other)?;
        let hex: String = prefix.iter().map(|byte| format!("{byte:02x}")).collect();
        let session = Arc::new(Self {
            config,
            governor: OnceLock::new(),
            to_client: Outbox::new("to-client", client)?,
            to_server: Outbox::new("to-server", server.input)?,
            control: server.control,
            state: Mutex::new(State {
                own_prefix: format!("placet-{hex}"),
                ..State::default()
            }),
            events: Mutex::new(sender),
        });
        let weak = Arc::downgrade(&session);
        let governor = govern(Box::new(move |exec, cause| {
            if let Some(session) = weak.upgrade() {
                session.must_end(exec, cause);
            }
        }))?;
        // It was made a moment ago: nobody else has set it.
        session.governor.set(governor).unwrap_or(());
        let running = Running {
            output: server.output,
            events: receiver,
        };
        Ok((session, running))
    }

    /// Carries frames until one end is gone, and everything has its end recorded.
    ///
    /// # Errors
    ///
    /// What the operating system says of threads.
    pub fn run(
        self: &Arc<Self>,
        running: Running,
        client: impl Read + Send + 'static,
    ) -> io::Result<Over> {
        let Running { output, events } = running;
        self.read("client", Direction::ToServer, client, Bounds::REQUEST)?;
        self.read("server", Direction::ToClient, output, Bounds::ANSWER)?;
        let first = events.recv().unwrap_or(Over::Server);
        if first == Over::Client {
            self.client_is_gone(&events);
        }
        self.server_is_gone();
        if let Some(governor) = self.governor.get() {
            governor.close();
        }
        self.to_client.close();
        Ok(first)
    }

    /// Reads one end in a thread of its own.
    fn read(
        self: &Arc<Self>,
        name: &str,
        direction: Direction,
        from: impl Read + Send + 'static,
        bounds: Bounds,
    ) -> io::Result<()> {
        let session = Arc::clone(self);
        let over = match direction {
            Direction::ToServer => Over::Client,
            Direction::ToClient => Over::Server,
        };
        thread::Builder::new()
            .name(format!("from-{name}"))
            .spawn(move || {
                let mut lines = Lines::new(from, bounds.bytes_max);
                while let Ok(Some(line)) = lines.next_line() {
                    match line {
                        Line::Whole(bytes) => {
                            let pace = match direction {
                                Direction::ToClient => Pace::Aside,
                                Direction::ToServer if lines.has_more() => Pace::Followed,
                                Direction::ToServer => Pace::Alone,
                            };
                            session.take(direction, &bytes, bounds, pace);
                        }
                        Line::TooLong(begin) => {
                            let error = FrameError::TooLong(bounds.bytes_max);
                            session.refuse(direction, &begin, &error);
                        }
                    }
                    if !lines.has_more()
                        && let Some(governor) = session.governor.get()
                    {
                        governor.settle();
                    }
                }
                session.is_over(over);
            })?;
        Ok(())
    }

    /// Ends the session as if the client had closed its end.
    pub fn leave(&self) {
        self.is_over(Over::Client);
    }

    fn is_over(&self, over: Over) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens any more: it is over anyway.
        events.send(over).unwrap_or(());
    }

    /// The client has closed its end: the server is told in the same way, then asked, then ended.
    fn client_is_gone(&self, events: &Receiver<Over>) {
        self.to_server.close();
        for end in [None, Some(false), Some(true)] {
            match end {
                None => {}
                Some(false) => self.control.stop(),
                Some(true) => self.control.kill(),
            }
            match events.recv_timeout(self.config.grace) {
                Ok(Over::Server) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Over::Client) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(self: &Arc<Self>, direction: Direction, bytes: &[u8], bounds: Bounds, pace: Pace) {
        match Frame::parse(bytes, bounds) {
            Ok(frame) => self.frame(direction, &frame, pace),
            Err(error) => self.refuse(direction, bytes, &error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end that frames of this direction go to.
    fn outbox(&self, direction: Direction) -> &Outbox {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    /// Records an attempt that is no request, as long as there are not too many.
    fn record_attempt(&self, code: DenialCode, reason: String, presented: String) {
        let count = {
            let mut state = self.state();
            state.malformed = state.malformed.saturating_add(1);
            state.malformed
        };
        if count <= RECORDED_MAX
            && let Some(governor) = self.governor.get()
        {
            governor.refused(Denial::new(code, reason), presented);
        }
    }
}

/// What of a session has not begun.
pub struct Running {
    output: Box<dyn Read + Send>,
    events: Receiver<Over>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl State {
    /// An id for a request of the gateway's own, which nobody else can guess.
    fn own_id(&mut self) -> OwnedId {
        OwnedId::text(&self.token())
    }

    /// A text that nobody else can guess.
    fn token(&mut self) -> String {
        let number = self.next();
        format!("{}-{number}", self.own_prefix)
    }

    fn next(&mut self) -> u64 {
        self.own_next = self.own_next.saturating_add(1);
        self.own_next
    }

    /// Answers to this are dropped from now on.
    fn is_late(&mut self, key: Key) {
        if self.late.len() == LATE_MAX {
            self.late.pop_front();
        }
        self.late.push_back(key);
    }

    /// What an answer must not show, what is said beside it must not show either; and nothing says which call a log
    /// message is about, or that it does not come late.
    fn hides(&mut self, rules: Option<&Arc<Redactor>>) {
        let Some(rules) = rules else {
            return;
        };
        match &self.hidden {
            Some(known) if known.covers(rules) => {}
            Some(known) => self.hidden = Some(Arc::new(known.with(rules))),
            None => self.hidden = Some(Arc::clone(rules)),
        }
    }

    fn hold(&mut self, digest: Digest, held: Held) {
        if self.held.insert(digest, held).is_none() {
            self.held_order.push_back(digest);
        }
        while self.held_order.len() > HELD_MAX {
            if let Some(oldest) = self.held_order.pop_front() {
                self.held.remove(&oldest);
            }
        }
    }
}
