//! A domain whose policy permits everything that servers offer, and where the server stands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What may be called, in the place of the starter's examples.
const POLICY: &str = r#"
@id("bench") @description("For measuring.")
permit (principal, action in Action::"execute", resource) when { !(resource is Program) };
"#;

/// A domain, and a server in its workspace.
pub(super) struct Place {
    root: TempDir,
    program: PathBuf,
}

impl Place {
    /// `None`, and said, where there is no release build of the program.
    pub(super) fn new() -> Option<Self> {
        let Ok(program) = Path::new("target/release/placet").canonicalize() else {
            println!("no target/release/placet: build it with `cargo build --release -p placet`");
            return None;
        };
        // Outside of any repository, so that the workspace is the server's own directory.
        let base = std::env::var_os("PLACET_BENCH_DIR")
            .map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let root = tempfile::tempdir_in(base).expect("a directory on a real disk");
        let root_path = root.path().canonicalize().expect("it is there");
        fs::create_dir(root_path.join("work")).expect("a directory");
        fs::create_dir(root_path.join("home")).expect("a directory");
        let own = std::env::current_exe().expect("this program");
        fs::copy(own, root_path.join("work/server")).expect("a copy of it");
        let place = Self { root, program };
        place.done(&[
            "init",
            "--name",
            "placet.example/bench",
            "--operator",
            "user:bench",
        ]);
        let bundle = root_path.join("bundle");
        let at = bundle.to_str().expect("text");
        place.done(&["policy", "init", at]);
        let manifest = bundle.join("bundle.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        fs::write(&manifest, text.replace("revision = 1", "revision = 2")).expect("it is written");
        fs::write(bundle.join("policies/mcp.cedar"), POLICY).expect("it is written");
        fs::remove_file(bundle.join("tests/mcp.toml")).expect("it was there");
        fs::remove_file(bundle.join("tests/network.toml")).expect("it was there");
        place.done(&["policy", "activate", at]);
        Some(place)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.root.path().canonicalize().expect("it is there")
    }

    fn placet(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("PLACET_DOMAIN", self.root().join("domain"))
            .env("PLACET_PRINCIPAL", "user:bench")
            .env("HOME", self.root().join("home"))
            .current_dir(self.root().join("work"))
            .args(args);
        command
    }

    pub(super) fn done(&self, args: &[&str]) -> String {
        let output = self.placet(args).output().expect("placet runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The server alone.
    pub(super) fn server(&self) -> Command {
        let mut command = Command::new(self.root().join("work/server"));
        command.arg("mcp-server");
        command
    }

    /// The server behind the gateway.
    pub(super) fn gateway(&self) -> Command {
        let mut command = self.placet(&["mcp", "--name", "bench", "--", "./server", "mcp-server"]);
        command.stderr(std::process::Stdio::null());
        command
    }

    /// The server behind a gateway that listens, as these options say.
    pub(super) fn listening(&self, options: &[&str]) -> Command {
        let server = ["--", "./server", "mcp-server"];
        let mut command = self.placet(&[&["mcp", "--name", "bench"], options, &server].concat());
        command.stderr(std::process::Stdio::null());
        command
    }

    /// The node of this domain.
    pub(super) fn node(&self) -> Option<u32> {
        let status = self.done(&["node", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        status.get("pid")?.as_u64()?.try_into().ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.placet(&["node", "stop"]).output());
    }
}
