//! Starting, holding and ending cells, on the real kernel.
#![expect(
    unsafe_code,
    reason = "forking and raising signals have no safe interface"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "test code, which may look at the clock"
)]

#[path = "../support/client.rs"]
mod client;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod ending;
mod failing;
mod groups;
mod leaving;
mod limits;
mod refusals;
mod running;
mod spares;
mod standing;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use host::main_on_both;
use placet_sandbox::{Cell, CellSpec, RunningCell};
use support::{NotGiven, Suite};

fn main() -> ExitCode {
    let tests = [
        bad_input::TESTS,
        failing::TESTS,
        running::TESTS,
        ending::TESTS,
        groups::TESTS,
        leaving::TESTS,
        limits::TESTS,
        refusals::TESTS,
        spares::TESTS,
        standing::TESTS,
    ]
    .concat();
    let acts = [
        bad_input::ACTS,
        failing::ACTS,
        running::ACTS,
        ending::ACTS,
        groups::ACTS,
        limits::ACTS,
        spares::ACTS,
        standing::ACTS,
    ]
    .concat();
    main_on_both(&Suite {
        gated_too: true,
        not_given: NOT_GIVEN_BY_U0,
        ..Suite::of(&tests, &acts)
    })
}

/// What tier U0 does not give, by the word that decisions have for it.
const NOT_GIVEN_BY_U0: &[NotGiven] = &[
    (
        "the_callers_terminal_has_a_name",
        "the terminal keeps its name on the host; there is no /dev/console of its own",
    ),
    (
        "private_file_systems_are_limited",
        "unbounded_tmp: temporary storage is a directory of the host",
    ),
    ("processes_are_limited", COUNTED_BY_TRACER),
    ("threads_count_as_processes", COUNTED_BY_TRACER),
    ("the_worker_runs_under_any_limit", COUNTED_BY_TRACER),
    ("a_waiting_cell_is_all_in_its_group", NO_GROUP),
    ("no_group_outlives_its_cell", NO_GROUP),
    ("a_failed_spawn_or_release_leaves_no_group", NO_GROUP),
    ("the_group_of_a_killed_supervisor_is_swept", NO_GROUP),
    (
        "without_a_hierarchy_the_limit_is_refused_for_root",
        NO_GROUP,
    ),
    (
        "a_working_directory_outside_the_scope",
        "visible_metadata: a directory outside of the scope can be entered, and not read",
    ),
    ("a_spare_becomes_the_cell_of_the_same_scope", NO_SPARE),
    ("a_spare_has_the_streams_of_its_release", NO_SPARE),
    ("a_spare_of_another_scope_is_not_used", NO_SPARE),
    ("a_spare_with_a_stale_inode_is_not_used", NO_SPARE),
    ("a_spare_of_a_supervisor_that_changed_is_not_used", NO_SPARE),
    ("a_spare_does_not_become_a_program_that_changed", NO_SPARE),
    ("a_spare_that_was_killed_is_not_used", NO_SPARE),
    ("two_commands_never_get_the_same_spare", NO_SPARE),
    ("a_killed_supervisor_leaves_no_spare", NO_SPARE),
    ("nothing_stands_ahead_once_a_path_leads_elsewhere", NO_SPARE),
    (
        "a_cell_that_stands_ahead_becomes_the_one_that_is_asked_for",
        NO_SPARE,
    ),
    (
        "a_cell_that_stands_ahead_for_another_spec_is_ended",
        NO_SPARE,
    ),
    (
        "nothing_stands_ahead_of_a_command_unlike_the_last",
        NO_SPARE,
    ),
    ("no_spare_has_anything_of_one_execution", NO_SPARE),
    ("no_spare_is_cloned_while_it_is_held_off", NO_SPARE),
];
const NO_SPARE: &str = "what stands on the host is made for one execution: nothing waits";
/// The limit itself is tested by the attack suite's fork bomb, and below.
const COUNTED_BY_TRACER: &str =
    "one process too many is killed at its birth by the tracer: fork does not answer EAGAIN";
const NO_GROUP: &str = "the tracer counts processes: it takes no control group, of root neither";

fn start(spec: CellSpec) -> RunningCell {
    Cell::prepare(spec)
        .unwrap()
        .spawn()
        .unwrap()
        .release()
        .unwrap()
}

/// A word that only the processes of one test have on their command line.
fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("marker-{}-{count}-", std::process::id())
}

/// How many processes have the marker on their command line.
fn marked(marker: &str) -> usize {
    let has_marker = |dir: std::path::PathBuf| {
        std::fs::read(dir.join("cmdline")).is_ok_and(|line| {
            line.windows(marker.len())
                .any(|part| part == marker.as_bytes())
        })
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| has_marker(entry.path())).count()
}

/// Waits for something that has to come soon; panics when it does not.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pause_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
