//! The process that things happen to, and the judgement of what it leaves behind.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use placet_log::conformance::entry;
use placet_log::{AppendError, EntryCheck, FileLog, FileOptions, Item, OpenError, Payload};
use placet_log::{Opened, Sequencer as _};
use placet_tlog::Hash;
use placet_types::Index;

use crate::common;

/// Largest batch of the writer.
const MAX_BATCH: u64 = 4;

/// How the writer is started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) appends: u64,
    pub(crate) segment_bytes: u64,
    /// A file that the writer removes once the disk is full, to go on with the room it took.
    pub(crate) ballast: Option<PathBuf>,
}

/// What the writer said before it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Records acknowledged, from 0.
    pub(crate) size: u64,
    pub(crate) roots: Vec<(u64, String)>,
    pub(crate) erased: BTreeSet<u64>,
    /// The kind of error that ended it, if one did.
    pub(crate) error: Option<String>,
}

impl Plan {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            appends: 5,
            segment_bytes: 3_000,
            ballast: None,
        }
    }

    /// Arguments that make this program the writer.
    pub(crate) fn args(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let ballast = self.ballast.as_deref().map(path).unwrap_or_default();
        let (appends, segment_bytes) = (self.appends.to_string(), self.segment_bytes.to_string());
        vec![
            "writer".to_owned(),
            path(&self.dir),
            appends,
            segment_bytes,
            ballast,
        ]
    }

    fn parse(args: &[String]) -> Self {
        let number = |at: usize| args[at].parse().unwrap();
        let ballast = args
            .get(3)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let dir = PathBuf::from(&args[0]);
        Self {
            dir,
            appends: number(1),
            segment_bytes: number(2),
            ballast,
        }
    }

    /// The command that runs the writer.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.args(self.args());
        command
    }

    fn open(&self) -> Result<Opened, OpenError> {
        let own = EntryCheck::new(|at, bytes| bytes == entry(at.get()));
        let options = FileOptions::new(&self.dir, common::signer(), own);
        options.segment_bytes(self.segment_bytes).open()
    }
}

/// This program.
pub(crate) fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Runs as the writer. Says on standard output what it was told, as soon as it was.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let plan = Plan::parse(args);
    let outcome = write_all(&plan);
    if let (Err(_), Some(ballast)) = (&outcome, &plan.ballast) {
        std::fs::remove_file(ballast).unwrap();
        say("room");
        let again = write_all(&Plan {
            appends: 3,
            ..plan.clone()
        });
        return if again.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(5)
        };
    }
    if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    }
}

fn write_all(plan: &Plan) -> Result<(), ()> {
    let mut log = match plan.open() {
        Ok(opened) => opened.log,
        Err(error) => {
            say(&format!("error Refused {error:?}"));
            return Err(());
        }
    };
    say(&format!("open {}", log.size()));
    for round in 0..plan.appends {
        append(&mut log, round)?;
        if round % 3 == 2 {
            let index = Index::new(log.size().get() / 2);
            let erased = log.erase(index);
            erased.map_err(|error| say(&format!("error Erase {error:?}")))?;
            say(&format!("erased {index}"));
        }
    }
    Ok(())
}

fn append(log: &mut FileLog, round: u64) -> Result<(), ()> {
    let first = log.size().get();
    let batch: Vec<Item> = (first..=first + (first + round) % MAX_BATCH)
        .map(item)
        .collect();
    match log.append(Index::new(first), &batch) {
        Ok(appended) => {
            let claim = appended.head().claim();
            say(&format!("ok {} {}", claim.size(), claim.root()));
            Ok(())
        }
        Err(error) => {
            let kind = format!("{error:?}");
            let again = log.append(Index::new(first), &batch);
            assert!(
                matches!(again, Err(AppendError::Stopped)),
                "{kind}, then {again:?}"
            );
            say(&format!("error {kind}"));
            Err(())
        }
    }
}

/// Now and then a payload that spans several pages.
fn item(number: u64) -> Item {
    let long = if number.is_multiple_of(6) { 9_000 } else { 0 };
    let payload = common::payload(number).map(|bytes| [bytes, vec![b'p'; long]].concat());
    Item {
        entry: entry(number),
        payload,
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone, or a fault injected into this very write, is no fault of the log.
    drop(
        out.write_all(format!("{line}\n").as_bytes())
            .and_then(|()| out.flush()),
    );
}

impl Told {
    /// Reads what the writer says until it ends.
    pub(crate) fn read(from: impl Read) -> Self {
        let mut told = Self::default();
        for line in BufReader::new(from).lines() {
            told.hear(&line.unwrap());
        }
        told
    }

    pub(crate) fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            // Records found when opening were whole and are durable from then on.
            ["open", size] => self.size = size.parse().unwrap(),
            ["ok", size, root] => {
                self.size = size.parse().unwrap();
                self.roots.push((self.size, (*root).to_owned()));
            }
            ["erased", index] => {
                self.erased.insert(index.parse().unwrap());
            }
            ["error", ..] => self.error = Some(line.to_owned()),
            ["room"] => {}
            other => panic!("the writer said {other:?}"),
        }
    }

    /// Takes up what an earlier writer of the same log was told.
    pub(crate) fn after(mut self, earlier: Self) -> Self {
        self.size = self.size.max(earlier.size);
        self.roots.extend(earlier.roots);
        self.erased.extend(earlier.erased);
        self
    }

    /// Opens the log as the next process would and compares it with what the writer was told.
    pub(crate) fn assert_kept(&self, plan: &Plan) {
        let mut log = plan
            .open()
            .expect("a crash must not keep the log from opening")
            .log;
        let size = log.size().get();
        assert!(
            size >= self.size,
            "{} records were acknowledged, {size} are there",
            self.size
        );
        assert!(
            size <= self.size + MAX_BATCH,
            "more than one batch was never acknowledged"
        );
        if self
            .error
            .as_ref()
            .is_some_and(|error| error.starts_with("error NotWritten"))
        {
            assert_eq!(
                size, self.size,
                "a batch that was certainly not written is there"
            );
        }
        let reader = log.reader();
        for (at, root) in &self.roots {
            assert_eq!(
                reader.root_at(*at).unwrap().to_string(),
                *root,
                "a signed head is void"
            );
        }
        for (index, found) in (0..).zip(reader.entries(Index::new(0)..Index::new(size))) {
            assert_eq!(found.unwrap(), (Index::new(index), entry(index)));
            assert_eq!(Hash::leaf(&entry(index)), leaf(&log, index));
            self.assert_payload(&log, index);
        }
        self.assert_clean(&mut log, plan);
    }

    fn assert_payload(&self, log: &FileLog, index: u64) {
        let found = log.reader().payload(Index::new(index)).unwrap();
        let written = item(index).payload.map_or(Payload::None, Payload::Present);
        if self.erased.contains(&index) && written != Payload::None {
            assert_eq!(
                found,
                Payload::Erased,
                "an acknowledged erasure of {index} is undone"
            );
        } else {
            assert!(
                found == written || found == Payload::Erased,
                "payload {index}: {found:?}"
            );
        }
    }

    /// An erasure that was interrupted is completed by doing it again; all else must be clean.
    fn assert_clean(&self, log: &mut FileLog, plan: &Plan) {
        while let Some(index) = common::check(&plan.dir).payloads.first_bad {
            assert!(
                !self.erased.contains(&index.get()),
                "an acknowledged erasure left bytes"
            );
            log.erase(index).unwrap();
        }
        let report = common::check(&plan.dir);
        let slot_only = report.is_evidence_sound()
            && report.torn_bytes == 0
            && report.derived.is_none()
            && report.size == log.size().get();
        assert!(slot_only, "{report:?}");
    }
}

fn leaf(log: &FileLog, index: u64) -> Hash {
    let tile = log
        .reader()
        .resource(&format!("tile/0/{:03}.p/{}", index / 256, index % 256 + 1));
    let tile = tile.or_else(|_| log.reader().resource(&format!("tile/0/{:03}", index / 256)));
    Hash::decode(tile.unwrap().last_chunk::<32>().unwrap()).unwrap()
}
