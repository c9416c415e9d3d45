//! The starter bundle, as it stands in the repository: sound, formatted, tested, without a lint.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use placet_evidence::{Appraisal, Environment, History, Risk};
use placet_policy::{
    Bundle, BundleFiles, Effect, Given, Policy, Request, Vars, fmt, lint, run_tests,
};
use placet_types::canonical::Json;
use placet_types::{
    AbsPath, ActionName, Digest, Millis, PrincipalId, ProfileName, ResourceRef, Scope,
};

fn files() -> BundleFiles {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/starter");
    let mut files = BTreeMap::new();
    read(&root, "", &mut files);
    BundleFiles(files)
}

fn read(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

fn bundle() -> Bundle {
    Bundle::read(&files()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn policy(bundle: &Bundle) -> Policy {
    Policy::compile(bundle).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn scope(policy: &Policy, profile: &str, workspace: &str) -> Scope {
    let vars = Vars {
        workspace: AbsPath::parse(workspace).unwrap(),
        home: AbsPath::parse("/home/dev").unwrap(),
    };
    let name = ProfileName::parse(profile).unwrap();
    policy.profile(&name).unwrap().scope(&vars).unwrap()
}

#[test]
fn every_test_of_the_bundle_passes_and_every_policy_is_tested() {
    let bundle = bundle();
    let report = run_tests(&bundle, &policy(&bundle));
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(report.uncovered.is_empty(), "{:?}", report.uncovered);
    assert!(report.results.len() > 150, "{}", report.results.len());
}

#[test]
fn the_linter_has_nothing_to_say() {
    let bundle = bundle();
    let found = lint(
        &bundle,
        &policy(&bundle),
        Some(Millis::new(1_795_262_400_000)),
    );
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn the_formatter_has_nothing_to_change() {
    let changed = fmt(&bundle()).unwrap();
    assert!(changed.is_empty(), "{changed:#?}");
}

#[test]
fn no_profile_reads_credentials() {
    let policy = policy(&bundle());
    for profile in policy.profiles() {
        let scope = scope(&policy, profile.name().as_str(), "/home/dev/project");
        for secret in [
            "/home/dev/.ssh/id_ed25519",
            "/home/dev/.aws/credentials",
            "/home/dev/.gnupg/x",
            "/home/dev/.cargo/credentials.toml",
            "/home/dev/.config/gh/hosts.yml",
            "/home/dev/.config/git/credentials",
            "/home/dev/.git-credentials",
            "/home/dev/.npmrc",
            "/home/dev/.netrc",
            "/home/dev/.placet/keys/x",
            "/home/dev/.local/share/keyrings/x",
            "/home/dev/.bash_history",
            "/etc/shadow",
            "/etc/ssl/private/x",
            "/run/docker.sock",
            "/home/dev/other/a",
        ] {
            let path = AbsPath::parse(secret).unwrap();
            assert!(
                !scope.read.contains(&path),
                "{} reads {secret}",
                profile.name()
            );
            assert!(
                !scope.write.contains(&path),
                "{} writes {secret}",
                profile.name()
            );
        }
    }
}

#[test]
fn profiles_narrow_from_operator_to_readonly() {
    let policy = policy(&bundle());
    let [readonly, agent, build, operator] =
        ["readonly", "agent", "build", "operator"].map(|name| scope(&policy, name, "/home/dev/p"));
    assert_eq!(readonly.excess_over(&agent), None);
    assert_eq!(agent.excess_over(&build), None);
    assert_eq!(build.excess_over(&operator), None);
    assert!(readonly.write.is_empty());
    assert!(!agent.exec_in_writable);
    assert!(build.exec_in_writable);
}

#[test]
fn programs_that_agents_need_can_be_started() {
    let policy = policy(&bundle());
    let scope = scope(&policy, "agent", "/home/dev/p");
    for program in [
        "/usr/bin/git",
        "/usr/lib/git-core/git-remote",
        "/usr/bin/python3.11",
        "/usr/local/bin/node",
        "/home/dev/.cargo/bin/rustup",
        "/home/dev/.rustup/toolchains/stable/bin/cargo",
        "/home/dev/.pyenv/versions/3.12.1/bin/python3.12",
        "/home/dev/.nvm/versions/node/v20.1.0/bin/node",
        "/opt/tool/bin/tool",
    ] {
        assert!(
            scope.may_exec(&AbsPath::parse(program).unwrap()),
            "{program}"
        );
    }
    assert!(!scope.may_exec(&AbsPath::parse("/home/dev/p/dropped").unwrap()));
}

/// Numbers that look random and are the same on every machine (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        let at = usize::try_from(self.below(items.len() as u64)).unwrap();
        *items.get(at).unwrap()
    }
}

const PROGRAMS: [&str; 10] = [
    "/usr/bin/cat",
    "/usr/bin/git",
    "/usr/bin/rm",
    "/usr/bin/find",
    "/usr/bin/curl",
    "/usr/bin/python3.11",
    "/usr/bin/sudo",
    "/home/dev/.cargo/bin/rustup",
    "/home/dev/project/target/debug/app",
    "/srv/tool",
];
const WORDS: [&str; 10] = [
    "status",
    "push",
    "-C",
    "/etc/shadow",
    "..",
    "-delete",
    "publish",
    "a.txt",
    "cargo",
    "~/x",
];

fn params(random: &mut Random) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    let argv = (0..=random.below(4))
        .map(|_| text(random.one_of(&WORDS)))
        .collect();
    let cwd = random.one_of(&["/home/dev/project", "/home/dev/project/src", "/tmp"]);
    let members = [("argv", Json::Array(argv)), ("cwd", text(cwd))];
    let workspace = ("workspace", text("/home/dev/project"));
    let members = members.into_iter().chain([workspace]);
    Json::Object(
        members
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn environment() -> Environment {
    Environment {
        container: None,
        gateway_digest: None,
        region: None,
        zone: None,
        arch: "x86_64".into(),
        boot: "b".into(),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        kernel: "6.18.5".into(),
        landlock_abi: 7,
        machine: Digest::of(b"m"),
        tier: Some(placet_types::Tier::U1),
        weaker: Default::default(),
    }
}

#[test]
fn the_index_agrees_with_the_full_set_on_random_requests() {
    let policy = policy(&bundle());
    let mut random = Random(7);
    let mut seen = BTreeMap::new();
    for _ in 0..4_000 {
        let program = random.one_of(&PROGRAMS);
        let groups: &[&str] = random.one_of(&[&["agents"], &["operators"], &["agents", "x"], &[]]);
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let resource = ResourceRef {
            digest: Some(Digest::of(program.as_bytes())),
            id: program.to_owned(),
            kind: "Program".to_owned(),
        };
        let history = History {
            denial_streak: random.below(20),
            denials_hour: random.below(40),
            running: random.below(300),
            ..History::default()
        };
        let request = Request {
            principal: &PrincipalId::parse(random.one_of(&["agent:a", "user:b"])).unwrap(),
            groups: &groups,
            action: &ActionName::parse("process:run").unwrap(),
            resource: &resource,
            params: Given::Process(&params(&mut random)),
            delegation: &[],
            depth: u32::try_from(random.below(7)).unwrap(),
            profile_asked: None,
            environment: &environment(),
            appraisal: &Appraisal::unattested(),
            history: &history,
            risk: &Risk {
                factors: vec![],
                score: u32::try_from(random.below(90)).unwrap(),
            },
            time: Millis::new(1_795_262_400_000),
        };
        policy.shadow_check(&request).unwrap();
        *seen
            .entry(format!("{:?}", policy.evaluate(&request).effect))
            .or_insert(0) += 1;
    }
    for effect in [Effect::Permit, Effect::Forbid, Effect::NoPermit] {
        assert!(seen[&format!("{effect:?}")] > 100, "{seen:?}");
    }
}
