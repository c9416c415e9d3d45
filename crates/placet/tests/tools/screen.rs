//! A terminal with a person at it: a real one, typed into and read by the test.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::domain::Domain;

/// How long anything on a screen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal, and the program that was started at it as the leader of its session.
pub(crate) struct Screen {
    master: Option<File>,
    slave: Option<OwnedFd>,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// What has been looked at.
    seen: usize,
}

impl Screen {
    /// Starts `placet` with these arguments at a terminal of 24 rows and 80 columns.
    pub(crate) fn placet(domain: &Domain, args: &[&str]) -> Self {
        let mut command = domain.command(args);
        Self::of(&mut command)
    }

    /// Starts an interactive shell, in which `placet` is the program under test.
    pub(crate) fn shell(domain: &Domain) -> Self {
        let mut command = as_in(domain, "bash");
        command
            .args(["--noprofile", "--norc", "-i"])
            .env("PS1", "ready> ");
        let mut screen = Self::of(&mut command);
        screen.sees("ready> ");
        screen
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&master, size(24, 80)).unwrap();
        // `setsid --ctty` makes the terminal the controlling one, and becomes the program. Whoever runs the
        // tests in the background may ignore the very signals that keys send.
        let mut started = Command::new("env");
        started.args(["--default-signal", "setsid", "--ctty"]);
        started.arg(command.get_program());
        started.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            started.current_dir(dir);
        }
        started.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = started.stdin(end()).stdout(end()).stderr(end());
        let child = child.spawn().unwrap();
        drop(started);
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let reader = {
            let (mut master, shown) = (master.try_clone().unwrap(), Arc::clone(&shown));
            thread::spawn(move || {
                let mut chunk = vec![0; 64 << 10];
                while let Ok(count @ 1..) = master.read(&mut chunk) {
                    shown.lock().unwrap().extend_from_slice(&chunk[..count]);
                }
            })
        };
        Self {
            master: Some(master),
            slave: Some(slave),
            child,
            shown,
            reader: Some(reader),
            seen: 0,
        }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.sends(keys.as_bytes());
    }

    pub(crate) fn sends(&mut self, bytes: &[u8]) {
        self.master.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits until this is shown, after all that was looked at before; gives what is before it.
    pub(crate) fn sees(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let shown = self.shown.lock().unwrap();
            let new = &shown[self.seen..];
            let at = new
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(at) = at {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                drop(shown);
                self.seen += at + text.len();
                return before;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{text:?} was not shown after {:?}",
                String::from_utf8_lossy(new)
            );
            drop(shown);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that was shown and not looked at.
    pub(crate) fn rest(&self) -> String {
        let shown = self.shown.lock().unwrap();
        String::from_utf8_lossy(&shown[self.seen..]).into_owned()
    }

    /// The bytes that were shown so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(self.master.as_ref().unwrap(), size(rows, columns)).unwrap();
    }

    /// How the terminal is set.
    pub(crate) fn modes(&self) -> Termios {
        tcgetattr(self.master.as_ref().unwrap()).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the programs alone hold their end, so that closing the terminal hangs it up.
    pub(crate) fn hang_up(&mut self) {
        self.slave = None;
        self.master = None;
        // The reader has the last copy of the master, and is in the middle of a read: a hang-up comes
        // when it is closed, so make it end.
        self.child_hang_up();
    }

    fn child_hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Waits for the program's end; gives how it ended, and what was shown last.
    pub(crate) fn ends(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.slave = None;
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status, self.rest())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Another program than Placet, where a domain's commands run, with `placet` on its path.
pub(crate) fn as_in(domain: &Domain, program: &str) -> Command {
    let placet = domain.command(&[]);
    let mut command = Command::new(program);
    for (name, value) in placet.get_envs() {
        value.map(|value| command.env(name, value));
    }
    let own = std::path::Path::new(env!("CARGO_BIN_EXE_placet"));
    let dir = own.parent().unwrap().to_str().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{dir}:{path}"))
        .current_dir(domain.work());
    command
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
