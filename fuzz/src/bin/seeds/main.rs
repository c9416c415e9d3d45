//! Writes the seed corpus: `cargo xtask fuzz --write-seeds`.
//!
//! Seeds are real: vectors of `spec/vectors/`, and what Placet's own types encode. A handful for
//! each target, accepted ones and refused ones, each small.

mod domain;
mod egress;
mod from_types;
mod from_vectors;
mod mcp;

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where seeds are written.
struct Corpus(PathBuf);

impl Corpus {
    fn put(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) {
        self.write(&format!("corpus/{target}"), name, bytes.as_ref())
            .expect("a writable corpus");
    }

    /// Writes what targets trust, beside the corpus.
    fn trust(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.write("trusted", name, bytes.as_ref())
            .expect("a writable directory");
    }

    fn write(&self, directory: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let at = self.0.join(directory);
        fs::create_dir_all(&at)?;
        fs::write(at.join(name), bytes)
    }
}

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = Corpus(here.to_owned());
    from_vectors::log(&corpus, &here.join("../spec/vectors/tlog.json"));
    from_vectors::artifact(&corpus, &here.join("../spec/vectors/artifact.json"));
    from_types::types(&corpus);
    from_types::frames(&corpus);
    from_types::policy(&corpus, &here.join("../bundles/starter"));
    egress::write(&corpus);
    mcp::write(&corpus);
    domain::write(&corpus);
}
