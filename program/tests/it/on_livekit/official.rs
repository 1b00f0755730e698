//! The official client, made of a resolution: it does on the real server what ours does.

use serde_json::json;

use super::{Lab, request, room_of};
use crate::support::caller;
use crate::support::database::Kind;
use crate::support::livekit::Server;

#[tokio::test]
async fn the_official_client_sees_what_ours_has_made() {
    let server = Server::shared();
    let lab = Lab::new(Kind::Sqlite).await;
    let id = lab.config(&server.url(), server.keys[0], "eu").await;
    lab.number(caller(1, 1), Some(id), json!({})).await;
    let dispatcher = lab.dispatcher(&[]);
    let report = dispatcher.call(&request(caller(1, 1), "official")).await;
    let official = report.resolution.as_ref().unwrap().livekit_api().unwrap();
    let room = room_of(&report).to_owned();
    let rooms = official.room().list_rooms(vec![room.clone()]).await.unwrap();
    assert_eq!(rooms.len(), 1, "{rooms:?}");
    let sent = official.agent_dispatch().list_dispatch(room).await.unwrap();
    assert!(sent.iter().any(|sent| sent.agent_name == "agent-of-eu"), "{sent:?}");
    assert!(!format!("{official:?}").contains("canary"));
}
