//! A domain, a clock that the test moves, and intents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use placet_authority::clock::Clock;
use placet_authority::dir::DomainDir;
use placet_authority::init::{Beginning, init};
use placet_authority::keys::{self, Role};
use placet_authority::replay::{Sources, replay};
use placet_authority::submission::IntentForm;
use placet_authority::{Answer, Authority, Permitted, Running, Submission};
use placet_decision::Params;
use placet_evidence::{Caller, CheckedDenial, Entry, Environment, Record};
use placet_policy::{Bundle, BundleFiles};
use placet_types::{
    AbsPath, ActionName, Asked, Commitment, DenialCode, Digest, DomainName, ExecutionId, Fixed,
    GatewayName, Index, Intent, Millis, PrincipalId, ProcessParams, ResourceRef, Salt, SigningKey,
    canonical,
};
use zeroize::Zeroizing;

pub(crate) const AGENT: &str = "agent:coder";
pub(crate) const OPERATOR: &str = "user:operator";
pub(crate) const UID: u32 = 4242;

/// A clock that stands still until it is moved.
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Millis {
        Millis::new(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Executions that were told to end, with their causes.
pub(crate) type Endings = Arc<Mutex<Vec<(ExecutionId, DenialCode)>>>;

pub(crate) struct World {
    pub(crate) _root: tempfile::TempDir,
    pub(crate) dir: DomainDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) endings: Endings,
}

/// 2026-11-21, in milliseconds.
pub(crate) const NOW: u64 = 1_795_230_300_000;

impl World {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicU64::new(NOW)));
        let beginning = Beginning {
            domain: DomainName::parse("placet.example/test").unwrap(),
            operator: principal(OPERATOR),
            principals: vec![(principal(AGENT), vec!["agents".into()])],
            uid: UID,
            bundle: &|key| Ok(archive(&starter(), Some(key))),
        };
        let dir = init(
            &root.path().join("domain"),
            Arc::<TestClock>::clone(&clock),
            &beginning,
        );
        Self {
            dir: dir.unwrap(),
            _root: root,
            clock,
            endings: Endings::default(),
        }
    }

    pub(crate) fn running(&self) -> Running {
        let endings = Arc::clone(&self.endings);
        let on_ending = Box::new(move |exec, cause| endings.lock().unwrap().push((exec, cause)));
        Running::open(&self.dir, Arc::<TestClock>::clone(&self.clock), on_ending).unwrap()
    }

    pub(crate) fn open(&self) -> Authority {
        Authority::open(self.running()).unwrap()
    }

    pub(crate) fn operator_key(&self) -> SigningKey {
        keys::load(&self.dir, Role::Operator).unwrap()
    }
}

pub(crate) fn principal(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}

pub(crate) fn gateway() -> GatewayName {
    GatewayName::parse("process").unwrap()
}

pub(crate) fn starter() -> BundleFiles {
    bundle_of("starter")
}

/// The example bundle of this name.
pub(crate) fn bundle_of(name: &str) -> BundleFiles {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../bundles")
        .join(name);
    let mut files = BTreeMap::new();
    collect(&root, "", &mut files);
    files.into_iter().collect()
}

fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), files);
        } else {
            files.insert(
                format!("{prefix}{name}"),
                std::fs::read(entry.path()).unwrap(),
            );
        }
    }
}

/// The starter bundle under another revision.
pub(crate) fn revision(number: u64) -> BundleFiles {
    revised(starter(), number)
}

/// A bundle under another revision.
pub(crate) fn revised(files: BundleFiles, number: u64) -> BundleFiles {
    let mut files = files.0;
    let about = String::from_utf8(files.remove("bundle.toml").unwrap()).unwrap();
    let changed = about
        .lines()
        .map(|line| {
            if line.starts_with("revision") {
                format!("revision = {number}")
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    files.insert("bundle.toml".into(), changed.into_bytes());
    files.into_iter().collect()
}

/// The single-file form of a bundle, signed by `key` if there is one, and its digest.
pub(crate) fn archive(files: &BundleFiles, key: Option<&SigningKey>) -> (Vec<u8>, Digest) {
    let bundle = Bundle::read(files).unwrap();
    let Some(key) = key else {
        return (bundle.to_archive(), bundle.digest());
    };
    let mut signed = files.0.clone();
    let signature = placet_policy::sign(&bundle, key).unwrap();
    signed.insert(placet_policy::SIGNATURE_FILE.into(), signature);
    let signed = Bundle::read(&signed.into_iter().collect()).unwrap();
    (signed.to_archive(), signed.digest())
}

pub(crate) fn another_key() -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([77; 32]))
}

/// An intent of the agent to run this command.
pub(crate) fn submission(argv: &[&str], parent: Option<ExecutionId>) -> Submission {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let params = ProcessParams {
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        cwd: AbsPath::parse("/srv/project").unwrap(),
        env: BTreeMap::new(),
        home: AbsPath::parse("/home/agent").unwrap(),
        purpose: None,
        script: None,
        workspace: AbsPath::parse("/srv/project").unwrap(),
    };
    let bytes = canonical::to_bytes(&params).unwrap();
    let salt = Salt::new(*Digest::of(&number.to_be_bytes()).as_bytes());
    let intent = Intent {
        action: ActionName::parse("process:run").unwrap(),
        asked: Asked::default(),
        gateway: gateway(),
        params: Commitment::to("process:run", &bytes, &salt),
        parent,
        principal: principal(AGENT),
        resource: ResourceRef {
            digest: Some(Digest::of(argv[0].as_bytes())),
            id: format!("/usr/bin/{}", argv[0]),
            kind: "Program".into(),
        },
    };
    Submission {
        bearer: None,
        attestation: None,
        intent: IntentForm::Bytes(intent.to_canonical().unwrap()),
        params: Params::new(bytes, salt),
        holder: another_key().public(),
        environment: environment(Some(placet_types::Tier::U1)),
        caller: Caller::Unix(UID),
        caller_uid: UID,
    }
}

pub(crate) fn environment(tier: Option<placet_types::Tier>) -> Fixed<Environment> {
    Fixed::new(Environment {
        container: None,
        gateway_digest: None,
        region: None,
        zone: None,
        arch: "x86_64".into(),
        boot: "boot".into(),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        kernel: "6.18.0".into(),
        landlock_abi: 7,
        machine: Digest::of(b"machine"),
        tier,
        weaker: Default::default(),
    })
    .unwrap()
}

pub(crate) fn permitted(authority: &Authority, argv: &[&str]) -> Permitted {
    match authority.submit(submission(argv, None)).unwrap() {
        Answer::Permitted(permitted) => *permitted,
        Answer::Denied(_) | Answer::Deferred(_) => panic!("not permitted"),
    }
}

pub(crate) fn denied(authority: &Authority, submission: Submission) -> CheckedDenial {
    match authority.submit(submission).unwrap() {
        Answer::Permitted(_) | Answer::Deferred(_) => panic!("not denied"),
        Answer::Denied(denied) => denied.denial,
    }
}

/// An execution that runs.
pub(crate) fn started(authority: &Authority, argv: &[&str]) -> Permitted {
    let permitted = permitted(authority, argv);
    let digest = permitted.artifact.digest();
    authority
        .start(permitted.exec, digest, gateway(), Caller::Unix(UID), None)
        .unwrap()
        .unwrap();
    permitted
}

pub(crate) fn record(authority: &Authority, index: Index) -> Record {
    Entry::from_bytes(authority.reader().entry(index).unwrap())
        .read()
        .unwrap()
}

/// Every decision of the log comes out the same again.
pub(crate) fn assert_replays(authority: &Authority) {
    let reader = authority.reader();
    let sources = Sources {
        reader: &reader,
        bundles: authority.bundles(),
        blobs: authority.blobs(),
    };
    let report = replay(sources, |_| {}).unwrap();
    assert!(report.holds() && report.same > 0, "{report:?}");
}
