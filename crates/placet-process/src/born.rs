//! Programs that a tree started from its own writable places: which, and what made each, on their way to
//! the log.
//!
//! Each distinct one is recorded once, when it is started for the first time. What is remembered is
//! bounded; starts beyond that are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use placet_evidence::{BORN_MAX, BornProgram, Maker};
use placet_sandbox::{ExecCall, ExecId};
use placet_types::{Digest, ExecutionId, Millis};

use crate::changes::RawPath;

/// Distinct programs of one tree that are recorded.
const PROGRAMS_MAX: usize = 4096;
/// Execs whose program is remembered as a possible maker; older ones are not named.
const EXECS_MAX: usize = 16_384;
/// How much of a path is recorded.
const PATH_BYTES_MAX: usize = 1024;
/// How much of the path of what runs a script.
const RUN_BY_BYTES_MAX: usize = 64;
/// How often they are recorded, unless there are many.
const EVERY: Duration = Duration::from_secs(5);
/// And when there are.
const EVERY_FULL: Duration = Duration::from_secs(1);

/// The programs of one tree.
#[derive(Debug, Default)]
pub(crate) struct Births {
    /// What each exec ran.
    ran: BTreeMap<ExecId, (Digest, String)>,
    known: BTreeSet<(Digest, String)>,
    waiting: Vec<BornProgram>,
    omitted: u64,
    recorded: Duration,
}

/// What is recorded at a time.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) list: Vec<BornProgram>,
    pub(crate) omitted: u64,
}

impl Births {
    /// Takes note of a program that starts. `execution_of` gives what an exec runs as.
    pub(crate) fn started(
        &mut self,
        call: &ExecCall,
        now: Millis,
        execution_of: impl Fn(ExecId) -> ExecutionId,
    ) {
        let Some((image, digest)) = call.image.as_ref().zip(digest_of(call)) else {
            return;
        };
        let path = spelled_within(&image.path);
        self.ran.insert(call.id, (digest, path.clone()));
        if self.ran.len() > EXECS_MAX {
            self.ran.pop_first();
        }
        let by = |maker: Option<ExecId>| {
            let (digest, path) = self.ran.get(&maker?)?.clone();
            let exec = execution_of(maker?);
            Some(Maker { digest, exec, path })
        };
        let program = image.writable.then(|| BornProgram {
            digest,
            made_by: by(call.maker),
            path: path.clone(),
            run_by: None,
            time: now,
        });
        let script = call.own_script.as_ref().map(|script| BornProgram {
            digest: Digest::new(script.digest.0),
            made_by: by(script.maker),
            path: spelled_within(&script.path),
            run_by: Some(last_of(&path)),
            time: now,
        });
        for born in program.into_iter().chain(script) {
            self.note(born);
        }
    }

    fn note(&mut self, born: BornProgram) {
        let key = (born.digest, born.path.clone());
        if self.known.contains(&key) {
            return;
        }
        if self.known.len() >= PROGRAMS_MAX {
            self.omitted = self.omitted.saturating_add(1);
            return;
        }
        self.known.insert(key);
        self.waiting.push(born);
    }

    /// What is to be recorded now.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Batch> {
        let waited = now.saturating_sub(self.recorded);
        let full = self.waiting.len() >= BORN_MAX;
        let due = waited >= EVERY || (full && waited >= EVERY_FULL);
        let batch = due.then(|| self.batch()).flatten()?;
        self.recorded = now;
        Some(batch)
    }

    /// What is to be recorded, whether or not it is time.
    pub(crate) fn batch(&mut self) -> Option<Batch> {
        if self.waiting.is_empty() && self.omitted == 0 {
            return None;
        }
        let rest = self.waiting.split_off(self.waiting.len().min(BORN_MAX));
        Some(Batch {
            list: std::mem::replace(&mut self.waiting, rest),
            omitted: std::mem::take(&mut self.omitted),
        })
    }

    /// A batch that could not be recorded, for the next time.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        self.omitted = self.omitted.saturating_add(batch.omitted);
        let later = std::mem::replace(&mut self.waiting, batch.list);
        self.waiting.extend(later);
    }
}

fn digest_of(call: &ExecCall) -> Option<Digest> {
    let digest = call.image.as_ref()?.digest?;
    Some(Digest::new(digest.0))
}

/// The end of a spelled path, which names the program.
fn last_of(path: &str) -> String {
    let from = path.len().saturating_sub(RUN_BY_BYTES_MAX);
    let whole = (from..=path.len()).find_map(|at| path.get(at..));
    whole.unwrap_or_default().to_owned()
}

fn spelled_within(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = path.as_os_str().as_bytes();
    RawPath::new(bytes.get(..PATH_BYTES_MAX).unwrap_or(bytes).to_vec()).to_string()
}

#[cfg(test)]
mod tests {
    use placet_sandbox::{FileIdentity, ImageDigest, ImageFile};

    use super::*;

    const ROOT: ExecutionId = ExecutionId::new([9; 16]);

    fn call(id: u64, path: &str, maker: Option<u64>) -> ExecCall {
        let identity = FileIdentity {
            dev: 1,
            ino: id,
            size: 1,
            mtime_ns: 0,
            ctime_ns: 0,
        };
        ExecCall {
            id: ExecId(id),
            by: None,
            pid: 1,
            made_by: None,
            maker: maker.map(ExecId),
            image: Some(ImageFile {
                path: path.into(),
                identity,
                digest: Some(ImageDigest([u8::try_from(id % 250).unwrap(); 32])),
                writable: path.starts_with("/w"),
            }),
            script: None,
            own_script: None,
            argv: Vec::new(),
            argv_truncated: false,
        }
    }

    fn start(births: &mut Births, call: &ExecCall) {
        births.started(call, Millis::new(7), |_| ROOT);
    }

    #[test]
    fn each_distinct_program_of_a_writable_place_is_listed_once_with_its_maker() {
        let mut births = Births::default();
        start(&mut births, &call(1, "/usr/bin/ld", None));
        for _ in 0..3 {
            start(&mut births, &call(2, "/w/made", Some(1)));
        }
        start(&mut births, &call(3, "/w/found", None));
        // Of an exec that is not remembered.
        start(&mut births, &call(4, "/w/late", Some(99)));
        assert!(births.due(Duration::from_secs(4)).is_none());
        let batch = births.due(Duration::from_secs(5)).unwrap();
        let seen: Vec<(&str, Option<&str>)> = batch
            .list
            .iter()
            .map(|it| (&*it.path, it.made_by.as_ref().map(|by| &*by.path)))
            .collect();
        let expected = [
            ("/w/made", Some("/usr/bin/ld")),
            ("/w/found", None),
            ("/w/late", None),
        ];
        assert_eq!((seen.as_slice(), batch.omitted), (&expected[..], 0));
        assert!(births.batch().is_none());
        births.put_back(batch);
        assert_eq!(births.batch().unwrap().list.len(), 3);
    }

    #[test]
    fn a_script_is_listed_with_what_runs_it_and_what_made_it() {
        let mut births = Births::default();
        start(&mut births, &call(1, "/usr/bin/chmod", None));
        let mut run = call(2, "/usr/bin/dash", None);
        run.own_script = Some(placet_sandbox::OwnScript {
            path: "/w/made.sh".into(),
            digest: ImageDigest([7; 32]),
            maker: Some(ExecId(1)),
        });
        start(&mut births, &run);
        start(&mut births, &run);
        let batch = births.batch().unwrap();
        let [script] = &batch.list[..] else {
            panic!("{batch:?}")
        };
        assert_eq!(
            (&*script.path, script.digest),
            ("/w/made.sh", Digest::new([7; 32]))
        );
        assert_eq!(script.run_by.as_deref(), Some("/usr/bin/dash"));
        assert_eq!(script.made_by.as_ref().unwrap().path, "/usr/bin/chmod");
    }

    #[test]
    fn a_tree_that_makes_programs_without_end_is_listed_in_bounds_and_counted() {
        let mut births = Births::default();
        let many = 2 * PROGRAMS_MAX as u64;
        for id in 0..many {
            start(&mut births, &call(id, &format!("/w/{id}"), None));
        }
        let mut lists = Vec::new();
        let mut omitted = 0;
        while let Some(batch) = births.batch() {
            lists.push(batch.list.len());
            omitted += batch.omitted;
        }
        assert!(lists.iter().all(|len| *len <= BORN_MAX));
        assert_eq!(lists.iter().sum::<usize>(), PROGRAMS_MAX);
        assert_eq!(omitted, many - PROGRAMS_MAX as u64);
    }

    #[test]
    fn a_list_of_the_longest_paths_can_be_recorded() {
        let mut births = Births::default();
        let long = format!("/w/{}", "\u{1}".repeat(4000));
        start(&mut births, &call(0, &long, None));
        for id in 1..=BORN_MAX as u64 {
            let mut call = call(id, &format!("{long}{id}"), Some(0));
            call.own_script = Some(placet_sandbox::OwnScript {
                path: format!("{long}{id}.sh").into(),
                digest: ImageDigest([7; 32]),
                maker: Some(ExecId(0)),
            });
            start(&mut births, &call);
        }
        let batch = births.batch().unwrap();
        let bytes = placet_types::canonical::to_bytes(&batch.list).unwrap();
        assert!(placet_evidence::Born::read_list(&bytes).is_ok());
    }
}
