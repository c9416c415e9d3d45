//! What this machine says of itself without being tried.

use std::collections::BTreeSet;
use std::fs;

use placet_evidence::Environment;
use placet_types::{Digest, DomainName};

/// The machine as it says it is. What it can enforce takes a try, and is left open here: no tier.
#[must_use]
pub fn said(domain: &DomainName) -> Environment {
    let uname = rustix::system::uname();
    Environment {
        arch: uname.machine().to_string_lossy().into_owned(),
        boot: line("/proc/sys/kernel/random/boot_id"),
        distribution: distribution(),
        gateway: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        landlock_abi: 0,
        machine: machine(domain),
        tier: None,
        weaker: BTreeSet::new(),
    }
}

/// The machine's id, different in each domain so that logs of two domains cannot be joined by it.
fn machine(domain: &DomainName) -> Digest {
    let id = line("/etc/machine-id");
    Digest::of_parts(&[
        b"placet-machine-v1\0",
        domain.as_str().as_bytes(),
        b"\0",
        id.as_bytes(),
    ])
}

/// `ID` and `VERSION_ID` of `/etc/os-release` (os-release(5)).
fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').chars().take(64).collect::<String>())
            .unwrap_or_default()
    };
    format!("{} {}", value("ID"), value("VERSION_ID"))
        .trim()
        .to_owned()
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .chars()
        .take(128)
        .collect()
}
