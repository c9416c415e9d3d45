//! Embeds the console, as `make console` has built it. Without it the program is built all the same,
//! and serves a page that says how to build it.
#![expect(clippy::expect_used, reason = "a build script may stop the build")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let dist = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo"))
        .join("../../console/dist");
    // The directory is part of the source; what is in it is not.
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&dist)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    let mut code = String::from(
        "/// The files of the console: name and content.\npub(super) const FILES: &[(&str, &[u8])] = &[\n",
    );
    for path in files {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(".");
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        let path = path.canonicalize().expect("it was just listed");
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(code, "    ({name:?}, include_bytes!({path:?})),").expect("a string takes all");
    }
    code.push_str("];\n");
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("console.rs");
    if fs::read_to_string(&out).ok().as_deref() != Some(&code) {
        fs::write(out, code).expect("the build directory can be written");
    }
}
