//! Audit's text records, as far as they tell of Landlock. Strict: what does not read is nothing.
//!
//! Format: the kernel's `security/landlock/audit.c` and `kernel/audit.c`. A string is quoted, or in
//! hexadecimal when it holds anything that could not stand in quotes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::DeniedAccess;

/// The numbers of the records.
const SYSCALL: u16 = 1300;
const END_OF_EVENT: u16 = 1320;
const LANDLOCK_ACCESS: u16 = 1423;
const LANDLOCK_DOMAIN: u16 = 1424;

/// One record; `event` is the number that records of one event share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) event: u64,
    pub(super) told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A domain has refused something.
    Refused {
        domain: u64,
        access: DeniedAccess,
        rights: String,
        path: Option<PathBuf>,
    },
    /// A domain has refused for the first time; this process made it.
    Domain { domain: u64, maker: i32 },
    /// The system call in which it happened.
    Call { pid: u32 },
    /// Nothing more comes.
    End,
}

impl Record {
    /// Reads a record; `None` when it tells of nothing that matters here.
    pub(super) fn read(kind: u16, text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let text = text.trim_end_matches('\0');
        let (stamp, text) = text.strip_prefix("audit(")?.split_once("):")?;
        let event = stamp.split_once(':')?.1.parse().ok()?;
        let field = |name: &str| field(text, name);
        let domain = || u64::from_str_radix(field("domain")?, 16).ok();
        let told = match kind {
            LANDLOCK_ACCESS => {
                let rights = field("blockers")?;
                Told::Refused {
                    domain: domain()?,
                    access: strongest(rights)?,
                    rights: rights.to_owned(),
                    path: field("path").and_then(string).map(PathBuf::from),
                }
            }
            LANDLOCK_DOMAIN if field("status") == Some("allocated") => Told::Domain {
                domain: domain()?,
                maker: field("pid")?.parse().ok()?,
            },
            SYSCALL => Told::Call {
                pid: field("pid")?.parse().ok()?,
            },
            END_OF_EVENT => Told::End,
            _ => return None,
        };
        Some(Self { event, told })
    }
}

/// The value of a field. Quotes hold no quotes, and a value outside of them no blank.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(' ');
        let (key, after) = rest.split_once('=')?;
        let end = match after.strip_prefix('"') {
            Some(quoted) => quoted.find('"')?.saturating_add(2),
            None => after.find(' ').unwrap_or(after.len()),
        };
        let (value, after) = after.split_at_checked(end)?;
        if key == name {
            return Some(value);
        }
        rest = after;
    }
}

/// A string from its quotes or its hexadecimal form.
fn string(value: &str) -> Option<OsString> {
    if let Some(quoted) = value.strip_prefix('"') {
        return quoted.strip_suffix('"').map(OsString::from);
    }
    let (pairs, []) = value.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.map(OsString::from_vec)
}

fn strongest(rights: &str) -> Option<DeniedAccess> {
    rights.split(',').map(class).max()
}

fn class(right: &str) -> DeniedAccess {
    match right {
        "fs.read_file" | "fs.read_dir" => DeniedAccess::Read,
        "fs.execute" => DeniedAccess::Execute,
        "fs.ioctl_dev" | "fs.change_topology" => DeniedAccess::Other,
        right if right.starts_with("fs.") => DeniedAccess::Write,
        right if right.starts_with("net.") => DeniedAccess::Network,
        _ => DeniedAccess::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: u16, text: &str) -> Option<Told> {
        let record = Record::read(kind, text.as_bytes())?;
        assert_eq!(record.event, 4);
        Some(record.told)
    }

    // As Linux 6.18 writes them.
    #[test]
    fn a_refusal_is_read() {
        let text = "audit(1795750599.246:4): domain=1d0aab2d2 blockers=fs.write_file,fs.read_file \
                    path=\"/etc/passwd\" dev=\"vda\" ino=737";
        let refused = Told::Refused {
            domain: 0x1_d0aa_b2d2,
            access: DeniedAccess::Write,
            rights: "fs.write_file,fs.read_file".into(),
            path: Some("/etc/passwd".into()),
        };
        assert_eq!(told(LANDLOCK_ACCESS, text), Some(refused));
    }

    #[test]
    fn a_path_that_could_not_be_quoted_is_read() {
        let text = "audit(1.2:4): domain=1 blockers=fs.execute path=2F612062 dev=\"vda\" ino=7";
        let Some(Told::Refused { path, access, .. }) = told(LANDLOCK_ACCESS, text) else {
            panic!("not read");
        };
        assert_eq!(path, Some("/a b".into()));
        assert_eq!(access, DeniedAccess::Execute);
    }

    #[test]
    fn a_path_that_is_no_string_is_none() {
        let text = "audit(1.2:4): domain=1 blockers=scope.signal path=\"<too_long>\" opid=1";
        let Some(Told::Refused { path, access, .. }) = told(LANDLOCK_ACCESS, text) else {
            panic!("not read");
        };
        assert_eq!(path, Some("<too_long>".into()));
        assert_eq!(access, DeniedAccess::Other);
        for value in ["2F6", "(null)", "zz", "\"open", "\""] {
            assert_eq!(string(value), None, "{value}");
        }
    }

    #[test]
    fn a_name_in_a_string_is_no_field() {
        let text = "audit(1.2:4): domain=2 status=allocated mode=enforcing pid=7 uid=0 \
                    exe=\"/x pid=9 domain=3\" comm=\"x\"";
        let made = Told::Domain {
            domain: 2,
            maker: 7,
        };
        assert_eq!(told(LANDLOCK_DOMAIN, text), Some(made));
        let call = "audit(1.2:4): comm=\"a pid=8 b\" ppid=1 pid=20 auid=4294967295 ses=1";
        assert_eq!(told(SYSCALL, call), Some(Told::Call { pid: 20 }));
    }

    #[test]
    fn what_is_no_record_of_landlock_is_nothing() {
        let gone = "audit(1.2:4): domain=1 status=deallocated denials=3";
        assert_eq!(told(LANDLOCK_DOMAIN, gone), None);
        assert_eq!(told(1327, "audit(1.2:4): proctitle=00"), None);
        assert_eq!(told(END_OF_EVENT, "audit(1.2:4): "), Some(Told::End));
        for text in ["", "audit(", "audit(1.2:4)", "audit(1.2:x): pid=1", "pid=1"] {
            assert_eq!(Record::read(SYSCALL, text.as_bytes()), None, "{text}");
        }
        assert_eq!(Record::read(SYSCALL, b"audit(1.2:4): pid=\xff"), None);
    }
}
