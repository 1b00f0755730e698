//! The rollout: whom the database answers, what a step would do, and the step. And the run that takes steps
//! by itself.

mod run;

use askama::Template;

use self::run::ShownRun;
use super::fields::{Field, Kind, errors};
use super::frame::Frame;
use super::page_of;
use super::parts::grouped;
use super::tenants::Labels;
use super::visit::Visit;
use crate::access::Scope;
use crate::number::TenantId;
use crate::resolver::RolloutSurvey;
use crate::rollout::{Rollout, RolloutEdit, Stage};
use crate::server::api::rollout as api;
use crate::server::api::{Asking, Expected, Problem, Reply};

#[derive(Template)]
#[template(path = "rollout.html")]
struct RolloutPage<'r> {
    frame: &'r Frame<'r>,
    words: String,
    is_flag_off: bool,
    facts: Vec<(&'static str, String)>,
    may_step: bool,
    fields: Vec<Field>,
    errors: Vec<(String, String)>,
    plan: Option<Plan>,
    version: i64,
    run: Option<ShownRun>,
}

/// What a step would do, and what it was asked for with.
struct Plan {
    words: String,
    facts: Vec<(&'static str, String)>,
    unanswered: Vec<(&'static str, String)>,
    /// Numbers that would get an error.
    refused: Option<String>,
    entered: [(&'static str, String); 5],
}

/// What is entered of a step.
struct Entered {
    to: String,
    percent: String,
    lists: [(&'static str, String); 3],
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Fleet)?;
    let now = api::now(&asking).await?;
    show(visit, &asking, &now, &Entered::of(&now), None, None).await
}

/// Shows what a step would do, or takes it.
pub(super) async fn step(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Rollout)?;
    if let Some(step) = run::asked(&visit.form.get("do")) {
        api::change_run(&asking, step).await?;
        return Ok(visit.done(&asking, "rollout", "stepped", None).await);
    }
    let now = api::now(&asking).await?;
    let entered = Entered::read(visit);
    let edit = match entered.edit() {
        Ok(edit) => edit,
        Err(problem) => {
            return show(visit, &asking, &now, &entered, None, Some(&problem)).await;
        }
    };
    if visit.form.get("do") == "step" {
        let expected = Expected::Version(visit.form.get("version"));
        let force = visit.form.get("force") == "yes";
        let (_, written) = api::step(&asking, &expected, &edit, force).await?;
        return Ok(visit.done(&asking, "rollout", "stepped", written).await);
    }
    let (then, survey) = api::plan(&asking, &now, &edit).await?;
    let plan = Plan::of(&then, &survey, &entered);
    show(visit, &asking, &now, &entered, Some(plan), None).await
}

async fn show(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    now: &Rollout,
    entered: &Entered,
    plan: Option<Plan>,
    problem: Option<&Problem>,
) -> Result<Reply, Problem> {
    let mut fields = entered.fields();
    let errors = errors(&mut fields, problem);
    let mut facts = vec![("Stage", now.stage.to_string())];
    let named = now.allow.iter().chain(&now.deny).copied();
    let labels = Labels::of(asking, named.collect()).await?;
    if now.version > 0 {
        facts.extend([
            ("Share", format!("{} % of the {}s", now.percent, now.unit)),
            ("Allowed", listed(&now.allow, &labels)),
            ("Denied", listed(&now.deny, &labels)),
            ("Steps so far", now.version.to_string()),
        ]);
    }
    let frame = visit.frame("Rollout", "rollout");
    let status = problem.map_or(200, |problem| problem.status.as_u16());
    let reply = page_of(&RolloutPage {
        frame: &frame,
        words: now.in_words(),
        is_flag_off: !asking.resolver.uses_configs(),
        facts,
        may_step: visit.may(Scope::Rollout),
        fields,
        errors,
        plan,
        version: now.version,
        run: api::newest_run(asking).await?.map(|run| ShownRun::of(&run)),
    })?;
    Ok(reply.status(axum::http::StatusCode::from_u16(status).unwrap_or_default()))
}

impl Entered {
    fn of(now: &Rollout) -> Self {
        let lists = LISTS.map(|name| (name, String::new()));
        Self { to: now.stage.to_string(), percent: now.percent.to_string(), lists }
    }

    fn read(visit: &Visit<'_>) -> Self {
        let form = visit.form;
        let given = |name| form.given(name).unwrap_or_default();
        Self {
            to: given("to"),
            percent: given("percent"),
            lists: LISTS.map(|name| (name, given(name))),
        }
    }

    fn edit(&self) -> Result<RolloutEdit, Problem> {
        let wrong =
            |field: &'static str, why: String| Problem::field("field_malformed", field, &why);
        let stage: Stage = self.to.parse().map_err(|_| wrong("to", "must be a stage".into()))?;
        let percent = (stage == Stage::Percent).then(|| self.percent.parse()).transpose();
        let percent = percent
            .map_err(|error: crate::rollout::RolloutError| wrong("percent", error.to_string()))?;
        let list = |(name, text): &(&'static str, String)| -> Result<Vec<TenantId>, Problem> {
            let words = text.split([',', ' ', '\n', '\r']).filter(|word| !word.is_empty());
            let tenants = words.map(str::parse).collect::<Result<_, _>>();
            tenants.map_err(|_| wrong(name, "must be UUIDs of tenants".into()))
        };
        let [allow, deny, unlist] = &self.lists;
        Ok(RolloutEdit {
            stage: Some(stage),
            percent,
            allow: list(allow)?,
            deny: list(deny)?,
            unlist: list(unlist)?,
        })
    }

    fn fields(&self) -> Vec<Field> {
        let stages = [
            (Stage::Off, "Off: the environment answers everybody"),
            (Stage::Shadow, "Shadow: the same, and the database's answers are compared"),
            (Stage::Percent, "A share: the database answers a part"),
            (Stage::Live, "Live: the database answers everybody, or else the environment"),
            (Stage::Complete, "Complete: the database answers everybody, or nobody does"),
        ];
        let stages = stages.map(|(stage, label)| (stage.to_string(), label.to_owned()));
        let to = Field::new("to", "Go to", &self.to, Kind::Choice(stages.into())).required();
        let share = Field::line("percent", "Share, in per cent", &self.percent);
        let labels =
            ["Tenants to take in", "Tenants to keep out", "Tenants to take off both lists"];
        let lists =
            self.lists.iter().zip(labels).map(|((name, text), label)| {
                Field::area(name, label, text).help("UUIDs, one a line.")
            });
        let share = share.help("For a share: from 0 to 100, such as 10 or 0.125.");
        [to, share].into_iter().chain(lists).collect()
    }
}

impl Plan {
    fn of(then: &Rollout, survey: &RolloutSurvey, entered: &Entered) -> Self {
        let moving = |many: crate::resolver::Moving| {
            format!("{} numbers of {} tenants", grouped(many.numbers), grouped(many.tenants))
        };
        let refused = (then.stage == Stage::Complete && survey.unanswered_inside > 0)
            .then(|| grouped(survey.unanswered_inside));
        let unanswered = survey.unanswered.iter();
        let inside = (grouped(survey.inside_then), grouped(survey.numbers));
        let [allow, deny, unlist] = entered.lists.clone();
        let (to, percent) = (entered.to.clone(), entered.percent.clone());
        Self {
            words: then.in_words(),
            facts: vec![
                ("To the database", moving(survey.moving_in)),
                ("To the environment", moving(survey.moving_out)),
                ("Inside then", format!("{} of {} numbers", inside.0, inside.1)),
            ],
            unanswered: unanswered.map(|(reason, many)| (*reason, grouped(*many))).collect(),
            refused,
            entered: [("to", to), ("percent", percent), allow, deny, unlist],
        }
    }
}

fn listed(tenants: &[TenantId], labels: &Labels) -> String {
    match tenants {
        [] => "nobody".to_owned(),
        some => {
            let named = some.iter().map(|tenant| labels.named(*tenant).words().to_owned());
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

const LISTS: [&str; 3] = ["allow", "deny", "unlist"];
