//! How the tree of a cell reaches peers by name.
//!
//! A cell's network leads nowhere. Where its scope names hosts, two sockets on the cell's own loopback
//! are served from outside of it, by the supervisor: a proxy (HTTP CONNECT, plain HTTP, SOCKS5) and a
//! DNS stub for programs that know no proxy. Both ask the scope first, then the system's resolver, and
//! judge every address that comes back; the proxy connects to the judged address itself, and the stub
//! pins it for the connect broker. So nothing is looked up twice, and no name leads into a private
//! network or to a metadata service that the scope does not name by address.
//!
//! Everything is bounded: connections, bytes before a request is understood, the time that takes,
//! names that are looked up at once, reports that wait. What the tree sends is read by strict decoders
//! ([`head`], [`socks`], [`dns`], [`chunked`]), which are pure. A proxied connection carries one request, so that
//! no second one can hide in it.
//!
//! It enforces [`Reach`] and decides nothing: no policy, no artifact, no log is known here. Nothing
//! here looks into what goes through a tunnel: a host in scope can pass on whatever it is sent.

#![forbid(unsafe_code)]

pub mod chunked;
pub mod dns;
pub mod head;
mod host;
mod proxy;
mod reach;
mod relay;
mod report;
mod resolve;
mod serve;
pub mod socks;
mod stub;

pub use host::{Authority, Host};
pub use proxy::{Proxy, Sockets};
pub use reach::{Reach, Refused};
pub use report::{Ended, Event, Opened, Way};
