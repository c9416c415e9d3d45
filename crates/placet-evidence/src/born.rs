//! Programs that a tree made in its own writable places and then started.
//!
//! Only a profile that says so lets one start. Where a program lies, and what made it, tells of private
//! work as arguments do: the record is public and holds a number and a commitment, the list stands in the
//! payload beside it and can be erased.

use serde::{Deserialize, Serialize};

use placet_types::canonical::Malformed;
use placet_types::{Commitment, Digest, ExecutionId, Millis, Salt};

use crate::list::{self, is_zero};

/// Entries of one list.
pub const BORN_MAX: usize = 128;
/// What the commitment to a list is labelled with.
const LABEL: &str = "born";

/// Programs from writable places that a tree started for the first time since the last record of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Born {
    /// How many entries the list has, at most [`BORN_MAX`].
    pub count: u64,
    /// Which execution.
    pub exec: ExecutionId,
    /// Digest of the intent.
    pub intent: Digest,
    /// Commitment to the list.
    pub list: Commitment,
    /// Starts of programs for which there was no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
    /// When it was recorded.
    pub time: Millis,
}

/// One entry of the list: a program, by its contents, when its tree started it for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BornProgram {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// What made it executable; absent where nothing in this tree was seen to, so that it was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<Maker>,
    /// Where it lay when it was started.
    pub path: String,
    /// Of a script: the program that ran it, by its path, or the end of a long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_by: Option<String>,
    /// When it was started.
    pub time: Millis,
}

/// The program that made another one executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maker {
    /// SHA-256 of its file.
    pub digest: Digest,
    /// The execution that it ran as.
    pub exec: ExecutionId,
    /// Where it lay.
    pub path: String,
}

impl Born {
    /// The commitment to a list in its canonical bytes.
    #[must_use]
    pub fn commit(list: &[u8], salt: &Salt) -> Commitment {
        Commitment::to(LABEL, list, salt)
    }

    /// Whether a list is the one that the record commits to.
    #[must_use]
    pub fn opens_to(&self, list: &[u8], salt: &Salt) -> bool {
        self.list.opens_to(LABEL, list, salt)
    }

    /// Reads a list from its canonical bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the rule that is broken.
    pub fn read_list(bytes: &[u8]) -> Result<Vec<BornProgram>, Malformed> {
        list::read(bytes, BORN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use placet_types::canonical;

    use super::*;

    fn program() -> BornProgram {
        BornProgram {
            digest: Digest::of(b"program"),
            made_by: Some(Maker {
                digest: Digest::of(b"ld"),
                exec: "exec_00000000000000000000000000000001".parse().unwrap(),
                path: "/usr/bin/ld".into(),
            }),
            path: "/w/target/debug/a".into(),
            run_by: None,
            time: Millis::new(7),
        }
    }

    #[test]
    fn a_list_reads_back_from_its_canonical_bytes_and_opens_its_commitment() {
        let there_before = BornProgram {
            made_by: None,
            ..program()
        };
        let list = vec![program(), there_before];
        let bytes = canonical::to_bytes(&list).unwrap();
        assert_eq!(Born::read_list(&bytes), Ok(list));
        let salt = Salt::new([3; 32]);
        let record = Born {
            count: 2,
            exec: "exec_00000000000000000000000000000000".parse().unwrap(),
            intent: Digest::of(b"intent"),
            list: Born::commit(&bytes, &salt),
            omitted: 0,
            time: Millis::new(8),
        };
        assert!(record.opens_to(&bytes, &salt));
        assert!(!record.opens_to(b"[]", &salt));
    }

    #[test]
    fn a_list_has_a_bound_and_no_other_member() {
        let list = vec![program(); BORN_MAX + 1];
        let bytes = canonical::to_bytes(&list).unwrap();
        assert!(Born::read_list(&bytes).is_err());
        let more = br#"[{"digest":"sha256:00","more":1,"path":"/a","time":7}]"#;
        assert!(Born::read_list(more).is_err());
    }
}
