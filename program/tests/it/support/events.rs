//! A reader of server-sent events, as they come.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::http::Message;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

/// An answer that goes on, in chunks.
pub struct Events<S> {
    pub head: Message,
    from: BufReader<S>,
    text: String,
}

impl<S: AsyncRead + Unpin> Events<S> {
    /// Reads the head of the answer.
    pub async fn of(mut from: BufReader<S>) -> Self {
        let head = Message::read(&mut from).await.expect("a head");
        Self { head, from, text: String::new() }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        let patience = Duration::from_secs(20);
        let reading = async {
            loop {
                while let Some((block, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (read(block), rest.to_owned());
                    self.text = rest;
                    if event.is_some() {
                        return event;
                    }
                }
                let chunk = self.chunk().await?;
                self.text.push_str(&chunk);
            }
        };
        tokio::time::timeout(patience, reading).await.expect("an event, or the end")
    }

    /// All of them, to the end.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// What comes to the end, as it is.
    pub async fn text(&mut self) -> String {
        while let Some(chunk) = self.chunk().await {
            self.text.push_str(&chunk);
        }
        std::mem::take(&mut self.text)
    }

    async fn chunk(&mut self) -> Option<String> {
        let mut line = String::new();
        self.from.read_line(&mut line).await.ok()?;
        let length =
            usize::from_str_radix(line.trim_end(), 16).ok().filter(|length| *length > 0)?;
        let mut chunk = vec![0; length + 2];
        self.from.read_exact(&mut chunk).await.ok()?;
        chunk.truncate(length);
        String::from_utf8(chunk).ok()
    }
}

/// `None`: it is a comment.
fn read(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(field("data: ")?).unwrap();
    let name = field("event: ").unwrap_or_default().to_owned();
    Some(Event { name, id: field("id: ").map(ToOwned::to_owned), data })
}
