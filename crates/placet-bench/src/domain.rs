//! A real domain in a temporary directory, and intents for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use placet_authority::clock::SystemClock;
use placet_authority::dir::DomainDir;
use placet_authority::init::{Beginning, init};
use placet_authority::submission::IntentForm;
use placet_authority::{Authority, Running, Submission};
use placet_decision::Params;
use placet_evidence::{Caller, Environment};
use placet_policy::{Bundle, BundleFiles};
use placet_types::{
    AbsPath, ActionName, Asked, Commitment, Digest, DomainName, Fixed, GatewayName, Intent,
    PrincipalId, ProcessParams, PublicKey, ResourceRef, Salt, SigningKey, canonical,
};
use zeroize::Zeroizing;

/// The principal that submits.
pub(crate) const AGENT: &str = "agent:coder";

/// Makes a domain with this bundle in force.
pub(crate) fn make(root: &Path, files: &BundleFiles) -> DomainDir {
    let files = files.clone();
    let beginning = Beginning {
        domain: DomainName::parse("placet.example/bench").expect("a name"),
        operator: PrincipalId::parse("user:bench").expect("a name"),
        principals: vec![(
            PrincipalId::parse(AGENT).expect("a name"),
            vec!["agents".into()],
        )],
        uid: 0,
        bundle: &move |key| {
            let bundle = Bundle::read(&files).map_err(|problems| format!("{problems:?}"))?;
            let signature = placet_policy::sign(&bundle, key).map_err(|error| error.to_string())?;
            let mut signed: BTreeMap<String, Vec<u8>> = files.0.clone();
            signed.insert(placet_policy::SIGNATURE_FILE.into(), signature);
            let signed = Bundle::read(&signed.into_iter().collect())
                .map_err(|problems| format!("{problems:?}"))?;
            Ok((signed.to_archive(), signed.digest()))
        },
    };
    init(
        &root.join("domain"),
        Arc::new(SystemClock::new()),
        &beginning,
    )
    .expect("a domain")
}

/// The starter bundle, without its tests.
pub(crate) fn starter() -> BundleFiles {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/starter");
    let mut files = BTreeMap::new();
    collect(&root, "", &mut files);
    files.into_iter().collect()
}

fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).expect("the starter bundle") {
        let entry = entry.expect("the starter bundle");
        let name = entry.file_name().into_string().expect("text");
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), files);
        } else {
            files.insert(
                format!("{prefix}{name}"),
                std::fs::read(entry.path()).expect("a file"),
            );
        }
    }
}

/// Opens the domain as its only writer.
pub(crate) fn open(dir: &DomainDir) -> Authority {
    let clock = Arc::new(SystemClock::new());
    let running = Running::open(dir, clock, Box::new(|_, _| {})).expect("the domain opens");
    Authority::open(running).expect("the log folds")
}

/// A gateway's own key, made once as a gateway does.
static HOLDER: LazyLock<PublicKey> =
    LazyLock::new(|| SigningKey::from_seed(&Zeroizing::new([9; 32])).public());

/// An intent to run `git status`, and everything that belongs to it.
pub(crate) fn submission(number: u64) -> Submission {
    let params = ProcessParams {
        argv: vec!["git".into(), "status".into()],
        cwd: AbsPath::parse("/srv/project").expect("a path"),
        env: BTreeMap::from([
            ("HOME".to_owned(), "/home/bench".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("TERM".to_owned(), "xterm-256color".to_owned()),
        ]),
        home: AbsPath::parse("/home/bench").expect("a path"),
        purpose: Some("look at the work".into()),
        script: None,
        workspace: AbsPath::parse("/srv/project").expect("a path"),
    };
    let bytes = canonical::to_bytes(&params).expect("JSON");
    let salt = Salt::new(*Digest::of(&number.to_be_bytes()).as_bytes());
    let action = ActionName::parse(ProcessParams::ACTION).expect("a name");
    let intent = Intent {
        params: Commitment::to(action.as_str(), &bytes, &salt),
        action,
        asked: Asked::default(),
        gateway: GatewayName::parse("process").expect("a name"),
        parent: None,
        principal: PrincipalId::parse(AGENT).expect("a name"),
        resource: ResourceRef {
            digest: Some(Digest::of(b"git")),
            id: "/usr/bin/git".into(),
            kind: "Program".into(),
        },
    };
    Submission {
        bearer: None,
        attestation: None,
        intent: IntentForm::Bytes(intent.to_canonical().expect("JSON")),
        params: Params::new(bytes, salt),
        holder: *HOLDER,
        environment: environment(),
        caller: Caller::Unix(0),
        caller_uid: 0,
    }
}

/// A machine that the starter bundle trusts.
pub(crate) fn environment() -> Fixed<Environment> {
    Fixed::new(Environment {
        container: None,
        gateway_digest: None,
        region: None,
        zone: None,
        arch: "x86_64".into(),
        boot: "4a6b0d6e-0000-0000-0000-000000000000".into(),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        kernel: "6.18.0".into(),
        landlock_abi: 7,
        machine: Digest::of(b"machine"),
        tier: Some(placet_types::Tier::U1),
        weaker: Default::default(),
    })
    .expect("JSON")
}
