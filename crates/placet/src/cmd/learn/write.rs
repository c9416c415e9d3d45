//! Profile, policy and tests as text, each line with what was seen for it.

use std::fmt::Write as _;

use placet_policy::Profile;
use placet_types::{Images, PeerRule};

use super::Learned;
use super::sort::{Lines, Sorted, sort};
use crate::exit::Failure;

/// The files, by their paths in a bundle.
///
/// # Errors
///
/// The contents are to be listed, and are more than a profile can list.
pub(super) fn files(learned: &Learned, base: &Profile) -> Result<Vec<(String, String)>, Failure> {
    let sorted = sort(learned);
    let (name, ran, most) = (&learned.name, sorted.images.len(), Images::COUNT_MAX);
    if learned.listed && ran > most {
        return Err(Failure::new(format!(
            "programs with {ran} different contents ran, and a profile lists {most}"
        ))
        .hint("without `--digests` they are permitted by their paths alone"));
    }
    Ok(vec![
        (format!("policies/{name}.cedar"), policy(learned)),
        (
            format!("profiles/{name}.toml"),
            profile(learned, &sorted, base),
        ),
        (format!("tests/{name}.toml"), tests(learned)),
    ])
}

/// A text as TOML, Cedar and JSON write it, which agree on these escapes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text in a comment: on one line.
fn remark(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn line(learned: &Learned) -> String {
    learned.argv.join(" ")
}

fn profile(learned: &Learned, sorted: &Sorted, base: &Profile) -> String {
    let mut out = format!(
        "# Learned from one run of: {}\n# It says what that run needed, and no run needs quite the same: read every line.\n\n\
         description = {}\n",
        remark(&line(learned)),
        quoted(&format!("Learned from: {}", remark(&line(learned))))
    );
    if learned.observed.incomplete {
        out.push_str("\n# INCOMPLETE: that run touched more than is noted of one run.\n");
    }
    let mut list = |key: &str, why: &str, lines: &Lines| {
        let _infallible = writeln!(out, "\n# {why}\n{key} = [");
        for (path, seen) in lines {
            let example = match seen == path {
                true => String::new(),
                false => format!(" # such as {}", remark(seen)),
            };
            let _infallible = writeln!(out, "  {},{example}", quoted(path));
        }
        out.push_str("]\n");
    };
    list("read", "What was opened for reading.", &sorted.read);
    list("write", "What was written to.", &sorted.write);
    list(
        "exec",
        "What was started, and the loaders of these programs. Nothing else starts.",
        &sorted.exec,
    );
    out.push_str(&contents(learned, sorted));
    let _infallible = writeln!(
        out,
        "\n# Whether programs of the writable trees may start{}.\nexec_in_writable = {}",
        if sorted.own_programs {
            ": some did"
        } else {
            ": none did"
        },
        sorted.own_programs
    );
    if !sorted.secrets.is_empty() {
        out.push_str(
            "\n# WARNING: the run wanted these, which hold credentials. To grant one, add it to `read`:\n",
        );
        for path in &sorted.secrets {
            let _infallible = writeln!(out, "#   {},", quoted(path));
        }
    }
    if !sorted.unwritten.is_empty() {
        out.push_str("\n# Wanted to write, and could not in the dry run. To grant one, add its directory to `write`:\n");
        for path in &sorted.unwritten {
            let _infallible = writeln!(out, "#   {},", quoted(path));
        }
    }
    if !sorted.unseen.is_empty() {
        out.push_str("\n# Looked for, and not visible in the dry run. If the command lacks one, add it to `read`:\n");
        for path in &sorted.unseen {
            let _infallible = writeln!(out, "#   {},", quoted(path));
        }
    }
    out.push_str(&network(learned));
    out.push_str(
        "\n# Variables that the command had, of those that the dry run passes on.\nenv = [\n",
    );
    for name in &learned.env {
        let _infallible = writeln!(out, "  {},", quoted(name));
    }
    let limits = base.limits();
    let _infallible = write!(
        out,
        "]\n\nlifetime = \"{}s\"\n\n# As for the dry run: narrow them to what the command needs.\n[limits]\n\
         cpu = \"{}s\"\nfile_size = \"{}B\"\nmemory = \"{}B\"\nopen_files = {}\nprocesses = {}\n\
         tmp = \"{}B\"\nwall = \"{}s\"\n\n[lease]\ninterval = \"{}s\"\nstaleness = \"{}s\"\n",
        base.lifetime().get().min(3600),
        limits.cpu_secs,
        limits.file_size_bytes,
        limits.memory_bytes,
        limits.open_files,
        limits.processes,
        limits.tmp_bytes,
        limits.wall_secs,
        base.lease_ms() / 1000,
        base.staleness_ms() / 1000,
    );
    out
}

/// What the programs consisted of: for whoever reviews, and in force where that was asked for.
fn contents(learned: &Learned, sorted: &Sorted) -> String {
    let (most, mark) = (Images::COUNT_MAX, if learned.listed { "" } else { "# " });
    let why = match (learned.listed, sorted.images.len() > most) {
        (true, _) => {
            "What these programs consisted of. Nothing else starts in their places: after an update, learn again."
        }
        (false, false) => {
            "What these programs consisted of. Without the `# ` nothing else starts in their places, not even an update."
        }
        (false, true) => "What these programs consisted of, which is more than a profile lists.",
    };
    let mut out = format!("\n# {why}\n{mark}exec_digests = [\n");
    for (digest, paths) in &sorted.images {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let _infallible = writeln!(out, "{mark}  \"{digest}\", # {}", paths.join(", "));
    }
    let _infallible = writeln!(out, "{mark}]");
    out
}

/// What the run reached stands in the lists, what it was refused in comments: reviewing takes one look
/// more where the run does not show that it is needed.
fn network(learned: &Learned) -> String {
    let mut out = String::new();
    let contacts = &learned.contacts;
    let is_peer = |peer: &str| peer.parse::<PeerRule>().is_ok();
    for (key, why, all) in [
        ("network", "the network", &contacts.peers),
        ("sockets", "sockets of this machine", &contacts.sockets),
    ] {
        let writable = |what: &&String| key == "sockets" || is_peer(what);
        let of = |in_scope: bool| {
            let these = all.iter().filter(move |(_, granted)| **granted == in_scope);
            these.map(|(what, _)| what).filter(writable)
        };
        if of(true).next().is_some() {
            let _infallible = writeln!(out, "\n# What was reached over {why}.\n{key} = [");
            for what in of(true) {
                let _infallible = writeln!(out, "  {},", quoted(&remark(what)));
            }
            out.push_str("]\n");
        }
        if of(false).next().is_some() {
            let _infallible = writeln!(
                out,
                "\n# Wanted over {why}, and not reached. To grant one, add it to `{key}`:"
            );
            for what in of(false) {
                let _infallible = writeln!(out, "#   {},", quoted(&remark(what)));
            }
        }
    }
    if !contacts.names.is_empty() {
        out.push_str("\n# Names that were looked up, at ports that nobody knows. To grant one, add it with its port to `network`:\n");
        for name in &contacts.names {
            let _infallible = writeln!(out, "#   {},", quoted(&remark(name)));
        }
    }
    out
}

fn policy(learned: &Learned) -> String {
    let name = &learned.name;
    format!(
        "// Permits the one command line that it was learned from.\n@id({})\n@description({})\n@profile({})\n\
         permit (\n  principal == Principal::{},\n  action == Action::\"process:run\",\n  resource == Program::{}\n)\n\
         when {{ context.line == {} && context.in_workspace }};\n",
        quoted(name),
        quoted(&format!("Learned from: {}", remark(&line(learned)))),
        quoted(name),
        quoted(learned.principal.as_str()),
        quoted(&learned.program),
        quoted(&line(learned)),
    )
}

fn tests(learned: &Learned) -> String {
    let name = quoted(&learned.name);
    let argv: Vec<String> = learned.argv.iter().map(|word| quoted(word)).collect();
    let argv = argv.join(", ");
    let workspace = quoted(&learned.workspace.to_string_lossy());
    let cwd = quoted(&learned.cwd.to_string_lossy());
    let given = format!(
        "principal = {}\nprogram = {}\nworkspace = {workspace}\ncwd = {cwd}\n",
        quoted(learned.principal.as_str()),
        quoted(&learned.program)
    );
    format!(
        "# What was learned is permitted, and not a word more.\n\n[[test]]\nname = \"the command that was learned\"\n{given}\
         argv = [{argv}]\nexpect = \"permit\"\npolicies = [{name}]\nprofiles = [{name}]\n\n\
         [[test]]\nname = \"the same with another argument\"\n{given}argv = [{argv}, \"--more\"]\nexpect = \"no_permit\"\n"
    )
}
