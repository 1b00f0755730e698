//! Batches that a client runs through daemons: each entry is called once, whatever is asked twice, whichever
//! node is asked and whichever goes.

mod left_behind;

use std::path::Path;

use serde_json::{Value, json};
use trunkline::KeyRing;
use trunkline::store::NewNumber;

use super::{Daemon, OTHER_TENANT, Request, Site, TENANT, refused, status_and_body};
use crate::support::database::{BOTH, Kind};
use crate::support::http::Message;
use crate::support::livekit::config_on;
use crate::support::standin::{FarEnd, StandIn};
use crate::support::{caller, eventually};

const KEY: (&str, &str) = ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789");
const FROM: &str = "+971500000007";
/// Of the other tenant.
const THEIRS: &str = "+971500000008";
const ENGINE: &str = "dial=engine&cps=0&concurrency=1&ringing=20";

/// A site whose numbers call through a stand-in, and a client of one tenant that may call.
struct Lab {
    site: Site,
    stand_in: StandIn,
    token: String,
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let mut site = Site::new(kind).await;
        site.program = Self::keeping(&site, "one");
        let stand_in = StandIn::start(&[KEY]).await;
        stand_in.trunk("ST_own", &["*"]);
        let ring = KeyRing::parse(&site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY")).unwrap();
        let store = site.database.store();
        let id =
            store.create_config(&config_on(&ring, &stand_in.url(), KEY, "calls")).await.unwrap();
        for (tenant, number) in [(1, 7), (2, 8)] {
            let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_own"});
            let number = NewNumber { caller: caller(tenant, number), provider: None, rules };
            store.add_number(&number).await.unwrap();
        }
        let token = site.client("dialler", &["--tenant", TENANT, "--may", "calls"]);
        Self { site, stand_in, token }
    }

    /// The program with a folder of its own for what outlasts it.
    fn keeping(site: &Site, name: &str) -> crate::support::program::Program {
        let folder = site.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let socket = site.folder.path().join(format!("{name}.sock"));
        site.program
            .clone()
            .with("DATA_DIR", folder.to_str().unwrap())
            .with("HTTP_SOCKET", socket.to_str().unwrap())
    }

    fn one(&self) -> Daemon {
        Daemon::start(&self.site.program)
    }

    fn two(&self) -> Daemon {
        Daemon::start(&Self::keeping(&self.site, "two"))
    }

    fn folder(&self) -> std::path::PathBuf {
        self.site.folder.path().join("one/batches")
    }

    fn upload(&self, key: &str, query: &str, rows: &str) -> Request {
        upload(&self.token, key, query, rows)
    }

    async fn ask(&self, daemon: &Daemon, method: &str, path: &str) -> Message {
        let body = if method == "POST" { json!({}) } else { Value::Null };
        daemon.call(&self.token, method, &format!("/v1/batches{path}"), &body).await
    }

    /// The results of a batch, which come as a file.
    async fn results(&self, daemon: &Daemon, id: &str, query: &str) -> Message {
        let path = format!("/v1/batches/{id}/results?{query}");
        let mut coming = daemon.events(Request::new("GET", &path, &Value::Null, &self.token)).await;
        let body = coming.text().await;
        assert_eq!(coming.head.word(), "200", "{:?}", coming.head);
        Message { body, ..coming.head.clone() }
    }

    async fn state(&self, daemon: &Daemon, id: &str) -> String {
        let told = status_and_body(&self.ask(daemon, "GET", &format!("/{id}")).await);
        assert_eq!(told.0, 200, "{told:?}");
        told.1["state"].as_str().unwrap().to_owned()
    }

    async fn becomes(&self, daemon: &Daemon, id: &str, state: &str) -> Value {
        eventually(&format!("it is {state}"), async || self.state(daemon, id).await == state).await;
        status_and_body(&self.ask(daemon, "GET", &format!("/{id}")).await).1
    }

    /// How often each number was dialled.
    fn dialled(&self) -> Vec<String> {
        let dialled = self.stand_in.dialled();
        let mut to: Vec<_> =
            dialled.iter().map(|dial| dial["sip_call_to"].as_str().unwrap().to_owned()).collect();
        to.sort();
        to
    }
}

fn upload(token: &str, key: &str, query: &str, rows: &str) -> Request {
    Request::post(&format!("/v1/batches?{query}"), &Value::Null)
        .with("content-type", "text/csv")
        .with("authorization", &format!("Bearer {token}"))
        .with("idempotency-key", key)
        .body(rows)
}

/// The number of a person.
fn to(person: u32) -> String {
    format!("+91987654321{person}")
}

/// A file that calls these persons.
fn rows(persons: std::ops::Range<u32>) -> String {
    let row = |person| format!("{TENANT},{FROM},{},{person}\n", to(person));
    "tenant,from,to,note\n".to_owned() + &persons.map(row).collect::<String>()
}

fn id_of(message: &Message) -> String {
    let (status, body) = status_and_body(message);
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

fn is_empty(folder: &Path) -> bool {
    let there = std::fs::read_dir(folder).unwrap().map(|there| there.unwrap().file_name());
    there.filter(|name| name != "keeper").count() == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_calls_everybody_once_and_every_node_tells_of_it() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        (0..3).for_each(|person| lab.stand_in.at(&to(person), FarEnd::Answers));
        let (one, two) = (lab.one(), lab.two());
        let query = format!("{ENGINE}&name=Leads+of+May");
        let first = one.send(lab.upload("a", &query, &rows(0..3))).await;
        let id = id_of(&first);
        assert_eq!(first.header("location"), Some(&*format!("/v1/batches/{id}")));
        let told = lab.becomes(&two, &id, "done").await;
        assert_eq!(
            (&told["entries"], &told["done"], &told["left"]),
            (&json!(3), &json!(3), &json!(0))
        );
        assert_eq!(
            (&told["outcomes"], &told["name"]),
            (&json!({"placed": 3}), &json!("Leads of May"))
        );
        assert_eq!((&told["results_here"], &told["node"]), (&json!(false), &Value::Null));
        assert_eq!(lab.dialled(), [to(0), to(1), to(2)], "{kind:?}");

        // The same once more, wherever it is asked; something else under that key, and no key at all.
        for daemon in [&one, &two] {
            let again = daemon.send(lab.upload("a", &query, &rows(0..3))).await;
            assert_eq!(
                (id_of(&again), again.header("idempotency-replayed")),
                (id.clone(), Some("true"))
            );
        }
        refused(&one.send(lab.upload("a", &query, &rows(0..2))).await, 422, "key_reused");
        refused(&one.send(lab.upload("a", ENGINE, &rows(0..3))).await, 422, "key_reused");
        let none = Request::post(&format!("/v1/batches?{query}"), &Value::Null)
            .with("content-type", "text/csv")
            .with("authorization", &format!("Bearer {}", lab.token))
            .body(&rows(0..3));
        refused(&one.send(none).await, 400, "idempotency_key_missing");
        assert_eq!(lab.dialled().len(), 3, "{kind:?}");

        let results = lab.results(&one, &id, "").await;
        assert_eq!(results.header("content-type"), Some("text/csv; charset=utf-8"));
        let lines: Vec<_> = results.body.lines().collect();
        assert_eq!(lines[0], "tenant,from,to,note,outcome,reason,dialled,room,line,attempts");
        assert_eq!(lines.len(), 4, "{results:?}");
        assert!(lines[1].starts_with(&format!(
            "{TENANT},{FROM},{},0,placed,,{},call-",
            to(0),
            to(0)
        )));
        let results = lab.results(&one, &id, "format=jsonl").await;
        let first: Value = serde_json::from_str(results.body.lines().next().unwrap()).unwrap();
        assert_eq!((&first["line"], &first["outcome"]), (&json!(2), &json!("placed")));
        let left = lab.results(&one, &id, "rows=left").await;
        assert_eq!(left.body.lines().count(), 1);
        refused(&lab.ask(&two, "GET", &format!("/{id}/results")).await, 409, "results_elsewhere");
        refused(&lab.ask(&one, "POST", &format!("/{id}/cancel")).await, 409, "batch_ended");
        refused(&lab.ask(&one, "POST", &format!("/{id}/resume")).await, 409, "batch_not_ended");

        let mut events = one
            .events(Request::new(
                "GET",
                &format!("/v1/batches/{id}/events"),
                &Value::Null,
                &lab.token,
            ))
            .await;
        let told = events.next().await.unwrap();
        assert_eq!((&*told.name, &told.data["state"]), ("progress", &json!("done")));
        assert_eq!(events.next().await.unwrap().data, json!({"reason": "ended"}));

        let audited =
            "select count(*) from trunkline_audit where entity = 'batch' and operation = ";
        for (operation, least) in [("'insert'", 1), ("'update'", 2)] {
            let many = lab.site.database.value(&format!("{audited}{operation}")).await;
            assert!(many.parse::<u32>().unwrap() >= least, "{kind:?} {operation}: {many}");
        }
        let claimed = "select count(*) from trunkline_audit where entity = 'batch'
            and operation = 'insert' and cast(claimed as text) like '%client dialler%'";
        assert_eq!(lab.site.database.value(claimed).await, "1", "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_cancelled_and_resumed_from_a_node_that_does_not_run_it() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        lab.stand_in.at(&to(0), FarEnd::Rings);
        for person in 1..4 {
            lab.stand_in.at(&to(person), FarEnd::Answers);
        }
        let (one, two) = (lab.one(), lab.two());
        let id = id_of(&one.send(lab.upload("a", ENGINE, &rows(0..4))).await);
        eventually("it rings", async || lab.stand_in.ringing() == 1).await;
        let path = format!("/v1/batches/{id}/cancel");
        let told = two.call(&lab.token, "POST", &path, &json!({"end_calls": true})).await;
        assert_eq!(status_and_body(&told).1["state"], "cancelling");
        let told = lab.becomes(&two, &id, "cancelled").await;
        assert_eq!((&told["done"], &told["left"]), (&json!(1), &json!(3)), "{told}");
        assert_eq!(told["outcomes"], json!({"cancelled": 1}), "{kind:?}");
        assert_eq!(lab.dialled(), [to(0)], "{kind:?}");
        let left = lab.results(&one, &id, "rows=left").await;
        assert_eq!(left.body.lines().count(), 4, "{left:?}");

        assert_eq!(status_and_body(&lab.ask(&two, "POST", &format!("/{id}/resume")).await).0, 200);
        let told = lab.becomes(&two, &id, "done").await;
        assert_eq!(told["outcomes"], json!({"cancelled": 1, "placed": 3}), "{told}");
        assert_eq!(lab.dialled(), [to(0), to(1), to(2), to(3)], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_cancels_every_batch_that_the_client_may_see() {
    let lab = Lab::new(Kind::Sqlite).await;
    (0..2).for_each(|person| lab.stand_in.at(&to(person), FarEnd::Rings));
    lab.stand_in.at(&to(5), FarEnd::Rings);
    let all = lab.site.client("all", &["--all-tenants", "--may", "calls"]);
    let one = lab.one();
    let theirs = format!("tenant,from,to\n{OTHER_TENANT},{THEIRS},{}\n", to(5));
    let kept = id_of(&one.send(upload(&all, "t", ENGINE, &theirs)).await);
    let own = [
        id_of(&one.send(lab.upload("a", ENGINE, &rows(0..1))).await),
        id_of(&one.send(lab.upload("b", ENGINE, &rows(1..2))).await),
    ];
    eventually("all ring", async || lab.stand_in.ringing() == 3).await;
    let told =
        one.call(&lab.token, "POST", "/v1/batches/cancel", &json!({"end_calls": true})).await;
    assert_eq!(status_and_body(&told), (200, json!({"cancelled": 2})));
    for id in &own {
        lab.becomes(&one, id, "done").await;
    }
    let (_, told) = one.get(&all, &format!("/v1/batches/{kept}")).await;
    assert_eq!((&told["state"], &told["client"]), (&json!("running"), &json!("all")));
}

/// Nothing of a file is begun that must be corrected first, and every line is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_rows_that_must_be_corrected_is_refused_whole_with_every_line() {
    let lab = Lab::new(Kind::Sqlite).await;
    (0..9).for_each(|person| lab.stand_in.at(&to(person), FarEnd::Answers));
    let one = lab.one();
    let bad = |bad| [format!("{TENANT},{FROM},,{bad}\n"), format!("{TENANT},12,{},{bad}\n", to(3))];
    let file = rows(0..2) + &(0..8).flat_map(bad).collect::<String>();
    let told =
        refused(&one.send(lab.upload("a", ENGINE, &file)).await, 422, "batch_needs_correction");
    let errors = told["errors"].as_array().unwrap();
    let lines: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
    let expected: Vec<_> = (4..20).map(|line| format!("line {line}")).collect();
    assert_eq!(lines, expected);
    assert!(errors[0]["detail"].as_str().unwrap().contains("no number to call"), "{told}");
    for (query, file, code) in [
        (ENGINE, "a,b\n1,2\n".to_owned(), "batch_malformed"),
        (ENGINE, String::new(), "batch_malformed"),
        (ENGINE, "tenant,from,to\n".to_owned(), "batch_empty"),
        (ENGINE, "tenant,from,to\n\"a,b\n".to_owned(), "batch_malformed"),
    ] {
        refused(&one.send(lab.upload("b", query, &file)).await, 422, code);
    }
    for query in ["cps=x", "dial=nobody", "ringing=20", "colour=red", "columns=to", "concurrency=0"]
    {
        let told = one.send(lab.upload("c", query, &rows(0..1))).await;
        assert_eq!(told.word(), "400", "{query}: {told:?}");
    }
    let json = lab.upload("d", ENGINE, &rows(0..1)).with("content-type", "application/json");
    refused(&one.send(json).await, 415, "not_a_batch");
    let large = format!("{}{}", rows(0..1), "x".repeat(16 << 20));
    refused(&one.send(lab.upload("e", ENGINE, &large)).await, 413, "body_too_large");
    assert!(lab.stand_in.requests().is_empty() && is_empty(&lab.folder()));
    assert_eq!(lab.site.database.value("select count(*) from trunkline_batches").await, "0");

    // Who wants the others called all the same says so.
    let id = id_of(&one.send(lab.upload("f", &format!("{ENGINE}&anyway=true"), &file)).await);
    let told = lab.becomes(&one, &id, "left").await;
    assert_eq!((&told["done"], &told["left_with"]), (&json!(2), &json!({"invalid": 16})));
    assert_eq!(lab.dialled(), [to(0), to(1)]);
    let left = lab.results(&one, &id, "rows=left").await;
    assert!(left.body.contains("invalid,there is no number to call: to"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_says_how_phones_are_dialled_but_for_the_headers_of_the_rules() {
    let lab = Lab::new(Kind::Sqlite).await;
    let set = "update voice_agent_numbers set rules = json_patch(rules, '{\"headers\": {\"X-Account\": \
               \"of the rules\"}}')";
    lab.site.database.sql(set).await;
    lab.stand_in.at(&to(0), FarEnd::Answers);
    let one = lab.site.daemon();
    let query = |headers: &Value| {
        let mut query = url::form_urlencoded::Serializer::new(ENGINE.to_owned());
        query.append_pair("headers", &headers.to_string()).append_pair("krisp", "true");
        query.append_pair("display_name", "The bank").finish()
    };
    for headers in [json!({"Diversion": "<sip:1@x>"}), json!({"X-A": 1}), json!("X-A: b")] {
        let told = one.send(upload(&lab.token, "a", &query(&headers), &rows(0..1))).await;
        let problem = refused(&told, 400, "field_malformed");
        assert_eq!(problem["field"], "headers", "{problem}");
    }
    let headers = json!({"X-Campaign": "May & June", "x-account": "of the client"});
    let batch = id_of(&one.send(upload(&lab.token, "a", &query(&headers), &rows(0..1))).await);
    let told = lab.becomes(&one, &batch, "done").await;
    assert_eq!(told["options"]["headers"], headers, "{told}");
    let dialled = lab.stand_in.dialled().remove(0);
    let held = json!({"X-Account": "of the rules", "X-Campaign": "May & June"});
    assert_eq!(
        (&dialled["headers"], &dialled["krisp_enabled"], &dialled["display_name"]),
        (&held, &json!(true), &json!("The bank"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsal_tells_what_would_be_and_calls_nobody() {
    let lab = Lab::new(Kind::Sqlite).await;
    let one = Daemon::start(&lab.site.program.clone().with("DATA_DIR", ""));
    let file = rows(0..2) + &format!("{TENANT},{FROM},{},again\n{TENANT},{FROM},x,bad\n", to(0));
    let request = |path: &str| {
        Request::post(path, &Value::Null)
            .with("content-type", "text/csv")
            .with("authorization", &format!("Bearer {}", lab.token))
            .with("idempotency-key", "a")
            .body(&file)
    };
    let (status, told) =
        status_and_body(&one.send(request(&format!("/v1/batches/rehearse?{ENGINE}"))).await);
    assert_eq!(
        (status, &told["entries"], &told["calls"]["entries"]),
        (200, &json!(4), &json!(2)),
        "{told}"
    );
    assert_eq!(told["duplicates"]["lines"], json!([4]));
    assert_eq!((&told["refused"][0]["lines"], &told["trunks"]), (&json!([5]), &json!([])));
    refused(&one.send(request("/v1/batches?anyway=true")).await, 503, "batches_not_kept");
    assert!(lab.stand_in.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_and_cancels_the_batches_of_its_tenants_alone_and_calls_for_no_other() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        for person in 0..2 {
            lab.stand_in.at(&to(person), FarEnd::Rings);
        }
        let all = lab.site.client("all", &["--all-tenants", "--may", "calls"]);
        let same = lab.site.client("same", &["--tenant", TENANT, "--may", "calls"]);
        let narrow = lab
            .site
            .client("narrow", &["--tenant", TENANT, "--may", "calls", "--number", "+971500000009"]);
        let mute = lab.site.client("mute", &["--tenant", TENANT, "--may", "route"]);
        let one = lab.one();
        let both = rows(0..1) + &format!("{OTHER_TENANT},{THEIRS},{},x\n", to(1));
        let id = id_of(&one.send(upload(&all, "a", ENGINE, &both)).await);
        let own = id_of(&one.send(lab.upload("b", ENGINE, &rows(1..2))).await);

        refused(&one.send(lab.upload("c", ENGINE, &both)).await, 403, "entries_not_allowed");
        refused(
            &one.send(upload(&narrow, "c", ENGINE, &rows(0..1))).await,
            403,
            "entries_not_allowed",
        );
        refused(&one.send(upload(&mute, "c", ENGINE, &rows(0..1))).await, 403, "scope_missing");
        for (method, end) in [
            ("GET", ""),
            ("GET", "/results"),
            ("GET", "/events"),
            ("POST", "/cancel"),
            ("POST", "/resume"),
        ] {
            let told = lab.ask(&one, method, &format!("/{id}{end}")).await;
            refused(&told, 404, "batch_not_found");
            let body = if method == "POST" { json!({}) } else { Value::Null };
            let told = one.call(&narrow, method, &format!("/v1/batches/{own}{end}"), &body).await;
            refused(&told, 404, "batch_not_found");
        }
        let ids = async |token: &str, query: &str| {
            let (_, page) = one.get(token, &format!("/v1/batches{query}")).await;
            let shown = page["batches"].as_array().unwrap().iter();
            let ids: Vec<_> = shown.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
            (ids, page["next"].as_str().map(ToOwned::to_owned))
        };
        assert_eq!(ids(&lab.token, "").await.0, [&*own]);
        assert_eq!(ids(&same, "").await.0, [&*own], "it is of its tenant");
        assert!(ids(&narrow, "").await.0.is_empty());
        let (first, next) = ids(&all, "?limit=1").await;
        assert_eq!(first, [&*own], "the newest first");
        let (second, last) = ids(&all, &format!("?limit=1&cursor={}", next.unwrap())).await;
        assert_eq!((second, last), (vec![id], None));
    }
}
