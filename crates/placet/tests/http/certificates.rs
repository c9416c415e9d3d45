//! TLS: the domain's own certificate, and client certificates of workloads. Everything is made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::place::{Node, Place, eventually};

/// An authority of a trust domain.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        Self {
            pem: pem("CERTIFICATE", own.der()),
            der: own.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate with these URIs that ended or ends in so many seconds, with its key, in files.
    fn issue(&self, place: &Place, name: &str, uris: &[&str], secs: i64) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(1);
        params.not_after = now + Duration::seconds(secs);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, private) = (
            place.path(&format!("{name}.pem")),
            place.path(&format!("{name}.key")),
        );
        fs::write(&cert, pem("CERTIFICATE", own.der())).unwrap();
        fs::write(&private, pem("PRIVATE KEY", &key.serialize_der())).unwrap();
        (cert, private)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.push_str(std::str::from_utf8(line).unwrap());
        lines.push('\n');
    }
    lines + &format!("-----END {label}-----\n")
}

/// What `curl` gets, as its users call it: the status and the code of a problem; 0 without TLS.
fn curl(node: &Node<'_>, ca: Option<&Path>, own: Option<&(PathBuf, PathBuf)>) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60", "-w", "\n%{http_code}"]);
    if let Some(ca) = ca {
        command.arg("--cacert").arg(ca);
    }
    if let Some((cert, key)) = own {
        command.arg("--cert").arg(cert).arg("--key").arg(key);
    }
    let port = node.address.port();
    command.arg(format!("https://localhost:{port}/v1/policy"));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let code = problem["code"].as_str().unwrap_or_default().to_owned();
    (status.parse().unwrap(), code)
}

#[test]
fn the_domain_issues_a_certificate_that_clients_verify_by_its_authority() {
    let place = Place::new();
    place.configure("[tls]\ndomain = true\n");
    let ca = place.dir().join("tls-ca.pem");
    let node = place.up();
    let unproven = (401, "identity_unverified".to_owned());
    assert_eq!(curl(&node, Some(&ca), None), unproven);
    // Whoever does not know the authority does not talk to it.
    assert_eq!(curl(&node, None, None).0, 0);
    let before = fs::read(&ca).unwrap();
    drop(node);
    let node = place.up();
    assert_eq!(curl(&node, Some(&ca), None), unproven);
    assert_eq!(fs::read(&ca).unwrap(), before, "the authority stays");
    let key = fs::metadata(place.dir().join("keys/tls-ca.key")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(key.mode() & 0o777, 0o600);
}

#[test]
fn a_workload_is_known_by_its_certificate_and_by_nothing_less() {
    let place = Place::new();
    let (own, partner) = (Authority::new("own"), Authority::new("partner"));
    fs::write(place.path("own.pem"), &own.pem).unwrap();
    let der = base64::engine::general_purpose::STANDARD.encode(&partner.der);
    let bundle = format!(
        r#"{{"spiffe_sequence":1,"keys":[{{"use":"jwt-svid","kty":"EC"}},{{"use":"x509-svid","kty":"EC","x5c":["{der}"]}}]}}"#
    );
    fs::write(place.path("partner.json"), bundle).unwrap();
    place.configure(&format!(
        "[tls]\ndomain = true\n[[tls.clients]]\ntrust_domain = \"own.example\"\nbundle = \"{}\"\n\
         [[tls.clients]]\ntrust_domain = \"partner.example\"\nbundle = \"{}\"\n",
        place.path("own.pem").display(),
        place.path("partner.json").display()
    ));
    let node = place.up();
    let rule = |uri: &str, principal: &str| {
        format!(
            "[[identity]]\ndescription = \"A workload.\"\nprincipal = \"{principal}\"\nspiffe = \"{uri}\"\n"
        )
    };
    place.map(&format!(
        "{}{}",
        rule("spiffe://own.example/ci/*", "ci:{*}"),
        rule("spiffe://partner.example/tool", "agent:partner")
    ));
    for principal in ["ci:build", "agent:partner"] {
        place.ok(&[
            "principal",
            "set",
            principal,
            "--group",
            "agents",
            "--mapped",
        ]);
    }
    let ca = place.dir().join("tls-ca.pem");
    let ask = |own: &(PathBuf, PathBuf)| curl(&node, Some(&ca), Some(own));
    let day = 86_400;
    let build = own.issue(&place, "build", &["spiffe://own.example/ci/build"], day);
    assert_eq!(ask(&build), (200, String::new()));
    let tool = partner.issue(&place, "tool", &["spiffe://partner.example/tool"], day);
    assert_eq!(ask(&tool), (200, String::new()));
    for (authority, name, uris, secs, status, code) in [
        (
            &own,
            "other",
            &["spiffe://own.example/db"][..],
            day,
            403,
            "identity_unmapped",
        ),
        (&own, "none", &[], day, 401, "identity_unverified"),
        (
            &own,
            "two",
            &["spiffe://own.example/ci/build", "spiffe://own.example/ci/x"],
            day,
            401,
            "identity_unverified",
        ),
        (
            &own,
            "web",
            &["https://own.example/ci/build"],
            day,
            401,
            "identity_unverified",
        ),
        (
            &own,
            "root",
            &["spiffe://own.example"],
            day,
            401,
            "identity_unverified",
        ),
        (
            &own,
            "old",
            &["spiffe://own.example/ci/build"],
            -60,
            401,
            "expired",
        ),
        (
            &own,
            "far",
            &["spiffe://far.example/ci/build"],
            day,
            401,
            "identity_unverified",
        ),
        // The authority of one domain does not speak for another.
        (
            &partner,
            "forged",
            &["spiffe://own.example/ci/build"],
            day,
            401,
            "invalid_signature",
        ),
        (
            &own,
            "forged2",
            &["spiffe://partner.example/tool"],
            day,
            401,
            "invalid_signature",
        ),
    ] {
        let shown = authority.issue(&place, name, uris, secs);
        assert_eq!(ask(&shown), (status, code.to_owned()), "{name}");
    }
    assert_eq!(
        curl(&node, Some(&ca), None),
        (401, "identity_unverified".into())
    );
    let tail = place.ok(&["log", "tail", "-n", "3"]);
    assert!(tail.contains("identity_unmapped"), "{tail}");
    // A bundle that does not read leaves the last good one in force, and says so.
    fs::write(place.path("own.pem"), "nothing").unwrap();
    let stale = || {
        let metrics = String::from_utf8(node.get("/metrics").body).unwrap();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("placet_tls_stale "));
        line.unwrap() != "placet_tls_stale 0"
    };
    eventually("the bad bundle is noticed", || stale().then_some(()));
    assert_eq!(ask(&build), (200, String::new()));
    let ready = node.get("/readyz").expect(200);
    assert_eq!(ready["certificates"], "stale");
    // Another authority takes the place of the first: who was known is known no longer.
    let next = Authority::new("next");
    fs::write(place.path("own.pem"), &next.pem).unwrap();
    let refused = (401, "invalid_signature".to_owned());
    eventually("the other authority counts", || {
        (ask(&build) == refused).then_some(())
    });
    let build = next.issue(&place, "build2", &["spiffe://own.example/ci/build"], day);
    assert_eq!(ask(&build), (200, String::new()));
    assert!(!stale());
    let said = node.said();
    assert!(
        said.contains("certificates_refused") && !said.contains("PRIVATE KEY"),
        "{said}"
    );
}
