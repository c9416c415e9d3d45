//! What comes through the door of a cell stays data outside of it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: it starts programs, and a failed set-up fails the test"
)]

use std::path::Path;
use std::process::{Command, Output};

const PLACET: &str = env!("CARGO_BIN_EXE_placet");

/// Creates the file whose name it is compiled with, as soon as it is loaded.
const LIBRARY: &str = r#"
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void begin(void) {
    close(open(CANARY, O_CREAT | O_WRONLY, 0600));
}
"#;

fn run(program: &str, args: &[&str], dir: &Path, env: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(dir)
        .envs(env.iter().copied());
    command.output().unwrap()
}

#[test]
fn a_library_that_a_cell_names_is_not_loaded_outside_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (domain, work) = (root.path().join("domain"), root.path().join("work"));
    std::fs::create_dir(&work).unwrap();
    let (canary, library) = (root.path().join("canary"), work.join("evil.so"));
    std::fs::write(work.join("evil.c"), LIBRARY).unwrap();
    let define = format!("-DCANARY=\"{}\"", canary.display());
    let built = run(
        "cc",
        &["-shared", "-fPIC", &define, "-o", "evil.so", "evil.c"],
        &work,
        &[],
    );
    assert!(built.status.success(), "{built:?}");

    // Outside of any cell the same trick works, so this test can fail.
    run(PLACET, &["--version"], &work, &[("LD_PRELOAD", &library)]);
    assert!(canary.exists(), "the library does what it is for");
    std::fs::remove_file(&canary).unwrap();

    let here: &[(&str, &Path)] = &[("PLACET_DOMAIN", &domain)];
    let made = run(PLACET, &["init"], &work, here);
    assert!(made.status.success(), "{made:?}");
    let attack = "LD_PRELOAD=$PWD/evil.so /run/placet/placet run -- ls; \
                  LD_AUDIT=$PWD/evil.so /run/placet/placet run -- ls";
    let args = ["run", "--as", "agent:coder", "--", "sh", "-c", attack];
    let tried = run(PLACET, &args, &work, here);
    let stopped = run(PLACET, &["node", "stop"], &work, here);
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(!canary.exists(), "the library ran outside of the cell");
    let shown = String::from_utf8_lossy(&tried.stdout);
    assert_eq!(
        shown.matches("evil.c").count(),
        2,
        "the children themselves ran: {tried:?}"
    );
}
