//! What the whole suite has shown, over all its runs: how many attacks, in how many settings, how many got
//! through, and which of them are shown to work where nothing is in their way.
//!
//! An attack that fails everywhere shows nothing. So each has to succeed somewhere without the wall that
//! stops it, or stand in [`NOT_SHOWN`] with the reason why it cannot here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use crate::support::Told;

/// Whether the attack of the test that runs has succeeded where nothing stops it.
static SHOWN: Mutex<bool> = Mutex::new(false);

/// Attacks that succeed nowhere on some machines, and why.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("kexec_load", KERNEL_OR_ARGUMENT),
    ("kexec_file_load", KERNEL_OR_ARGUMENT),
    (
        "reboot",
        "it would end the machine: stopped by its argument",
    ),
    ("module_loading", ARGUMENT),
    ("module_from_a_file", ARGUMENT),
    ("module_removal", ARGUMENT),
    ("clock_setting", ARGUMENT),
    ("time_of_day_setting", ARGUMENT),
    (
        "swapon",
        "it would add swap space: stopped by the file, which is none",
    ),
    ("swapoff", ARGUMENT),
    (
        "io_ports",
        "a locked down kernel, or one without I/O ports, has none to give",
    ),
    (
        "raising_a_hard_limit",
        "a container's root may lack CAP_SYS_RESOURCE",
    ),
    ("sysrq", NO_FILE),
    ("program_that_the_kernel_starts_for_modules", NO_FILE),
    ("program_that_the_kernel_starts_for_devices", NO_FILE),
    ("program_that_the_kernel_starts_for_groups", NO_FILE),
    ("kernel_messages", NO_FILE),
    ("physical_memory", NO_FILE),
    ("pasting_into_a_console", "there may be no virtual console"),
    (
        "typing_into_the_terminal",
        "dev.tty.legacy_tiocsti may be off",
    ),
    ("vsock_and_kernel_crypto_sockets", NO_PROTOCOL),
    ("sctp_socket", NO_PROTOCOL),
    ("dccp_socket", NO_PROTOCOL),
    ("rare_socket_families", NO_PROTOCOL),
    (
        "x32_system_calls_kill",
        "the kernel may be built without x32",
    ),
    ("open_tree_attr", "Linux 6.15"),
    ("killing_pid_1", "outside, pid 1 is the machine's"),
    ("privileges_cannot_come_back", STATE),
];

const ARGUMENT: &str = "it would change the machine: stopped by its argument";
const KERNEL_OR_ARGUMENT: &str = "no kexec in this kernel, or stopped by its argument";
const NO_FILE: &str = "this kernel may have no such file";
const NO_PROTOCOL: &str = "this kernel may have no such protocol";
const STATE: &str = "a property of the cell that nobody outside has to lose";

/// Runs of the suite that are no attacks: they show that what is meant to work does.
const NO_ATTACKS: &[&str] = &["dropped_binary_executes_where_the_scope_says_so"];

/// Says that the attack of this test has just succeeded.
pub(crate) fn shown() {
    *SHOWN.lock().unwrap() = true;
}

/// Called after each test: one line for it.
pub(crate) fn after(tally: &Path, told: &Told<'_>) {
    let shown = std::mem::take(&mut *SHOWN.lock().unwrap());
    let line = format!(
        "{}\t{}\t{}\t{shown}\n",
        told.test, told.setting, told.passed
    );
    let file = OpenOptions::new().append(true).open(tally);
    file.unwrap().write_all(line.as_bytes()).unwrap();
}

/// The grand total, and whether it holds: nothing got through, and all was shown that can be.
pub(crate) fn total(tally: &Path) -> bool {
    let lines = std::fs::read_to_string(tally).unwrap();
    let (mut settings, mut attacks) = (BTreeMap::new(), BTreeMap::new());
    let (mut runs, mut failed) = (0u32, 0u32);
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [test, setting, passed, shown] = fields[..] else {
            panic!("{line}");
        };
        if NO_ATTACKS.contains(&test) {
            continue;
        }
        runs += 1;
        failed += u32::from(passed != "true");
        *settings.entry(setting).or_insert(0u32) += 1;
        *attacks.entry(test).or_insert(false) |= shown == "true";
    }
    let bare = attacks.values().filter(|shown| **shown).count();
    println!(
        "\ntotal: {} attacks in {} settings, {runs} runs, {failed} of them not refused; {bare} attacks are shown to succeed \
         without the wall that stops them",
        attacks.len(),
        settings.len()
    );
    for (setting, runs) in &settings {
        println!("  {runs} as {setting}");
    }
    let reasons: BTreeMap<&str, &str> = NOT_SHOWN.iter().copied().collect();
    let mut unexplained = BTreeSet::new();
    for (test, _) in attacks.iter().filter(|(_, shown)| !**shown) {
        match reasons.get(test) {
            Some(why) => println!("  not shown here: {test}: {why}"),
            None => drop(unexplained.insert(*test)),
        }
    }
    // Much of it takes root to succeed.
    let complete = unexplained.is_empty() || !crate::support::is_root();
    if !complete {
        println!("  NOT SHOWN, and no reason is known: {unexplained:?}");
    }
    failed == 0 && complete
}
