//! One target under libFuzzer: `fuzz --target=NAME --seeds=DIRECTORY [libFuzzer's options]`.
//!
//! libFuzzer passes over options with two dashes, so ours have two. `--list` names the targets.
//! Before it fuzzes, the program makes sure that the target accepts at least one of its seeds: a
//! corpus of refused inputs would fuzz the first check of a decoder and nothing behind it.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs, process};

use libfuzzer_sys::fuzz_target;
use placet_fuzz::{TARGETS, Target, target};

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: begin(),
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            target(data);
        }
    }
);

fn begin() {
    if env::args().any(|arg| arg == "--list") {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        process::exit(0);
    }
    let name = option("--target=").unwrap_or_else(|| refuse("say which: --target=NAME"));
    let run = target(&name).unwrap_or_else(|| refuse(&format!("there is no target `{name}`")));
    if let Some(seeds) = option("--seeds=")
        && !accepts_a_seed(run, Path::new(&seeds))
    {
        refuse(&format!(
            "`{name}` accepts no seed in {seeds}: make them anew with --write-seeds"
        ));
    }
    TARGET.get_or_init(|| run);
}

fn option(name: &str) -> Option<String> {
    env::args().find_map(|arg| arg.strip_prefix(name).map(str::to_owned))
}

fn refuse(why: &str) -> ! {
    eprintln!("fuzz: {why}");
    process::exit(2)
}

/// Every seed is run. One that breaks a promise shows here already: its name is the last printed.
fn accepts_a_seed(run: Target, directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut accepted = 0;
    for path in entries.map(|entry| entry.path()) {
        eprintln!("seed {}", path.display());
        accepted += usize::from(fs::read(&path).is_ok_and(|seed| run(&seed)));
    }
    accepted > 0
}
