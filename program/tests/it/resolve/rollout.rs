//! The rollout: whom the database answers, and that every node obeys.

use serde_json::json;
use trunkline::rollout::{Rollout, RolloutEdit, Side};
use trunkline::routing::RulesStatus;
use trunkline::store::{Migrations, NewNumber};
use trunkline::{Caller, Reason, Resolution, ResolveError, Resolver, Source, TrunkOrigin};

use super::Lab;
use crate::support::counters::Counters;
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::{caller, config, eventually, number};

const UAE: &str = "+971501234567";
const DENY: (&str, &str) =
    ("FALLBACK_DENY", "database_unreachable,database_timeout,database_error,config_unassigned");

/// Numbers of tenants 1 to `tenants`, each with a config that has a trunk and an agent of its own, and
/// rules that allow India alone.
async fn populated(kind: Kind, tenants: u128) -> Lab {
    let lab = Lab::new(kind).await;
    let mut eu = config(&lab.ring, "eu");
    (eu.agent, eu.trunk_id) = (Some("closer".into()), Some("ST_config".into()));
    let id = lab.database.store().create_config(&eu).await.unwrap();
    let rules = json!({
        "allowed_outbound": "india", "outbound_trunk_id": "ST_rules", "livekit_config": id
    });
    for tenant in 1..=tenants {
        let row = NewNumber { rules: rules.clone(), ..number(caller(tenant, 1), None) };
        lab.database.store().add_number(&row).await.unwrap();
    }
    lab
}

async fn set(database: &TestDatabase, to: &str) -> Rollout {
    let rollouts = database.open.rollouts();
    let now = rollouts.rollout().await.unwrap().unwrap_or_default();
    let edit: RolloutEdit = to.parse().unwrap();
    assert!(rollouts.set_rollout(&now.with(&edit, "a salt").unwrap()).await.unwrap());
    rollouts.rollout().await.unwrap().unwrap()
}

fn whose(answer: &Resolution) -> (Source, Option<Reason>) {
    (answer.source(), answer.reason())
}

const INSIDE: (Source, Option<Reason>) = (Source::Database, None);
const OUTSIDE: (Source, Option<Reason>) = (Source::Environment, Some(Reason::OutsideRollout));

async fn is(resolver: &Resolver, caller: Caller, wanted: (Source, Option<Reason>)) -> bool {
    whose(&resolver.resolve(caller).await.unwrap()) == wanted
}

#[tokio::test]
async fn a_share_of_the_tenants_is_answered_by_the_database_and_the_others_by_their_rules() {
    for kind in BOTH {
        let lab = populated(kind, 40).await;
        let rollout = set(&lab.database, "50").await;
        let resolver = lab.resolver(&[DENY]);
        let mut inside = 0;
        for tenant in 1..=40 {
            let answer = resolver.resolve(caller(tenant, 1)).await.unwrap();
            let trunk = (answer.trunk_id(), answer.trunk_origin());
            if rollout.side(caller(tenant, 1)) == Side::Inside {
                inside += 1;
                assert_eq!((whose(&answer), answer.agent_name()), (INSIDE, "closer"));
                assert_eq!(trunk, (Some("ST_config"), Some(TrunkOrigin::Config)));
            } else {
                assert_eq!((whose(&answer), answer.agent_name()), (OUTSIDE, "inbound-agent"));
                assert_eq!(trunk, (Some("ST_rules"), Some(TrunkOrigin::Rules)));
                assert_eq!(answer.api_key(), "APIenv");
            }
            assert_eq!(answer.rules_status(), RulesStatus::Rules);
            let refusal = resolver.route(caller(tenant, 1), UAE).await.verdict.unwrap_err();
            assert_eq!(refusal.code(), "country_not_allowed");
        }
        assert!((10..=30).contains(&inside), "{kind:?}: {inside}");
        let nobody = resolver.resolve(caller(77, 1)).await.unwrap();
        assert_eq!(nobody.rules_status(), RulesStatus::NoRow);
    }
}

#[tokio::test]
async fn each_step_is_obeyed_by_a_resolver_that_is_warm_and_no_answer_from_before_it_stays() {
    for kind in BOTH {
        let lab = populated(kind, 3).await;
        // It would find an old answer, too, and drop it.
        let resolver = lab.resolver(&[("SELF_CHECK_INTERVAL", "0s")]);
        eventually("changes are heard", async || resolver.hears_changes()).await;
        let all = async |wanted| {
            for tenant in 1..=3 {
                if !is(&resolver, caller(tenant, 1), wanted).await {
                    return false;
                }
            }
            true
        };
        assert!(all(INSIDE).await, "without a rollout the database answers everybody");
        for (to, wanted) in [
            ("off", OUTSIDE),
            ("live", INSIDE),
            ("shadow", (Source::Environment, Some(Reason::Shadow))),
            ("100", INSIDE),
            ("0", OUTSIDE),
            ("complete", INSIDE),
        ] {
            set(&lab.database, to).await;
            eventually(to, async || all(wanted).await).await;
            assert!(all(wanted).await, "{kind:?}: {to}, and from memory");
        }
        // By hand, as by any tool.
        lab.database.sql("update trunkline_rollout set stage = 'off'").await;
        eventually("off by hand", async || all(OUTSIDE).await).await;
        lab.database.sql("delete from trunkline_rollout").await;
        eventually("no rollout", async || all(INSIDE).await).await;
    }
}

#[tokio::test]
async fn in_the_shadow_the_environment_answers_and_what_the_database_would_have_said_is_counted() {
    for kind in BOTH {
        let lab = populated(kind, 2).await;
        let store = lab.database.store();
        let mut same = config(&lab.ring, "env");
        same.api_secret = lab.ring.seal("canary-secret-of-env", crate::support::NOW).unwrap();
        let same = store.create_config(&same).await.unwrap();
        store.add_number(&number(caller(3, 1), Some(same))).await.unwrap();
        store.add_number(&number(caller(4, 1), None)).await.unwrap();
        set(&lab.database, "shadow").await;
        let (resolver, counters) =
            Counters::of(Resolver::builder(lab.settings(&[DENY, ("OUTBOUND_TRUNK_ID", "")])));
        for tenant in 1..=4 {
            let answer = resolver.resolve(caller(tenant, 1)).await.unwrap();
            assert_eq!(whose(&answer), (Source::Environment, Some(Reason::Shadow)));
        }
        let shadowed = "trunkline_rollout_shadow_total";
        let count = |outcome| counters.of_labels(shadowed, &[("outcome", outcome)]);
        let counted = ["answer", "config_unassigned", "number_unknown"].map(count);
        assert_eq!(counted, [3, 1, 0], "{kind:?}");
        let fields = "trunkline_rollout_shadow_fields_total";
        for (field, same, different) in [
            ("url", 1, 2),
            ("api_key", 1, 2),
            ("api_secret", 1, 2),
            ("trunk", 1, 2),
            ("agent", 1, 2),
        ] {
            let of = |found| counters.of_labels(fields, &[("field", field), ("found", found)]);
            assert_eq!((of("same"), of("different")), (same, different), "{field}");
        }
    }
}

#[tokio::test]
async fn complete_means_that_the_environment_answers_nobody_unless_the_flag_is_off() {
    for kind in BOTH {
        let lab = populated(kind, 1).await;
        lab.database.store().add_number(&number(caller(2, 1), None)).await.unwrap();
        set(&lab.database, "complete").await;
        let resolver = lab.resolver(&[]);
        assert!(is(&resolver, caller(1, 1), INSIDE).await);
        for (tenant, reason) in [(2, Reason::ConfigUnassigned), (3, Reason::NumberUnknown)] {
            let refused = resolver.resolve(caller(tenant, 1)).await.unwrap_err();
            assert_eq!(refused, ResolveError::RolloutComplete { reason });
        }
        let nobody = resolver.resolve_number(caller(3, 3).number).await.unwrap_err();
        let reason = Reason::NumberUnknown;
        assert_eq!(nobody, ResolveError::RolloutComplete { reason });
        resolver.reload(lab.settings(&[("USE_SELFHOST_ROUTING_TABLE", "false")])).unwrap();
        for tenant in 1..=3 {
            let wanted = (Source::Environment, Some(Reason::FlagOff));
            assert!(is(&resolver, caller(tenant, 1), wanted).await);
        }
    }
}

#[tokio::test]
async fn a_start_without_the_database_knows_the_stage_that_was_known_last() {
    let lab = populated(Kind::Sqlite, 40).await;
    let rollout = set(&lab.database, "50").await;
    let folder = tempfile::tempdir().unwrap();
    let data = ("DATA_DIR", folder.path().to_str().unwrap());
    let kept = folder.path().join("rollout.json");
    let resolver = lab.resolver(&[data]);
    eventually("it is kept, though nobody asks", async || kept.exists()).await;
    set(&lab.database, "0.5").await;
    let half = || std::fs::read_to_string(&kept).unwrap().contains("\"percent\":0.5");
    eventually("so is a change", async || half()).await;
    set(&lab.database, "50").await;
    eventually("and the next", async || !half()).await;
    assert!(resolver.stop(std::time::Duration::from_secs(5)).await);

    let url = lab.database.url.strip_prefix("sqlite:").unwrap();
    std::fs::rename(url, folder.path().join("away")).unwrap();
    let (remembers, forgot) = (lab.resolver(&[data, DENY]), lab.resolver(&[DENY]));
    for tenant in 1..=40 {
        let caller = caller(tenant, 1);
        let known = remembers.resolve(caller).await;
        match rollout.side(caller) {
            Side::Inside => assert!(matches!(known, Err(ResolveError::FallbackDenied { .. }))),
            _ => assert_eq!(whose(&known.unwrap()), OUTSIDE),
        }
        let unknown = forgot.resolve(caller).await;
        assert!(matches!(unknown, Err(ResolveError::FallbackDenied { .. })), "the policy decides");
    }
    std::fs::write(&kept, "{\"database\": 7").unwrap();
    let unread = lab.resolver(&[data, DENY]).resolve(caller(1, 1)).await;
    assert!(matches!(unread, Err(ResolveError::FallbackDenied { .. })), "{unread:?}");
}

#[tokio::test]
async fn a_database_before_the_step_of_the_rollout_answers_everybody() {
    for kind in BOTH {
        let lab = populated(kind, 1).await;
        set(&lab.database, "off").await;
        let resolver = lab.resolver(&[]);
        eventually("changes are heard", async || resolver.hears_changes()).await;
        assert!(is(&resolver, caller(1, 1), OUTSIDE).await);
        lab.database.open.migrate(Migrations::DownTo(ROLLOUT - 1)).await.unwrap();
        eventually("everybody", async || is(&resolver, caller(1, 1), INSIDE).await).await;
        lab.database.open.migrate(Migrations::Up).await.unwrap();
        set(&lab.database, "off").await;
        eventually("nobody", async || is(&resolver, caller(1, 1), OUTSIDE).await).await;
    }
}

#[tokio::test]
async fn two_who_change_it_at_once_do_not_undo_each_other() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let rollouts = lab.database.open.rollouts();
        let none = Rollout::default();
        let to = |from: &Rollout, to: &str| from.with(&to.parse().unwrap(), "salt").unwrap();
        assert!(rollouts.set_rollout(&to(&none, "10")).await.unwrap());
        assert!(!rollouts.set_rollout(&to(&none, "20")).await.unwrap(), "{kind:?}");
        let ten = rollouts.rollout().await.unwrap().unwrap();
        assert_eq!((ten.percent.to_string(), ten.version), ("10".into(), 1));
        assert!(rollouts.set_rollout(&to(&ten, "30")).await.unwrap());
        assert!(!rollouts.set_rollout(&to(&ten, "40")).await.unwrap(), "{kind:?}");
        let thirty = rollouts.rollout().await.unwrap().unwrap();
        assert_eq!((thirty.percent.to_string(), thirty.version), ("30".into(), 2));
        assert_eq!(thirty.salt, "salt", "it stays");
    }
}

#[tokio::test]
async fn a_survey_says_who_moves_and_who_would_have_no_answer() {
    for kind in BOTH {
        let lab = populated(kind, 40).await;
        let store = lab.database.store();
        store.add_number(&number(caller(1, 2), None)).await.unwrap();
        let resolver = lab.resolver(&[]);
        let (now, mut without) = (Rollout::default(), Vec::new());
        let then = now.with(&"25".parse().unwrap(), "a salt").unwrap();
        let told = |caller, reason| without.push((caller, reason));
        let survey = resolver.survey_rollout(&now, &then, told).await.unwrap();
        assert_eq!((survey.numbers, survey.tenants, survey.inside_now), (41, 40, 41), "{kind:?}");
        assert_eq!(without, [(caller(1, 2), Reason::ConfigUnassigned)]);
        assert_eq!((survey.answered, survey.unanswered["config_unassigned"]), (40, 1));
        assert_eq!(survey.moving_in.numbers, 0);
        assert_eq!(survey.moving_out.numbers, 41 - survey.inside_then);
        let inside = (1..=40).filter(|&of| then.side(caller(of, 1)) == Side::Inside).count();
        assert_eq!(survey.moving_out.tenants, 40 - inside as u64);
        assert_eq!((survey.fields["url"].same, survey.fields["url"].different), (0, 40));
    }
}

/// The step that brings it.
const ROLLOUT: i64 = 14;
