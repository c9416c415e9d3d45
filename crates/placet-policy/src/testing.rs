//! What the tests of this crate share: a small bundle and a request to put to it.

use std::collections::BTreeMap;

use placet_evidence::{Appraisal, AppraisalStatus, Environment, History, Risk};
use placet_types::canonical::Json;
use placet_types::{ActionName, Digest, Millis, PrincipalId, ProfileName, ResourceRef};

use crate::{Bundle, BundleFiles, Given, Policy, Problem, Request};

pub(crate) const PROFILE: &str = r#"
description = "For tests."
read = ["/usr"]
write = ["${workspace}"]
exec = ["/usr/bin"]
lifetime = "1h"
[limits]
cpu = "1m"
file_size = "1GiB"
memory = "1GiB"
open_files = 64
processes = 64
tmp = "64MiB"
wall = "1h"
[lease]
interval = "5s"
staleness = "15s"
"#;

const ENTITIES: &str = r#"
[groups.agents]
description = "Agents."
in = ["all"]
[groups.all]
description = "Everyone."
[toolsets.readers]
description = "Readers."
directories = ["/usr/bin"]
programs = ["cat", "ls"]
"#;

/// A sound bundle, with `changes` made to it: a text sets a member, `None` takes it away.
pub(crate) fn files(changes: &[(&str, Option<&str>)]) -> BundleFiles {
    let mut files = BTreeMap::from([
        (
            "bundle.toml",
            "name = \"b\"\nrevision = 1\ndescription = \"d\"\ndefault_profile = \"p\"\n",
        ),
        ("entities.toml", ENTITIES),
        (
            "policies/a.cedar",
            "@id(\"a\") permit(principal, action, resource);\n",
        ),
        ("profiles/p.toml", PROFILE),
        ("profiles/q.toml", PROFILE),
        ("reference.toml", "tiers = [\"U1\"]\nlandlock_abi_min = 3\n"),
    ]);
    for (path, text) in changes {
        match text {
            Some(text) => files.insert(path, text),
            None => files.remove(path),
        };
    }
    files
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .collect()
}

pub(crate) fn bundle(cedar: &str) -> Bundle {
    Bundle::read(&files(&[("policies/a.cedar", Some(cedar))])).unwrap()
}

pub(crate) fn policy(cedar: &str) -> Policy {
    Policy::compile(&bundle(cedar)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// What is wrong with the sound bundle after `changes`, as lines.
pub(crate) fn problems(changes: &[(&str, Option<&str>)]) -> Vec<String> {
    let compiled = Bundle::read(&files(changes)).and_then(|bundle| Policy::compile(&bundle));
    let problems: Vec<Problem> = compiled.map(|_| ()).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

/// A request that owns its parts. `agent:coder` of `agents` runs `cat a` in `/w/p`.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) principal: PrincipalId,
    pub(crate) groups: Vec<String>,
    pub(crate) action: ActionName,
    pub(crate) resource: ResourceRef,
    pub(crate) params: Json,
    pub(crate) delegation: Vec<PrincipalId>,
    pub(crate) depth: u32,
    pub(crate) profile: Option<ProfileName>,
    pub(crate) history: History,
    pub(crate) risk: Risk,
    pub(crate) environment: Environment,
    pub(crate) appraisal: Appraisal,
    pub(crate) time: Millis,
}

impl Asked {
    pub(crate) fn of(program: &str, argv: &[&str]) -> Self {
        Self {
            principal: PrincipalId::parse("agent:coder").unwrap(),
            groups: vec!["agents".into()],
            action: ActionName::parse("process:run").unwrap(),
            resource: ResourceRef {
                digest: Some(Digest::of(program.as_bytes())),
                id: program.into(),
                kind: "Program".into(),
            },
            params: params(argv),
            delegation: Vec::new(),
            depth: 0,
            profile: None,
            history: History::default(),
            risk: Risk::default(),
            environment: Environment {
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
            },
            appraisal: Appraisal {
                age_secs: Some(0),
                status: AppraisalStatus::Affirming,
                ..Appraisal::unattested()
            },
            time: Millis::new(1_795_262_400_000),
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            principal: &self.principal,
            groups: &self.groups,
            action: &self.action,
            resource: &self.resource,
            params: Given::Process(&self.params),
            delegation: &self.delegation,
            depth: self.depth,
            profile_asked: self.profile.as_ref(),
            environment: &self.environment,
            appraisal: &self.appraisal,
            history: &self.history,
            risk: &self.risk,
            time: self.time,
        }
    }
}

pub(crate) fn params(argv: &[&str]) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    Json::Object(BTreeMap::from([
        (
            "argv".to_owned(),
            Json::Array(argv.iter().map(|arg| text(arg)).collect()),
        ),
        ("cwd".to_owned(), text("/w/p/src")),
        ("env".to_owned(), Json::Object(BTreeMap::new())),
        ("home".to_owned(), text("/home/dev")),
        ("workspace".to_owned(), text("/w/p")),
    ]))
}

/// SplitMix64: random enough for tests, the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    pub(crate) fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}
