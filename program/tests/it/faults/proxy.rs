//! That the proxy breaks what it is told to break, and nothing else.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection, Executor};
use tokio::time::{Instant, timeout};

use crate::support::eventually;
use crate::support::postgres::Cluster;
use crate::support::proxy::{Flows, Mode, Proxy};

/// How long is waited for what must not come.
const NEVER: Duration = Duration::from_millis(150);

fn proxy() -> Proxy {
    Proxy::before(Cluster::shared().port)
}

async fn connect(proxy: &Proxy) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(&proxy.url("postgres")).await
}

async fn one(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select 1").fetch_one(connection).await
}

#[tokio::test]
async fn a_proxy_that_is_left_alone_changes_nothing_and_counts() {
    let proxy = proxy();
    let mut first = connect(&proxy).await.unwrap();
    let long: String =
        sqlx::query_scalar("select repeat('x', 1000000)").fetch_one(&mut first).await.unwrap();
    assert_eq!(long.len(), 1_000_000);
    let second = connect(&proxy).await.unwrap();
    assert_eq!((proxy.accepted(), proxy.open()), (2, 2));
    second.close().await.unwrap();
    eventually("one is closed", async || proxy.open() == 1).await;
    assert_eq!(one(&mut first).await.unwrap(), 1);
}

#[tokio::test]
async fn a_reset_ends_what_is_open_and_a_refusal_what_comes() {
    let proxy = proxy();
    let mut open = connect(&proxy).await.unwrap();
    proxy.set(Flows::Open, Mode::Reset);
    assert!(one(&mut open).await.is_err());
    let mut later = connect(&proxy).await.unwrap();
    proxy.set(Flows::New, Mode::Reset);
    assert!(connect(&proxy).await.is_err());
    assert_eq!(one(&mut later).await.unwrap(), 1, "it was open before");
    proxy.heal();
    connect(&proxy).await.unwrap();
}

#[tokio::test]
async fn a_black_hole_keeps_the_sockets_open_and_says_nothing_until_it_is_healed() {
    let proxy = proxy();
    let mut open = connect(&proxy).await.unwrap();
    proxy.set(Flows::Open, Mode::BlackHole);
    let mut answer = Box::pin(one(&mut open));
    assert!(timeout(NEVER, &mut answer).await.is_err());
    connect(&proxy).await.unwrap();
    proxy.set(Flows::New, Mode::BlackHole);
    assert!(timeout(NEVER, connect(&proxy)).await.is_err());
    proxy.heal();
    assert_eq!(answer.await.unwrap(), 1, "what was held back arrives");
}

#[tokio::test]
async fn a_slow_server_answers_later_and_a_cut_ends_a_message_in_its_middle() {
    let proxy = proxy();
    let mut open = connect(&proxy).await.unwrap();
    proxy.set(Flows::Open, Mode::Slow(NEVER));
    let began = Instant::now();
    assert_eq!(one(&mut open).await.unwrap(), 1);
    assert!(began.elapsed() >= NEVER);
    proxy.set(Flows::Open, Mode::Cut);
    assert!(one(&mut open).await.is_err());
    eventually("it is closed", async || proxy.open() == 0).await;
}

#[tokio::test]
async fn notifications_are_left_out_and_all_else_passes() {
    let proxy = proxy();
    let pool =
        PgPoolOptions::new().max_connections(1).connect(&proxy.url("postgres")).await.unwrap();
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("proxy_test").await.unwrap();
    assert_eq!(proxy.listening(), 1);
    let mut mouth = connect(&proxy).await.unwrap();
    proxy.set(Flows::All, Mode::Deaf);
    mouth.execute("notify proxy_test, 'lost'").await.unwrap();
    let says: i32 = sqlx::query_scalar("select 1").fetch_one(&mut listener).await.unwrap();
    assert_eq!(says, 1);
    assert!(timeout(NEVER, listener.try_recv()).await.is_err());
    proxy.heal();
    mouth.execute("notify proxy_test, 'heard'").await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "heard");
    proxy.set(Flows::Listening, Mode::Reset);
    eventually("only the listener is gone", async || proxy.open() == 1).await;
    assert_eq!(one(&mut mouth).await.unwrap(), 1);
}
