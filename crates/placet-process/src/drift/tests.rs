use std::time::Instant;

use super::*;

/// What is done to a thing, by its name.
type Changes<T> = [(&'static str, T); 5];

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn domain() -> DomainName {
    DomainName::parse("placet.test/drift").unwrap()
}

/// A directory with a program and a pinned file, watched from second 1.
struct Ground {
    dir: tempfile::TempDir,
    drift: Drift,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (program, pinned) = (dir.path().join("program"), dir.path().join("pinned"));
        fs::write(&program, "code").unwrap();
        fs::write(&pinned, "all: x\n").unwrap();
        let abs = |path: &Path| AbsPath::parse(path.to_str().unwrap()).unwrap();
        let missing = abs(&dir.path().join("missing"));
        let measured = Pinned::measure(&BTreeSet::from([abs(&pinned), missing])).unwrap();
        let program = Program {
            path: abs(&program),
            identity: FileIdentity::of_path(&program).unwrap(),
            digest: Digest::of(b"code"),
        };
        let environment = attest::environment(&domain(), attest::OwnProgram::Unmeasured).unwrap();
        let environment = (*environment).clone();
        let mut drift = Drift::watch(&program, measured, environment, domain());
        assert_eq!(
            drift.look((secs(1).saturating_sub(LISTEN_AFTER), true)),
            None
        );
        // What is over in a moment has asked the kernel for nothing.
        assert!(drift.as_fd().is_none());
        assert_eq!(drift.look((secs(1), true)), None);
        assert!(drift.as_fd().is_some());
        Self { dir, drift }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn code_at(&mut self, now: Duration) -> Option<DenialCode> {
        self.drift.look((now, true)).map(|drifted| drifted.code)
    }
}

#[test]
fn a_file_that_is_written_replaced_removed_or_made_is_noticed_by_the_next_look() {
    let changes: Changes<fn(&Ground)> = [
        ("written", |it| {
            fs::write(it.path("pinned"), "all: y\n").unwrap()
        }),
        ("replaced", |it| {
            fs::write(it.path("new"), "all: y\n").unwrap();
            fs::rename(it.path("new"), it.path("pinned")).unwrap();
        }),
        ("removed", |it| fs::remove_file(it.path("pinned")).unwrap()),
        ("made", |it| fs::write(it.path("missing"), "").unwrap()),
        ("program", |it| {
            fs::write(it.path("program"), "other").unwrap()
        }),
    ];
    for (name, change) in changes {
        // By the kernel's notice, long before it is time.
        let mut ground = Ground::new();
        change(&ground);
        let integrity = Some(DenialCode::RuntimeIntegrity);
        assert_eq!(ground.code_at(secs(1)), integrity, "{name}");
        // Without any notice, when it is time.
        let mut deaf = Ground::new();
        deaf.drift.notices = None;
        change(&deaf);
        assert_eq!(deaf.code_at(Duration::from_millis(1_500)), None, "{name}");
        assert_eq!(deaf.code_at(secs(2)), integrity, "{name}");
    }
}

#[test]
fn a_stamp_or_another_file_with_the_same_contents_is_no_drift() {
    let mut ground = Ground::new();
    fs::write(ground.path("new"), "all: x\n").unwrap();
    fs::rename(ground.path("new"), ground.path("pinned")).unwrap();
    let program = File::open(ground.path("program")).unwrap();
    program
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    fs::write(ground.path("neighbour"), "x").unwrap();
    for second in 1..40 {
        assert_eq!(ground.code_at(secs(second)), None);
    }
}

#[test]
fn contents_that_changed_without_a_stamp_are_read_again_in_time() {
    let mut ground = Ground::new();
    ground.drift.notices = None;
    fs::write(ground.path("pinned"), "all: z\n").unwrap();
    // As though its stamps had not moved.
    let identity = FileIdentity::of_path(&ground.path("pinned")).unwrap();
    for file in &mut ground.drift.files {
        if let (Role::Pinned, State::Present { identity: seen, .. }) = (file.role, &mut file.state)
        {
            *seen = identity;
        }
    }
    assert_eq!(ground.code_at(secs(5)), None);
    assert_eq!(ground.code_at(secs(12)), Some(DenialCode::RuntimeIntegrity));
}

#[test]
fn a_machine_that_says_something_else_of_itself_is_not_the_one_that_was_decided_about() {
    let changes: Changes<fn(&mut Environment)> = [
        ("boot", |it| it.boot.push('x')),
        ("kernel", |it| it.kernel.push('x')),
        ("distribution", |it| it.distribution.push('x')),
        ("machine", |it| it.machine = Digest::of(b"another")),
        ("gateway", |it| it.gateway.push('x')),
    ];
    for (part, change) in changes {
        let mut ground = Ground::new();
        change(&mut ground.drift.environment);
        let found = ground.drift.look((secs(4), true)).unwrap();
        assert_eq!(found.code, DenialCode::EnvironmentUntrusted, "{part}");
        assert!(found.what.contains(part), "{found:?}");
    }
    let mut ground = Ground::new();
    ground.drift.environment.tier = None;
    assert_eq!(ground.code_at(secs(30)), None);
    assert_eq!(
        ground.code_at(secs(61)),
        Some(DenialCode::EnvironmentUntrusted)
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a read that waits is told by the real clock"
)]
fn what_cannot_be_measured_cannot_be_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| AbsPath::parse(dir.path().join(name).to_str().unwrap()).unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .unwrap();
    let began = Instant::now();
    for name in ["dir", "fifo"] {
        Pinned::measure(&BTreeSet::from([path(name)])).unwrap_err();
    }
    assert!(began.elapsed() < secs(5));
    let many = (0..300).map(|n| path(&n.to_string())).collect();
    assert!(matches!(
        Pinned::measure(&many),
        Err(UnwatchableError::Many(300))
    ));
    let absent = Pinned::measure(&BTreeSet::from([path("none")])).unwrap();
    let written = absent.to_canonical().unwrap();
    assert!(written.ends_with("/none\":null}"), "{written}");
}
