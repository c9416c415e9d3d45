//! Alterations: of every claim to another well-formed value, and of texts to ones that are not.

#![expect(
    clippy::unwrap_used,
    reason = "test code: a broken fixture should stop the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_artifact::Claims;
use placet_artifact::claims::{Actor, ArtifactId, NumericDate, Thumbprint};
use placet_artifact::verify::Step;
use placet_types::{
    ActionName, Commitment, Credentials, DenialCode, Digest, DomainName, ExecCheck, ExecutionId,
    GatewayName, PrincipalId, ProfileName, Scope, Writes,
};

use super::{ATTACKER_SEED, key, paths, salt};

/// One alteration of well-formed claims to other well-formed claims.
pub(crate) struct Alteration {
    /// The member or members that are altered.
    pub(crate) name: &'static str,
    pub(crate) apply: fn(&mut Claims),
    /// Where the altered artifact is refused although the domain signed and logged it; `None`
    /// when the claim is the domain's to set, and reaches the gateway as it was set.
    pub(crate) refused: Option<(Step, DenialCode)>,
}

const fn bound(
    name: &'static str,
    step: Step,
    code: DenialCode,
    apply: fn(&mut Claims),
) -> Alteration {
    Alteration {
        name,
        apply,
        refused: Some((step, code)),
    }
}

const fn granted(name: &'static str, apply: fn(&mut Claims)) -> Alteration {
    Alteration {
        name,
        apply,
        refused: None,
    }
}

fn scope(claims: &mut Claims, alter: impl FnOnce(&mut Scope)) {
    let [detail] = &mut claims.authorization_details;
    detail.scope = detail.scope.changed(alter).unwrap();
}

fn other() -> ExecutionId {
    ExecutionId::new([0xaa; 16])
}

/// Every member of the claims, one at a time where its rules let it stand alone.
pub(crate) fn all() -> Vec<Alteration> {
    [
        bound_to_the_call(),
        bound_to_the_world(),
        granted_by_the_domain(),
        granted_scope(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn bound_to_the_call() -> Vec<Alteration> {
    let intent = |name, apply| bound(name, Step::Intent, DenialCode::IntentMismatch, apply);
    vec![
        intent("act", |c| {
            c.act = Actor::chain(vec![PrincipalId::parse("agent:other").unwrap()])
        }),
        intent("sub", |c| {
            c.sub = PrincipalId::parse("agent:other").unwrap()
        }),
        intent("intent", |c| c.intent = Digest::of(b"another intent")),
        intent("params", |c| {
            c.params = Commitment::to("process:run", b"{}", &salt())
        }),
        intent("parent+txn", |c| {
            (c.parent, c.txn) = (Some(other()), other())
        }),
        intent("authorization_details.action", |c| {
            let [detail] = &mut c.authorization_details;
            detail.action = ActionName::parse("process:stop").unwrap();
        }),
        intent("authorization_details.resource.digest", |c| {
            let [detail] = &mut c.authorization_details;
            detail.resource.digest = None;
        }),
        intent("authorization_details.resource.id", |c| {
            let [detail] = &mut c.authorization_details;
            detail.resource.id = "/usr/bin/sh".into();
        }),
        intent("authorization_details.resource.kind", |c| {
            let [detail] = &mut c.authorization_details;
            detail.resource.kind = "Tool".into();
        }),
    ]
}

fn bound_to_the_world() -> Vec<Alteration> {
    vec![
        bound("exp", Step::Window, DenialCode::Expired, |c| {
            (c.exp, c.nbf, c.iat) = (c.nbf, NumericDate::new(9), NumericDate::new(9));
        }),
        bound("nbf", Step::Window, DenialCode::NotYetValid, |c| {
            c.nbf = NumericDate::new(c.nbf.get() + 1);
        }),
        bound("iss", Step::Issuer, DenialCode::WrongDomain, |c| {
            c.iss = DomainName::parse("placet.example/other").unwrap();
        }),
        bound("aud", Step::Audience, DenialCode::AudienceMismatch, |c| {
            c.aud = GatewayName::parse("mcp").unwrap();
        }),
        bound(
            "env",
            Step::Environment,
            DenialCode::EnvironmentUntrusted,
            |c| {
                c.env = Digest::of(b"another environment");
            },
        ),
        bound(
            "policy.bundle",
            Step::Policy,
            DenialCode::PolicyMismatch,
            |c| {
                c.policy.bundle = Digest::of(b"another bundle");
            },
        ),
        bound("cnf.jkt", Step::Holder, DenialCode::HolderMismatch, |c| {
            c.cnf.jkt = Thumbprint::of(&key(ATTACKER_SEED).public());
        }),
    ]
}

fn granted_by_the_domain() -> Vec<Alteration> {
    vec![
        granted("exec+jti+txn", |c| {
            (c.exec, c.jti, c.txn) = (other(), ArtifactId::of(other()), other());
        }),
        granted("iat", |c| c.iat = NumericDate::new(c.iat.get() - 1)),
        granted("lease.interval_ms", |c| c.lease.interval_ms += 1),
        granted("lease.staleness_ms", |c| c.lease.staleness_ms += 1),
        granted("policy.determining", |c| {
            c.policy.determining.insert("another".into());
        }),
        granted("profile", |c| {
            c.profile = ProfileName::parse("wide").unwrap()
        }),
        granted("rerouted", |c| {
            c.rerouted.insert(ProfileName::parse("wide").unwrap());
        }),
    ]
}

fn granted_scope() -> Vec<Alteration> {
    vec![
        granted("scope.env", |c| {
            scope(c, |s| s.env.extend(["PATH".to_owned()]));
        }),
        granted("scope.credentials", |c| {
            scope(c, |s| s.credentials = some_credentials());
        }),
        granted("scope.egress", |c| {
            scope(c, |s| s.egress = placet_types::Egress::Decide)
        }),
        granted("scope.exec", |c| scope(c, |s| s.exec = paths(&["/"]))),
        granted("scope.exec_check", |c| {
            scope(c, |s| s.exec_check = ExecCheck::Decide)
        }),
        granted("scope.exec_in_writable", |c| {
            scope(c, |s| s.exec_in_writable = true)
        }),
        granted("scope.read", |c| scope(c, |s| s.read = paths(&["/"]))),
        granted("scope.write", |c| {
            scope(c, |s| (s.read, s.write) = (paths(&["/"]), paths(&["/"])));
        }),
        granted("scope.writes", |c| scope(c, |s| s.writes = Writes::Kept)),
        granted("scope.limits.cpu_secs", |c| {
            scope(c, |s| s.limits.cpu_secs += 1)
        }),
        granted("scope.limits.file_size_bytes", |c| {
            scope(c, |s| s.limits.file_size_bytes += 1)
        }),
        granted("scope.limits.memory_bytes", |c| {
            scope(c, |s| s.limits.memory_bytes += 1)
        }),
        granted("scope.limits.open_files", |c| {
            scope(c, |s| s.limits.open_files += 1)
        }),
        granted("scope.limits.processes", |c| {
            scope(c, |s| s.limits.processes += 1)
        }),
        granted("scope.limits.tmp_bytes", |c| {
            scope(c, |s| s.limits.tmp_bytes += 1)
        }),
        granted("scope.limits.tree_cpu_percent", |c| {
            scope(c, |s| s.limits.tree_cpu_percent = Some(400))
        }),
        granted("scope.limits.tree_memory_bytes", |c| {
            scope(c, |s| s.limits.tree_memory_bytes = Some(1 << 31))
        }),
        granted("scope.limits.wall_secs", |c| {
            scope(c, |s| s.limits.wall_secs += 1)
        }),
    ]
}

/// The text of good claims with one part replaced, so that they break a rule of their form.
pub(crate) fn malformed(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        good.replacen(from, to, 1).into_bytes()
    };
    let detail = good.split_once("\"authorization_details\":[").unwrap().1;
    let detail = detail.split_once("],\"cnf\"").unwrap().0;
    let nine_actors = (0..9).fold(String::new(), |act, _| {
        let inner = if act.is_empty() {
            act
        } else {
            format!("\"act\":{act},")
        };
        format!("{{{inner}\"sub\":\"agent:a\"}}")
    });
    let mut not_utf8 = good.as_bytes().to_vec();
    let last = not_utf8.len() - 3;
    *not_utf8.get_mut(last).unwrap() = 0xff;
    let mut all = vec![
        ("two uses", swap("\"uses\":1", "\"uses\":2")),
        ("no uses", swap("\"uses\":1", "\"uses\":0")),
        (
            "jti of another execution",
            swap("\"jti\":\"art_e1", "\"jti\":\"art_e2"),
        ),
        (
            "jti without its prefix",
            swap("\"jti\":\"art_", "\"jti\":\""),
        ),
        (
            "a root that is not its own root",
            swap("\"txn\":\"exec_e1", "\"txn\":\"exec_e2"),
        ),
        (
            "an unknown kind of detail",
            swap("placet-execution", "placet-exekution"),
        ),
        (
            "an unknown network",
            swap("\"network\":\"none\"", "\"network\":\"all\""),
        ),
        ("two details", swap(detail, &format!("{detail},{detail}"))),
        ("no detail", swap(detail, "")),
        (
            "an unknown member",
            swap("\"uses\":1", "\"uses\":1,\"zone\":1"),
        ),
        (
            "an unknown member of cnf",
            swap("\"cnf\":{", "\"cnf\":{\"jwk\":{},"),
        ),
        ("a missing member", swap(",\"uses\":1", "")),
        (
            "a repeated member",
            swap("\"uses\":1", "\"uses\":1,\"uses\":1"),
        ),
        (
            "a repeated member, spelled with an escape",
            swap("\"uses\":1", "\"uses\":1,\"\\u0075ses\":1"),
        ),
        (
            "exp as a string",
            swap("\"exp\":1800000300", "\"exp\":\"1800000300\""),
        ),
        (
            "exp as a fraction",
            swap("\"exp\":1800000300", "\"exp\":1800000300.0"),
        ),
        (
            "exp with an exponent",
            swap("\"exp\":1800000300", "\"exp\":18000003e2"),
        ),
        ("exp below zero", swap("\"exp\":1800000300", "\"exp\":-1")),
        (
            "exp past 2^53",
            swap("\"exp\":1800000300", "\"exp\":9007199254740992"),
        ),
        (
            "a limit past 2^53",
            swap("\"cpu_secs\":60", "\"cpu_secs\":9007199254740993"),
        ),
        (
            "an empty window",
            swap("\"exp\":1800000300", "\"exp\":1800000000"),
        ),
        (
            "issued after its end",
            swap("\"iat\":1800000000", "\"iat\":1800000300"),
        ),
        ("a space", swap("\"uses\":1", "\"uses\": 1")),
        (
            "members out of order",
            swap(
                "\"lease\":{\"interval_ms\":5000,\"staleness_ms\":15000}",
                "\"lease\":{\"staleness_ms\":15000,\"interval_ms\":5000}",
            ),
        ),
        (
            "an escape that is not needed",
            swap("allow-git", "\\u0061llow-git"),
        ),
        (
            "nine actors",
            swap("{\"aud\"", &format!("{{\"act\":{nine_actors},\"aud\"")),
        ),
        ("act as null", swap("{\"aud\"", "{\"act\":null,\"aud\"")),
        ("a path with dots", swap("\"/usr/bin\"", "\"/usr/../bin\"")),
        (
            "a root below another root",
            swap("[\"/usr\",\"/w\"]", "[\"/usr\",\"/usr/x\",\"/w\"]"),
        ),
        (
            "a write tree that may not be read",
            swap("[\"/usr\",\"/w\"]", "[\"/usr\"]"),
        ),
        ("no determining policy", swap("[\"allow-git\"]", "[]")),
        (
            "a policy id twice",
            swap("[\"allow-git\"]", "[\"allow-git\",\"allow-git\"]"),
        ),
        (
            "policy ids out of order",
            swap("[\"allow-git\"]", "[\"b\",\"a\"]"),
        ),
        (
            "a policy id with nothing in it",
            swap("[\"allow-git\"]", "[\"\"]"),
        ),
        (
            "a lease without an interval",
            swap("\"interval_ms\":5000", "\"interval_ms\":0"),
        ),
        (
            "a lease without a bound",
            swap("\"staleness_ms\":15000", "\"staleness_ms\":0"),
        ),
        (
            "an odd resource kind",
            swap("\"kind\":\"Program\"", "\"kind\":\"Pro gram\""),
        ),
        (
            "a resource without a name",
            swap("\"id\":\"/usr/bin/git\"", "\"id\":\"\""),
        ),
        ("a short thumbprint", swap("\"jkt\":\"", "\"jkt\":\"AAAA")),
        (
            "an upper-case digest",
            swap("\"env\":\"sha256:", "\"env\":\"SHA256:"),
        ),
        ("a principal without a kind", swap("agent:coder", "coder")),
        ("a lone surrogate", swap("allow-git", "\\ud800")),
        ("a byte that is not UTF-8", not_utf8),
        (
            "a byte order mark",
            [b"\xef\xbb\xbf", good.as_bytes()].concat(),
        ),
        ("text after the object", [good.as_bytes(), b"{}"].concat()),
        ("an array", b"[]".to_vec()),
        ("nothing", Vec::new()),
        ("deep nesting", "[".repeat(9000).into_bytes()),
    ];
    all.extend(malformed_credentials(good));
    all
}

/// Credentials of a scope that are out of their grammar, out of order, or meet in one place.
fn malformed_credentials(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let many: Vec<String> = (10..43)
        .map(|at| format!(r#"{{"form":{{"env":"V{at}"}},"name":"a"}}"#))
        .collect();
    let many = many.join(",");
    [
        ("no credential", ""),
        ("a credential without a form", r#"{"form":{},"name":"a"}"#),
        ("a credential in two forms", r#"{"form":{"env":"A","file":{"path":"a"}},"name":"a"}"#),
        ("a credential in an unknown form", r#"{"form":{"socket":"a"},"name":"a"}"#),
        ("a credential with an odd name", r#"{"form":{"env":"A"},"name":".a"}"#),
        ("a credential in a variable that the loader reads", r#"{"form":{"env":"LD_PRELOAD"},"name":"a"}"#),
        ("a credential in the path", r#"{"form":{"env":"PATH"},"name":"a"}"#),
        ("a credential in an odd variable", r#"{"form":{"env":"1A"},"name":"a"}"#),
        ("a credential in an object as variable", r#"{"form":{"env":{"name":"A"}},"name":"a"}"#),
        ("a credential in a file without a path", r#"{"form":{"file":{"env":"A"}},"name":"a"}"#),
        ("a credential in a file as text", r#"{"form":{"file":"a"},"name":"a"}"#),
        ("a credential in a file with null as variable", r#"{"form":{"file":{"env":null,"path":"a"}},"name":"a"}"#),
        ("a credential in a file above", r#"{"form":{"file":{"path":"../a"}},"name":"a"}"#),
        ("a credential in a file from the root", r#"{"form":{"file":{"path":"/a"}},"name":"a"}"#),
        ("a credential in a directory", r#"{"form":{"file":{"path":"a/"}},"name":"a"}"#),
        ("a credential five names deep", r#"{"form":{"file":{"path":"a/b/c/d/e"}},"name":"a"}"#),
        ("a credential with an unknown member", r#"{"form":{"env":"A"},"name":"a","value":"s"}"#),
        ("a credential twice", r#"{"form":{"env":"A"},"name":"a"},{"form":{"env":"A"},"name":"a"}"#),
        ("credentials out of order", r#"{"form":{"env":"B"},"name":"a"},{"form":{"env":"A"},"name":"b"}"#),
        ("a file before a variable", r#"{"form":{"file":{"path":"a"}},"name":"a"},{"form":{"env":"A"},"name":"b"}"#),
        ("a file with a variable before one without", r#"{"form":{"file":{"env":"A","path":"a"}},"name":"a"},{"form":{"file":{"path":"b"}},"name":"b"}"#),
        ("two credentials in one variable", r#"{"form":{"env":"A"},"name":"a"},{"form":{"env":"A"},"name":"b"}"#),
        ("a variable that is a file's too", r#"{"form":{"env":"A"},"name":"a"},{"form":{"file":{"env":"A","path":"a"}},"name":"b"}"#),
        ("two credentials in one file", r#"{"form":{"file":{"path":"a"}},"name":"a"},{"form":{"file":{"path":"a"}},"name":"b"}"#),
        ("a file where another needs a directory", r#"{"form":{"file":{"path":"a"}},"name":"a"},{"form":{"file":{"path":"a/b"}},"name":"b"}"#),
        ("too many credentials", &many),
    ]
    .into_iter()
    .map(|(name, list)| {
        let with = format!("\"scope\":{{\"credentials\":[{list}],");
        assert!(good.contains("\"scope\":{"));
        (name, good.replacen("\"scope\":{", &with, 1).into_bytes())
    })
    .collect()
}

/// One in a variable, one in a file, one in a file that a variable names, in their order.
fn some_credentials() -> Credentials {
    let text = r#"[{"form":{"env":"TOKEN"},"name":"a.token"},{"form":{"file":{"path":".netrc"}},"name":"b"},{"form":{"file":{"env":"KEY_FILE","path":"keys/c.pem"}},"name":"a.token"}]"#;
    let all: Credentials = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&all).unwrap(), text);
    all
}

/// Signs any header and any payload with any key: what no issuer would do.
pub(crate) fn sign_raw(header: &str, payload: &[u8], seed: u8) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = key(seed).sign(input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_bytes()))
}
