//! Batches: the list of them, and a new one, which is rehearsed before it is run.

use askama::Template;
use serde_json::Value;
use uuid::Uuid;

use super::audit_export::cell;
use super::batch::Batch;
use super::fields::{Field, Kind, mark, query};
use super::frame::Frame;
use super::page_of;
use super::visit::Visit;
use crate::access::Scope;
use crate::dispatch::options::DialOptions;
use crate::dispatch::uploaded::{BatchOptions, UploadedBatches};
use crate::server::api::batches as api;
use crate::server::api::{Page, Problem, Reply};
use crate::store::{BatchRow, Cancel};

#[derive(Template)]
#[template(path = "batches.html")]
struct BatchesPage<'b> {
    frame: &'b Frame<'b>,
    rows: Vec<Batch>,
    /// Whether any of them is open, which may be cancelled.
    are_open: bool,
    next: Option<String>,
    is_first: bool,
    fields: Vec<Field>,
    rows_wrong: Option<String>,
    content: String,
    errors: Vec<(String, String)>,
    plan: Option<Plan>,
    /// A new one for each form, so that a form that is sent twice runs once.
    key: String,
}

/// What a rehearsal told.
struct Plan {
    title: String,
    is_good: bool,
    facts: Vec<(String, String)>,
    refused: Vec<(String, String, String)>,
}

/// What is entered of a new batch.
#[derive(Default)]
struct Entered {
    name: String,
    tenant: String,
    from: String,
    cps: String,
    dial: String,
    content: String,
}

pub(super) async fn list(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let from = |name| visit.query.get(name);
    let entered = Entered { tenant: from("tenant"), from: from("from"), ..Entered::default() };
    show(visit, &entered, None, None).await
}

/// Shows what a batch would come to, or runs it.
pub(super) async fn offer(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let entered = Entered::read(visit);
    let outcome = match entered.options() {
        Ok(options) if visit.form.get("do") == "run" => {
            run(visit, &entered, options).await.map(Outcome::Runs)
        }
        Ok(options) => {
            let reading = api::Reading { options, content: entered.content.as_bytes() };
            match api::Offered::read(&asking, reading) {
                Ok(offered) => {
                    offered.rehearsed(&asking, batches(visit)?).await.map(|(told, rehearsal)| {
                        let ready = offered.is_ready(&rehearsal).err();
                        Outcome::Would(Plan::of(&told, ready.as_ref()))
                    })
                }
                Err(problem) => Err(problem),
            }
        }
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(Outcome::Runs(id)) => Ok(visit.to(&format!("batches/{id}"))),
        Ok(Outcome::Would(plan)) => show(visit, &entered, Some(plan), None).await,
        Err(problem) => show(visit, &entered, None, Some(&problem)).await,
    }
}

/// What became of an offer.
enum Outcome {
    Runs(Uuid),
    Would(Plan),
}

async fn run(visit: &Visit<'_>, entered: &Entered, options: BatchOptions) -> Result<Uuid, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let key = visit.form.given("key").filter(|key| key.parse::<Uuid>().is_ok());
    let key =
        key.ok_or_else(|| Problem::field("field_malformed", "key", "must be that of a form"))?;
    let told = serde_json::to_string(&options).unwrap_or_default() + &entered.name;
    let body = api::asked(&told, entered.content.as_bytes());
    let reading = api::Reading { options, content: entered.content.as_bytes() };
    let key = format!("page-{key}");
    let anyway = visit.form.get("anyway") == "yes";
    let taken =
        api::take(&asking, batches(visit)?, (&key, &body), &entered.name, reading, anyway).await?;
    Ok(taken.row.id)
}

async fn show(
    visit: &Visit<'_>,
    entered: &Entered,
    plan: Option<Plan>,
    problem: Option<&Problem>,
) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let client = asking.client;
    let cursor = visit.query.given("cursor");
    let page = Page::at(client.id, "pages/batches", "", Some(PAGE), cursor.as_deref())?;
    let before = page.after().map(|(_, id)| id);
    let store = batches(visit)?;
    let mut found = store.rows().batch_page(&api::seen_by(client), before, page.most()).await?;
    let next = page.cut(&mut found, |row| ("", row.id));
    let mut fields = entered.fields();
    let (mut errors, mut rows_wrong) = (Vec::new(), None);
    if let Some(problem) = problem {
        rows_wrong = mark(&mut fields, problem);
        let wrong = |field: &Field| {
            Some((field.name.to_owned(), format!("{}: {}", field.label, field.wrong.as_ref()?)))
        };
        errors.extend(fields.iter().filter_map(wrong));
        if rows_wrong.is_some() {
            errors.push(("rows".to_owned(), problem.message().to_owned()));
        }
    }
    let frame = visit.frame("Batches", "batches");
    let rows: Vec<_> = found.iter().map(|row| Batch::of(visit, row)).collect();
    let reply = page_of(&BatchesPage {
        are_open: rows.iter().any(|row| row.is_open),
        next: next.map(|cursor| query(&[("cursor", &cursor)])),
        is_first: cursor.is_none(),
        content: entered.content.clone(),
        key: Uuid::new_v4().to_string(),
        frame: &frame,
        rows,
        fields,
        rows_wrong,
        errors,
        plan,
    })?;
    Ok(reply.code(problem.map_or(200, |problem| problem.status.as_u16())))
}

/// The list as a file.
pub(super) async fn export(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let of = api::seen_by(asking.client);
    let rows = batches(visit)?.rows().batch_page(&of, None, MOST_EXPORTED).await?;
    let mut csv = String::from("id,name,state,entries,done,left,outcomes,created_at,ended_at\r\n");
    for row in &rows {
        csv.push_str(&line(row));
    }
    let reply = Reply::file("text/csv; charset=utf-8", csv);
    Ok(reply
        .header(axum::http::header::CONTENT_DISPOSITION, "attachment; filename=\"batches.csv\""))
}

fn line(row: &BatchRow) -> String {
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(super::parts::exact);
    let cells = [
        row.id.to_string(),
        row.name.clone(),
        api::state(row).to_owned(),
        row.entries.to_string(),
        row.done.to_string(),
        row.entries.saturating_sub(row.done).to_string(),
        super::batch::outcomes(&row.summary["outcomes"]),
        time(row.created_at).unwrap_or_default(),
        time(row.ended_at).unwrap_or_default(),
    ];
    cells.map(|text| cell(&text)).join(",") + "\r\n"
}

/// Cancels all that the visitor may see.
pub(super) async fn cancel_all(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    api::cancel_all(&asking, batches(visit)?, how(visit)).await?;
    Ok(visit.to("batches?did=cancelled"))
}

/// How calls that are under way are to end, as a form says it.
pub(super) fn how(visit: &Visit<'_>) -> Cancel {
    if visit.form.get("calls") == "end" { Cancel::End } else { Cancel::Stop }
}

pub(super) fn batches<'v>(visit: &'v Visit<'_>) -> Result<&'v UploadedBatches, Problem> {
    visit.place.shared.batches.as_ref().ok_or_else(Problem::no_database)
}

impl Entered {
    fn read(visit: &Visit<'_>) -> Self {
        let given = |name| visit.form.given(name).unwrap_or_default();
        Self {
            name: given("name"),
            tenant: given("tenant"),
            from: given("from"),
            cps: given("cps"),
            dial: given("dial"),
            // A browser sends each line break as CR LF.
            content: visit.form.get("rows").replace("\r\n", "\n"),
        }
    }

    fn options(&self) -> Result<BatchOptions, Problem> {
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let number =
            || Problem::field("field_malformed", "cps", "must be a number such as 10 or 0.5");
        let cps = some(&self.cps).map(|text| text.parse::<f64>()).transpose();
        Ok(BatchOptions {
            tenant: some(&self.tenant),
            from: some(&self.from),
            cps: cps.map_err(|_| number())?,
            dialling: DialOptions { dial: some(&self.dial), ..DialOptions::default() },
            ..BatchOptions::default()
        })
    }

    fn fields(&self) -> Vec<Field> {
        let dials = [("agent", "The agent"), ("engine", "Trunkline")];
        let dials = dials.map(|(value, label)| (value.to_owned(), label.to_owned()));
        let phone = Kind::Line { input: "tel", completes: "off" };
        vec![
            Field::line("name", "Name", &self.name).help("What you call it."),
            Field::line("tenant", "Tenant", &self.tenant)
                .help("Its UUID, for rows that name none."),
            Field::new("from", "Caller number", &self.from, phone)
                .help("For rows that name none, such as +971501234567."),
            Field::line("cps", "Calls a second over one trunk", &self.cps)
                .help("10 if nothing is said; 0 is no limit."),
            Field::new("dial", "Who dials", &self.dial, Kind::Choice(dials.into())),
        ]
    }
}

impl Plan {
    fn of(told: &Value, problem: Option<&Problem>) -> Self {
        let count = |value: &Value| value["entries"].as_u64().unwrap_or_default();
        let lines = |value: &Value| {
            let lines = value["lines"].as_array().into_iter().flatten();
            let lines: Vec<_> = lines.map(ToString::to_string).collect();
            let more = if count(value) > lines.len() as u64 { ", …" } else { "" };
            if lines.is_empty() {
                String::new()
            } else {
                format!("line {}{more}", lines.join(", "))
            }
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut facts = vec![
            ("Entries".to_owned(), told["entries"].to_string()),
            ("Would be called".to_owned(), count(&told["calls"]).to_string()),
        ];
        let countries = told["countries"].as_array().into_iter().flatten();
        facts.extend(
            countries.map(|one| (format!("To {}", text(&one["country"])), count(one).to_string())),
        );
        for (member, name) in
            [("duplicates", "Name somebody twice"), ("without_rules", "Without known rules")]
        {
            if count(&told[member]) > 0 {
                let (many, lines) = (count(&told[member]), lines(&told[member]));
                facts.push((name.to_owned(), format!("{many} ({lines})")));
            }
        }
        if let Some(seconds) = told["takes_seconds"].as_f64() {
            facts.push(("Takes, at the rate".to_owned(), super::parts::duration(seconds)));
        }
        let refused = told["refused"].as_array().into_iter().flatten();
        let refused = refused.map(|one| {
            (text(&one["outcome"]).replace('_', " "), text(&one["message"]), lines(one))
        });
        let title = problem.map_or("Ready to be run.", Problem::message).to_owned();
        Self { title, is_good: problem.is_none(), facts, refused: refused.collect() }
    }
}

const PAGE: u64 = 50;
const MOST_EXPORTED: usize = 10_000;
