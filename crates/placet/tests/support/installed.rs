//! Other people's programs, as their registries give them: below the build directory, installed once.
//!
//! Tests run beside each other, in threads and in processes: whoever comes first installs, and the
//! others wait. What was begun and not finished is begun anew.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// npm's packages: the directory of their modules.
pub(crate) fn npm(packages: &[&str]) -> PathBuf {
    let dir = once(&name("npm", packages), |dir| {
        let install = [
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
        ];
        run(Command::new("npm").args(install).arg(dir).args(packages));
    });
    dir.join("node_modules")
}

/// PyPI's packages: the directory of their programs, `python` among them.
pub(crate) fn pypi(packages: &[&str]) -> PathBuf {
    let dir = once(&name("pypi", packages), |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir));
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        let python = dir.join("bin/python");
        run(Command::new(python).args(install).args(packages));
    });
    dir.join("bin")
}

fn name(registry: &str, packages: &[&str]) -> String {
    let plain = |c: char| if c == '/' || c == '@' { '-' } else { c };
    let packages: String = packages.join("+").chars().map(plain).collect();
    format!("{registry}-{packages}")
}

fn once(name: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = all.join(name);
    let turn = File::create(all.join(format!("{name}.lock"))).unwrap();
    turn.lock().unwrap();
    let complete = dir.join("complete");
    if !complete.exists() {
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(&dir).unwrap();
        install(&dir);
        fs::write(complete, "").unwrap();
    }
    dir
}

/// Runs a program to its end and gives what it printed; anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} did not start ({error}): run scripts/setup-test-tools.sh")
    });
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    let status = output.status;
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out
}
