//! The cost of deciding, from ten policies to ten thousand.

use std::fmt::Write as _;
use std::time::Instant;

use placet_evidence::{Appraisal, History, Risk};
use placet_policy::{Bundle, BundleFiles, Effect, Given, Policy, Request};
use placet_types::canonical::{Bounds, Json};
use placet_types::{ActionName, Digest, Millis, PrincipalId, ResourceRef};

use crate::domain;
use crate::figures;
use crate::stats::{Samples, ratio};

/// Evaluations of each size.
const ROUNDS: u32 = 20_000;

pub(crate) fn flatness() {
    let measured: Vec<(usize, Samples)> = [10, 100, 1_000, 10_000]
        .into_iter()
        .map(|count| (count, measure(count)))
        .collect();
    for (count, samples) in &measured {
        samples.print(&format!("policy evaluation, {count} policies"));
    }
    if let (Some((_, few)), Some((_, many))) = (measured.first(), measured.last()) {
        let flat = ratio("  10,000 policies / 10 policies", many, few);
        figures::note("policies", flat);
    }
}

fn measure(count: usize) -> Samples {
    let bundle = Bundle::read(&with_policies(count)).expect("a bundle");
    let policy = Policy::compile(&bundle).expect("it compiles");
    let submission = domain::submission(1);
    let params = Json::parse(submission.params.bytes(), Bounds::MESSAGE).expect("JSON");
    let principal = PrincipalId::parse(domain::AGENT).expect("a name");
    let action = ActionName::parse("process:run").expect("a name");
    let resource = ResourceRef {
        digest: Some(Digest::of(b"git")),
        id: "/usr/bin/git".into(),
        kind: "Program".into(),
    };
    let (history, risk, environment) = (History::default(), Risk::default(), domain::environment());
    let request = Request {
        principal: &principal,
        groups: &["agents".to_owned()],
        action: &action,
        resource: &resource,
        params: Given::Process(&params),
        delegation: &[],
        depth: 0,
        profile_asked: None,
        environment: &environment,
        appraisal: &Appraisal::unattested(),
        history: &history,
        risk: &risk,
        time: Millis::new(1_795_230_300_000),
    };
    if policy.evaluate(&request).effect != Effect::Permit {
        println!(
            "the request is not permitted: {:?}",
            policy.evaluate(&request)
        );
        std::process::abort();
    }
    let sample = |_| {
        let began = Instant::now();
        std::hint::black_box(policy.evaluate(std::hint::black_box(&request)));
        began.elapsed()
    };
    Samples::new((0..ROUNDS).map(sample).collect())
}

/// The starter bundle, with policies for other principals and programs added until there are
/// `count` more.
fn with_policies(count: usize) -> BundleFiles {
    let mut files = domain::starter().0;
    files.retain(|path, _| !path.starts_with("tests/"));
    for (part, chunk) in (0..count).collect::<Vec<_>>().chunks(500).enumerate() {
        let mut text = String::new();
        for i in chunk {
            let (kind, when) = (
                if i % 4 == 0 { "forbid" } else { "permit" },
                "context.risk.score < 50",
            );
            writeln!(
                text,
                "@id(\"bench-{i}\")\n@description(\"of the benchmark\")\n{kind}(principal in \
                 Group::\"team-{i}\", action == Action::\"process:run\", resource == \
                 Program::\"/opt/tool-{i}\") when {{ {when} }};\n"
            )
            .expect("a string takes all");
        }
        files.insert(format!("policies/bench-{part}.cedar"), text.into_bytes());
    }
    files.into_iter().collect()
}
