//! Power failures: every state that a disk could be in when the power goes, as far as POSIX
//! promises anything.
//!
//! `strace` records what a writer does. The record is replayed on a model of a disk that keeps what
//! was synced, and of everything else any part: each sector of each write, each name. After every
//! call the power fails in several ways, and the log that is left must open and hold all that was
//! acknowledged up to that call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::common;
use crate::faults::{Fault, MISSING, crashed_log, run_with, strace};
use crate::writer::{Plan, Told, program};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Random failures after each call, besides the two extremes.
const RANDOM_FAILURES: u64 = 3;

pub(crate) fn of_a_new_log() {
    fail_after_every_call(&|_| (Told::default(), Disk::default()));
}

pub(crate) fn of_a_recovery() {
    fail_after_every_call(&|dir| (crashed_log(dir), Disk::load(dir)));
}

/// A frame whose `fdatasync` failed is in the cache, not on the disk, and the kernel calls its
/// pages clean: the next sync leaves them out. Once a reopened log shows the frame, it must be
/// there for good all the same.
pub(crate) fn of_a_log_whose_sync_failed() {
    fail_after_every_call(&|dir| {
        let plan = Plan {
            segment_bytes: 40_000,
            ..Plan::new(dir)
        };
        let told = Told::read(&*plan.command().output().unwrap().stdout);
        let disk = Disk::load(dir);
        let (second, end) = run_with(&plan, "fdatasync", 1, Fault::Once("EIO"));
        assert_eq!((end.as_str(), second.size), ("Indeterminate", told.size));
        let cached = Disk::load(dir);
        let grew = |name: &PathBuf| cached.content(name).durable > disk.content(name).durable;
        let grown: Vec<_> = disk.names.keys().filter(|name| grew(name)).collect();
        assert!(
            grown.iter().any(|name| name.starts_with("segments")),
            "{grown:?}"
        );
        (told, disk)
    });
}

fn fail_after_every_call(prepare: &dyn Fn(&Path) -> (Told, Disk)) {
    let scratch = common::tempdir();
    let plan = Plan {
        appends: 9,
        ..Plan::new(&scratch.path().join("log"))
    };
    let (mut told, mut disk) = prepare(&plan.dir);
    let calls = record(&plan, scratch.path());
    let (mut failures, mut choice) = (0, Choice(0x9e37_79b9_7f4a_7c15));
    for call in &calls {
        if let Call::Say(line) = call {
            told.hear(line);
        }
        disk.apply(call);
        for kind in 0..2 + RANDOM_FAILURES {
            let left = common::tempdir();
            let plan = Plan {
                dir: left.path().join("log"),
                ..plan.clone()
            };
            disk.fail(&plan.dir, &mut || match kind {
                0 => false,
                1 => true,
                _ => choice.next(),
            });
            told.assert_kept(&plan);
            failures += 1;
        }
    }
    assert!(failures > 300, "only {failures} power failures were tried");
}

/// A call that changes what a power failure leaves, or tells the caller something.
#[derive(Debug)]
enum Call {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Truncate(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Sync(PathBuf),
    Say(String),
}

/// Runs an undisturbed writer and lists its calls on the log, paths relative to its directory.
fn record(plan: &Plan, scratch: &Path) -> Vec<Call> {
    let trace = scratch.join("trace");
    let mut strace = strace();
    strace
        .args(["-y", "-xx", "-s", "1000000", "-o"])
        .arg(&trace);
    strace.args([
        "-e",
        "trace=openat,pwrite64,fdatasync,fsync,ftruncate,rename,write",
    ]);
    let output = strace
        .arg(program())
        .args(plan.args())
        .output()
        .expect(MISSING);
    assert!(
        output.status.success(),
        "the undisturbed writer failed: {output:?}"
    );
    let trace = fs::read_to_string(trace).unwrap();
    let calls: Vec<Call> = trace
        .lines()
        .filter_map(|line| parse(line, &plan.dir))
        .collect();
    let said = calls
        .iter()
        .filter(|call| matches!(call, Call::Say(_)))
        .count();
    assert_eq!(
        said,
        String::from_utf8_lossy(&output.stdout).lines().count()
    );
    calls
}

/// Reads a line such as `123 pwrite64(5<\x2f…>, "\x50…", 600, 1200) = 600`.
fn parse(line: &str, dir: &Path) -> Option<Call> {
    let (call, rest) = line.split_once(' ')?.1.trim_start().split_once('(')?;
    let (args, result) = rest.rsplit_once(") = ")?;
    if result.starts_with('-') {
        return None;
    }
    let args: Vec<&str> = args.split(", ").collect();
    let inside = |path: PathBuf| path.strip_prefix(dir).ok().map(Path::to_owned);
    let file = || inside(path_of(args[0])?);
    let number = |at: usize| args[at].parse::<u64>().unwrap();
    match call {
        "write" if args[0].starts_with("1<") => {
            let text = String::from_utf8(unescape(args[1].trim_matches('"'))).unwrap();
            Some(Call::Say(text.trim_end().to_owned()))
        }
        "openat" if args[2].contains("O_CREAT") => Some(Call::Create(inside(text_path(args[1]))?)),
        "pwrite64" => {
            let bytes = unescape(args[1].trim_matches('"'));
            assert_eq!(result, bytes.len().to_string(), "a write was cut short");
            Some(Call::Write(file()?, number(3), bytes))
        }
        "ftruncate" => Some(Call::Truncate(file()?, number(1))),
        "rename" => Some(Call::Rename(
            inside(text_path(args[0]))?,
            inside(text_path(args[1]))?,
        )),
        "fsync" | "fdatasync" => Some(Call::Sync(file()?)),
        _ => None,
    }
}

fn path_of(fd: &str) -> Option<PathBuf> {
    let name = fd.split_once('<')?.1.strip_suffix('>')?;
    Some(PathBuf::from(String::from_utf8(unescape(name)).ok()?))
}

fn text_path(text: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(unescape(text.trim_matches('"'))).unwrap())
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text
        .split("\\x")
        .skip(1)
        .map(|hex| u8::from_str_radix(hex, 16));
    bytes.collect::<Result<_, _>>().unwrap()
}

/// A disk that forgets, in part, what was not synced.
#[derive(Default)]
struct Disk {
    files: Vec<Content>,
    /// Names as the system sees them, and as they are on the disk.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
}

#[derive(Clone, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Disk {
    /// What is in `dir`, all of it durable.
    fn load(dir: &Path) -> Self {
        let mut disk = Self::default();
        for path in list(dir) {
            let name = path.strip_prefix(dir).unwrap().to_owned();
            disk.names.insert(name, disk.files.len());
            disk.files.push(Content {
                durable: fs::read(path).unwrap(),
                pending: Vec::new(),
            });
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Create(path) => {
                if !self.names.contains_key(path) {
                    self.names.insert(path.clone(), self.files.len());
                    self.files.push(Content::default());
                }
            }
            Call::Write(path, at, bytes) => {
                self.change(
                    path,
                    Change::Write(usize::try_from(*at).unwrap(), bytes.clone()),
                );
            }
            Call::Truncate(path, len) => {
                self.change(path, Change::Truncate(usize::try_from(*len).unwrap()));
            }
            Call::Rename(from, to) => {
                let file = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), file);
            }
            Call::Sync(path) => self.sync(path),
            Call::Say(_) => {}
        }
    }

    fn content(&self, name: &Path) -> &Content {
        &self.files[self.names[name]]
    }

    fn change(&mut self, path: &Path, change: Change) {
        let file = self.names[path];
        self.files[file].pending.push(change);
    }

    /// Of a file: its content. Of a directory: the names in it.
    fn sync(&mut self, path: &Path) {
        if let Some(file) = self.names.get(path) {
            let content = &mut self.files[*file];
            content.durable = content.after_failure(&mut || true);
            content.pending.clear();
            return;
        }
        let within = |name: &Path| name.parent() == Some(path);
        self.durable_names.retain(|name, _| !within(name));
        let synced = self.names.iter().filter(|(name, _)| within(name));
        self.durable_names
            .extend(synced.map(|(name, file)| (name.clone(), *file)));
    }

    /// Writes to `dir` what is left. `survives` decides over each part that was not synced.
    fn fail(&self, dir: &Path, survives: &mut dyn FnMut() -> bool) {
        let names: BTreeSet<&PathBuf> =
            self.names.keys().chain(self.durable_names.keys()).collect();
        for name in names {
            let (new, old) = (self.names.get(name), self.durable_names.get(name));
            let file = if new != old && survives() { new } else { old };
            let Some(content) = file.map(|file| &self.files[*file]) else {
                continue;
            };
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content.after_failure(survives)).unwrap();
        }
        // The directories of a log are made before its head, whose creation syncs them.
        if dir.join("head").exists() {
            fs::create_dir_all(dir.join("segments")).unwrap();
        }
    }
}

impl Content {
    fn after_failure(&self, survives: &mut dyn FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            match change {
                Change::Truncate(len) if survives() => bytes.resize(*len, 0),
                Change::Truncate(_) => {}
                Change::Write(at, data) => write_sectors(&mut bytes, *at, data, survives),
            }
        }
        bytes
    }
}

/// Writes the sectors that survive. The file grows as far as the last of them, or, with an
/// unlucky size update, over sectors that never came, which read as zeros.
fn write_sectors(bytes: &mut Vec<u8>, at: usize, data: &[u8], survives: &mut dyn FnMut() -> bool) {
    let mut start = at;
    while start < at + data.len() {
        let end = ((start / SECTOR + 1) * SECTOR).min(at + data.len());
        if survives() {
            let len = bytes.len().max(end);
            bytes.resize(len, 0);
            bytes[start..end].copy_from_slice(&data[start - at..end - at]);
        }
        start = end;
    }
    if survives() {
        bytes.resize(bytes.len().max(at + data.len()), 0);
    }
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths = Vec::new();
    for path in found.map(|found| found.unwrap().path()) {
        if path.is_dir() {
            paths.extend(list(&path))
        } else {
            paths.push(path)
        }
    }
    paths
}

/// A small generator of bits (xorshift), so that a failure can be seen again.
struct Choice(u64);

impl Choice {
    fn next(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 & 1 == 1
    }
}
