//! The front itself: carries what is typed to the tree and what it writes to the user, and takes part
//! in the job control of the user's shell.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
use rustix::termios::{OptionalActions, tcsetattr, tcsetwinsize};

use super::user::{UserTerminal, is_orphaned, streams_that_are_terminals};
use super::{FromFront, Link, ToFront};
use crate::resident::Leaving;
use crate::signals::{Sent, Signals};

/// How much is carried at a time, each way.
const CHUNK_BYTES: usize = 64 << 10;

/// How the supervisor that was started ended.
#[derive(Clone, Copy, Debug)]
pub struct InFront {
    /// Its exit status: that of the command, or what stands for it.
    pub status: ExitStatus,
    /// Whether it was killed while the command ran, so that its signal is not the command's.
    pub was_lost: bool,
}

/// Starts the supervisor of a command with this process as its front, and stays until it ends.
///
/// # Errors
///
/// What the operating system says.
pub fn in_front(supervisor: &mut Command) -> io::Result<InFront> {
    let (link, theirs) = Link::pair()?;
    let mut relay = Relay::new(link)?;
    let mut child = supervisor.stdin(Stdio::from(theirs)).spawn()?;
    // The command holds the supervisor's end, and must not be the one who keeps it open.
    supervisor.stdin(Stdio::null());
    let is_over = relay.run();
    drop(relay);
    let status = child.wait()?;
    Ok(InFront {
        status,
        was_lost: !is_over && status.signal().is_some(),
    })
}

/// The front's loop and what it carries.
pub(crate) struct Relay {
    user: UserTerminal,
    link: Link,
    signals: Signals,
    /// The other end of the tree's terminal, until it is hung up.
    tree: Option<OwnedFd>,
    /// Whether the tree gets the keys whenever this job has them, or only once it asks.
    is_eager: bool,
    to_tree: Vec<u8>,
    to_user: Vec<u8>,
    /// A carriage return whose line end may be in the next chunk.
    held_return: bool,
    user_is_gone: bool,
    tree_began: bool,
    leaving: Option<Leaving>,
}

impl Relay {
    /// Connects to a supervisor, and hands it the standard streams.
    pub(crate) fn new(link: Link) -> io::Result<Self> {
        let relay = Self::handed(link)?;
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
        relay
            .link
            .send(&FromFront::Streams, &streams, SendFlags::empty())?;
        Ok(relay)
    }

    /// How this process is to leave, if it was told.
    pub(crate) fn leaving(&self) -> Option<Leaving> {
        self.leaving
    }

    /// Is connected to a supervisor that has the standard streams.
    pub(crate) fn handed(link: Link) -> io::Result<Self> {
        let user = UserTerminal::find()?;
        let signals = Signals::take_over()?;
        let [input, output, _] = streams_that_are_terminals();
        Ok(Self {
            user,
            link,
            signals,
            tree: None,
            is_eager: input && output,
            to_tree: Vec::new(),
            to_user: Vec::new(),
            held_return: false,
            user_is_gone: false,
            tree_began: false,
            leaving: None,
        })
    }

    /// Carries until the supervisor has ended. Gives whether that was after the end of the tree, or
    /// before its beginning.
    pub(crate) fn run(&mut self) -> bool {
        let mut is_over = false;
        loop {
            self.wait();
            for sent in self.signals.pending() {
                self.signalled(sent);
            }
            loop {
                match self.link.receive::<ToFront>(RecvFlags::DONTWAIT) {
                    Ok(Some((message, fds))) => is_over |= self.told(message, fds),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(None) | Err(_) => {
                        self.show_the_rest();
                        self.user.restore();
                        return is_over || !self.tree_began;
                    }
                }
            }
            self.carry();
        }
    }

    fn wait(&self) {
        let mut polled = vec![
            PollFd::new(&self.link, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        if let Some(tree) = &self.tree {
            let events = events(self.to_user.is_empty(), !self.to_tree.is_empty());
            polled.extend((!events.is_empty()).then(|| PollFd::new(tree, events)));
        }
        let events = events(self.takes_keys(), !self.to_user.is_empty());
        if !self.user_is_gone && !events.is_empty() {
            polled.push(PollFd::new(&self.user, events));
        }
        // An interrupted wait is a short one.
        poll(&mut polled, None).unwrap_or(0);
    }

    /// Keys are for whoever has the foreground now; to read from the background stops this job.
    fn takes_keys(&self) -> bool {
        self.tree.is_some()
            && self.to_tree.is_empty()
            && self.user.is_raw()
            && !self.user_is_gone
            && self.user.is_foreground()
    }

    /// One round, each way; none of it waits.
    fn carry(&mut self) {
        if self.to_user.is_empty() {
            self.read_tree();
        }
        self.write_user();
        if self.takes_keys() {
            self.read_user();
        }
        self.write_tree();
    }

    /// Gives whether there may be more.
    fn read_tree(&mut self) -> bool {
        let Some(tree) = &self.tree else {
            return false;
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        match read(tree, &mut chunk) {
            Ok(count) if count > 0 => {
                let bytes = chunk.get(..count).unwrap_or_default();
                self.take_output(bytes);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            // EIO: nobody has the other end any more.
            Ok(_) | Err(_) => {
                self.tree = None;
                false
            }
        }
    }

    /// The tree's terminal ends lines with a return. One that is not raw adds it again, so there it
    /// is left out.
    fn take_output(&mut self, bytes: &[u8]) {
        if !self.user.returns_at_line_ends() {
            if std::mem::take(&mut self.held_return) {
                self.to_user.push(b'\r');
            }
            self.to_user.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            if std::mem::take(&mut self.held_return) && *byte != b'\n' {
                self.to_user.push(b'\r');
            }
            if *byte == b'\r' {
                self.held_return = true;
            } else {
                self.to_user.push(*byte);
            }
        }
    }

    fn write_user(&mut self) {
        while !self.to_user.is_empty() && !self.user_is_gone {
            // One that is shared would wait for the rest of a large piece.
            let piece = self.to_user.get(..4096).unwrap_or(&self.to_user);
            match write(&self.user, piece) {
                Ok(count) => drop(self.to_user.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.hang_up(),
            }
        }
        if self.user_is_gone {
            self.to_user.clear();
        }
    }

    fn read_user(&mut self) {
        let mut chunk = vec![0; 4096];
        match read(&self.user, &mut chunk) {
            Ok(count) if count > 0 => {
                let typed = chunk.get(..count).unwrap_or_default();
                self.to_tree.extend_from_slice(typed);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.hang_up(),
        }
    }

    fn write_tree(&mut self) {
        let Some(tree) = &self.tree else {
            self.to_tree.clear();
            return;
        };
        while !self.to_tree.is_empty() {
            match write(tree, &self.to_tree) {
                Ok(count) if count > 0 => drop(self.to_tree.drain(..count)),
                Err(Errno::INTR) => {}
                Ok(_) | Err(Errno::AGAIN) => return,
                Err(_) => self.to_tree.clear(),
            }
        }
    }

    /// The user's terminal is gone. The tree hears of it as it would of its own.
    fn hang_up(&mut self) {
        if !std::mem::replace(&mut self.user_is_gone, true) {
            self.say(FromFront::Signal {
                signal: Signal::HUP.as_raw(),
                group: true,
            });
            self.tree = None;
        }
    }

    fn say(&self, message: FromFront) {
        // A supervisor that cannot be told has ended, which shows at once.
        drop(self.link.send(&message, &[], SendFlags::empty()));
    }

    fn signalled(&mut self, Sent { signal, by_kernel }: Sent) {
        match Signal::from_named_raw(signal) {
            Some(Signal::WINCH) => {
                self.set_size();
                if !by_kernel {
                    self.pass_on(signal, false);
                }
            }
            Some(Signal::CONT) => self.go_on(),
            Some(_) => self.pass_on(signal, by_kernel),
            None => {}
        }
    }

    fn pass_on(&self, signal: i32, group: bool) {
        self.say(FromFront::Signal { signal, group });
    }

    /// Gives whether the tree is over.
    fn told(&mut self, message: ToFront, fds: Vec<OwnedFd>) -> bool {
        match message {
            ToFront::Terminal => self.begin(fds.into_iter().next()),
            // Its own words about that come as a note, or when it is over.
            ToFront::Started(_) | ToFront::Waits(_) | ToFront::Denied(_) => {}
            ToFront::Leave(leaving) => self.leaving = Some(leaving),
            ToFront::Stopped(signal) => self.stopped(signal),
            ToFront::Note(text) => {
                let returns = self.user.returns_at_line_ends();
                let end = if returns { "\n" } else { "\r\n" };
                self.to_user.extend_from_slice(text.as_bytes());
                self.to_user.extend_from_slice(end.as_bytes());
            }
            ToFront::Over => {
                self.show_the_rest();
                self.user.restore();
                self.say(FromFront::Restored);
                return true;
            }
        }
        false
    }

    /// Makes the tree's terminal like the user's.
    fn begin(&mut self, tree: Option<OwnedFd>) {
        let foreground = self.is_eager && self.user.is_foreground();
        if let Some(tree) = tree {
            let set =
                fcntl_getfl(&tree).and_then(|flags| fcntl_setfl(&tree, flags | OFlags::NONBLOCK));
            let set = set.and_then(|()| tcsetattr(&tree, OptionalActions::Now, self.user.found()));
            if set.is_err() {
                // Not said to be ready, and so nothing begins.
                return;
            }
            self.tree = Some(tree);
            self.tree_began = true;
            self.set_size();
            if foreground {
                self.user.set_raw();
            }
            self.say(FromFront::Ready { foreground });
        }
    }

    fn set_size(&self) {
        if let (Some(tree), Ok(size)) = (&self.tree, self.user.size()) {
            // One that is gone needs no size.
            tcsetwinsize(tree, size).unwrap_or(());
        }
    }

    /// The command was stopped. So is this job, as it would be without Placet; a command that only
    /// wanted the keys gets them if this job has them.
    fn stopped(&mut self, signal: i32) {
        let named = Signal::from_named_raw(signal);
        let wants_keys = matches!(named, Some(Signal::TTIN | Signal::TTOU));
        if wants_keys && (self.user.is_foreground() || is_orphaned()) {
            self.is_eager = true;
            return self.take_foreground();
        }
        self.show_written();
        self.user.restore();
        match named {
            // What the key does, it does to the whole job.
            Some(Signal::TSTP) => kill_current_process_group(Signal::TSTP),
            Some(signal) => kill_process(getpid(), signal),
            None => Ok(()),
        }
        .unwrap_or(());
        // Here once it was continued, or was not stopped at all: nobody would continue it then.
        self.go_on();
    }

    /// Takes up the tree's terminal as this job stands now.
    fn go_on(&mut self) {
        if !self.tree_began {
            // The keys are this job's own as long as nothing runs.
            return;
        }
        if self.is_eager && self.user.is_foreground() {
            self.take_foreground();
        } else {
            self.user.restore();
            self.say(FromFront::Background);
        }
    }

    fn take_foreground(&mut self) {
        if self.user.is_foreground() && !self.user.is_raw() {
            self.user.set_raw();
        }
        self.set_size();
        self.say(FromFront::Foreground);
    }

    /// All that the tree has written by now is shown before anything else is.
    fn show_written(&mut self) {
        loop {
            let more = self.read_tree();
            while !self.to_user.is_empty() {
                self.write_user();
                if !self.to_user.is_empty() {
                    let mut polled = [PollFd::new(&self.user, PollFlags::OUT)];
                    // An interrupted wait is a short one.
                    poll(&mut polled, None).unwrap_or(0);
                }
            }
            if !more {
                return;
            }
        }
    }

    /// Nothing of the tree is left, and what it has written last is all there is.
    fn show_the_rest(&mut self) {
        self.show_written();
        if std::mem::take(&mut self.held_return) {
            self.to_user.push(b'\r');
            self.show_written();
        }
        self.tree = None;
    }
}

fn events(read: bool, write: bool) -> PollFlags {
    let mut events = PollFlags::empty();
    events.set(PollFlags::IN, read);
    events.set(PollFlags::OUT, write);
    events
}
