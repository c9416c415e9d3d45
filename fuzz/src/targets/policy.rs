//! `placet-policy`: bundles. Cedar's own parser is not fuzzed here: it has its own fuzzers.

use std::sync::LazyLock;

use placet_policy::{ArchiveError, Bundle, BundleFiles};
use placet_types::Digest;

/// A sound archive: where [`member`] begins.
const ARCHIVE: &[u8] = include_bytes!("../../corpus/policy_archive/starter");

static FILES: LazyLock<BundleFiles> = LazyLock::new(|| {
    read(ARCHIVE)
        .expect("the seed is a sound archive")
        .to_files()
});

/// An archive that is accepted is written again to the byte.
pub(crate) fn archive(data: &[u8]) -> bool {
    let Some(bundle) = read(data) else {
        return false;
    };
    assert_eq!(bundle.to_archive(), data);
    true
}

/// Reads an archive under the name that it turns out to have.
fn read(data: &[u8]) -> Option<Bundle> {
    match Bundle::from_archive(data, &Digest::of(b"of another bundle")) {
        Err(ArchiveError::OtherBundle { found, .. }) => {
            Some(Bundle::from_archive(data, &found).expect("it has this digest"))
        }
        Err(_) => None,
        Ok(_) => panic!("a bundle passes under a name that is not its own"),
    }
}

/// A line that names a member of the starter bundle, then what that member holds instead.
pub(crate) fn member(data: &[u8]) -> bool {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let Ok(path) = std::str::from_utf8(&data[..end]) else {
        return false;
    };
    let mut files = FILES.clone();
    files.0.insert(path.to_owned(), data[end + 1..].to_vec());
    let Ok(bundle) = Bundle::read(&files) else {
        return false;
    };
    let again = Bundle::from_archive(&bundle.to_archive(), &bundle.digest());
    assert_eq!(
        again.expect("it was written from a bundle").digest(),
        bundle.digest()
    );
    true
}
