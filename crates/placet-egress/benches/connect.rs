//! What the proxy adds to a connect: CONNECT by address until its answer, beside a direct connect, both over this
//! machine's loopback and in turns. Not counted: the trap that a connect costs in a cell with a broker
//! (`placet-sandbox`'s bench), and the lookup of a name, which is the system's.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench: it reads the clock and says what it found"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use placet_egress::{Proxy, Reach, Sockets};
use placet_sandbox::Resolved;
use placet_types::Network;

const ROUNDS: usize = 3000;

fn main() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = service.local_addr().unwrap();
    thread::spawn(move || service.incoming().for_each(drop));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let sockets = Sockets {
        proxy: listener.into(),
        dns: UdpSocket::bind("127.0.0.1:0").unwrap().into(),
    };
    let rules = [to.to_string().parse().unwrap()].into();
    let reach = Reach::new(&Network::peers(&rules));
    let proxy = Proxy::start(sockets, reach, Resolved::default(), None).unwrap();
    let (mut direct, mut proxied) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        direct.push(timed(|| drop(TcpStream::connect(to).unwrap())));
        proxied.push(timed(|| tunnel(at, to)));
        drop(proxy.events());
    }
    let (direct, proxied) = (sorted(direct), sorted(proxied));
    for (name, part) in [("p50", 2), ("p90", 10)] {
        let index = ROUNDS - ROUNDS / part;
        let (direct, proxied) = (direct[index], proxied[index]);
        let more = proxied.saturating_sub(direct);
        println!("{name}: direct {direct:?}, through the proxy {proxied:?}, +{more:?}");
    }
}

fn tunnel(at: SocketAddr, to: SocketAddr) {
    let mut stream = TcpStream::connect(at).unwrap();
    let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = [0; 64];
    let len = stream.read(&mut answer).unwrap();
    assert!(answer[..len].starts_with(b"HTTP/1.1 200 "));
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}
