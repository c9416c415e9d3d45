//! The gateway in front of every server that a client's configurations name, and away again.
//!
//! A server is changed in place and back by the same rule, so what the user changes meanwhile stays. One
//! that is elsewhere stands, as it was, in the member `placet` of its entry, where the gateway reads it.
//! Before the first change the file is copied beside itself.

mod clients;
mod entry;
mod text;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use placet_types::PrincipalId;
use serde_json::{Map, Value, json};

use crate::cli::{Client, McpChange};
use crate::context::program;
use crate::exit::{Failure, Status};
use crate::out::{DIM, GOOD, Out, WARN, paint};
use crate::show::{many, shown};
use clients::Format;
use entry::{Change, Gateway, URLS, unwrap};

/// Ending of the copy.
const BACKUP: &str = "before-placet";

/// What became of the servers of one file.
struct Changed {
    path: PathBuf,
    servers: Vec<Server>,
}

/// What became of one server.
struct Server {
    name: String,
    change: Change,
    /// What its client starts from now on.
    command: String,
}

pub(super) fn install(
    args: &McpChange,
    principal: Option<&PrincipalId>,
    out: Out,
) -> Result<Status, Failure> {
    let program = program()?;
    let program = program
        .to_str()
        .ok_or_else(|| Failure::new("the path of this program is not text"))?;
    let manner = args.client.manner();
    let is_read = manner.format == Format::Json;
    let all = change(args, |path| {
        let path = path.to_owned();
        Box::new(move |place, server: &mut Map<String, Value>| {
            let gateway = Gateway {
                program,
                config: is_read.then_some(path.as_str()),
                principal,
                bare_url_is_old: manner.bare_url_is_old,
            };
            gateway.wrap(place, server)
        })
    })?;
    report(
        &all,
        args.dry_run,
        ("put in front of", "would be put in front of"),
        out,
    );
    Ok(Status::Ok)
}

pub(super) fn uninstall(args: &McpChange, out: Out) -> Result<Status, Failure> {
    let all = change(args, |_| {
        Box::new(|_, server: &mut Map<String, Value>| unwrap(server))
    })?;
    report(
        &all,
        args.dry_run,
        ("taken away from", "would be taken away from"),
        out,
    );
    Ok(Status::Ok)
}

/// What is done with each server of a file, by the file's path.
type Doing<'a> = Box<text::Each<'a>>;

/// Changes each configuration of the client that is there.
fn change<'a>(args: &McpChange, each: impl Fn(&str) -> Doing<'a>) -> Result<Vec<Changed>, Failure> {
    let manner = args.client.manner();
    let (mut all, mut empty) = (Vec::new(), Vec::new());
    for path in find(args.client, args.file.as_deref())? {
        let unread = |error: &dyn std::fmt::Display| {
            Failure::new(format!("{}: {error}", path.display()))
                .hint("it is left as it is; `placet mcp --help` shows how to change it by hand")
        };
        let real = fs::canonicalize(&path)?;
        let named = real.to_str();
        let named = named.ok_or_else(|| unread(&"its path is not text"))?;
        let before = fs::read_to_string(&real).map_err(|error| unread(&error))?;
        let mut servers = Vec::new();
        let mut doing = each(named);
        let after = text::change(&before, manner, &mut |place, server| {
            let change = doing(place, server);
            let name = match place {
                (Some(project), name) => format!("{name} ({project})"),
                (None, name) => name.to_owned(),
            };
            let command = command_of(server);
            servers.push(Server {
                name,
                change,
                command,
            });
            change
        });
        drop(doing);
        let Some(after) = after.map_err(|error| unread(&error))? else {
            empty.push(unread(&format!("it has no `{}`", manner.member)));
            continue;
        };
        if !args.dry_run && after != before {
            back_up(&real)?;
            replace(&real, &after)?;
            forget_copy(&real, &after)?;
        }
        all.push(Changed { path, servers });
    }
    match (all.is_empty(), empty.into_iter().next()) {
        (true, Some(failure)) => Err(failure),
        _ => Ok(all),
    }
}

fn command_of(server: &Map<String, Value>) -> String {
    let command = server.get("command").and_then(Value::as_str);
    let args = server.get("args").and_then(Value::as_array);
    let args = args.into_iter().flatten().filter_map(Value::as_str);
    let url = URLS.iter().find_map(|url| server.get(*url)?.as_str());
    let words: Vec<&str> = command.or(url).into_iter().chain(args).collect();
    words.join(" ")
}

fn report(all: &[Changed], is_dry: bool, (done, would): (&str, &str), out: Out) {
    let files: Vec<Value> = all.iter().map(Changed::value).collect();
    out.value(&json!({ "dry_run": is_dry, "files": files }));
    for changed in all {
        let made = changed.of(|change| change == Change::Made);
        let count = many(u64::try_from(made.len()).unwrap_or(u64::MAX), "server");
        let what = if is_dry { would } else { done };
        out.line(format!(
            "{} {what} {count} in {}",
            paint(GOOD, "Placet"),
            changed.path.display()
        ));
        for server in &made {
            let command = shown(&server.command).to_string();
            out.line(format!(
                "  {}: {}",
                shown(&server.name),
                paint(DIM, command)
            ));
        }
        for server in &changed.servers {
            if let Change::Other(why) = server.change {
                let note = paint(WARN, format!("left alone: {why}"));
                out.line(format!("  {} {note}", shown(&server.name)));
            }
        }
        let copy = backup_of(&changed.path);
        if !made.is_empty() && !is_dry && copy.exists() {
            let note = format!("a copy from before the first change: {}", copy.display());
            out.line(paint(DIM, note).to_string());
        }
    }
    let is_any = all
        .iter()
        .any(|it| !it.of(|change| change == Change::Made).is_empty());
    if is_any && !is_dry {
        out.line(paint(DIM, "start the client again for it to count").to_string());
    }
}

impl Changed {
    fn of(&self, wanted: impl Fn(Change) -> bool) -> Vec<&Server> {
        let servers = self.servers.iter();
        servers.filter(|server| wanted(server.change)).collect()
    }

    fn value(&self) -> Value {
        let names = |wanted: fn(Change) -> bool| -> Vec<&str> {
            self.of(wanted)
                .iter()
                .map(|server| server.name.as_str())
                .collect()
        };
        json!({
            "file": self.path,
            "changed": names(|change| change == Change::Made),
            "already": names(|change| change == Change::Already),
            "left_alone": names(|change| matches!(change, Change::Other(_))),
        })
    }
}

/// The configurations that are there.
fn find(client: Client, file: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    if let Some(file) = file {
        return Ok(vec![file.to_owned()]);
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    let files = client.files(Path::new(&home));
    let mut known = BTreeSet::new();
    let found: Vec<PathBuf> = files
        .iter()
        .filter(|path| path.is_file())
        // In the home directory both are one.
        .filter(|path| fs::canonicalize(path).is_ok_and(|real| known.insert(real)))
        .cloned()
        .collect();
    if found.is_empty() {
        let places: Vec<String> = files
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let why = format!("there is no configuration at {}", places.join(" or "));
        return Err(Failure::new(why).hint("name it with --file"));
    }
    Ok(found)
}

fn backup_of(path: &Path) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.into_os_string();
    name.push(".");
    name.push(BACKUP);
    name.into()
}

/// The copy is of what the user had: a later change does not replace it.
fn back_up(path: &Path) -> Result<(), Failure> {
    let copy = backup_of(path);
    if !copy.exists() {
        fs::copy(path, &copy)?;
    }
    Ok(())
}

/// A copy that says the same as the file is of no use any more.
fn forget_copy(path: &Path, text: &str) -> Result<(), Failure> {
    let copy = backup_of(path);
    if fs::read_to_string(&copy).is_ok_and(|copied| copied == text) {
        fs::remove_file(copy)?;
    }
    Ok(())
}

/// In one step, with the permissions that it had; nobody else reads it before it has them.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let mut opened = OpenOptions::new();
    let mut file = opened
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.set_permissions(fs::metadata(path)?.permissions()))
        .and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        fs::remove_file(&partial).unwrap_or(());
    }
    Ok(written?)
}
