//! Which mounts of a process allow execution. Format: proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::process::Process;

/// The mount points, as the process names them.
pub(super) fn executable(process: &Process) -> Result<Vec<PathBuf>, Errno> {
    let mut text = Vec::new();
    let read = process.file("mountinfo")?.read_to_end(&mut text);
    read.map_err(|error| {
        error
            .raw_os_error()
            .map_or(Errno::IO, Errno::from_raw_os_error)
    })?;
    Ok(parse(&text))
}

fn parse(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let noexec = options
            .split(|byte| *byte == b',')
            .any(|option| option == b"noexec");
        (!noexec).then(|| unescaped(point))
    });
    points.collect()
}

/// Blanks, tabs, line ends and backslashes stand as three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_without_noexec_are_found_under_their_names() {
        let text = b"61 60 0:50 / / ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw\n\
            62 61 254:0 /usr/lib /usr/lib ro,nosuid,nodev,relatime - ext4 /dev/vda rw\n\
            63 61 254:0 /a\\040b /a\\040b\\134 rw,nosuid - ext4 /dev/vda rw,noexec\n\
            64 61 0:51 / /tmp rw,noexec - tmpfs tmpfs rw\n";
        assert_eq!(parse(text), ["/usr/lib", "/a b\\"].map(PathBuf::from));
        assert!(parse(b"").is_empty());
    }
}
