//! What this machine says of itself without being tried.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use placet_evidence::Environment;
use placet_types::canonical::Malformed;
use placet_types::{Digest, DomainName, PlaceName};
use serde::Deserialize;

/// Variable that names the file that says where the machine stands.
pub const PLACE_VARIABLE: &str = "PLACET_ENVIRONMENT";
/// Where it is where the variable is not set.
const PLACE_FILE: &str = "/etc/placet/environment.toml";
/// Longest such file, in bytes.
const PLACE_BYTES_MAX: u64 = 4096;

/// Why a machine cannot say what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The file that says where it stands is not to be read, or wrong. It is not passed over: who configured something
    /// relies on it.
    #[error("{0}: {1}")]
    Place(PathBuf, String),
    /// A field is no JSON.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What nobody can find out by looking: it is configured.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Place {
    container: Option<Digest>,
    region: Option<PlaceName>,
    zone: Option<PlaceName>,
}

/// The machine as it says it is. What it can enforce takes a try, and is left open here: no tier. So is the gateway's own
/// program, which takes a while.
///
/// # Errors
///
/// [`MachineError`]
pub fn said(domain: &DomainName) -> Result<Environment, MachineError> {
    let uname = rustix::system::uname();
    let Place {
        container,
        region,
        zone,
    } = place()?;
    Ok(Environment {
        arch: uname.machine().to_string_lossy().into_owned(),
        boot: line("/proc/sys/kernel/random/boot_id"),
        container,
        distribution: distribution(),
        gateway: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_digest: None,
        kernel: uname.release().to_string_lossy().into_owned(),
        landlock_abi: 0,
        machine: machine(domain),
        region,
        tier: None,
        weaker: BTreeSet::new(),
        zone,
    })
}

/// What is configured: in the file that the variable names, which must be there, or in the usual one.
fn place() -> Result<Place, MachineError> {
    let named = std::env::var_os(PLACE_VARIABLE).filter(|path| !path.is_empty());
    let path = named.as_ref().map_or(Path::new(PLACE_FILE), Path::new);
    let wrong = |error: String| MachineError::Place(path.to_owned(), error);
    match fs::File::open(path) {
        Ok(file) => read_place(file).map_err(wrong),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Ok(Place::default())
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn read_place(file: fs::File) -> Result<Place, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let mut file = file.take(PLACE_BYTES_MAX + 1);
    file.read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > PLACE_BYTES_MAX {
        return Err(format!("it is longer than {PLACE_BYTES_MAX} bytes"));
    }
    toml::from_str(&text).map_err(|error| error.message().replace('\n', ", "))
}

/// The machine's id, different in each domain so that logs of two domains cannot be joined by it.
fn machine(domain: &DomainName) -> Digest {
    let id = line("/etc/machine-id");
    Digest::of_parts(&[
        b"placet-machine-v1\0",
        domain.as_str().as_bytes(),
        b"\0",
        id.as_bytes(),
    ])
}

/// `ID` and `VERSION_ID` of `/etc/os-release` (os-release(5)).
fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').chars().take(64).collect::<String>())
            .unwrap_or_default()
    };
    format!("{} {}", value("ID"), value("VERSION_ID"))
        .trim()
        .to_owned()
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .chars()
        .take(128)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Place, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("environment.toml");
        fs::write(&path, text).unwrap();
        read_place(fs::File::open(path).unwrap())
    }

    #[test]
    fn where_a_machine_stands_is_read_strictly() {
        let digest = Digest::of(b"image");
        let all = format!("region = \"eu-central-1\"\nzone = \"b\"\ncontainer = \"{digest}\"\n");
        let place = read(&all).unwrap();
        assert_eq!(place.region.unwrap().as_str(), "eu-central-1");
        assert_eq!(
            (place.zone.unwrap().as_str(), place.container),
            ("b", Some(digest))
        );
        assert!(read("").unwrap().region.is_none());
        for wrong in [
            "region = \"EU\"",
            "regoin = \"eu\"",
            "container = \"latest\"",
            "zone = 3",
            "region =",
        ] {
            read(wrong).unwrap_err();
        }
        let long = format!("# {}", "x".repeat(4096));
        assert!(read(&long).unwrap_err().contains("longer"));
    }
}
