//! Intents: what a caller asks to do, in canonical form, before any answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, Bounds, Json, Malformed};
use crate::commitment::Commitment;
use crate::digest::Digest;
use crate::fixed::Fixed;
use crate::id::{ActionName, ExecutionId, GatewayName, PrincipalId, ProfileName};
use crate::path::AbsPath;
use crate::scope::ExecCheck;
use crate::time::Seconds;

/// What a caller asks to do. Public: it stands in the log, so parameters are only committed to.
///
/// The commitment is salted, which makes every intent unique and its digest impossible to guess.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// What is to be done.
    pub action: ActionName,
    /// What the caller asks for beyond the action itself.
    #[serde(default, skip_serializing_if = "Asked::is_nothing")]
    pub asked: Asked,
    /// Which gateway is to carry it out.
    pub gateway: GatewayName,
    /// Commitment to the parameters, under the action's name as label.
    pub params: Commitment,
    /// The execution that asks, if it is governed itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ExecutionId>,
    /// Who asks.
    pub principal: PrincipalId,
    /// What it is done to.
    pub resource: ResourceRef,
}

/// What a caller asks for beyond the action. Asking can only narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// At least this before each program that it starts.
    #[serde(default, skip_serializing_if = "ExecCheck::is_image")]
    pub exec_check: ExecCheck,
    /// At most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_secs: Option<Seconds>,
    /// At most the scope of this profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
}

/// What an action is done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceRef {
    /// Digest of its content, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its name, at most [`ResourceRef::ID_BYTES_MAX`] bytes: for a program, its resolved path.
    pub id: String,
    /// Its kind, the Cedar entity type, such as `Program`.
    pub kind: String,
}

/// Parameters of `process:run`. Private: the log holds a commitment to their canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessParams {
    /// Arguments, the program's own name first.
    pub argv: Vec<String>,
    /// Working directory, symbolic links resolved.
    pub cwd: AbsPath,
    /// Environment variables that the caller offers. The scope decides which are passed on.
    pub env: BTreeMap<String, String>,
    /// The caller's home directory, symbolic links resolved: `${home}` in profiles.
    pub home: AbsPath,
    /// What it is for, in the caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The script that the program was started for by `#!`, where a governed tree starts one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<AbsPath>,
    /// Root of the work: the repository that holds the working directory, or that directory.
    pub workspace: AbsPath,
}

impl Intent {
    /// The canonical bytes: what the digest covers.
    ///
    /// # Errors
    ///
    /// [`Malformed`] only if a field cannot be JSON, which no field of this type can cause.
    pub fn to_canonical(&self) -> Result<Vec<u8>, Malformed> {
        canonical::to_bytes(self).map_err(|error| Malformed::Shape(error.to_string()))
    }

    /// SHA-256 of the canonical bytes.
    ///
    /// # Errors
    ///
    /// As for [`Intent::to_canonical`].
    pub fn digest(&self) -> Result<Digest, Malformed> {
        self.to_canonical().map(|bytes| Digest::of(&bytes))
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first rule that is broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let intent: Self = canonical::from_bytes(bytes, Bounds::RECORD)?;
        intent.resource.check()?;
        Ok(intent)
    }
}

impl Fixed<Intent> {
    /// As [`Intent::decode`], and keeps the bytes.
    ///
    /// # Errors
    ///
    /// As for [`Intent::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let intent = Self::from_canonical(bytes, Bounds::RECORD)?;
        intent.resource.check()?;
        Ok(intent)
    }

    /// An intent that was settled from its parts, held to what [`Intent::decode`] holds the bytes of one to.
    ///
    /// # Errors
    ///
    /// As for [`Intent::decode`].
    pub fn checked(self) -> Result<Self, Malformed> {
        let text = self.text().as_bytes();
        if text.len() > Bounds::RECORD.bytes_max {
            return Err(Malformed::TooLong(Bounds::RECORD.bytes_max));
        }
        if !canonical::numbers_are_exact(text) {
            return Err(Malformed::Shape("a number past 2^53".into()));
        }
        self.resource.check()?;
        Ok(self)
    }
}

impl Asked {
    /// Whether nothing is asked beyond the action.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl ResourceRef {
    /// Kinds whose digest is that of a definition, which may not change unnoticed.
    pub const DEFINED: [&'static str; 1] = ["McpTool"];

    /// Whether its digest is that of a definition.
    #[must_use]
    pub fn is_defined(&self) -> bool {
        Self::DEFINED.contains(&self.kind.as_str())
    }

    /// Longest resource id, in bytes.
    pub const ID_BYTES_MAX: usize = 4096;

    /// Checks the bounds of the name and the kind.
    ///
    /// # Errors
    ///
    /// [`Malformed::Shape`] says which one is out of bounds.
    pub fn check(&self) -> Result<(), Malformed> {
        let kind = self.kind.as_bytes();
        let kind_ok = matches!(kind.len(), 1..=64)
            && kind
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"_:".contains(b));
        if !kind_ok {
            return Err(Malformed::Shape(
                "resource kind: 1 to 64 letters, digits, _ or :".into(),
            ));
        }
        if self.id.is_empty() || self.id.len() > Self::ID_BYTES_MAX {
            return Err(Malformed::Shape("resource id: 1 to 4096 bytes".into()));
        }
        Ok(())
    }
}

impl ProcessParams {
    /// Name of the action that these are the parameters of, and label of their commitment.
    pub const ACTION: &'static str = "process:run";
    /// Longest canonical form, in bytes: Linux itself takes no more than 2 MiB.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Reads canonical bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first rule that is broken: no argument, an argument or a variable
    /// with a NUL byte, an odd variable name, or a text past its bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::decode_with_json(bytes).map(|(params, _)| params)
    }

    /// As [`ProcessParams::decode`], and gives the JSON value too.
    ///
    /// # Errors
    ///
    /// As for [`ProcessParams::decode`].
    pub fn decode_with_json(bytes: &[u8]) -> Result<(Self, Json), Malformed> {
        let bounds = Bounds {
            bytes_max: Self::BYTES_MAX,
            ..Bounds::MESSAGE
        };
        let (params, json) = canonical::from_bytes_with_json::<Self>(bytes, bounds)?;
        params.check()?;
        Ok((params, json))
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    ///
    /// As for [`ProcessParams::decode`].
    pub fn check(&self) -> Result<(), Malformed> {
        let bad = |what: &str| Err(Malformed::Shape(what.into()));
        if self.argv.is_empty() {
            return bad("argv must hold at least the program's name");
        }
        let values = self.argv.iter().chain(self.env.values());
        if values.into_iter().any(|text| text.contains('\0')) {
            return bad("an argument or a variable holds a NUL byte");
        }
        if self
            .env
            .keys()
            .any(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return bad("a variable's name is empty or holds `=` or a NUL byte");
        }
        if self.purpose.as_ref().is_some_and(|text| text.len() > 1024) {
            return bad("the purpose is longer than 1024 bytes");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::Salt;

    fn intent() -> Intent {
        Intent {
            action: ActionName::parse("process:run").unwrap(),
            asked: Asked::default(),
            gateway: GatewayName::parse("process").unwrap(),
            params: Commitment::to("process:run", b"{}", &Salt::new([1; 32])),
            parent: None,
            principal: PrincipalId::parse("agent:coder").unwrap(),
            resource: ResourceRef {
                digest: Some(Digest::of(b"git")),
                id: "/usr/bin/git".into(),
                kind: "Program".into(),
            },
        }
    }

    #[test]
    fn an_intent_reads_back_from_its_canonical_bytes() {
        let bytes = intent().to_canonical().unwrap();
        assert_eq!(Intent::decode(&bytes), Ok(intent()));
        assert_eq!(intent().digest().unwrap(), Digest::of(&bytes));
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let bytes = intent().to_canonical().unwrap();
        let text =
            String::from_utf8(bytes)
                .unwrap()
                .replacen("{\"action\"", "{\"a\":1,\"action\"", 1);
        assert!(matches!(
            Intent::decode(text.as_bytes()),
            Err(Malformed::Shape(_))
        ));
    }

    #[test]
    fn parameters_past_their_rules_are_refused() {
        let good = ProcessParams {
            argv: vec!["git".into()],
            cwd: AbsPath::parse("/w").unwrap(),
            env: BTreeMap::new(),
            home: AbsPath::parse("/h").unwrap(),
            purpose: None,
            script: None,
            workspace: AbsPath::parse("/w").unwrap(),
        };
        let decode =
            |params: &ProcessParams| ProcessParams::decode(&canonical::to_bytes(params).unwrap());
        assert_eq!(decode(&good).unwrap(), good);
        assert!(
            decode(&ProcessParams {
                argv: vec![],
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            decode(&ProcessParams {
                argv: vec!["a\0".into()],
                ..good.clone()
            })
            .is_err()
        );
        let env = BTreeMap::from([("A=B".to_owned(), String::new())]);
        assert!(
            decode(&ProcessParams {
                env,
                ..good.clone()
            })
            .is_err()
        );
        let purpose = Some("x".repeat(1025));
        assert!(decode(&ProcessParams { purpose, ..good }).is_err());
    }
}
