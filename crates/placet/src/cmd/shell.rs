//! `placet shell`: a shell in which every command is governed, one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use placet_process::Waits;
use placet_types::ProfileName;

use crate::cli::{Call, Global, Shell};
use crate::cmd::run::{self, Manner};
use crate::context::{PRINCIPAL_VARIABLE, program, user_principal};
use crate::exit::{Failure, Status};
use crate::out::Out;

/// Environment variable that names the shell.
const SHELL_VARIABLE: &str = "PLACET_SHELL";
/// Environment variable that names the profile to ask for.
const PROFILE_VARIABLE: &str = "PLACET_PROFILE";
/// Environment variable with what stands before the shell's own prompt.
const PROMPT_VARIABLE: &str = "PLACET_PROMPT";

pub(crate) fn shell(
    global: &Global,
    args: &Shell,
    front: bool,
    out: Out,
) -> Result<Status, Failure> {
    let shell = choose(args)?;
    let principal = match &args.principal {
        Some(principal) => principal.to_string(),
        None => match variable(PRINCIPAL_VARIABLE) {
            Some(name) => name,
            None => user_principal()?.to_string(),
        },
    };
    let name = shell
        .to_str()
        .ok_or_else(|| Failure::new(format!("{}: the path is not UTF-8", shell.display())))?;
    let mut env = BTreeMap::from([
        ("SHELL".to_owned(), name.to_owned()),
        (PRINCIPAL_VARIABLE.to_owned(), principal.clone()),
    ]);
    let mut argv = vec![name.to_owned()];
    argv.extend(
        args.command
            .iter()
            .flat_map(|text| ["-c".to_owned(), text.clone()]),
    );
    argv.extend(args.args.iter().cloned());
    let prompt = args
        .prompt
        .clone()
        .or_else(|| std::env::var(PROMPT_VARIABLE).ok());
    let prompt = prompt.unwrap_or_else(|| format!("{principal} "));
    if argv.len() == 1 && !prompt.is_empty() {
        argv.extend(prompted(&shell, &prompt, &mut env));
    }
    let call = Call {
        principal: args.principal.clone(),
        purpose: args.purpose.clone(),
        profile: profile(args)?,
        lifetime: args.lifetime,
        parent: None,
        decide: true,
        announce: true,
        hear: false,
        door: None,
        argv,
    };
    let manner = Manner {
        front,
        env,
        announce: true,
        waits: Waits::Yes,
    };
    run::run(global, &call, manner, out)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn profile(args: &Shell) -> Result<Option<ProfileName>, Failure> {
    if args.profile.is_some() {
        return Ok(args.profile.clone());
    }
    let named = variable(PROFILE_VARIABLE).map(|name| {
        ProfileName::parse(&name)
            .map_err(|error| Failure::new(format!("{PROFILE_VARIABLE}: {error}")))
    });
    named.transpose()
}

/// The shell that was named, else the user's, unless that is this program itself.
fn choose(args: &Shell) -> Result<PathBuf, Failure> {
    let own = std::fs::canonicalize(program()?)?;
    let is_other = |path: &PathBuf| {
        std::fs::canonicalize(path).is_ok_and(|path| path.is_file() && path != own)
    };
    let named = args
        .shell
        .clone()
        .or_else(|| variable(SHELL_VARIABLE).map(PathBuf::from));
    if let Some(named) = named {
        // By name alone, it is found as any command is.
        return Ok(named);
    }
    let known = variable("SHELL").map(PathBuf::from);
    let usual = ["/bin/bash", "/bin/sh"].map(PathBuf::from);
    known
        .into_iter()
        .chain(usual)
        .find(is_other)
        .ok_or_else(|| Failure::new("there is no shell here").hint("name one with --shell"))
}

/// Puts `prompt` before the shell's own, after its start-up files have made that. What this cannot be
/// said to has its own prompt only.
fn prompted(shell: &Path, prompt: &str, env: &mut BTreeMap<String, String>) -> Vec<String> {
    let name = shell.file_name().unwrap_or_default().to_string_lossy();
    let mut set = |name: &str, value: &str| drop(env.insert(name.to_owned(), value.to_owned()));
    let args = match name.as_ref() {
        // Once, before the first prompt: by then the start-up files have been read.
        "bash" => {
            let once = "PS1=\"\\${PLACET_PROMPT}${PS1}\"; unset PROMPT_COMMAND";
            set("PROMPT_COMMAND", once);
            Vec::new()
        }
        "fish" => {
            let after = "functions -c fish_prompt _placet_prompt 2>/dev/null; \
                 function fish_prompt; echo -n $PLACET_PROMPT; _placet_prompt; end";
            vec!["-C".to_owned(), after.to_owned()]
        }
        _ => {
            set("PS1", &format!("{prompt}$ "));
            Vec::new()
        }
    };
    set(PROMPT_VARIABLE, prompt);
    args
}
