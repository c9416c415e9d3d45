use placet_evidence::{AttestationStatement, Backing, Nonce};
use placet_types::{DomainName, Fixed, PlaceName, SigningKey};

use super::*;

const NOW: Millis = Millis::new(1_795_262_400_000);

fn environment() -> Environment {
    Environment {
        arch: "x86_64".into(),
        boot: "b".into(),
        container: Some(Digest::of(b"image")),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        gateway_digest: Some(Digest::of(b"gateway")),
        kernel: "6.18.5-amd64".into(),
        landlock_abi: 7,
        machine: Digest::of(b"m"),
        region: Some(PlaceName::parse("eu-central-1").unwrap()),
        tier: Some(Tier::U1),
        weaker: Default::default(),
        zone: Some(PlaceName::parse("eu-central-1b").unwrap()),
    }
}

fn attestation(age_secs: u64) -> Attestation {
    let time = Millis::new(NOW.get() - age_secs * 1000);
    let statement = AttestationStatement {
        backing: Backing::SelfReported,
        domain: DomainName::parse("a.example/d").unwrap(),
        environment: Fixed::new(environment()).unwrap(),
        issued: time,
        nonce: Nonce::new(time, [0; 16], [0; 16]),
    };
    statement
        .sign(&SigningKey::from_seed(&[7; 32].into()))
        .unwrap()
}

fn references(text: &str) -> References {
    crate::strict::read(FILE, text).unwrap()
}

fn said(references: &References, environment: &Environment) -> Appraised {
    references.appraise(&Presented {
        attestation: None,
        environment,
        executable: None,
        time: NOW,
    })
}

fn attested(references: &References, age_secs: u64) -> Appraised {
    references.appraise(&Presented {
        attestation: Some(&attestation(age_secs)),
        environment: &environment(),
        executable: Some(&Digest::of(b"program")),
        time: NOW,
    })
}

const BASE: &str = "tiers = [\"U1\"]\nlandlock_abi_min = 4\n";

fn full() -> String {
    format!(
        "{BASE}kernels = [\"6.*\"]\ndistributions = [\"debian *\"]\narchitectures = [\"x86_64\"]\n\
         gateways = [\">=0.1 <1\"]\nmachines = [\"{}\"]\nregions = [\"eu-*\"]\nzones = [\"*-1b\"]\n\
         gateway_digests = [\"{}\"]\ncontainers = [\"{}\"]\nexecutables = [\"{}\"]\n",
        Digest::of(b"m"),
        Digest::of(b"gateway"),
        Digest::of(b"image"),
        Digest::of(b"program"),
    )
}

#[test]
fn a_tier_accepts_every_higher_one() {
    let reached = [None, Some(Tier::U0), Some(Tier::U1), Some(Tier::P)];
    for (accepted, trusted) in [
        ("\"U0\"", [false, true, true, true]),
        ("\"U1\"", [false, false, true, true]),
        ("\"P\"", [false, false, false, true]),
        ("\"P\", \"U1\"", [false, false, true, true]),
        ("", [false; 4]),
    ] {
        let references = references(&format!("tiers = [{accepted}]\nlandlock_abi_min = 3\n"));
        let found = reached.map(|tier| {
            let environment = Environment {
                tier,
                ..environment()
            };
            said(&references, &environment).trusted
        });
        assert_eq!(found, trusted, "{accepted}");
    }
}

#[test]
fn what_is_no_reference_value_is_refused() {
    for wrong in [
        "tiers = [\"none\"]",
        "tiers = [\"u1\"]",
        "tiers = [\"*\"]",
        "tiers = []\nkernels = [\">6\"]",
        "tiers = []\ngateway_digests = [\"abc\"]",
        "tiers = []\n[warning]\ntiers = [\"U0\"]",
        "tiers = []\n[attestation]\nrequired = \"none\"",
        "tiers = []\n[attestation]\nage_max = 5",
    ] {
        let text = format!("landlock_abi_min = 3\n{wrong}\n");
        assert!(
            crate::strict::read::<References>(FILE, &text).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn every_reference_value_counts() {
    assert!(said(&references(BASE), &environment()).trusted);
    let all = attested(&references(&full()), 5);
    assert_eq!(all.appraisal.status, AppraisalStatus::Affirming);
    assert_eq!(all.appraisal.affirming.len(), 12);
    assert!(all.trusted && all.reasons.is_empty());
    let other = Digest::of(b"other").to_string();
    let digest = |of: &[u8]| Digest::of(of).to_string();
    for (from, to, claim, word) in [
        ("U1", "P", Claim::Tier, "tier"),
        ("min = 4", "min = 8", Claim::Landlock, "Landlock"),
        ("6.*", "5.*", Claim::Kernel, "kernel"),
        ("debian *", "ubuntu *", Claim::Distribution, "distribution"),
        ("x86_64", "aarch64", Claim::Architecture, "architecture"),
        (">=0.1", ">=0.2", Claim::GatewayVersion, "gateway version"),
        ("eu-*", "us-*", Claim::Region, "region"),
        ("*-1b", "*-1a", Claim::Zone, "zone"),
        (&digest(b"m"), &other, Claim::Machine, "machine"),
        (
            &digest(b"gateway"),
            &other,
            Claim::Gateway,
            "gateway program",
        ),
        (
            &digest(b"image"),
            &other,
            Claim::Container,
            "container image",
        ),
        (&digest(b"program"), &other, Claim::Executable, "executable"),
    ] {
        let found = attested(&references(&full().replacen(from, to, 1)), 5);
        assert!(!found.trusted, "{word}");
        assert_eq!(found.appraisal.status, AppraisalStatus::Contraindicated);
        assert_eq!(found.appraisal.contraindicated, [claim].into());
        assert!(
            found.reasons.iter().any(|it| it.contains(word)),
            "{found:?}"
        );
    }
}

#[test]
fn what_is_not_attested_is_not_affirmed_by_any_pattern() {
    let references = references(&format!("{BASE}regions = [\"*\"]\ngateway_digests = []"));
    let bare = Environment {
        region: None,
        gateway_digest: None,
        ..environment()
    };
    let found = said(&references, &bare);
    let ruled_out = [Claim::Gateway, Claim::Region].into();
    assert_eq!(found.appraisal.contraindicated, ruled_out);
    assert!(
        found
            .reasons
            .iter()
            .all(|it| it.contains("is not attested")),
        "{found:?}"
    );
}

#[test]
fn a_value_below_warning_is_accepted_with_a_warning() {
    let text = format!("{BASE}kernels = [\">=6.19\"]\n[warning]\nkernels = [\">=6.12 <6.19\"]");
    let found = attested(&references(&text), 5);
    assert!(found.trusted);
    assert_eq!(found.appraisal.status, AppraisalStatus::Warning);
    assert_eq!(found.appraisal.warning, [Claim::Kernel].into());
    let demanding = references(&format!("{text}\n[attestation]\nrequired = \"affirming\""));
    let found = attested(&demanding, 5);
    assert!(!found.trusted);
    assert!(
        found
            .reasons
            .iter()
            .any(|it| it.contains("with a warning only: kernel"))
    );
    let content = references(&format!("{text}\n[attestation]\nrequired = \"warning\""));
    assert!(attested(&content, 5).trusted);
}

#[test]
fn an_attestation_that_is_missing_or_stale_says_nothing() {
    let text = format!("{BASE}[attestation]\nage_max = \"1m\"\n");
    let none = said(&references(&text), &environment());
    assert_eq!(none.appraisal.status, AppraisalStatus::None);
    assert_eq!(none.appraisal.age_secs, None);
    assert!(none.trusted, "nothing demands one");
    for (age, status) in [
        (0, AppraisalStatus::Affirming),
        (60, AppraisalStatus::Affirming),
        (61, AppraisalStatus::None),
    ] {
        let found = attested(&references(&text), age);
        assert_eq!(
            (found.appraisal.status, found.appraisal.age_secs),
            (status, Some(age))
        );
    }
    let demanding = references(&format!("{text}required = \"warning\""));
    let (missing, stale) = (said(&demanding, &environment()), attested(&demanding, 61));
    assert!(!missing.trusted && !stale.trusted);
    assert!(
        missing
            .reasons
            .iter()
            .any(|it| it.contains("did not attest"))
    );
    assert!(
        stale
            .reasons
            .iter()
            .any(|it| it.contains("61 s old, of which 60 count"))
    );
}
