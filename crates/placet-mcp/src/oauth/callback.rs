//! Where the browser answers: one address on loopback, for one login, until it is answered.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use placet_fetch::Whole;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::OAuthError;
use super::login::{Code, Login};

const PATH: &str = "/callback";
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection may stay.
const STAYS: Duration = Duration::from_secs(10);
/// Answers of somebody else that are put up with.
const OTHERS_MAX: u32 = 32;

/// A listener on loopback.
#[derive(Debug)]
pub struct Callback {
    listener: TcpListener,
    port: u16,
}

/// A query that came, and where the page goes that answers it.
type Came = (String, oneshot::Sender<Page>);

struct Page(StatusCode, &'static str);

impl Callback {
    /// Listens, on this port or a free one.
    ///
    /// # Errors
    ///
    /// [`OAuthError::Listen`]
    pub async fn bind(port: Option<u16>) -> Result<Self, OAuthError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(0)));
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(OAuthError::Listen)?;
        let port = listener.local_addr().map_err(OAuthError::Listen)?.port();
        Ok(Self { listener, port })
    }

    /// Where the browser answers, exactly.
    #[must_use]
    pub fn redirect(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the answer to this login. What is no answer to it is sent away; afterwards nobody listens.
    ///
    /// # Errors
    ///
    /// [`OAuthError`]
    pub async fn wait(self, login: &Login, patience: Duration) -> Result<Code, OAuthError> {
        let waited = timeout(patience, self.waited(login)).await;
        waited.map_err(|_| OAuthError::Late)?
    }

    async fn waited(self, login: &Login) -> Result<Code, OAuthError> {
        let Self { listener, port } = self;
        let (sender, mut came) = mpsc::channel::<Came>(1);
        let serving = tokio::spawn(serve(listener, port, sender));
        let serving = Aborted(serving);
        let mut others = 0;
        while let Some((query, page)) = came.recv().await {
            let answered = login.answered(&query);
            let (status, text) = match &answered {
                Ok(_) => (StatusCode::OK, "Done. This page can be closed."),
                Err(OAuthError::OtherAnswer(_)) => (
                    StatusCode::BAD_REQUEST,
                    "This is not the answer that is waited for.",
                ),
                Err(_) => (StatusCode::OK, "Refused. The terminal says more."),
            };
            // A browser that is gone needs no page.
            page.send(Page(status, text)).unwrap_or(());
            match answered {
                Err(OAuthError::OtherAnswer(_)) if others < OTHERS_MAX => others += 1,
                done => {
                    // The page is on its way; whoever comes later finds nobody.
                    sleep(Duration::from_millis(100)).await;
                    drop(serving);
                    return done;
                }
            }
        }
        Err(OAuthError::Late)
    }
}

/// A task that ends with whoever waits.
struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(listener: TcpListener, port: u16, to: mpsc::Sender<Came>) {
    // Browsers open connections that they do not use: none of them is waited for.
    while let Ok((stream, _)) = listener.accept().await {
        let to = to.clone();
        tokio::spawn(async move { drop(timeout(STAYS, speak(stream, port, to)).await) });
    }
}

async fn speak(stream: TcpStream, port: u16, to: mpsc::Sender<Came>) {
    let service = service_fn(|request: Request<Incoming>| {
        let to = to.clone();
        async move {
            let Page(status, text) = answer(&request, port, to).await;
            Ok::<_, Infallible>(page(status, text))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // How it ended is the browser's matter.
    drop(served.await);
}

async fn answer(request: &Request<Incoming>, port: u16, to: mpsc::Sender<Came>) -> Page {
    // A name that leads here (DNS rebinding) is not this host.
    let host = format!("127.0.0.1:{port}");
    let is_here = request.headers().get_all(HOST).iter().eq([host.as_str()]);
    if !is_here || request.method() != Method::GET || request.uri().path() != PATH {
        return Page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (sender, receiver) = oneshot::channel();
    let gone = Page(StatusCode::NOT_FOUND, "Nobody waits any more.");
    if to.send((query, sender)).await.is_err() {
        return gone;
    }
    receiver.await.unwrap_or(gone)
}

fn page(status: StatusCode, text: &'static str) -> Response<Whole> {
    let mut response = Response::new(Whole(Some(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
