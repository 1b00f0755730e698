//! `/v1/numbers`: the caller numbers. A client sees and edits those of its tenants, and gives them no
//! other config than its own numbers have already.

pub(in crate::server) mod assigning;
mod table;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::configs::given;
use super::editing::other_version;
use super::idempotency::{Key, KeysInUse};
use super::page::Page;
use super::problem::Problem;
use super::question::{Expected, Question};
use super::reply::Reply;
use super::version;
use crate::access::NumberPrefix;
use crate::draft::{NumberDraft, NumberEditDraft};
use crate::number::{ConfigId, TenantId};
use crate::rules::{Rules, RulesError};
use crate::store::{Edited, Number, NumberFilter, Written};

#[derive(Deserialize)]
struct Listing {
    tenant_id: Option<TenantId>,
    config_id: Option<ConfigId>,
    prefix: Option<String>,
    assigned: Option<bool>,
    limit: Option<u64>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    tenant_id: Option<String>,
    number: String,
    provider: Option<String>,
    rules: Option<Value>,
    config_id: Option<ConfigId>,
}

/// What is null is emptied, what is absent stays.
#[derive(Deserialize)]
#[expect(clippy::option_option, reason = "to leave a field alone, and to empty it, are two things")]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default, deserialize_with = "given")]
    provider: Option<Option<String>>,
    rules: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    config_id: Option<Option<ConfigId>>,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
) -> Result<Reply, Problem> {
    match operation {
        Operation::List => list(asking, question).await,
        Operation::Read => read(asking, question).await,
        Operation::Create => create(asking, question, keys).await,
        Operation::Change => change(asking, question).await,
        Operation::Remove => remove(asking, question).await,
        Operation::Assign => assigning::assign(asking, question).await,
        Operation::Unassign => assigning::unassign(asking, question).await,
    }
}

async fn list(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let Listing { tenant_id, config_id, prefix, assigned, limit, cursor } =
        question.parameters()?;
    let prefix = prefix.map(|prefix| prefix.parse::<NumberPrefix>()).transpose();
    let prefix =
        prefix.map_err(|error| Problem::field("field_malformed", "prefix", &error.to_string()))?;
    let whose = tenant_id.map_or_else(|| Ok(asking.whose()), |tenant| asking.whose_of(tenant))?;
    let page = Page::of(asking, question, limit, cursor.as_deref())?;
    let prefix = prefix.map(|prefix| prefix.digits().to_owned());
    let filter = NumberFilter { config: config_id, prefix, assigned, ..NumberFilter::default() };
    let mut numbers =
        asking.rows()?.number_page(&whose, &filter, page.after(), page.most()).await?;
    let next = page.cut(&mut numbers, |number| (&number.digits, number.id));
    let numbers: Vec<_> = numbers.iter().map(shown).collect();
    Ok(Reply::json(&json!({"numbers": numbers, "next": next})))
}

async fn read(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let id = question.id().ok_or_else(missing)?;
    let mut found = asking.rows()?.numbers_with(&asking.whose(), &[id]).await?;
    let number = found.pop().ok_or_else(missing)?;
    Ok(Reply::json(&shown(&number)).version(&version::of_number(&number)))
}

async fn create(
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
) -> Result<Reply, Problem> {
    let key = keys.key(asking.client.id, question)?;
    let body: Creation = question.body()?;
    let draft = NumberDraft {
        tenant: tenant(asking, body.tenant_id)?,
        number: body.number,
        provider: body.provider,
        rules: body.rules,
        livekit_config: body.config_id,
    };
    let (answer, edited) = insert(asking, &draft, key.as_ref()).await?;
    asking.created(edited, answer, FOLDER, key.as_ref()).await
}

/// Adds a number that somebody entered. With it, what is answered to whoever creates one.
pub(in crate::server) async fn insert(
    asking: &Asking<'_>,
    draft: &NumberDraft,
    key: Option<&Key<'_>>,
) -> Result<(String, Edited), Problem> {
    let new = draft.check()?;
    asking.whose_of(new.caller.tenant)?;
    if !asking.permissions.may_call_from(new.caller.number) {
        let why = "this client may not ask for numbers that begin so";
        return Err(Problem::forbidden_field("number_not_allowed", "number", why));
    }
    let row = Number {
        id: Uuid::new_v4(),
        tenant: new.caller.tenant,
        digits: new.caller.number.digits(),
        provider: new.provider.clone(),
        rules: new.rules.clone(),
    };
    let answer = json!({"id": row.id, "version": version::of_number(&row)}).to_string();
    let claim = key.map(|key| key.claim(&answer));
    let edited = asking
        .rows()?
        .insert_number(&asking.behalf(), &asking.whose(), row.id, &new, claim)
        .await?;
    Ok((answer, edited))
}

async fn change(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let expected = question.expected()?;
    let Patch { provider, rules, config_id } = question.body()?;
    let id: Uuid = question.id().ok_or_else(missing)?;
    let draft = NumberEditDraft { provider, rules, livekit_config: config_id };
    let (version, written) = edit(asking, id, &expected, &draft).await?;
    let answer = json!({"id": id, "version": version});
    Ok(asking.written(answer, written).await.version(&version))
}

/// Changes what a draft says of a number, if it has the version that is expected. Returns the new one.
pub(in crate::server) async fn edit(
    asking: &Asking<'_>,
    id: Uuid,
    expected: &Expected,
    draft: &NumberEditDraft,
) -> Result<(String, Option<Written>), Problem> {
    let edit = draft.check()?;
    let (mut refused, mut version) = (None, String::new());
    let mut decide = |number: &Number| {
        if !expected.is(&version::of_number(number)) {
            refused = Some(other_version());
            return None;
        }
        let Some(new) = edit.applied_to(number) else {
            refused = Some(unreadable_rules());
            return None;
        };
        version = version::of_number(&new);
        Some(new)
    };
    match asking
        .rows()?
        .change_number(&asking.behalf(), &asking.whose(), id, &edit, &mut decide)
        .await?
    {
        Edited::Done(written) => Ok((version, written)),
        Edited::Missing => Err(missing()),
        Edited::Declined => Err(refused.unwrap_or_else(missing)),
        other => Err(other.problem()),
    }
}

async fn remove(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let expected = question.expected()?;
    let id: Uuid = question.id().ok_or_else(missing)?;
    let written = drop_number(asking, id, &expected).await?;
    Ok(asking.written(json!({"id": id}), written).await)
}

/// Removes a number, if it has the version that is expected.
pub(in crate::server) async fn drop_number(
    asking: &Asking<'_>,
    id: Uuid,
    expected: &Expected,
) -> Result<Option<Written>, Problem> {
    let mut decide = |number: &Number| expected.is(&version::of_number(number));
    match asking.rows()?.drop_number(&asking.behalf(), &asking.whose(), id, &mut decide).await? {
        Edited::Done(written) => Ok(written),
        Edited::Declined => Err(other_version()),
        _ => Err(missing()),
    }
}

/// Whose number is to be added. A client of one tenant need not say.
fn tenant(asking: &Asking<'_>, named: Option<String>) -> Result<String, Problem> {
    match (named, asking.permissions.tenants.as_deref()) {
        (Some(tenant), _) => Ok(tenant),
        (None, Some([only])) => Ok(only.to_string()),
        (None, _) => {
            let why = "must be there: this client may ask for more than one";
            Err(Problem::field("tenant_needed", "tenant_id", why))
        }
    }
}

fn shown(number: &Number) -> Value {
    let is_object = number.rules.is_object();
    json!({
        "id": number.id,
        "tenant_id": number.tenant,
        "number": format!("+{}", number.digits),
        "provider": number.provider,
        "config_id": config_of(number),
        "rules": is_object.then_some(&number.rules),
        "version": version::of_number(number),
    })
}

/// The config that the rules name.
pub(in crate::server) fn config_of(number: &Number) -> Option<ConfigId> {
    Rules::read(None, &number.rules).config
}

pub(in crate::server) fn missing() -> Problem {
    Problem::missing("number_not_found", "there is no such number, or it is not this client's")
}

fn unreadable_rules() -> Problem {
    Problem::conflict("rules_malformed", RulesError::NoObject.to_string())
        .hint("send rules that replace those which are there")
}

const FOLDER: &str = "/v1/numbers";
