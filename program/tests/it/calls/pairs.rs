//! A dial goes once more with the other pair of its config only where a token was refused before anything
//! was done.

use std::time::Duration;

use trunkline::Secret;
use trunkline::dispatch::Outcome;
use trunkline::rotation::{EnteredPair, Pairs};
use trunkline::store::PairPhase;

use super::{KEYS, Lab, TO};
use crate::support::NOW;
use crate::support::http::Message;
use crate::support::standin::FarEnd;
use crate::support::tap::{Fault, claims};

impl Lab {
    /// Has the second key of the stand-in be pending.
    async fn stage_second(&self) {
        let settings = self.database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", &self.key)]);
        let pairs = Pairs::new(&self.database.open, &self.ring, &settings.tuning);
        let id = self.database.store().config_named("eu").await.unwrap().unwrap().id;
        let (key, secret) = KEYS[1];
        let new =
            EnteredPair { api_key: key.into(), api_secret: Secret::new(Box::new(secret.into())) };
        pairs.stage(id, new, NOW, false).await.unwrap();
    }

    /// Whose token each dial had.
    fn dialled_by(&self) -> Vec<String> {
        let requests = self.tap.requests().into_iter();
        let dials = requests.filter(|request| request.word().ends_with("CreateSIPParticipant"));
        dials.map(|request| claims(&request).iss).collect()
    }
}

#[tokio::test]
async fn a_dial_whose_token_is_refused_goes_once_more_with_the_other_pair() {
    let lab = Lab::new(Duration::from_secs(20)).await;
    lab.stage_second().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let refused = Message::response("401 Unauthorized", "text/plain", "invalid API key");
    lab.tap.next("CreateSIPParticipant", Fault::Answers(refused));
    let report = lab.call(1, 5).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert_eq!(report.other_pair, Some(PairPhase::Pending));
    assert_eq!(lab.dialled_by(), [KEYS[0].0, KEYS[1].0]);
    assert_eq!(lab.stand_in.dialled().len(), 1, "one phone rang");
}

/// What has a code of its own comes from behind the layer that checks tokens: somebody may have been called.
#[tokio::test]
async fn a_dial_that_a_service_refuses_does_not_go_with_the_other_pair() {
    let lab = Lab::new(Duration::from_secs(20)).await;
    lab.stage_second().await;
    let body = r#"{"code": "unauthenticated", "msg": "twirp error unknown: who are you"}"#;
    for _ in 0..2 {
        let refused = Message::response("401 Unauthorized", "application/json", body);
        lab.tap.next("CreateSIPParticipant", Fault::Answers(refused));
    }
    let report = lab.call(1, 5).await;
    assert_eq!(report.outcome, Outcome::CredentialsRefused, "{report:?}");
    assert_eq!(report.other_pair, None);
    assert!(lab.dialled_by().iter().all(|key| key == KEYS[0].0), "{:?}", lab.dialled_by());
}
