//! Real faults on a real writer: killed, its system calls made to fail, its disk full.
//!
//! Each test starts this program again as the writer, reads from a pipe what the writer was told is
//! durable, lets the fault happen, and then opens the log as the next process would. Nothing
//! acknowledged may be missing or different, no index may have been given twice, and the log must
//! be clean.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code, which must start processes"
)]

#[expect(
    dead_code,
    reason = "shared with the other test binary, which uses all of it"
)]
#[path = "../common/mod.rs"]
mod common;

mod faults;
mod kill;
mod power;
mod space;
mod writer;

use std::panic::catch_unwind;
use std::process::ExitCode;

/// A claim by its name.
type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    (
        "a_writer_killed_at_any_moment_loses_nothing_acknowledged",
        kill::at_random_moments,
    ),
    (
        "a_failing_system_call_of_an_append_loses_nothing",
        faults::of_a_new_log,
    ),
    (
        "a_failing_system_call_of_a_recovery_loses_nothing",
        faults::of_a_recovery,
    ),
    (
        "a_power_failure_after_any_call_of_a_writer_loses_nothing",
        power::of_a_new_log,
    ),
    (
        "a_power_failure_after_any_call_of_a_recovery_loses_nothing",
        power::of_a_recovery,
    ),
    (
        "a_frame_whose_sync_failed_is_synced_again_before_it_counts",
        power::of_a_log_whose_sync_failed,
    ),
    (
        "a_write_that_stops_short_is_certainly_not_written",
        space::file_size_limits,
    ),
    (
        "a_full_disk_stops_the_log_and_room_lets_it_go_on",
        space::full_file_system,
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("writer", rest)) = args.split_first().map(|(mode, rest)| (mode.as_str(), rest)) {
        return writer::run(rest);
    }
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(*part));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let outcome = catch_unwind(test);
        println!(
            "test {name} ... {}",
            if outcome.is_ok() { "ok" } else { "FAILED" }
        );
        failed += u32::from(outcome.is_err());
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
