//! Definitions of tools as they were last seen: for people to look at, and never believed.
//!
//! A file is named by the digest of its content, and checked against it when it is read; another says
//! which one a tool has now.

use std::fs;
use std::io;
use std::path::PathBuf;

use placet_mcp::catalog::Definition;
use placet_types::Digest;

/// Definitions that are kept. Servers choose how many there are, so there is an end to it.
const KEPT_MAX: usize = 8192;

/// The directory of definitions.
#[derive(Clone, Debug)]
pub(crate) struct Kept(pub(crate) PathBuf);

impl Kept {
    /// Keeps what a tool says it is.
    pub(crate) fn put(&self, tool: &str, definition: &Definition) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.by_digest(definition.digest);
        if !path.exists() {
            if fs::read_dir(&self.0)?.count() >= KEPT_MAX {
                return Err(io::Error::other("as many definitions are kept as may be"));
            }
            write(&path, &definition.canonical)?;
        }
        write(
            &self.of_tool(tool),
            definition.digest.to_string().as_bytes(),
        )
    }

    /// What a tool says it is now.
    pub(crate) fn now(&self, tool: &str) -> Option<Digest> {
        let text = fs::read_to_string(self.of_tool(tool)).ok()?;
        text.parse().ok()
    }

    /// The definition of this digest.
    pub(crate) fn get(&self, digest: Digest) -> Option<String> {
        let bytes = fs::read(self.by_digest(digest)).ok()?;
        if Digest::of(&bytes) != digest {
            return None;
        }
        String::from_utf8(bytes).ok()
    }

    fn by_digest(&self, digest: Digest) -> PathBuf {
        self.0.join(format!("{}.json", digest.hex()))
    }

    fn of_tool(&self, tool: &str) -> PathBuf {
        let name = Digest::of(tool.as_bytes()).hex();
        self.0.join(format!("{name}.now"))
    }
}

/// In one step, so that nobody reads half of it.
fn write(path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension(format!("part{}", std::process::id()));
    fs::write(&partial, bytes)?;
    fs::rename(&partial, path)
}
