//! A data key reaches followers, which hold no connection: they hear of it over the relay, and read it then.

use trunkline::rotation::Rotation;
use trunkline::{KeyRing, RelayRole};

use super::Fleet;
use crate::support::database::open;
use crate::support::{NOW, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_key_is_in_the_ring_of_every_follower_before_it_seals() {
    let fleet = Fleet::of(5).await;
    fleet.settles().await;
    for node in &fleet.nodes {
        assert_eq!(node.resolve(fleet.caller).await.unwrap().reason(), None);
    }
    let ring = KeyRing::parse(&fleet.key).unwrap();
    let settings = fleet.database.settings(&[]);
    let rotation = Rotation::new(&open(&settings), &ring, &settings.tuning);
    let staged = rotation.stage_wrapped(None, true, NOW, false).await.unwrap();
    eventually("every node tells that it has the key", async || {
        rotation.gate(staged.key).await.unwrap().lacking.is_empty()
    })
    .await;
    // The sessions of this test are those of a program whose keys nobody knows.
    rotation.promote(Some(staged.key), false, true, false).await.unwrap();
    rotation.reseal(16, NOW, false, |_| {}).await.unwrap();
    assert_eq!(rotation.verify().await.unwrap().under(staged.key), 1);
    assert_eq!(fleet.with_role(RelayRole::Follower).len(), 2);
    for node in &fleet.nodes {
        let answer = node.resolve(fleet.caller).await.unwrap();
        assert_eq!(answer.reason(), None, "{answer:?}");
        let explained = format!("{:?}", node.explain(fleet.caller).await);
        assert!(explained.contains(&staged.key.to_string()), "{explained}");
    }
    // One that begins later knows it at its first answer.
    let late = fleet.node("late", &[]);
    assert_eq!(late.resolve(fleet.caller).await.unwrap().reason(), None);
}
