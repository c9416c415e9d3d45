//! What a caller's sockaddr says. Pure.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;

/// `struct sockaddr_storage`: no family's address is longer.
pub(super) const ADDRESS_BYTES_MAX: usize = 128;
/// `struct sockaddr_in`.
const V4_BYTES: usize = 16;
/// `struct sockaddr_in6` without the scope, which the kernel also takes.
const V6_BYTES: usize = 24;

const UNSPEC: u16 = 0;
const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Undo an earlier connect.
    None,
    Inet(SocketAddr),
    /// An AF_UNIX name that is no path.
    Abstract,
    Path(OsString),
    /// Cut off.
    Invalid,
    /// Of a family that no socket in a cell has.
    Foreign,
}

/// Reads an address, as the kernel would.
pub(super) fn read(bytes: &[u8]) -> Address {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        return Address::Invalid;
    };
    match u16::from_ne_bytes(*family) {
        UNSPEC => Address::None,
        UNIX => unix(rest),
        INET => v4(bytes).map_or(Address::Invalid, Address::Inet),
        INET6 => v6(bytes).map_or(Address::Invalid, Address::Inet),
        _ => Address::Foreign,
    }
}

fn unix(name: &[u8]) -> Address {
    match name.first() {
        // The autobind form; connect refuses it.
        None => Address::Invalid,
        Some(0) => Address::Abstract,
        Some(_) => {
            let end = name.iter().position(|byte| *byte == 0);
            let path = end.and_then(|end| name.get(..end)).unwrap_or(name);
            Address::Path(OsStr::from_bytes(path).to_owned())
        }
    }
}

fn v4(bytes: &[u8]) -> Option<SocketAddr> {
    if bytes.len() < V4_BYTES {
        return None;
    }
    let port = u16::from_be_bytes(chunk(bytes, 2)?);
    let address = Ipv4Addr::from(chunk::<4>(bytes, 4)?);
    Some(SocketAddr::V4(SocketAddrV4::new(address, port)))
}

fn v6(bytes: &[u8]) -> Option<SocketAddr> {
    if bytes.len() < V6_BYTES {
        return None;
    }
    let port = u16::from_be_bytes(chunk(bytes, 2)?);
    let address = Ipv6Addr::from(chunk::<16>(bytes, 8)?);
    let scope = chunk(bytes, 24).map_or(0, u32::from_ne_bytes);
    Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)))
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_does() {
        let v4 = [2, 0, 0x01, 0xbb, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&v4), Address::Inet("1.2.3.4:443".parse().unwrap()));
        assert_eq!(read(&v4[..15]), Address::Invalid);
        let mut v6 = [0u8; 28];
        v6[0] = 10;
        v6[2..4].copy_from_slice(&443u16.to_be_bytes());
        v6[23] = 1;
        assert_eq!(read(&v6), Address::Inet("[::1]:443".parse().unwrap()));
        assert_eq!(read(&v6[..24]), Address::Inet("[::1]:443".parse().unwrap()));
        assert_eq!(read(&v6[..23]), Address::Invalid);
        assert_eq!(read(&[0, 0]), Address::None);
        assert_eq!(read(&[0]), Address::Invalid);
        assert_eq!(read(&[16, 0, 0, 0]), Address::Foreign);
    }

    #[test]
    fn a_path_ends_with_its_zero_or_with_the_address() {
        let path = |text: &str| Address::Path(text.into());
        assert_eq!(read(b"\x01\0/a/b\0rest"), path("/a/b"));
        assert_eq!(read(b"\x01\0/a/b"), path("/a/b"));
        assert_eq!(read(b"\x01\0\0name"), Address::Abstract);
        assert_eq!(read(b"\x01\0"), Address::Invalid);
    }
}
