//! The processes below a job, and when the last of them is gone.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use placet_authority::clock::Clock;
use placet_types::Millis;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;

use super::process::{pidfd, timespec};
use crate::exit::Failure;

/// Processes, each held by a descriptor that no other process can take over.
pub(super) struct Tree(Vec<OwnedFd>);

/// When the log was written, and when the last process was gone.
#[derive(Default)]
pub(super) struct Fall {
    /// When the head was written for the first time, which happens once its records are durable.
    /// On the monotonic clock.
    pub(super) written: Option<Duration>,
    /// When the last process was gone, on the monotonic clock.
    pub(super) gone: Option<Duration>,
    /// The same on the clock that records are dated by.
    pub(super) gone_wall: Millis,
}

/// Told when the log's head is written.
pub(super) struct HeadWatch(OwnedFd);

impl HeadWatch {
    /// Watches the head of the log in `dir`.
    pub(super) fn on(dir: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, dir.join("head"), inotify::WatchFlags::MODIFY)?;
        Ok(Self(events))
    }
}

impl Tree {
    /// Takes hold of every process below this one.
    pub(super) fn below(root: u32) -> io::Result<Self> {
        // One that has ended meanwhile is gone already.
        Ok(Self(
            pids_below(root)?
                .into_iter()
                .filter_map(|pid| pidfd(pid).ok())
                .collect(),
        ))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits until the last process is gone, and notes when that and the first write of the log
    /// were.
    pub(super) fn watch_fall(
        self,
        head: &HeadWatch,
        clock: &dyn Clock,
        patience: Duration,
    ) -> Result<Fall, Failure> {
        let mut fall = Fall::default();
        let mut alive = self.0;
        let until = clock.monotonic().saturating_add(patience);
        while !alive.is_empty() && clock.monotonic() < until {
            let watched = fall.written.is_none().then(|| head.0.as_fd());
            let left = until.saturating_sub(clock.monotonic());
            let fds = watched
                .into_iter()
                .chain(alive.iter().map(|process| process.as_fd()));
            let ready = ready(fds, left)?;
            let now = clock.monotonic();
            let (head_ready, gone) = ready.split_at(usize::from(watched.is_some()));
            if head_ready.contains(&true) {
                fall.written = Some(now);
            }
            let mut gone = gone.iter();
            alive.retain(|_| gone.next() != Some(&true));
            if alive.is_empty() {
                fall.gone = Some(now);
                fall.gone_wall = clock.wall();
            }
        }
        Ok(fall)
    }
}

/// Which of these are readable, once one is or the time is up.
fn ready<'a>(
    fds: impl Iterator<Item = BorrowedFd<'a>>,
    patience: Duration,
) -> Result<Vec<bool>, Failure> {
    let fds: Vec<BorrowedFd<'a>> = fds.collect();
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    match poll(&mut polled, Some(&timespec(patience))) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    Ok(polled
        .iter()
        .map(|fd| fd.revents().contains(PollFlags::IN))
        .collect())
}

/// How many processes are below this one.
pub(super) fn count_below(root: u32) -> io::Result<usize> {
    pids_below(root).map(|pids| pids.len())
}

fn pids_below(root: u32) -> io::Result<Vec<u32>> {
    let parents = parents()?;
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    Ok(found.into_iter().skip(1).collect())
}

/// Every process with its parent (proc_pid_stat(5)).
fn parents() -> io::Result<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(Path::new("/proc").join(name).join("stat"));
        // A process that ends while it is looked at is not there.
        all.extend(
            stat.ok()
                .and_then(|stat| parent(&stat))
                .map(|parent| (pid, parent)),
        );
    }
    Ok(all)
}

/// The fourth field: the second after the name, which stands in parentheses and can hold anything.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent("12 (a) 9 (b) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (sh) R 1"), Some(1));
        assert_eq!(parent("12"), None);
    }
}
