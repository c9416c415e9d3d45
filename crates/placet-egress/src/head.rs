//! The head of a request to an HTTP proxy (RFC 9112), read strictly. Pure.
//!
//! What two readers could understand differently is refused: bare line ends, folded lines, space before
//! a colon, a field twice that frames the message, both framings, a `Host` that says another than the
//! target. What is passed on is written anew, with one framing, one `Host`, and no hop-by-hop field.

use crate::host::Authority;

/// Bytes of a head, and fields in it.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 100;
const METHOD_BYTES_MAX: usize = 32;

/// Fields that are about one connection and not passed on (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];
/// Fields that are written anew.
const OURS: [&str; 3] = ["content-length", "host", "transfer-encoding"];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// CONNECT: bytes go both ways from here on.
    Tunnel(Authority),
    /// One request in absolute form is passed on.
    Forward(Forward),
}

/// A request that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// To whom.
    pub to: Authority,
    /// The head as it is passed on.
    pub head: Vec<u8>,
    /// What follows it.
    pub body: Body,
}

/// How the end of a request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It has so many bytes.
    Sized(u64),
    /// It comes in chunks: see [`crate::chunked`].
    Chunked,
}

/// Why a head is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is longer than [`HEAD_BYTES_MAX`], or has too many fields.
    #[error("the head of the request is too long")]
    TooLong,
    /// It breaks this rule.
    #[error("{0}")]
    Malformed(&'static str),
}

type Read<T> = Result<T, Problem>;

const fn bad<T>(rule: &'static str) -> Read<T> {
    Err(Problem::Malformed(rule))
}

/// Reads a head and gives its length; `None` when there has to be more.
///
/// # Errors
///
/// [`Problem`] as soon as it can be seen.
pub fn read(bytes: &[u8]) -> Read<Option<(Ask, usize)>> {
    let bytes = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let seen = end.map_or(bytes, |end| bytes.get(..end).unwrap_or_default());
    check_line_ends(seen, end.is_some())?;
    match end {
        Some(end) => Ok(Some((read_whole(seen)?, end.saturating_add(4)))),
        None if bytes.len() >= HEAD_BYTES_MAX => Err(Problem::TooLong),
        None => Ok(None),
    }
}

/// Every CR is followed by LF and every LF follows CR; no NUL anywhere.
fn check_line_ends(bytes: &[u8], whole: bool) -> Read<()> {
    let mut before = 0;
    for byte in bytes {
        let fits = (before == b'\r') == (*byte == b'\n') && *byte != 0;
        if !fits {
            return bad("lines end with CR LF, and neither stands alone");
        }
        before = *byte;
    }
    if whole && before == b'\r' {
        return bad("lines end with CR LF, and neither stands alone");
    }
    Ok(())
}

struct Head<'a> {
    method: &'a str,
    target: &'a str,
    version: &'a str,
    fields: Vec<(String, &'a [u8])>,
}

fn read_whole(head: &[u8]) -> Read<Ask> {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (method, target, version) = request_line(lines.next().unwrap_or_default())?;
    let fields: Vec<_> = lines.map(field).collect::<Read<_>>()?;
    if fields.len() > FIELDS_MAX {
        return Err(Problem::TooLong);
    }
    let head = Head {
        method,
        target,
        version,
        fields,
    };
    if method == "CONNECT" {
        head.tunnel().map(Ask::Tunnel)
    } else {
        head.forward().map(Ask::Forward)
    }
}

fn request_line(line: &[u8]) -> Read<(&str, &str, &str)> {
    let rule = "the request line is METHOD SP TARGET SP VERSION";
    let visible = line
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let text = std::str::from_utf8(line).ok().filter(|_| visible);
    let mut parts = text.ok_or(Problem::Malformed(rule))?.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return bad(rule);
    };
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.bytes().all(is_token) {
        return bad("the method is no token");
    }
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return bad("the version is neither HTTP/1.1 nor HTTP/1.0");
    }
    Ok((method, target, version))
}

/// A name in lower case and its value without the space around it.
fn field(line: &[u8]) -> Read<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = colon
        .and_then(|at| line.split_at_checked(at))
        .ok_or(Problem::Malformed("a field has no colon"))?;
    if name.is_empty() || !name.iter().copied().all(is_token) {
        // A folded line begins with space, and space before a colon is none of a name.
        return bad("the name of a field is no token");
    }
    let value = value.get(1..).unwrap_or_default();
    if value
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return bad("a field holds a control character");
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, value.trim_ascii()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl<'a> Head<'a> {
    /// The value of a field that stands there at most once.
    fn only(&self, name: &str) -> Read<Option<&'a [u8]>> {
        let mut values = self.fields.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (found, None) => Ok(found.map(|(_, value)| *value)),
            (_, Some(_)) => bad("Host, Content-Length and Transfer-Encoding stand once at most"),
        }
    }

    /// `Host` says the same as the target; only HTTP/1.0 may leave it out.
    fn check_host(&self, to: &Authority, default_port: u16) -> Read<()> {
        let Some(value) = self.only("host")? else {
            return if self.version == "HTTP/1.0" {
                Ok(())
            } else {
                bad("there is no Host field")
            };
        };
        let text = std::str::from_utf8(value).ok();
        let host = text.and_then(|text| Authority::parse(text, Some(default_port)));
        if host.as_ref() == Some(to) {
            Ok(())
        } else {
            bad("the Host field does not say what the target says")
        }
    }

    fn tunnel(&self) -> Read<Authority> {
        let to = Authority::parse(self.target, None).ok_or(Problem::Malformed(
            "the target of CONNECT is HOST:PORT, the host a plain name or address",
        ))?;
        self.check_host(&to, to.port)?;
        let framed = self.only("content-length")?.is_some_and(|it| it != b"0")
            || self.only("transfer-encoding")?.is_some();
        if framed {
            return bad("CONNECT has no body");
        }
        Ok(to)
    }

    fn forward(&self) -> Read<Forward> {
        let (to, path) = self.absolute()?;
        self.check_host(&to, 80)?;
        let body = self.body()?;
        Ok(Forward {
            head: self.rewritten(&to, &path, body)?,
            to,
            body,
        })
    }

    /// The parts of `http://host[:port]/path`.
    fn absolute(&self) -> Read<(Authority, String)> {
        let rule =
            "the target is http://HOST[:PORT]/PATH: this is a proxy, and TLS goes by CONNECT";
        let (scheme, rest) = self.target.split_at_checked(7).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("http://") || rest.contains('#') {
            return bad(rule);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
        let to = Authority::parse(authority, Some(80)).ok_or(Problem::Malformed(rule))?;
        let path = match path.chars().next() {
            Some('/') => path.to_owned(),
            Some(_) => format!("/{path}"),
            None if self.method == "OPTIONS" => "*".to_owned(),
            None => "/".to_owned(),
        };
        Ok((to, path))
    }

    fn body(&self) -> Read<Body> {
        let length = self.only("content-length")?;
        match (self.only("transfer-encoding")?, length) {
            (Some(_), Some(_)) => bad("Transfer-Encoding and Content-Length exclude each other"),
            (Some(coding), None) => {
                if self.version == "HTTP/1.1" && coding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Body::Chunked)
                } else {
                    bad("the only Transfer-Encoding is chunked, and not in HTTP/1.0")
                }
            }
            (None, None) => Ok(Body::Sized(0)),
            (None, Some(length)) => {
                let digits =
                    (1..=15).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
                let text = std::str::from_utf8(length).ok().filter(|_| digits);
                text.and_then(|text| text.parse().ok())
                    .map(Body::Sized)
                    .ok_or(Problem::Malformed("Content-Length is a number"))
            }
        }
    }

    /// Fields that `Connection` names go no further either.
    fn named_by_connection(&self) -> Vec<String> {
        let values = self.fields.iter().filter(|(name, _)| name == "connection");
        values
            .flat_map(|(_, value)| value.split(|byte| *byte == b','))
            .map(|option| String::from_utf8_lossy(option.trim_ascii()).to_ascii_lowercase())
            .collect()
    }

    fn rewritten(&self, to: &Authority, path: &str, body: Body) -> Read<Vec<u8>> {
        let named = self.named_by_connection();
        let stays = |name: &str| {
            !HOP_BY_HOP.contains(&name)
                && !OURS.contains(&name)
                && !named.iter().any(|other| other == name)
        };
        let host = if to.port == 80 {
            to.host.to_string()
        } else {
            to.to_string()
        };
        let (method, version) = (self.method, self.version);
        let mut head = format!("{method} {path} {version}\r\nHost: {host}\r\n").into_bytes();
        for (name, value) in self.fields.iter().filter(|(name, _)| stays(name)) {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let has_length = self.only("content-length")?.is_some();
        let framing = match body {
            Body::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Body::Sized(length) if has_length => format!("Content-Length: {length}\r\n"),
            Body::Sized(_) => String::new(),
        };
        head.extend(framing.into_bytes());
        head.extend(b"Connection: close\r\n\r\n");
        Ok(head)
    }
}

#[cfg(test)]
mod tests;
