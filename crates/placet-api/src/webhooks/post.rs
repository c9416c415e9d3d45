//! One POST, and what came of it. Redirects are not followed: an address is what was configured.

use std::io;
use std::time::Duration;

use placet_types::Millis;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Receiver;
use super::message::Message;

/// How long an attempt may take, from the name to the status.
const PATIENCE: Duration = Duration::from_secs(10);
/// As much of an answer as is looked at: the status line.
const STATUS_LINE_MAX: u64 = 512;

/// Why an attempt did not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("it took too long")]
    Late,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its host is not this machine")]
    NotLoopback,
    #[error("it answered {0}")]
    Status(u16),
    #[error("its answer is no HTTP")]
    Odd,
}

/// Tells the receiver. Counts once it answered with success.
pub(super) async fn post(
    receiver: &Receiver,
    message: &Message,
    now: Millis,
) -> Result<(), PostError> {
    let attempt = async {
        let request = request(receiver, message, now).ok_or(PostError::Odd)?;
        let stream = connect(receiver).await?;
        let status = match receiver.tls() {
            Some((connector, name)) => {
                exchange(connector.connect(name, stream).await?, &request).await?
            }
            None => exchange(stream, &request).await?,
        };
        match status {
            200..=299 => Ok(()),
            other => Err(PostError::Status(other)),
        }
    };
    timeout(PATIENCE, attempt)
        .await
        .unwrap_or(Err(PostError::Late))
}

/// Plain text goes to this machine and to no other, whatever a resolver says.
async fn connect(receiver: &Receiver) -> Result<TcpStream, PostError> {
    let place = (receiver.host(), receiver.port());
    let mut failed = PostError::Io(io::ErrorKind::NotFound.into());
    for address in tokio::net::lookup_host(place).await? {
        if receiver.tls().is_none() && !address.ip().is_loopback() {
            failed = PostError::NotLoopback;
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

/// The whole request. Everything in it but the body is of this program or of the configuration, where
/// an address cannot hold a line break.
fn request(receiver: &Receiver, message: &Message, now: Millis) -> Option<Vec<u8>> {
    let timestamp = now.as_unix_secs().to_string();
    let signature = receiver.sign(&message.id, &timestamp, &message.body)?;
    let (path, host, port) = (receiver.path(), receiver.host(), receiver.port());
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\
         user-agent: placet/{}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         webhook-id: {}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        message.body.len(),
        message.id,
    );
    Some([head.as_bytes(), &message.body].concat())
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> Result<u16, PostError> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut line = Vec::new();
    let mut bounded = stream.take(STATUS_LINE_MAX);
    while !line.contains(&b'\n') {
        let mut piece = [0; 128];
        let read = bounded.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        line.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    status(&line).ok_or(PostError::Odd)
}

fn status(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.split(|byte| *byte == b'\r').next()?).ok()?;
    let (version, rest) = text.split_once(' ')?;
    let digits = rest.get(..3)?;
    let known = ["HTTP/1.1", "HTTP/1.0"].contains(&version);
    let plain = rest.as_bytes().get(3).is_none_or(|byte| *byte == b' ');
    digits.parse().ok().filter(|_| known && plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_reads_in_one_way() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nx"), Some(204));
        assert_eq!(status(b"HTTP/1.0 500\r\n"), Some(500));
        for odd in [
            "",
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1 2000 OK\r\n",
            "200 OK",
            "HTTP/1.1 \u{e9}",
        ] {
            assert_eq!(status(odd.as_bytes()), None, "{odd}");
        }
    }
}
