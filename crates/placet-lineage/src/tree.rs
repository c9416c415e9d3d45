//! The graph as text, for a terminal or a report.
//!
//! Names of resources come from callers. What could move a cursor, change a colour or turn the
//! reading direction is written as an escape, so that a name cannot forge a line of the drawing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use placet_evidence::Exit;
use placet_types::{Index, Millis};

use crate::graph::Graph;
use crate::node::{Answer, Node, Status};
use crate::query::Query;

/// Widest a column becomes for the sake of alignment, in characters.
const COLUMN_MAX: usize = 48;

/// A drawing of the graph, one line per node, children below their parents in log order.
#[derive(Clone, Debug)]
pub struct Tree<'g> {
    charset: Charset,
    graph: &'g Graph,
    now: Option<Millis>,
    query: Option<Query>,
}

/// What to draw with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// Box drawing and marks such as `✓`.
    #[default]
    Unicode,
    /// Nothing but ASCII.
    Ascii,
}

/// What a piece of text in the drawing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Lines between nodes.
    Branch,
    /// The mark and the words for a status.
    Status(Status),
    /// An execution's id.
    Exec,
    /// What is done, to what.
    Action,
    /// Who asked.
    Principal,
    /// How long it ran, and counts.
    Detail,
    /// What answered: policies, profile, approvals.
    Policy,
    /// Index of the decision's record.
    Index,
}

/// How to show a piece of text: a terminal puts colours around it.
pub trait Style {
    /// The text, with whatever makes it look as it should. Must not change its width.
    fn paint(&self, role: Role, text: &str) -> String;
}

/// The text as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Style for Plain {
    fn paint(&self, _: Role, text: &str) -> String {
        text.to_owned()
    }
}

/// A line before it is aligned: its columns, each of pieces.
struct Line {
    columns: [Vec<(Role, String)>; 5],
    index: String,
}

impl<'g> Tree<'g> {
    /// A drawing of everything.
    #[must_use]
    pub fn of(graph: &'g Graph) -> Self {
        Self {
            charset: Charset::default(),
            graph,
            now: None,
            query: None,
        }
    }

    /// Draws with these characters.
    #[must_use]
    pub fn charset(self, charset: Charset) -> Self {
        Self { charset, ..self }
    }

    /// Shows how long running executions have run at this time.
    #[must_use]
    pub fn at(self, now: Millis) -> Self {
        let now = Some(now);
        Self { now, ..self }
    }

    /// Shows what the query asks for, and the ancestors of that.
    #[must_use]
    pub fn only(self, query: Query) -> Self {
        let query = Some(query);
        Self { query, ..self }
    }

    /// The drawing: each line ends with a line feed. Empty when there is nothing to show.
    #[must_use]
    pub fn render(&self, style: &dyn Style) -> String {
        let lines = self.lines();
        let widths: [usize; 5] = std::array::from_fn(|at| {
            let widths = lines
                .iter()
                .filter_map(|line| line.columns.get(at))
                .map(|column| width(column));
            widths
                .filter(|width| *width <= COLUMN_MAX)
                .max()
                .unwrap_or(0)
        });
        let mut out = String::new();
        for line in &lines {
            for (column, width_max) in line.columns.iter().zip(widths) {
                for (role, text) in column.iter().filter(|(_, text)| !text.is_empty()) {
                    out.push_str(&style.paint(*role, text));
                }
                let padding = width_max.saturating_sub(width(column)).saturating_add(2);
                out.extend(std::iter::repeat_n(' ', padding));
            }
            out.push_str(&style.paint(Role::Index, &line.index));
            out.push('\n');
        }
        out
    }

    /// A walk with a stack of its own: trees may be deeper than the program's.
    fn lines(&self) -> Vec<Line> {
        let shown = self.shown();
        let visible = |node: &&Node| {
            shown
                .as_ref()
                .is_none_or(|s| s.contains(&node.decided.index))
        };
        let mut lines = Vec::new();
        let mut open: Vec<(&Node, String, String)> = self
            .graph
            .roots()
            .filter(visible)
            .rev()
            .map(|root| (root, String::new(), String::new()))
            .collect();
        while let Some((node, branch, indent)) = open.pop() {
            lines.push(self.line(node, branch));
            let glyphs = self.charset.glyphs();
            let children = self.graph.children(&node.exec).filter(visible).rev();
            open.extend(children.enumerate().map(|(from_last, child)| {
                let (branch, below) = match from_last {
                    0 => (glyphs.last, "   "),
                    _ => (glyphs.branch, glyphs.pass),
                };
                (
                    child,
                    format!("{indent}{branch}"),
                    format!("{indent}{below}"),
                )
            }));
        }
        lines
    }

    fn shown(&self) -> Option<BTreeSet<Index>> {
        let query = self.query.as_ref()?;
        let mut shown = BTreeSet::new();
        for node in self.graph.select(query) {
            shown.insert(node.decided.index);
            // Stop where another match has been: its ancestors are shown already.
            for above in self.graph.ancestors(&node.exec) {
                if !shown.insert(above.decided.index) {
                    break;
                }
            }
        }
        Some(shown)
    }

    fn line(&self, node: &Node, branch: String) -> Line {
        let status = node.status();
        let mark = format!("{} ", self.charset.mark(status));
        let what = format!("{} {}", node.action, self.charset.shown(&node.resource.id));
        Line {
            columns: [
                vec![
                    (Role::Branch, branch),
                    (Role::Status(status), mark),
                    (Role::Exec, node.exec.short()),
                ],
                vec![(Role::Action, what)],
                vec![(Role::Principal, node.principal.to_string())],
                vec![
                    (Role::Status(status), state(node)),
                    (Role::Detail, self.details(node)),
                ],
                vec![(Role::Policy, self.charset.shown(&answered_by(node)))],
            ],
            index: format!("#{}", node.decided.index),
        }
    }

    fn details(&self, node: &Node) -> String {
        let mut out = String::new();
        let mut add = |text: String| {
            out.push_str(", ");
            out.push_str(&text);
        };
        if let Some(ran) = node.ran_ms(self.now) {
            add(duration(ran));
        }
        if node.signals > 0 {
            add(counted(node.signals, "signal"));
        }
        if node.refused > 0 {
            add(counted(node.refused, "refused attempt"));
        }
        if node.born > 0 {
            add(counted(node.born, "own program"));
        }
        out
    }
}

fn width(column: &[(Role, String)]) -> usize {
    column.iter().map(|(_, text)| text.chars().count()).sum()
}

/// The status in words, with the reason where there is one.
fn state(node: &Node) -> String {
    let mut out = node.status().as_str().to_owned();
    let written = match (&node.answer, node.ended.and_then(|end| end.exit)) {
        (Answer::Denied(denial), _) => write!(out, " {} (check {})", denial.code, denial.check),
        (Answer::Deferred(until), _) => write!(out, " until {until}"),
        (Answer::Permitted(_), exit) => match (node.code(), node.status(), exit) {
            (Some(cause), ..) => write!(out, " {cause}"),
            (None, Status::Failed, Some(Exit::Code(code))) => write!(out, " with status {code}"),
            (None, Status::Failed, Some(Exit::Signal(signal))) => {
                write!(out, " by signal {signal}")
            }
            (None, ..) => Ok(()),
        },
    };
    // Writing to a string cannot fail.
    written.map_or_else(|_| String::new(), |()| out)
}

/// What allowed it, or forbade it: policies, the profile that it was permitted with, who approved it.
fn answered_by(node: &Node) -> String {
    let mut said = Vec::new();
    if !node.policies.is_empty() {
        said.push(format!("by {}", node.policies.join(", ")));
    }
    if let Answer::Permitted(permission) = &node.answer {
        said.push(format!("profile {}", permission.profile));
        if !permission.approved_by.is_empty() {
            let approvers: Vec<String> = permission
                .approved_by
                .iter()
                .map(ToString::to_string)
                .collect();
            said.push(format!("approved by {}", approvers.join(", ")));
        }
    }
    said.join("; ")
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A length of time with two figures that matter.
fn duration(ms: u64) -> String {
    let (secs, mins, hours) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{secs}.{} s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{mins} min {:02} s", secs % 60),
        _ => format!("{hours} h {:02} min", mins % 60),
    }
}

struct Glyphs {
    branch: &'static str,
    last: &'static str,
    pass: &'static str,
}

impl Charset {
    fn glyphs(self) -> Glyphs {
        let (branch, last, pass) = match self {
            Self::Unicode => ("├─ ", "└─ ", "│  "),
            Self::Ascii => ("|- ", "`- ", "|  "),
        };
        Glyphs { branch, last, pass }
    }

    /// One character that tells the status.
    #[must_use]
    pub fn mark(self, status: Status) -> char {
        let (unicode, ascii) = match status {
            Status::Denied => ('⊘', 'x'),
            Status::Deferred => ('◔', '~'),
            Status::Authorized => ('○', 'o'),
            Status::Running => ('▶', '>'),
            Status::Completed => ('✓', '+'),
            Status::Failed => ('✗', '!'),
            Status::Terminated => ('■', '#'),
            Status::Lapsed => ('◌', '-'),
            Status::Unseen => ('·', '?'),
        };
        match self {
            Self::Unicode => unicode,
            Self::Ascii => ascii,
        }
    }

    /// The text with everything escaped that is not plainly visible.
    #[must_use]
    pub fn shown(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if c == '\\' || is_deceptive(c) || (self == Self::Ascii && !c.is_ascii()) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        out
    }
}

/// Control characters, and the ones that are invisible or turn the reading direction.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}
