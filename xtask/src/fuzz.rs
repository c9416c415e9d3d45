//! `cargo xtask fuzz`: short runs of the fuzz targets in `fuzz/`, on stable Rust.
//!
//! libFuzzer needs coverage counters, which stable rustc can make through LLVM's flags
//! (`fuzz/instrument.sh`), so neither nightly nor cargo-fuzz is needed. One program holds every
//! target. What a run learns is kept under `target/`, only reproducers under `fuzz/artifacts/`; the
//! committed corpus changes by hand, or with `--write-seeds`.

mod options;
mod outcome;
mod run;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use options::{Job, Options};

/// Where things are.
struct Places {
    root: PathBuf,
    /// Everything that is built or learnt.
    target: PathBuf,
}

/// Does what `args` say in the repository at `root`.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let places = Places::new(root);
    match &options.job {
        Job::WriteSeeds => places.write_seeds(),
        Job::List => places.targets().map(|names| print_lines(&names)),
        Job::Replay { file, target } => places.replay(file, target),
        Job::Fuzz { targets, seconds } => {
            let all = places.targets()?;
            let chosen = choose(&all, targets)?;
            run::fuzz(&places, &chosen, *seconds)
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn print_lines(lines: &[String]) {
    lines.iter().for_each(|line| println!("{line}"));
}

fn choose(all: &[String], wanted: &[String]) -> Result<Vec<String>, String> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(format!(
            "there is no fuzz target `{unknown}`; see cargo xtask fuzz --list"
        ));
    }
    let chosen = if wanted.is_empty() { all } else { wanted };
    Ok(chosen.to_vec())
}

impl Places {
    fn new(root: &Path) -> Self {
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Self {
            root: root.to_owned(),
            target: target.join("fuzz"),
        }
    }

    fn program(&self) -> PathBuf {
        self.target.join("release/fuzz")
    }

    fn seeds(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/corpus").join(target)
    }

    /// Builds the program and asks it for its targets.
    fn targets(&self) -> Result<Vec<String>, String> {
        self.build()?;
        let output = command(&self.program()).arg("--list").output();
        let output = output.map_err(|error| format!("{}: {error}", self.program().display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn build(&self) -> Result<(), String> {
        let mut cargo = self.cargo("build", "fuzz");
        cargo
            .args(["--release", "--features", "libfuzzer"])
            .env("RUSTC_WRAPPER", self.root.join("fuzz/instrument.sh"));
        succeed(&mut cargo, "building the fuzz targets")
    }

    fn write_seeds(&self) -> Result<(), String> {
        succeed(&mut self.cargo("run", "seeds"), "writing the seeds")
    }

    fn cargo(&self, what: &str, program: &str) -> Command {
        // The cargo that started this command, or the one that the path finds.
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = command(Path::new(&cargo));
        cargo
            .args([
                what,
                "--quiet",
                "--locked",
                "--bin",
                program,
                "--manifest-path",
            ])
            .arg(self.root.join("fuzz/Cargo.toml"))
            .arg("--target-dir")
            .arg(&self.target);
        cargo
    }

    fn replay(&self, file: &Path, target: &str) -> Result<(), String> {
        fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
        self.build()?;
        let mut program = command(&self.program());
        program.arg(format!("--target={target}")).arg(file);
        succeed(&mut program, "the replay")
    }
}

fn succeed(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{what}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{what} failed: {status}"))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command for developers starts the compiler and what it built"
)]
fn command(program: &Path) -> Command {
    Command::new(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_chosen_by_name_and_all_without_one() {
        let all = ["json".to_owned(), "note".to_owned()];
        assert_eq!(choose(&all, &[]).unwrap(), all);
        assert_eq!(choose(&all, &all[1..]).unwrap(), ["note"]);
        assert!(
            choose(&all, &["nope".to_owned()])
                .unwrap_err()
                .contains("`nope`")
        );
    }
}
