//! Seeds that Placet's own types encode.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use placet_authority::node::wire::{
    ActBody, EndBody, PrincipalBody, Request, Response, StatusBody, VERSION,
};
use placet_evidence::{CheckedDenial, Exit, PrincipalStatus, RunEnd, Selector, Usage};
use placet_policy::{Bundle, BundleFiles};
use placet_types::{
    AbsPath, Asked, Commitment, Denial, DenialCode, Digest, DomainName, ExecutionId, GatewayName,
    Index, Intent, Limits, Network, PathSet, PrincipalId, ProcessParams, ProfileName, ResourceRef,
    Salt, Scope, Seconds, canonical,
};
use serde_json::to_vec;

use crate::Corpus;
use crate::domain::action;

/// Parameters of [`intent`].
pub(crate) const PARAMS: &str = r#"{"argv":["git","status"],"cwd":"/w","env":{"LANG":"C"},"home":"/home/ada","workspace":"/w"}"#;

pub(crate) fn salt() -> Salt {
    Salt::new([7; 32])
}

fn path(text: &str) -> AbsPath {
    AbsPath::parse(text).expect("an absolute path")
}

fn paths(texts: &[&str]) -> PathSet {
    PathSet::new(texts.iter().map(|text| path(text)))
}

pub(crate) fn scope() -> Scope {
    Scope {
        credentials: placet_types::Credentials::default(),
        env: BTreeSet::from(["LANG".to_owned()]),
        exec: paths(&["/usr/bin"]),
        egress: placet_types::Egress::default(),
        exec_check: placet_types::ExecCheck::Decide,
        exec_in_writable: false,
        limits: Limits {
            cpu_secs: 60,
            file_size_bytes: 1 << 30,
            memory_bytes: 1 << 31,
            open_files: 256,
            processes: 64,
            tmp_bytes: 1 << 28,
            tree_cpu_percent: None,
            tree_memory_bytes: None,
            wall_secs: 120,
        },
        network: Network::None,
        pinned: BTreeSet::new(),
        read: paths(&["/usr", "/w"]),
        sockets: std::collections::BTreeSet::new(),
        tier: placet_types::Tier::U0,
        trips: placet_types::Trips::none(),
        write: paths(&["/w"]),
        writes: placet_types::Writes::default(),
    }
}

pub(crate) fn intent() -> Intent {
    Intent {
        action: action(),
        asked: Asked {
            exec_check: placet_types::ExecCheck::Image,
            lifetime_secs: Some(Seconds::new(60)),
            profile: Some(ProfileName::parse("agent").expect("a profile's name")),
        },
        gateway: GatewayName::parse("process").expect("a gateway's name"),
        params: Commitment::to("process:run", PARAMS.as_bytes(), &salt()),
        parent: None,
        principal: PrincipalId::parse("agent:coder").expect("a principal's name"),
        resource: ResourceRef {
            digest: Some(Digest::of(b"git")),
            id: "/usr/bin/git".into(),
            kind: "Program".into(),
        },
    }
}

/// For the targets of `placet-types`.
pub(crate) fn types(corpus: &Corpus) {
    let intent = intent();
    corpus.put(
        "intent",
        "asked",
        intent.to_canonical().expect("an intent is JSON"),
    );
    let child = Intent {
        asked: Asked::default(),
        parent: Some(ExecutionId::new([1; 16])),
        ..intent
    };
    corpus.put(
        "intent",
        "child",
        child.to_canonical().expect("an intent is JSON"),
    );
    corpus.put("process_params", "git-status", PARAMS);
    let purpose = ProcessParams {
        purpose: Some("see what changed".into()),
        env: BTreeMap::new(),
        ..ProcessParams::decode(PARAMS.as_bytes()).expect("sound parameters")
    };
    corpus.put(
        "process_params",
        "purpose",
        canonical::to_bytes(&purpose).expect("JSON"),
    );
    corpus.put(
        "scope",
        "workspace",
        canonical::to_bytes(&scope()).expect("a scope is JSON"),
    );
    corpus.put(
        "path_set",
        "three",
        canonical::to_bytes(&paths(&["/a", "/b/c", "/d.e"])).expect("JSON"),
    );
    corpus.put("path_set", "overlapping", br#"["/a","/a/b"]"#);
    corpus.put("path_set", "dots", br#"["/a/../b"]"#);
    corpus.put("public_key", "small-order", [0; 32]);
    texts(corpus);
}

/// JSON that readers are known to disagree about, beside plain examples.
fn texts(corpus: &Corpus) {
    let texts: [(&str, &str); 9] = [
        ("values", r#"[null,true,false,0,-1,1.5,"a\n\u00e9",[],{}]"#),
        (
            "numbers",
            "[1e3,1E-7,9007199254740991,0.1,-0.0,123456789.125,5e-324,1.7976931348623157e308]",
        ),
        (
            "spaces",
            " {\t\"b\" : [ 1 , 2 ] ,\r\n \"a\" : \"\\ud83d\\ude00\" } ",
        ),
        ("duplicate", r#"{"a":1,"a":2}"#),
        ("inexact", "[9007199254740993,1e400,0.1e1]"),
        ("surrogate", r#"["\ud800"]"#),
        ("escapes", r#"["\"\\\/\b\f\n\r\t\u0000\u001f\u007f\u2028"]"#),
        ("order", "{\"\u{e000}\":1,\"\u{10000}\":2,\"a\":3}"),
        ("deep", "[[[[[[[[[[{\"a\":[[[[[[]]]]]]}]]]]]]]]]]"),
    ];
    for (name, text) in texts {
        corpus.put("json", name, text);
    }
}

/// For the targets of `placet-authority`.
pub(crate) fn frames(corpus: &Corpus) {
    let (exec, reason) = (ExecutionId::new([2; 16]), "leaked".to_owned());
    let principal = PrincipalBody {
        acts_for: vec![],
        groups: vec!["agents".into()],
        id: intent().principal,
        keys: vec![],
        status: PrincipalStatus::Active,
        uids: vec![1000],
    };
    let end = EndBody {
        cause: Some(DenialCode::Revoked),
        exec,
        exit: Some(Exit::Code(1)),
        outcome: RunEnd::Terminated,
        usage: Some(Usage::default()),
    };
    let requests = [
        ("hello", Request::Hello { version: VERSION }),
        ("end_at_leisure", Request::EndAtLeisure(end.clone())),
        ("end", Request::End(end)),
        (
            "revoke",
            Request::Act(ActBody::Revoke {
                reason,
                selector: Selector::Subtree(exec),
            }),
        ),
        (
            "principal",
            Request::Act(ActBody::Principal(principal.clone())),
        ),
        ("status", Request::Status),
    ];
    for (name, request) in requests {
        corpus.put(
            "wire_request",
            name,
            to_vec(&request).expect("a frame is JSON"),
        );
    }
    let denial = CheckedDenial {
        check: 3,
        code: DenialCode::Halted,
        reason: "halted".into(),
    };
    let status = StatusBody {
        stays: false,
        domain: DomainName::parse("placet.example/fuzz").expect("a domain's name"),
        authorized: 1,
        halted: false,
        pid: 4,
        policy: None,
        revoked_nodes: vec![Digest::of(b"machine")],
        running: 2,
        size: Index::new(9),
        writing: true,
    };
    let responses = [
        (
            "denied",
            Response::Denied {
                denial,
                exec: Some(exec),
                index: Index::new(7),
            },
        ),
        (
            "ending",
            Response::Ending {
                cause: DenialCode::Expired,
                exec,
            },
        ),
        (
            "error",
            Response::Error(Denial::new(DenialCode::Malformed, "not JSON")),
        ),
        ("principals", Response::Principals(vec![principal])),
        ("status", Response::Status(Box::new(status))),
    ];
    for (name, response) in responses {
        corpus.put(
            "wire_response",
            name,
            to_vec(&response).expect("a frame is JSON"),
        );
    }
}

/// For the targets of `placet-policy`: the starter bundle, and its members one by one.
pub(crate) fn policy(corpus: &Corpus, starter: &Path) {
    let mut files = BTreeMap::new();
    collect(starter, "", &mut files);
    let bundle = Bundle::read(&BundleFiles(files.clone())).expect("the starter bundle is sound");
    corpus.put("policy_archive", "starter", bundle.to_archive());
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".toml")) {
        let input = [path.as_bytes(), b"\n", text.as_slice()].concat();
        corpus.put("policy_member", &path.replace('/', "-"), input);
    }
}

fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory)
        .expect("the starter bundle")
        .flatten()
    {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(entry.path()).expect("a readable file"));
        }
    }
}
