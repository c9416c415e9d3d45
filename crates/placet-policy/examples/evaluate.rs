//! Measures what an evaluation costs with 10 to 10,000 policies, indexed and in full.
//!
//! `cargo run --release -p placet-policy --example evaluate`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement: it reads the clock, prints, and may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use placet_evidence::{Appraisal, Environment, History, Risk};
use placet_policy::{Bundle, BundleFiles, Effect, Given, Policy, Request};
use placet_types::canonical::{Bounds, Json};
use placet_types::{ActionName, Digest, Millis, PrincipalId, ResourceRef};

const PROFILE: &str = r#"
description = "For measuring."
read = ["/usr"]
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

fn main() {
    println!("policies  warm p50 µs  warm p99 µs  new program p50 µs  full p50 µs  compile ms");
    let mut warm = Vec::new();
    for size in [10, 100, 1_000, 10_000] {
        let started = Instant::now();
        let policy = Policy::compile(&Bundle::read(&bundle(size)).unwrap()).unwrap();
        let compile = started.elapsed();
        warm.push(measure(&policy, size, compile));
    }
    println!("warm p50, largest to smallest: {:.2}", warm[3] / warm[0]);
}

fn bundle(size: usize) -> BundleFiles {
    let mut cedar = String::new();
    for i in 0..size {
        writeln!(
            cedar,
            r#"@id("p{i}") permit(principal in Group::"g{i}", action == Action::"process:run",
               resource == Program::"/usr/bin/tool{i}")
               when {{ context.risk.score < 70 && context.in_workspace && !context.args.contains("--force") }};"#
        )
        .unwrap();
    }
    cedar.push_str(
        r#"@id("deny") forbid(principal, action in Action::"execute", resource) when { context.history.denial_streak >= 20 };"#,
    );
    let files = [
        (
            "bundle.toml",
            "name = \"b\"\nrevision = 1\ndescription = \"\"\ndefault_profile = \"p\"\n",
        ),
        ("reference.toml", "tiers = [\"U1\"]\nlandlock_abi_min = 1\n"),
        ("profiles/p.toml", PROFILE),
        ("policies/all.cedar", &cedar),
    ];
    files
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .collect()
}

fn measure(policy: &Policy, size: usize, compile: Duration) -> f64 {
    let principal = PrincipalId::parse("agent:coder").unwrap();
    let (action, groups) = (ActionName::parse("process:run").unwrap(), ["g7".to_owned()]);
    let params = br#"{"argv":["tool7","status","--short","-v"],"cwd":"/w/p/src","env":{},"home":"/h","purpose":"measure","workspace":"/w/p"}"#;
    let params = Json::parse(params, Bounds::MESSAGE).unwrap();
    let environment = environment();
    let resource = ResourceRef {
        digest: Some(Digest::of(b"tool7")),
        id: "/usr/bin/tool7".into(),
        kind: "Program".into(),
    };
    let request = Request {
        principal: &principal,
        groups: &groups,
        action: &action,
        resource: &resource,
        params: Given::Process(&params),
        delegation: &[],
        depth: 0,
        profile_asked: None,
        environment: &environment,
        appraisal: &Appraisal::unattested(),
        history: &History::default(),
        risk: &Risk {
            factors: vec!["new_program".into()],
            score: 10,
        },
        time: Millis::new(1_795_262_400_000),
    };
    assert_eq!(policy.evaluate(&request).effect, Effect::Permit);
    let mut warm = samples(20_000, |_| policy.evaluate(black_box(&request)));
    let mut new = samples(2_000, |i| {
        // A program that was never seen: its entities and its slice are looked up anew.
        let resource = ResourceRef {
            id: format!("/usr/bin/new{size}-{i}"),
            ..resource.clone()
        };
        policy.evaluate(&Request {
            resource: &resource,
            ..request
        })
    });
    let mut full = samples(if size > 1_000 { 100 } else { 1_000 }, |_| {
        policy.evaluate_in_full(black_box(&request))
    });
    println!(
        "{size:>8}  {:>11.2}  {:>11.2}  {:>18.1}  {:>11.1}  {:>10.0}",
        percentile(&mut warm, 50),
        percentile(&mut warm, 99),
        percentile(&mut new, 50),
        percentile(&mut full, 50),
        compile.as_secs_f64() * 1e3
    );
    percentile(&mut warm, 50)
}

fn samples<T>(count: usize, mut run: impl FnMut(usize) -> T) -> Vec<f64> {
    (0..count)
        .map(|i| {
            let started = Instant::now();
            black_box(run(i));
            micros(started.elapsed())
        })
        .collect()
}

fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() * percent / 100]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn environment() -> Environment {
    let texts = BTreeMap::from([("arch", "x86_64"), ("kernel", "6.18.5-amd64")]);
    Environment {
        container: None,
        gateway_digest: None,
        region: None,
        zone: None,
        arch: texts["arch"].into(),
        boot: "5a1c".into(),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        kernel: texts["kernel"].into(),
        landlock_abi: 7,
        machine: Digest::of(b"machine"),
        tier: Some(placet_types::Tier::U1),
        weaker: Default::default(),
    }
}
