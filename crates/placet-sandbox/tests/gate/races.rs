//! Races against the gate: paths, arguments and names that change while an exec is on its way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use placet_sandbox::{Refusal, Status};

use crate::programs::{tiny, with_programs};
use crate::support::{Act, Test, command, own_executable, scratch};
use crate::{gated, listed, refusals, run, text};

pub(crate) const TESTS: &[Test] = &[(
    "a_flipping_path_never_starts_the_forbidden_program",
    a_flipping_path,
)];

pub(crate) const ACTS: &[Act] = &[("flip", |a| flip(&a[0], &a[1], &a[2], &a[3]))];

/// What the forbidden program exits with.
const FORBIDDEN: u8 = 43;
const TRIES: usize = 5_000;
/// Only to show that the attack works; a failing kernel would show it sooner.
const TRIES_BARE: usize = 1_000;

/// Executes a link that a second thread points to one of two programs all the time. Gives whether
/// the forbidden one ran.
fn flip(link: &str, allowed: &str, forbidden: &str, tries: &str) -> i32 {
    static DONE: AtomicBool = AtomicBool::new(false);
    let targets = [allowed.to_owned(), forbidden.to_owned()];
    let (link, next) = (link.to_owned(), format!("{link}.next"));
    let flipped = link.clone();
    let flipper = std::thread::spawn(move || {
        for target in targets.iter().cycle() {
            if DONE.load(Ordering::Relaxed) {
                return;
            }
            symlink(target, &next).unwrap();
            fs::rename(&next, &flipped).unwrap();
        }
    });
    let mut ran = false;
    for _ in 0..tries.parse().unwrap() {
        let status = command(Path::new(&link)).status();
        ran |= status.is_ok_and(|status| status.code() == Some(FORBIDDEN.into()));
    }
    DONE.store(true, Ordering::Relaxed);
    flipper.join().unwrap();
    i32::from(ran)
}

fn a_flipping_path() {
    let programs = scratch();
    let allowed = tiny(programs.path(), "allowed", 0);
    let forbidden = tiny(programs.path(), "forbidden", FORBIDDEN);
    let place = scratch();
    let link = place.path().join("link");
    symlink(&allowed, &link).unwrap();
    let spec = |tries: usize| {
        let tries = tries.to_string();
        let arguments = [text(&link), text(&allowed), text(&forbidden), &tries];
        let mut spec = with_programs("flip", &arguments, programs.path());
        spec.paths.write.push(place.path().to_path_buf());
        spec
    };
    assert_eq!(run(spec(TRIES_BARE)).0, Status::Exited(1), "without a gate");
    let begin = Instant::now();
    let rule = listed(&[&own_executable(), &allowed]);
    let (status, reports) = run(gated(spec(TRIES), rule));
    let killed = refusals(&reports).count();
    let took = begin.elapsed();
    println!("{TRIES} tries in {took:?}: {killed} killed");
    assert_eq!(status, Status::Exited(0));
    assert_eq!(reports.len(), TRIES + 1);
    // Both sides of the race were met, or this has shown nothing.
    assert!(killed > TRIES / 100 && killed < TRIES, "{killed}");
    assert!(refusals(&reports).all(|(_, why)| why == Refusal::Unlisted));
}
