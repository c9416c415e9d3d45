//! What memory the parts take: each page counts for those who share it, in equal parts (PSS).

use super::client::Client;
use super::place::Place;

/// Prints what gateway, supervisor and node take, and gives it in MiB; the server itself does not count.
pub(super) fn print(name: &str, place: &Place, client: &Client) -> f64 {
    let gateway = client.id();
    let supervisors = children(gateway);
    let node = place.node().map_or(0, proportional);
    let below: u64 = supervisors.iter().map(|pid| proportional(*pid)).sum();
    let own = proportional(gateway);
    println!(
        "{name:<44} {:>6.1} MiB: gateway {:.1}, supervisor {:.1}, node {:.1}",
        mebibytes(own + below + node),
        mebibytes(own),
        mebibytes(below),
        mebibytes(node)
    );
    mebibytes(own + below + node)
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// In KiB.
fn proportional(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    number
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}
