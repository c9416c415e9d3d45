//! Rows of the fail-closed matrix that concern the authority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use placet_authority::{Act, Authority, OpenError, Running, Unavailable};
use placet_log::{AppendError, Appended, EraseError, Item, LogReader, Sequencer};
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_types::{DenialCode, Index};

use crate::support::{
    OPERATOR, World, archive, assert_replays, denied, permitted, principal, revision, submission,
};

/// The real log, until it fails for good at one append.
struct FailingAt {
    log: Box<dyn Sequencer>,
    left: u32,
}

impl Sequencer for FailingAt {
    fn head(&self) -> &Arc<SignedCheckpoint> {
        self.log.head()
    }

    fn append(&mut self, expected: Index, batch: &[Item]) -> Result<Appended, AppendError> {
        if self.left == 0 {
            return Err(AppendError::Stopped);
        }
        self.left -= 1;
        self.log.append(expected, batch)
    }

    fn erase(&mut self, index: Index) -> Result<(), EraseError> {
        self.log.erase(index)
    }

    fn reader(&self) -> LogReader {
        self.log.reader()
    }
}

/// The real log, but for one append that fails slowly; counts those that come after it.
struct FailingOnce {
    log: Box<dyn Sequencer>,
    failed: bool,
    after: Arc<AtomicU32>,
}

impl Sequencer for FailingOnce {
    fn head(&self) -> &Arc<SignedCheckpoint> {
        self.log.head()
    }

    fn append(&mut self, expected: Index, batch: &[Item]) -> Result<Appended, AppendError> {
        if !std::mem::replace(&mut self.failed, true) {
            // Long enough for the next batch to be drafted.
            std::thread::sleep(std::time::Duration::from_millis(100));
            return Err(AppendError::Stopped);
        }
        self.after.fetch_add(1, Ordering::SeqCst);
        self.log.append(expected, batch)
    }

    fn erase(&mut self, index: Index) -> Result<(), EraseError> {
        self.log.erase(index)
    }

    fn reader(&self) -> LogReader {
        self.log.reader()
    }
}

#[test]
fn what_was_drafted_after_a_batch_that_was_not_written_is_not_written_either() {
    let world = World::new();
    let running = world.running();
    let after = Arc::new(AtomicU32::new(0));
    let log = Box::new(FailingOnce {
        log: running.log,
        failed: false,
        after: Arc::clone(&after),
    });
    let authority = Authority::open(Running { log, ..running }).unwrap();
    std::thread::scope(|scope| {
        for late in [0, 30, 30, 60] {
            let authority = &authority;
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(late));
                let answer = authority.submit(submission(&["ls"], None));
                assert_eq!(answer.unwrap_err(), Unavailable::Evidence);
            });
        }
    });
    assert_eq!(after.load(Ordering::SeqCst), 0);
    assert!(authority.close().is_err());
    drop(authority);
    permitted(&world.open(), &["ls"]);
}

#[test]
fn a_log_that_cannot_be_written_denies_and_stays_denied() {
    let world = World::new();
    let running = world.running();
    let log = Box::new(FailingAt {
        log: running.log,
        left: 1,
    });
    let authority = Authority::open(Running { log, ..running }).unwrap();
    permitted(&authority, &["ls"]);
    for _ in 0..3 {
        let answer = authority.submit(submission(&["ls"], None));
        assert_eq!(answer.unwrap_err(), Unavailable::Evidence);
    }
    assert_eq!(
        Unavailable::Evidence.code(),
        DenialCode::EvidenceUnavailable
    );
    assert!(!authority.is_writing(), "so no lease is renewed");
    assert!(authority.close().is_err(), "and the failure is told");
    drop(authority);
    permitted(&world.open(), &["ls"]);
}

#[test]
fn what_policies_could_take_too_long_over_is_denied_at_once_and_the_next_is_decided() {
    let world = World::new();
    let authority = world.open();
    let long = "a".repeat(900_000);
    // The starter bundle has a dozen patterns, which is no work to speak of.
    permitted(&authority, &["ls", &long]);
    let mut files = revision(1000).0;
    let pattern = format!("*{}b*", "a".repeat(500));
    let laborious = (0..40).map(|number| {
        format!(
            "@id(\"laborious-{number}\")\n@description(\"looks for much\")\nforbid(principal, action == Action::\"process:run\", resource)\nwhen {{ context.line like \"{pattern}{number}\" }};\n"
        )
    });
    let laborious: String = laborious.collect();
    files.insert("policies/laborious.cedar".into(), laborious.into_bytes());
    let files = files.into_iter().collect();
    let (archive, bundle) = archive(&files, Some(&world.operator_key()));
    let activate = Act::Activate { archive, bundle };
    let activated = authority.act(activate, principal(OPERATOR));
    activated.unwrap().unwrap();

    let denial = denied(&authority, submission(&["ls", &long], None));
    assert_eq!((denial.check, denial.code), (8, DenialCode::PolicyError));
    assert!(denial.reason.contains("give less"), "{denial:?}");
    permitted(&authority, &["ls"]);
    assert_replays(&authority);
}

#[test]
fn a_second_writer_of_the_same_directory_is_refused() {
    let world = World::new();
    let _first = world.open();
    let clock = Arc::<crate::support::TestClock>::clone(&world.clock);
    let second = Running::open(&world.dir, clock, Box::new(|_, _| {}));
    assert!(matches!(
        second.err(),
        Some(OpenError::Log(placet_log::OpenError::Locked))
    ));
}

#[test]
fn keys_that_the_genesis_record_does_not_name_do_not_open_the_domain() {
    let (world, other) = (World::new(), World::new());
    let key = other.dir.keys().join("artifact.key");
    std::fs::copy(key, world.dir.keys().join("artifact.key")).unwrap();
    let opened = Authority::open(world.running());
    assert!(matches!(
        opened.err(),
        Some(OpenError::OtherKey("artifact"))
    ));
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let key = world.dir.keys().join("record.key");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let clock = Arc::<crate::support::TestClock>::clone(&world.clock);
    let opened = Running::open(&world.dir, clock, Box::new(|_, _| {}));
    assert!(matches!(opened.err(), Some(OpenError::Key(_))));
}

#[test]
fn a_bundle_that_is_lost_denies_everything() {
    let world = World::new();
    std::fs::remove_dir_all(world.dir.bundles()).unwrap();
    let authority = world.open();
    let denial = denied(&authority, submission(&["ls"], None));
    assert_eq!(denial.code, DenialCode::PolicyError);
}

#[test]
fn a_damaged_log_does_not_open() {
    let world = World::new();
    let authority = world.open();
    permitted(&authority, &["ls"]);
    authority.close().unwrap();
    drop(authority);
    std::fs::remove_dir_all(world.dir.log().join("derived")).unwrap();
    std::fs::remove_dir_all(world.dir.snapshots()).unwrap();
    let segment = std::fs::read_dir(world.dir.log().join("segments"))
        .unwrap()
        .next()
        .unwrap();
    let path = segment.unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let clock = Arc::<crate::support::TestClock>::clone(&world.clock);
    let opened = Running::open(&world.dir, clock, Box::new(|_, _| {}))
        .map_err(|error| error.to_string())
        .and_then(|running| Authority::open(running).map_err(|error| error.to_string()));
    assert!(opened.is_err());
}
