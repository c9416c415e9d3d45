//! `placet key`: a person's own key, which their approvals are signed with.

use std::path::{Path, PathBuf};

use placet_authority::keys;
use placet_types::SigningKey;

use crate::cli::Key;
use crate::exit::{Failure, Status};
use crate::out::{DIM, Out, paint};

/// Environment variable that names the key file.
const KEY_VARIABLE: &str = "PLACET_KEY";

pub(crate) fn key(command: &Key, out: Out) -> Result<Status, Failure> {
    let (file, new) = match command {
        Key::New { key } => (place(key.as_deref())?, true),
        Key::Show { key } => (place(key.as_deref())?, false),
    };
    let key = if new { make(&file)? } else { load(&file)? };
    let thumbprint = key.public().thumbprint();
    out.value(&serde_json::json!({ "file": file, "thumbprint": thumbprint }));
    out.line(&thumbprint);
    if new {
        out.line(format!(
            "{} placet principal add-key user:NAME {thumbprint}",
            paint(DIM, "an operator registers it:")
        ));
    }
    Ok(Status::Ok)
}

/// Reads the key of whoever runs this.
pub(crate) fn own(named: Option<&Path>) -> Result<SigningKey, Failure> {
    load(&place(named)?)
}

fn place(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    if let Some(path) = std::env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty());
    let config = match config {
        Some(config) => PathBuf::from(config),
        None => {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            let home = home.ok_or_else(|| {
                Failure::new("there is no home directory for a key")
                    .hint(format!("name the file with --key or {KEY_VARIABLE}"))
            })?;
            Path::new(&home).join(".config")
        }
    };
    Ok(config.join("placet").join("key"))
}

fn make(file: &Path) -> Result<SigningKey, Failure> {
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    keys::create_at(file).map_err(|error| {
        Failure::new(format!("{}: {error}", file.display()))
            .hint("an existing key is never replaced: approvals that it signed name it")
    })
}

fn load(file: &Path) -> Result<SigningKey, Failure> {
    keys::load_from(file).map_err(|error| {
        Failure::new(format!("{}: {error}", file.display())).hint("`placet key new` makes one")
    })
}
