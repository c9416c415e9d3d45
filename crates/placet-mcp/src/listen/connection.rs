//! Connections: taken as long as there is room, bounded in time both ways, ended in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use placet_fetch::Paced;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::Gate;
use crate::remote::unless_over;

/// Connections at once.
const CONNECTIONS_MAX: u32 = 256;
/// Longest head of a request, in bytes, and most headers in it.
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 64;
/// How long to wait when no connection can be taken.
const BREATH: Duration = Duration::from_millis(50);
/// How long connections get to finish at the end.
const LEAVING: Duration = Duration::from_secs(5);

/// Takes connections until it is told to stop, and waits for those that are there.
pub(super) async fn accept(listener: TcpListener, gate: &Arc<Gate>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let mut stopping = gate.stopping.clone();
    while let Some(accepted) = unless_over(&mut stopping, listener.accept()).await {
        let Ok((stream, peer)) = accepted else {
            sleep(BREATH).await;
            continue;
        };
        // Who finds no room is turned away by the closed connection.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        // Answers are small and wanted now; without it they are only later.
        drop(stream.set_nodelay(true));
        tokio::spawn(take(stream, peer, Arc::clone(gate), place));
    }
    drop(listener);
    gate.lives().forget(|_| true);
    drop(timeout(LEAVING, room.acquire_many(CONNECTIONS_MAX)).await);
}

async fn take(stream: TcpStream, peer: SocketAddr, gate: Arc<Gate>, place: OwnedSemaphorePermit) {
    match &gate.door.tls {
        None => serve(stream, peer, gate).await,
        Some(tls) => {
            let accepting = tls().accept(stream);
            if let Ok(Ok(stream)) = timeout(gate.door.patience.head, accepting).await {
                serve(stream, peer, gate).await;
            }
        }
    }
    drop(place);
}

async fn serve<S>(stream: S, peer: SocketAddr, gate: Arc<Gate>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = gate.stopping.clone();
    let patience = gate.door.patience;
    let service = service_fn(move |request| {
        let gate = Arc::clone(&gate);
        async move { Ok::<_, Infallible>(gate.answer(request, peer).await) }
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(Paced::new(stream, patience.write)), service);
    let mut connection = std::pin::pin!(connection);
    // How it ended is the client's business: whatever mattered has its record.
    if unless_over(&mut stopping, connection.as_mut())
        .await
        .is_none()
    {
        connection.as_mut().graceful_shutdown();
        drop(connection.await);
    }
}
