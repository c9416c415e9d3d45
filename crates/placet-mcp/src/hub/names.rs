//! Who offers what, under which name it is shown.

use std::collections::{BTreeMap, HashMap};

use crate::method::Listed;

/// Between a server's name and that of its tool or prompt, where both are needed.
pub(super) const BETWEEN: &str = "__";

/// What is known of names. Nothing, until everything was listed.
#[derive(Debug)]
pub(super) struct Names {
    servers: Vec<String>,
    /// By what is listed and the server's own name of it: which servers have it.
    known: HashMap<Kind, BTreeMap<String, Vec<usize>>>,
}

/// What a name is a name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Tool,
    Prompt,
    Uri,
    Template,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Led {
    /// To this server, under its own name.
    To(usize, String),
    /// Several servers have it.
    Several(Vec<String>),
    /// Nobody is known to have it.
    Nowhere,
}

impl Kind {
    pub(super) fn of(listed: Listed) -> Self {
        match listed {
            Listed::Tools => Self::Tool,
            Listed::Prompts => Self::Prompt,
            Listed::Documents => Self::Uri,
            Listed::Templates => Self::Template,
        }
    }

    /// The member of an item that is its name.
    pub(super) const fn member(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Uri => "uri",
            Self::Template => "uriTemplate",
        }
    }

    fn is_uri(self) -> bool {
        matches!(self, Self::Uri | Self::Template)
    }
}

impl Names {
    pub(super) fn new(servers: Vec<String>) -> Self {
        Self {
            servers,
            known: HashMap::new(),
        }
    }

    /// Something was listed by everybody.
    pub(super) fn learn(&mut self, kind: Kind, items: impl IntoIterator<Item = (usize, String)>) {
        let mut known: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (part, name) in items {
            let parts = known.entry(name).or_default();
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        self.known.insert(kind, known);
    }

    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    pub(super) fn knows(&self, kind: Kind) -> bool {
        self.known.contains_key(&kind)
    }

    /// The name under which a server's own is shown.
    pub(super) fn shown(&self, kind: Kind, part: usize, own: &str) -> String {
        let server = self.servers.get(part).map_or("", String::as_str);
        let known = self.known.get(&kind).and_then(|known| known.get(own));
        let is_shared = known.is_some_and(|parts| parts.len() > 1);
        // A name that looks like another server's may not be taken for it.
        let looks_led = self
            .servers
            .iter()
            .any(|other| own.starts_with(&prefix(kind, other)));
        if is_shared || looks_led {
            format!("{}{own}", prefix(kind, server))
        } else {
            own.to_owned()
        }
    }

    pub(super) fn shown_uri(&self, part: usize, own: &str) -> String {
        self.shown(Kind::Uri, part, own)
    }

    /// Where a name leads that the client uses.
    pub(super) fn lead(&self, kind: Kind, name: &str) -> Led {
        for (part, server) in self.servers.iter().enumerate() {
            if let Some(own) = name.strip_prefix(&prefix(kind, server))
                && !own.is_empty()
            {
                return Led::To(part, own.to_owned());
            }
        }
        let parts = self.known.get(&kind).and_then(|known| known.get(name));
        match parts.map(Vec::as_slice) {
            Some([part]) => Led::To(*part, name.to_owned()),
            Some(parts) => {
                let shown = parts.iter().map(|part| self.shown(kind, *part, name));
                Led::Several(shown.collect())
            }
            None if kind == Kind::Uri => self.by_template(name),
            None => Led::Nowhere,
        }
    }

    /// The server with the template whose beginning fits best.
    fn by_template(&self, uri: &str) -> Led {
        let templates = self.known.get(&Kind::Template).into_iter().flatten();
        let mut best: Option<(usize, usize)> = None;
        let mut is_shared = false;
        for (template, parts) in templates {
            let begin = template.split('{').next().unwrap_or_default();
            if begin.is_empty() || !uri.starts_with(begin) {
                continue;
            }
            for part in parts {
                match best {
                    Some((length, other)) if length == begin.len() => is_shared |= other != *part,
                    Some((length, _)) if length > begin.len() => {}
                    Some(_) | None => {
                        best = Some((begin.len(), *part));
                        is_shared = false;
                    }
                }
            }
        }
        match best {
            Some((_, part)) if !is_shared => Led::To(part, uri.to_owned()),
            Some(_) => {
                let all = self.servers.iter();
                Led::Several(
                    all.map(|server| format!("{}{uri}", prefix(Kind::Uri, server)))
                        .collect(),
                )
            }
            None => Led::Nowhere,
        }
    }
}

/// What stands before a server's own name. For URIs it is part of the scheme.
fn prefix(kind: Kind, server: &str) -> String {
    if kind.is_uri() {
        format!("{}+", server.to_ascii_lowercase().replace('_', "-"))
    } else {
        format!("{server}{BETWEEN}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tools: &[(usize, &str)]) -> Names {
        let mut names = Names::new(vec!["files".into(), "mail".into()]);
        names.learn(
            Kind::Tool,
            tools.iter().map(|(part, name)| (*part, (*name).to_owned())),
        );
        names
    }

    #[test]
    fn only_names_that_collide_are_changed() {
        let names = names(&[(0, "read"), (1, "read"), (1, "send"), (1, "files__write")]);
        assert_eq!(names.shown(Kind::Tool, 1, "send"), "send");
        assert_eq!(names.shown(Kind::Tool, 0, "read"), "files__read");
        assert_eq!(
            names.lead(Kind::Tool, "mail__read"),
            Led::To(1, "read".into())
        );
        assert!(matches!(names.lead(Kind::Tool, "read"), Led::Several(all) if all.len() == 2));
        assert_eq!(names.lead(Kind::Tool, "nothing"), Led::Nowhere);
        // A tool that is called like another server's is not reached under that name.
        assert_eq!(
            names.shown(Kind::Tool, 1, "files__write"),
            "mail__files__write"
        );
        assert_eq!(
            names.lead(Kind::Tool, "files__write"),
            Led::To(0, "write".into())
        );
    }

    #[test]
    fn uris_lead_to_who_lists_them_or_has_a_template() {
        let mut names = names(&[]);
        let uri = |name: &str| name.to_owned();
        names.learn(
            Kind::Uri,
            [
                (0, uri("file:///a")),
                (1, uri("file:///a")),
                (1, uri("mail://1")),
            ],
        );
        names.learn(
            Kind::Template,
            [(1, uri("mail://{id}")), (0, uri("file:///{path}"))],
        );
        assert_eq!(names.shown_uri(0, "file:///a"), "files+file:///a");
        assert_eq!(
            names.lead(Kind::Uri, "files+file:///a"),
            Led::To(0, uri("file:///a"))
        );
        assert_eq!(
            names.lead(Kind::Uri, "mail://7"),
            Led::To(1, uri("mail://7"))
        );
        assert_eq!(names.lead(Kind::Uri, "http://x"), Led::Nowhere);
    }
}
