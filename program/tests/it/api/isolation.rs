//! A client of one tenant gets nothing of another one by any route of the document, whatever id, page,
//! filter or body it sends, and changes nothing of it.

use serde_json::{Map, Value, json};
use trunkline::store::{NewConfig, NewNumber};

use super::{Daemon, NUMBER, OTHER_TENANT, Request, Site, TENANT};
use crate::support::database::{BOTH, Kind};
use crate::support::{caller, config, number};

const EVERYTHING: &str = "tokens,resolve,route,secret,join,verify,configs,edit_configs,numbers,edit_numbers,fleet,audit,calls,changes,rollout";
const THEIRS: &str = "+971500000002";

/// What there is of the other tenant, and what a request may name.
struct Lab {
    site: Site,
    daemon: Daemon,
    token: String,
    ids: Vec<String>,
    cursors: Vec<String>,
    /// What no answer may hold, unless it was asked with it.
    canaries: Vec<String>,
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let site = Site::new(kind).await;
        let store = site.database.store();
        let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        let ring = trunkline::KeyRing::parse(&key).unwrap();
        let theirs = NewConfig {
            description: Some("canary-description".into()),
            trunk_id: Some("canary-trunk".into()),
            agent: Some("canary-agent".into()),
            ..config(&ring, "canary-name")
        };
        let theirs = store.create_config(&theirs).await.unwrap();
        let mut ids = vec![theirs.to_string()];
        for at in 2..5 {
            let number = NewNumber {
                provider: Some("canary-carrier".into()),
                ..number(caller(2, at), Some(theirs))
            };
            ids.push(store.add_number(&number).await.unwrap().to_string());
        }
        let own = store.configs().await.unwrap().into_iter().find(|config| config.name == "eu");
        ids.push(own.unwrap().id.to_string());
        ids.push(store.add_number(&number(caller(1, 7), None)).await.unwrap().to_string());
        ids.push("00000000-0000-4000-8000-00000000dead".to_owned());
        let mut canaries: Vec<_> = ids[..4].to_vec();
        canaries.extend(
            [
                "canary-name",
                "canary-description",
                "canary-trunk",
                "canary-agent",
                "canary-carrier",
                OTHER_TENANT,
                "971500000002",
                "971500000003",
            ]
            .map(str::to_owned),
        );
        let step = ["rollout", "set", "live", "--deny", OTHER_TENANT];
        site.program.run(&step).ok();
        let token = site.client("of-a", &["--tenant", TENANT, "--may", EVERYTHING, "--room", "*"]);
        let all = site.client("of-all", &["--all-tenants", "--may", EVERYTHING]);
        // Nobody reads its log meanwhile, and a line for each refusal would fill the pipe.
        let folder = site.folder.path().to_str().unwrap().to_owned();
        let program = site.program.clone().with("RUST_LOG", "warn").with("DATA_DIR", &folder);
        let daemon = Daemon::start(&program);
        daemon.is_ready().await;
        // A batch that ends at once, since nothing in it can be called.
        let rows = format!("tenant,from,to\n{OTHER_TENANT},{THEIRS},x\n");
        let upload = Request::post("/v1/batches?anyway=true&name=canary-batch", &Value::Null)
            .with("content-type", "text/csv")
            .with("authorization", &format!("Bearer {all}"))
            .with("idempotency-key", "theirs")
            .body(&rows);
        let (status, batch) = super::status_and_body(&daemon.send(upload).await);
        assert_eq!(status, 201, "{batch}");
        ids.push(batch["id"].as_str().unwrap().to_owned());
        canaries.extend(["canary-batch".to_owned(), ids[ids.len() - 1].clone()]);
        let mut cursors = vec!["x".to_owned()];
        for list in ["/v1/numbers", "/v1/configs"] {
            for whose in [&all, &token] {
                let (_, page) = daemon.get(whose, &format!("{list}?limit=1")).await;
                cursors.extend(page["next"].as_str().map(ToOwned::to_owned));
            }
        }
        Self { site, daemon, token, ids, cursors, canaries }
    }

    /// Values of a field or parameter, by its name and kind.
    fn values(&self, name: &str, schema: &Value) -> Vec<Value> {
        let ids = || self.ids.iter().map(|id| json!(id));
        match (name, schema["type"].as_str().or_else(|| schema["type"][0].as_str())) {
            ("tenant" | "tenant_id", _) => vec![json!(OTHER_TENANT), json!(TENANT), Value::Null],
            ("from" | "number" | "to", _) => {
                vec![json!(THEIRS), json!(NUMBER), json!("+971500000099")]
            }
            ("cursor", _) => self.cursors.iter().map(|cursor| json!(cursor)).collect(),
            ("prefix", _) => vec![json!("+97150"), json!("+971500000002")],
            ("rules", _) => {
                let spelled = format!("{{{}}}", self.ids[0].to_uppercase());
                vec![
                    json!({}),
                    json!({"livekit_config": self.ids[0]}),
                    json!({"livekit_config": spelled}),
                ]
            }
            ("grants", _) => vec![json!({"room": "call", "identity": "x"})],
            ("url", _) => vec![json!("wss://mine.example")],
            (_, Some("array")) => ids().map(|id| json!([id])).collect(),
            (_, Some("boolean")) => vec![json!(true), json!(false)],
            (_, Some("integer")) => vec![json!(1), json!(100)],
            _ if schema["format"] == "uuid" => ids().collect(),
            ("search", _) => vec![json!("canary-name"), json!("a")],
            _ => vec![json!("mine"), json!("a")],
        }
    }

    /// Everything of the other tenant, as the database has it.
    async fn theirs(&self) -> String {
        let store = self.site.database.store();
        let numbers = store.numbers(Some(caller(2, 1).tenant)).await.unwrap();
        let configs = store.configs().await.unwrap();
        let config = configs.iter().find(|config| config.name == "canary-name");
        format!(
            "{numbers:?} {:?}",
            config.map(|config| (&config.url, &config.trunk_id, config.updated_at))
        )
    }
}

/// A choice that differs from round to round and from place to place, and never from run to run.
fn chosen<'v>(values: &'v [Value], seed: &str, round: u64) -> &'v Value {
    let mixed = seed.bytes().fold(round.wrapping_mul(0x9e37_79b9_7f4a_7c15), |mixed, byte| {
        (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    &values[usize::try_from((mixed >> 20) % values.len() as u64).unwrap()]
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.replace('+', "%2B"))
}

#[tokio::test]
async fn no_page_tells_a_client_of_one_tenant_anything_of_another_or_of_what_is_of_all() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let before = lab.theirs().await;
        let mut paths: Vec<_> = [
            "",
            "configs",
            "configs/new",
            "numbers",
            "numbers/new",
            "nodes",
            "rollout",
            "audit",
            "audit.csv",
            "people",
            "calls",
            "batches",
            "batches.csv",
            "account",
            "keys",
            "tenants",
            "numbers.csv",
            "numbers/import",
            "numbers/assign",
            "configs/many",
            "numbers?prefix=%2B9715000000",
            "why?from=%2B971500000002",
            "why?from=%2B971500000001",
        ]
        .map(|path| format!("/{path}"))
        .into();
        for id in &lab.ids {
            for end in ["", "/edit", "/remove"] {
                paths.extend(["configs", "numbers"].map(|of| format!("/{of}/{id}{end}")));
            }
            for end in ["", "/results.csv", "/cancel", "/resume"] {
                paths.push(format!("/batches/{id}{end}"));
            }
            paths.push(format!("/numbers?config={id}"));
            paths.push(format!("/configs/new?of={id}&from=1"));
            paths.push(format!("/audit?id={id}"));
        }
        let ask = async |method: &str, path: &str| {
            let request = Request::new(method, path, &Value::Null, &lab.token);
            let request = if method == "GET" {
                request
            } else {
                request.with("content-type", "application/x-www-form-urlencoded").body(FORM)
            };
            lab.daemon.send(request).await
        };
        let mut answered = 0;
        for path in &paths {
            for method in ["GET", "POST"] {
                let answer = ask(method, path).await;
                answered += u32::from(answer.word() == "200");
                let config = ["wss://eu.example", "APIeu", "ST_eu"].map(str::to_owned);
                for canary in lab.canaries.iter().chain(&config) {
                    let told = answer.body.contains(canary.as_str());
                    let sent = if method == "POST" { FORM } else { "" };
                    let is_asked = path.contains(canary.trim_start_matches('+'))
                        || sent.contains(canary.as_str());
                    // Who resolves his own number is told where it is called from, as over the API.
                    let is_own = path.ends_with("971500000001") && config.contains(canary);
                    assert!(!told || is_asked || is_own, "{method} {path}: {canary} in {answer:?}");
                }
            }
        }
        assert!(answered > 5, "only {answered} pages were answered");
        assert_eq!(lab.theirs().await, before, "{kind:?}");
    }
}

#[tokio::test]
async fn no_route_of_the_document_tells_a_client_of_one_tenant_anything_of_another() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let before = lab.theirs().await;
        let document = trunkline::server::openapi();
        let (mut asked, mut answered) = (0, 0);
        for (template, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for round in 0..ROUNDS {
                    let seed = format!("{method} {template}");
                    let choose = |name: &str, schema: &Value| {
                        chosen(&lab.values(name, schema), &format!("{seed} {name}"), round).clone()
                    };
                    let (mut path, mut query) = (template.clone(), Vec::new());
                    for parameter in operation["parameters"].as_array().into_iter().flatten() {
                        let name = parameter["name"].as_str().unwrap();
                        let value = choose(name, &parameter["schema"]);
                        match parameter["in"].as_str().unwrap() {
                            "path" => path = path.replace("{id}", &text(&value)),
                            "query" if round % 3 != 0 || name == "limit" => {
                                query.push(format!("{name}={}", text(&value)));
                            }
                            _ => {}
                        }
                    }
                    if !query.is_empty() {
                        path = format!("{path}?{}", query.join("&"));
                    }
                    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                    let members: Map<_, _> = schema["properties"]
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, schema)| (name.clone(), choose(name, schema)))
                        .filter(|(_, value)| !value.is_null())
                        .collect();
                    let body = if schema.is_null() { Value::Null } else { Value::Object(members) };
                    let request = Request::new(&method.to_uppercase(), &path, &body, &lab.token);
                    let answer = lab.daemon.send(request).await;
                    // What is closed to it says nothing, however much of it there is.
                    asked += u64::from(answer.word() != "403");
                    answered += u64::from(answer.word().starts_with('2'));
                    let documented = &operation["responses"][answer.word()];
                    assert!(documented.is_object(), "{seed} {path} {body}: {answer:?}");
                    let sent = format!("{path} {body}").to_lowercase();
                    for canary in &lab.canaries {
                        let told = answer.body.contains(canary.as_str());
                        assert!(
                            !told || sent.contains(canary.as_str()),
                            "{seed} {path} {body}: {answer:?}"
                        );
                    }
                }
            }
        }
        assert!(answered * 10 > asked, "only {answered} of {asked} were answered");
        assert_eq!(lab.theirs().await, before, "{kind:?}");
        // And none of its own numbers has their config by now.
        let own = lab.site.database.store().numbers(Some(caller(1, 1).tenant)).await.unwrap();
        assert!(
            own.iter().all(|number| !number.rules.to_string().to_lowercase().contains(&lab.ids[0]))
        );
    }
}

#[tokio::test]
async fn a_limited_client_sees_name_and_id_of_the_configs_of_its_numbers_and_edits_no_config() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let (eu, theirs) = (&lab.ids[4], &lab.ids[0]);
        let (status, page) = lab.daemon.get(&lab.token, "/v1/configs").await;
        assert_eq!(
            (status, &page["configs"]),
            (200, &json!([{"id": eu, "name": "eu"}])),
            "{kind:?}"
        );
        let (status, one) = lab.daemon.get(&lab.token, &format!("/v1/configs/{eu}")).await;
        assert_eq!((status, one), (200, json!({"id": eu, "name": "eu"})));
        let absent = &lab.ids[6];
        let said = async |id: &str| {
            let (status, mut body) = lab.daemon.get(&lab.token, &format!("/v1/configs/{id}")).await;
            body["request_id"] = Value::Null;
            (status, body)
        };
        assert_eq!(said(theirs).await, said(absent).await);
        for (method, path, body) in [
            (
                "POST",
                "/v1/configs".to_owned(),
                json!({"name": "x", "url": "wss://x.example", "api_key": "K", "api_secret": "s"}),
            ),
            ("PATCH", format!("/v1/configs/{eu}"), json!({"name": "x"})),
            ("DELETE", format!("/v1/configs/{eu}"), Value::Null),
            ("POST", format!("/v1/configs/{eu}/duplicate"), json!({"name": "x"})),
        ] {
            let answer = lab.daemon.call(&lab.token, method, &path, &body).await;
            super::refused(&answer, 403, "client_limited");
        }
        // Whether there is such a config or not is not told.
        for id in [theirs, absent] {
            let (own, body) = (&lab.ids[5], json!({"config_id": id}));
            let answer =
                lab.daemon.call(&lab.token, "PATCH", &format!("/v1/numbers/{own}"), &body).await;
            super::refused(&answer, 422, "config_not_found");
        }
        let own = &lab.ids[5];
        let body = json!({"config_id": eu, "numbers": [own]});
        assert_eq!(lab.daemon.answer(&lab.token, "/v1/numbers/assign", &body).await.0, 200);
    }
}

/// What is sent to every page.
const FORM: &str = "to=off&percent=0&version=1&do=step&name=canary-name&role=admin";
/// How often each route is asked.
const ROUNDS: u64 = 24;
