//! A tap between the engine and a LiveKit server: it keeps every request, and loses answers when it
//! is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use livekit_token::Claims;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use super::http::Message;

/// A running tap.
pub struct Tap {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<Message>>,
    faults: Mutex<Vec<(String, Fault)>>,
}

/// What happens to one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It reaches the server, and the connection breaks before the answer.
    LosesAnswer,
    /// The connection breaks before it reaches the server.
    LosesRequest,
    /// It reaches the server, and the answer never comes.
    HoldsAnswer,
    /// It reaches the server, which acts on it, and the connection breaks after so long.
    ForgetsAnswer(Duration),
    /// It reaches the server after so long.
    Delays(Duration),
    /// It does not reach the server, and this is the answer.
    Answers(Message),
}

impl Tap {
    /// A tap in front of the server on this port of this machine.
    #[expect(clippy::disallowed_methods, reason = "a server of a test")]
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, server, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Lets this happen to the next request whose path ends like this.
    pub fn next(&self, method: &str, fault: Fault) {
        self.state.faults.lock().unwrap().push((method.to_owned(), fault));
    }

    /// The methods that were asked for, in their order.
    pub fn methods(&self) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        let last = |request: &Message| request.word().rsplit('/').next().unwrap().to_owned();
        requests.iter().map(last).collect()
    }

    /// How often a method was asked for.
    pub fn count(&self, method: &str) -> usize {
        self.methods().iter().filter(|asked| *asked == method).count()
    }

    /// The requests themselves.
    pub fn requests(&self) -> Vec<Message> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Whose tokens were sent: the `iss` of each.
    pub fn issuers(&self) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().map(|request| claims(request).iss).collect()
    }
}

/// What the token of a request says, unverified.
pub fn claims(request: &Message) -> Claims {
    let token = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    Claims::from_unverified(token.expect("a token")).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a server of a test")]
async fn serve(stream: TcpStream, server: u16, state: Arc<State>) {
    let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut client, mut upstream) = (BufReader::new(stream), BufReader::new(upstream));
    while let Some(request) = Message::read(&mut client).await {
        state.requests.lock().unwrap().push(request.clone());
        let fault = {
            let mut faults = state.faults.lock().unwrap();
            let at =
                faults.iter().position(|(method, _)| request.word().ends_with(method.as_str()));
            at.map(|at| faults.remove(at).1)
        };
        let answer = match fault {
            Some(Fault::LosesRequest) => return,
            Some(Fault::Answers(answer)) => answer,
            fault => {
                if let Some(Fault::Delays(time)) = fault {
                    tokio::time::sleep(time).await;
                }
                request.write(&mut upstream).await.unwrap();
                if let Some(Fault::ForgetsAnswer(time)) = fault {
                    tokio::time::sleep(time).await;
                    // The server does not notice.
                    tokio::spawn(async move { Message::read(&mut upstream).await });
                    return;
                }
                let Some(answer) = Message::read(&mut upstream).await else { return };
                match fault {
                    Some(Fault::LosesAnswer) => return,
                    Some(Fault::HoldsAnswer) => std::future::pending().await,
                    _ => answer,
                }
            }
        };
        if answer.write(&mut client).await.is_err() {
            return;
        }
    }
}
