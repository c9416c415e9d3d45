//! Asking for a secret at a terminal, without showing it.
//!
//! The terminal is taken out of line mode, whose lines end at 4,095 bytes, and its interrupt key is
//! read as a byte, so that it is always put back as it was.

use std::io::{self, Write as _};

use placet_secrets::BYTES_MAX;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::exit::Failure;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL_LINE: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// The terminal as it was, put back when this goes.
struct Silent(Termios);

impl Silent {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.0).unwrap_or(());
    }
}

/// Asks with `prompt` on standard error and reads up to the end of the line.
pub(super) fn at_terminal(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let silent = Silent::begin()?;
    let say = |text: &str| {
        let mut stderr = io::stderr();
        drop(
            stderr
                .write_all(text.as_bytes())
                .and_then(|()| stderr.flush()),
        );
    };
    say(prompt);
    let read = read_line();
    drop(silent);
    say("\n");
    read
}

fn read_line() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut line = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    let mut byte = Zeroizing::new([0; 1]);
    while line.len() <= BYTES_MAX {
        match rustix::io::read(rustix::stdio::stdin(), byte.as_mut_slice()) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        match *byte {
            [b'\n' | b'\r' | END] => break,
            [INTERRUPT] => return Err(Failure::new("interrupted; nothing was changed")),
            [BACKSPACE | DELETE] => {
                line.pop();
            }
            [KILL_LINE] => line.clear(),
            [other] => line.push(other),
        }
    }
    Ok(line)
}
