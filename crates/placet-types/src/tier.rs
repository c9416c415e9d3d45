//! Tiers of enforcement: what a machine can give, and what a scope demands at least.
//!
//! A tier holds everything that the one below it holds, by stronger means. What a machine's tier
//! does not give is said by name ([`Weakness`]), in the record of every decision.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A tier of enforcement, weakest first. A scope that does not name one demands `U1`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Tier {
    /// Without user namespaces: Landlock, seccomp and a standing trace, on the host's own tree.
    U0,
    /// Namespaces, mounts, Landlock and seccomp, without privileges.
    #[default]
    U1,
    /// U1, and what only a privileged supervisor can add.
    P,
}

impl Tier {
    /// All of them, weakest first.
    pub const ALL: [Self; 3] = [Self::U0, Self::U1, Self::P];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::U0 => "U0",
            Self::U1 => "U1",
            Self::P => "P",
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of the tier that a machine reaches; `none` for a machine that can enforce nothing.
#[must_use]
pub fn name(reached: Option<Tier>) -> &'static str {
    reached.map_or("none", Tier::name)
}

/// The tier that a machine reaches, as text: a name of [`Tier`], or `none`.
pub mod reached {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Tier, name};

    /// # Errors
    ///
    /// The serializer's.
    pub fn serialize<S: Serializer>(tier: &Option<Tier>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name(*tier))
    }

    /// # Errors
    ///
    /// The text is neither a tier nor `none`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tier>, D::Error> {
        let text = String::deserialize(from)?;
        if text == name(None) {
            return Ok(None);
        }
        let known = Tier::ALL.into_iter().find(|tier| tier.name() == text);
        known
            .map(Some)
            .ok_or_else(|| D::Error::custom("a tier of enforcement is `U0`, `U1`, `P`, or `none`"))
    }
}

macro_rules! weaknesses {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that a tier does not give, although a higher one does. The words are stable.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Weakness { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Weakness {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

weaknesses! {
    /// Code can be loaded as a library from what the tree may write: nothing is mounted noexec.
    CodeFromWritable = "code_from_writable",
    /// There is no network of its own: host interfaces show, and no service can be offered inside.
    SharedNetwork = "shared_network",
    /// Processes outside of the tree show in /proc, with their command lines.
    SharedProcesses = "shared_processes",
    /// The bound on temporary storage is not kept, only the one on each file.
    UnboundedTmp = "unbounded_tmp",
    /// Names, owners, sizes and times of files outside of the scope can be asked for.
    VisibleMetadata = "visible_metadata",
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Machine {
        #[serde(with = "reached")]
        tier: Option<Tier>,
    }

    #[test]
    fn a_machine_reaches_a_tier_or_none() {
        for (tier, text) in [
            (None, r#"{"tier":"none"}"#),
            (Some(Tier::U0), r#"{"tier":"U0"}"#),
            (Some(Tier::P), r#"{"tier":"P"}"#),
        ] {
            let machine = Machine { tier };
            assert_eq!(serde_json::to_string(&machine).unwrap(), text);
            assert_eq!(serde_json::from_str::<Machine>(text).unwrap(), machine);
        }
        for text in ["u1", "U2", "", "None"] {
            let text = format!(r#"{{"tier":"{text}"}}"#);
            assert!(serde_json::from_str::<Machine>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_higher_tier_is_greater_and_reaching_one_is_more_than_none() {
        assert!(Tier::U0 < Tier::U1 && Tier::U1 < Tier::P);
        assert!(None < Some(Tier::U0));
    }

    #[test]
    fn weaknesses_are_in_the_order_of_their_words() {
        let words: Vec<_> = Weakness::ALL.iter().map(|one| one.word()).collect();
        let mut sorted = words.clone();
        sorted.sort_unstable();
        assert_eq!(words, sorted);
    }
}
