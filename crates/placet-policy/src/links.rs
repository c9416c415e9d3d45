//! `links.toml`: template links, the cheap form of many similar grants.

use std::collections::HashMap;

use cedar_policy::{EntityUid, SlotId};
use serde::Deserialize;

use crate::problem::{Problem, line_at};
use crate::strict;

pub(crate) const FILE: &str = "links.toml";

/// One template link: a policy made of a template by filling its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) template: String,
    pub(crate) slots: HashMap<SlotId, EntityUid>,
    pub(crate) line: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    link: Vec<toml::Spanned<FileLink>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLink {
    id: String,
    template: String,
    principal: Option<String>,
    resource: Option<String>,
}

pub(crate) fn read(text: &str) -> Result<Vec<Link>, Vec<Problem>> {
    let file: File = strict::read(FILE, text).map_err(|problem| vec![problem])?;
    let (mut links, mut problems) = (Vec::new(), Vec::new());
    for spanned in file.link {
        let line = line_at(text, spanned.span().start);
        match link(spanned.into_inner(), line) {
            Ok(link) => links.push(link),
            Err(message) => problems.push(Problem::error(FILE, "link", message).at(line)),
        }
    }
    if problems.is_empty() {
        Ok(links)
    } else {
        Err(problems)
    }
}

fn link(file: FileLink, line: u32) -> Result<Link, String> {
    let mut slots = HashMap::new();
    for (slot, text) in [
        (SlotId::principal(), file.principal),
        (SlotId::resource(), file.resource),
    ] {
        if let Some(text) = text {
            let uid: EntityUid = text
                .parse()
                .map_err(|_| format!("`{text}` names no entity: write Group::\"agents\""))?;
            slots.insert(slot, uid);
        }
    }
    Ok(Link {
        id: file.id,
        template: file.template,
        slots,
        line,
    })
}
