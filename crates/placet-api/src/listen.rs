//! Where connections come from: the Unix socket and the TCP listener, each with its own bound.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::call::Shared;
use crate::connection::{self, Handler, Origin};
use crate::first::unless_stopped;
use crate::identity::Channel;
use crate::log::{Level, Value};

/// How long to wait when no connection can be taken, as when there are too many descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// A Unix socket that is removed with its listener.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. A socket of a process that is gone is replaced; anything else is left alone.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::other("there is something else at this path"));
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        // Before anybody is served: who connected in between has no more rights than its user has.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays is replaced by the next.
        drop(std::fs::remove_file(&self.path));
    }
}

pub(crate) async fn unix(socket: Socket, handler: Arc<Handler>) {
    let room = room(&handler);
    let stopping = &handler.shared.stopping;
    loop {
        let Some(accepted) = unless_stopped(stopping, socket.listener.accept()).await else {
            return;
        };
        let Ok((stream, _)) = accepted else {
            sleep(BREATH).await;
            continue;
        };
        let Ok(credentials) = stream.peer_cred() else {
            continue;
        };
        let channel = Channel::Unix {
            uid: credentials.uid(),
        };
        let handler = Arc::clone(&handler);
        match Arc::clone(&room).try_acquire_owned() {
            Ok(place) => serve(stream, channel.into(), handler, place),
            Err(_) => turn_away(stream.into_std(), false, &handler.shared),
        }
    }
}

pub(crate) async fn tcp(listener: TcpListener, handler: Arc<Handler>) {
    let tls = handler.shared.tls.clone();
    let room = room(&handler);
    let stopping = &handler.shared.stopping;
    loop {
        let Some(accepted) = unless_stopped(stopping, listener.accept()).await else {
            return;
        };
        let Ok((stream, peer)) = accepted else {
            sleep(BREATH).await;
            continue;
        };
        // Answers are small and wanted now; without it they are only later.
        drop(stream.set_nodelay(true));
        let handler = Arc::clone(&handler);
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            turn_away(stream.into_std(), tls.is_some(), &handler.shared);
            continue;
        };
        let channel = Channel::Tcp {
            peer,
            tls: tls.is_some(),
        };
        match &tls {
            None => serve(stream, channel.into(), handler, place),
            Some(listener) => {
                let (accepting, listener) =
                    (listener.acceptor().accept(stream), Arc::clone(listener));
                let patience = Duration::from_secs(handler.shared.settings.limits.header_secs);
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(patience, accepting).await {
                        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                        let now = handler.shared.service.clock().wall();
                        let origin = Origin {
                            channel,
                            peer: Some(listener.peer(shown, now)),
                        };
                        connection::serve(stream, origin, handler, place).await;
                    }
                });
            }
        }
    }
}

/// How often files of certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Takes certificates and trust bundles that changed. Bad ones leave the last good ones in force.
pub(crate) async fn renew(handler: Arc<Handler>) {
    let shared = Arc::clone(&handler.shared);
    let Some(listener) = shared.tls.clone() else {
        return;
    };
    while unless_stopped(&shared.stopping, sleep(LOOK))
        .await
        .is_some()
    {
        let (look, now) = (Arc::clone(&listener), shared.service.clock().wall());
        let done = tokio::task::spawn_blocking(move || look.refresh(now)).await;
        let (level, event, why) = match done {
            Ok(Some(Ok(()))) => (Level::Info, "certificates", String::new()),
            Ok(Some(Err(error))) => (Level::Error, "certificates_refused", error.to_string()),
            Ok(None) | Err(_) => continue,
        };
        shared
            .logger
            .say(level, now, event, &[("error", Value::Text(&why))]);
    }
}

fn room(handler: &Handler) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(handler.shared.settings.limits.connections))
}

fn serve<S>(stream: S, origin: Origin, handler: Arc<Handler>, place: OwnedSemaphorePermit)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(connection::serve(stream, origin, handler, place));
}

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: 135\r\n\r\n{\"type\":\"urn:placet:problem:overloaded\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections\",\"code\":\"overloaded\"}";

/// A few bytes into an empty buffer: they are taken at once, or not at all.
fn turn_away(stream: io::Result<impl io::Write>, encrypted: bool, shared: &Shared) {
    let refused = &shared.requests.refused_connections;
    refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    if let (Ok(mut stream), false) = (stream, encrypted) {
        drop(stream.write_all(TOO_MANY));
    }
}

#[cfg(test)]
mod tests {
    use super::TOO_MANY;

    #[test]
    fn the_answer_to_one_connection_too_many_is_whole() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
