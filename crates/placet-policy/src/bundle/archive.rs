//! A bundle as one file, so that it can be kept by its digest.
//!
//! Canonical JSON: `{"members":{path:text,…},"signature":text}`, the last one only where there is a
//! signature. The digest that names the archive is the bundle's own, computed anew on reading.

use std::collections::BTreeMap;

use placet_types::Digest;
use placet_types::canonical::{self, Bounds, Malformed};
use serde::{Deserialize, Serialize};

use super::layout::{BundleFiles, TOTAL_BYTES_MAX};
use super::{Bundle, SIGNATURE_FILE};
use crate::problem::Problem;

/// Members have no control characters but tab and line feed, so JSON at most doubles them; paths
/// and syntax take less than 256 bytes a member.
const ARCHIVE_BOUNDS: Bounds = Bounds {
    bytes_max: TOTAL_BYTES_MAX * 2 + super::MEMBERS_MAX * 256,
    depth_max: 4,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    members: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

/// Why bytes are not the archive of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Not canonical JSON of the archive's shape.
    #[error("the archive is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// An archive of something that is no bundle.
    #[error("the archive holds no sound bundle: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Bundle(Vec<Problem>),
    /// A sound archive of another bundle.
    #[error("the archive holds bundle {found}, not {expected}")]
    OtherBundle {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
}

impl Bundle {
    /// The bundle as one file.
    #[must_use]
    pub fn to_archive(&self) -> Vec<u8> {
        let archive = Archive {
            members: self.members.clone(),
            signature: self.signature.clone(),
        };
        // INVARIANT: a map of strings is JSON always.
        canonical::to_bytes(&archive).unwrap_or_default()
    }

    /// Reads an archive, whichever bundle it is of: to look at, never to put in force.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] when it holds no sound bundle.
    pub fn of_archive(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let archive: Archive = canonical::from_bytes(bytes, ARCHIVE_BOUNDS)?;
        let signature = archive
            .signature
            .map(|text| (SIGNATURE_FILE.to_owned(), text));
        let files: BundleFiles = archive
            .members
            .into_iter()
            .chain(signature)
            .map(|(path, text)| (path, text.into_bytes()))
            .collect();
        Self::read(&files).map_err(ArchiveError::Bundle)
    }

    /// Reads the archive of the bundle that `expected` names.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] when a byte of it differs from what was archived.
    pub fn from_archive(bytes: &[u8], expected: &Digest) -> Result<Self, ArchiveError> {
        let bundle = Self::of_archive(bytes)?;
        if bundle.digest() != *expected {
            return Err(ArchiveError::OtherBundle {
                expected: *expected,
                found: bundle.digest(),
            });
        }
        Ok(bundle)
    }
}
