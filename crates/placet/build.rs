//! Embeds the starter bundle: every file below `bundles/starter`, by its path.
#![expect(clippy::expect_used, reason = "a build script may stop the build")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo"))
        .join("../../bundles/starter");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut members = Vec::new();
    collect(&root, "", &mut members);
    members.sort();
    let mut code =
        String::from("/// Members of the starter bundle.\nconst STARTER: &[(&str, &str)] = &[\n");
    for (name, path) in members {
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(code, "    ({name:?}, include_str!({path:?})),").expect("a string takes all");
    }
    code.push_str("];\n");
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("starter.rs");
    fs::write(out, code).expect("the build directory can be written");
}

fn collect(dir: &Path, prefix: &str, members: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(dir).expect("the starter bundle is part of the source") {
        let entry = entry.expect("the starter bundle can be read");
        let name = entry.file_name().into_string().expect("its names are text");
        let path = entry.path().canonicalize().expect("it was just listed");
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), members);
        } else if !name.starts_with('.') {
            members.push((format!("{prefix}{name}"), path));
        }
    }
}
