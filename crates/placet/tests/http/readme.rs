//! The examples of the README, as they are pasted.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::place::{binary, exists};

#[test]
fn the_curl_examples_of_the_readme_work_as_pasted() {
    assert!(
        exists("curl") && exists("jq") && exists("openssl"),
        "run scripts/setup-test-tools.sh"
    );
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let section = readme.split("## Over HTTP\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let script: String = section
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(script.matches("| ask ").count() >= 4, "{script}");
    let home = TempDir::new().unwrap();
    let program = binary();
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let work = home.path().join("work");
    fs::create_dir(&work).unwrap();
    let bundles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles");
    std::os::unix::fs::symlink(bundles, work.join("bundles")).unwrap();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(&work)
        .env_clear()
        .env("PATH", path)
        .env("HOME", home.path())
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{errors}");
    for word in [
        "\"status\":\"ok\"",
        "permit",
        "policy_forbids",
        "completed",
        "revoked",
        "{\"decision\":true,\"context\":{\"record\":",
        "{\"id\":\"bob\",\"type\":\"user\"}",
    ] {
        assert!(said.contains(word), "{word} is not in\n{said}\n{errors}");
    }
}
