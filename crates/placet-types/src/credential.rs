//! Credentials that a scope hands over: which secret, in which form. Never a value.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{CredentialPath, SecretName, VariableName};

/// One secret of the domain's store, and the form in which an execution gets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// How the execution finds it.
    pub form: CredentialForm,
    /// Name of the secret.
    pub name: SecretName,
}

/// How an execution finds a credential.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CredentialForm {
    /// As the value of this environment variable.
    Env(VariableName),
    /// As a file that only this execution has.
    File {
        /// The variable that names the file's path, if any does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        env: Option<VariableName>,
        /// Where, below the directory of the credentials.
        path: CredentialPath,
    },
}

/// The credentials of a scope: no two meet in one variable or one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Credentials(BTreeSet<Credential>);

/// Why credentials cannot stand together in one scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialClash {
    /// There are too many.
    #[error("there are more than {} credentials", Credentials::MAX)]
    TooMany,
    /// Two want the same variable.
    #[error("two credentials want the variable `{0}`")]
    Variable(VariableName),
    /// Two want the same file, or one lies where the other needs a directory.
    #[error("two credentials want the file `{0}`")]
    File(CredentialPath),
}

impl Credential {
    /// The environment variable that it takes, for its value or for the path of its file.
    #[must_use]
    pub fn variable(&self) -> Option<&VariableName> {
        match &self.form {
            CredentialForm::Env(name) => Some(name),
            CredentialForm::File { env, .. } => env.as_ref(),
        }
    }

    /// Its file, if it comes as one.
    #[must_use]
    pub fn file(&self) -> Option<&CredentialPath> {
        match &self.form {
            CredentialForm::Env(_) => None,
            CredentialForm::File { path, .. } => Some(path),
        }
    }
}

impl Credentials {
    /// Most credentials of one scope.
    pub const MAX: usize = 32;

    /// Takes credentials that can stand together.
    ///
    /// # Errors
    ///
    /// [`CredentialClash`]
    pub fn new(all: impl IntoIterator<Item = Credential>) -> Result<Self, CredentialClash> {
        let all: BTreeSet<Credential> = all.into_iter().take(Self::MAX + 1).collect();
        if all.len() > Self::MAX {
            return Err(CredentialClash::TooMany);
        }
        let mut variables = BTreeSet::new();
        let mut files: Vec<&CredentialPath> = Vec::new();
        for one in &all {
            if let Some(variable) = one.variable()
                && !variables.insert(variable)
            {
                return Err(CredentialClash::Variable(variable.clone()));
            }
            if let Some(file) = one.file() {
                if files.iter().any(|other| meet(file, other)) {
                    return Err(CredentialClash::File(file.clone()));
                }
                files.push(file);
            }
        }
        Ok(Self(all))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.0.iter()
    }

    /// The secrets that they are, each once.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<SecretName> {
        self.0.iter().map(|one| one.name.clone()).collect()
    }

    /// Those of both, in the same form.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        // What can stand together can do so with less.
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// One that `outer` lacks, or has in another form.
    pub(crate) fn excess_over(&self, outer: &Self) -> Option<SecretName> {
        let excess = self.0.difference(&outer.0).next();
        excess.map(|one| one.name.clone())
    }
}

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Vec::<Credential>::deserialize(deserializer)?;
        Self::new(all).map_err(serde::de::Error::custom)
    }
}

/// Whether two files are one, or one would have to be a directory for the other.
fn meet(a: &CredentialPath, b: &CredentialPath) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(a.as_str(), b.as_str()) || within(b.as_str(), a.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str, variable: &str) -> Credential {
        Credential {
            form: CredentialForm::Env(VariableName::parse(variable).unwrap()),
            name: SecretName::parse(name).unwrap(),
        }
    }

    fn file(name: &str, path: &str, variable: Option<&str>) -> Credential {
        Credential {
            form: CredentialForm::File {
                env: variable.map(|text| VariableName::parse(text).unwrap()),
                path: CredentialPath::parse(path).unwrap(),
            },
            name: SecretName::parse(name).unwrap(),
        }
    }

    #[test]
    fn credentials_that_meet_in_one_place_are_refused() {
        assert!(Credentials::new([env("a", "A"), file("a", "a", Some("A_FILE"))]).is_ok());
        assert!(Credentials::new([file("a", "a/b", None), file("b", "a/c", None)]).is_ok());
        for clash in [
            [env("a", "A"), env("b", "A")],
            [env("a", "A"), file("b", "b", Some("A"))],
            [file("a", "x", None), file("b", "x", None)],
            [file("a", "x/y", None), file("b", "x", None)],
        ] {
            assert!(Credentials::new(clash.clone()).is_err(), "{clash:?}");
        }
        let many = (0..=Credentials::MAX).map(|at| env("a", &format!("V{at}")));
        assert_eq!(Credentials::new(many), Err(CredentialClash::TooMany));
    }

    #[test]
    fn a_clash_is_not_read_either() {
        let text = r#"[{"form":{"env":"A"},"name":"a"},{"form":{"env":"A"},"name":"b"}]"#;
        assert!(serde_json::from_str::<Credentials>(text).is_err());
    }

    #[test]
    fn names_of_secrets_variables_and_files_are_strict() {
        for name in ["", "A", "a b", ".a", "-a", "a/b", "a\n"] {
            assert!(SecretName::parse(name).is_err(), "{name:?}");
        }
        for name in ["", "1A", "A-B", "LD_PRELOAD", "A=", "PLACET_DOMAIN", "PATH"] {
            assert!(VariableName::parse(name).is_err(), "{name:?}");
        }
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            ".",
            "a/b/c/d/e",
            "a b",
        ] {
            assert!(CredentialPath::parse(path).is_err(), "{path:?}");
        }
        assert!(CredentialPath::parse("github/token.txt").is_ok());
        assert!(CredentialPath::parse(".netrc").is_ok());
    }
}
