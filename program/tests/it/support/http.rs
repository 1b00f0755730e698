//! As much of HTTP/1.1 as stand-ins and taps need: messages whose bodies have a known length.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(there, _)| there == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The second word of the first line: a request's path, a response's status.
    pub fn word(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// A response.
    pub fn response(status: &str, kind: &str, body: impl Into<String>) -> Self {
        let (headers, body) = (vec![("content-type".into(), kind.into())], body.into());
        Self { start: format!("HTTP/1.1 {status}"), headers, body }
    }

    /// Reads one message; `None` at the end of the connection.
    pub async fn read(from: &mut BufReader<impl tokio::io::AsyncRead + Unpin>) -> Option<Self> {
        let mut message = Self::default();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(':') {
                Some((name, value)) if !message.start.is_empty() => {
                    message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                _ => message.start = line.to_owned(),
            }
        }
        let length = message.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.ok()?;
        message.body = String::from_utf8(body).unwrap();
        Some(message)
    }

    pub async fn write(
        &self,
        to: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        let mut lines = vec![self.start.clone()];
        let others = self.headers.iter().filter(|(name, _)| name != "content-length");
        lines.extend(others.map(|(name, value)| format!("{name}: {value}")));
        lines.push(format!("content-length: {}\r\n\r\n{}", self.body.len(), self.body));
        let text = lines.join("\r\n");
        to.write_all(text.as_bytes()).await
    }
}

/// Asks a port of this machine for a path, over a connection of its own.
pub async fn get(port: u16, path: &str) -> Message {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let headers = vec![("host".into(), "127.0.0.1".into())];
    let request = Message { start: format!("GET {path} HTTP/1.1"), headers, ..Message::default() };
    request.write(&mut stream).await.unwrap();
    Message::read(&mut stream).await.unwrap()
}

/// Posts a body to a port of this machine over a connection of its own.
pub async fn post(port: u16, path: &str, headers: &[(&str, &str)], body: &str) -> Message {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let mut request = Message {
        start: format!("POST {path} HTTP/1.1"),
        headers: vec![("host".into(), format!("127.0.0.1:{port}"))],
        body: body.to_owned(),
    };
    request.headers.extend(headers.iter().map(|&(name, value)| (name.into(), value.into())));
    request.write(&mut stream).await.unwrap();
    Message::read(&mut stream).await.expect("an answer")
}
