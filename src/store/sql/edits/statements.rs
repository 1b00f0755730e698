//! The statements of what the API reads and edits.

use crate::store::edits::{ConfigSort, NumberSort};
use crate::store::sql::Dialect;
use crate::store::statement::{Statement, Templates};

/// The statements.
pub(in crate::store::sql) struct EditingStatements {
    number_pages: [Statement; 3],
    pub(super) numbers_of: Statement,
    pub(super) numbers_with: Statement,
    pub(super) locked_numbers: Statement,
    config_pages: [Statement; 3],
    pub(super) config_seen: Statement,
    pub(super) named_config: Statement,
    pub(super) lock_config: Statement,
    pub(super) insert_config: Statement,
    pub(super) insert_number: Statement,
    pub(super) update_number: Statement,
    pub(super) update_rules: Statement,
    pub(super) delete_number: Statement,
    pub(super) assign: Statement,
    pub(super) unassign: Statement,
    pub(super) change_page: Statement,
    pub(super) say_behalf: Statement,
    pub(super) unsay_behalf: Option<Statement>,
    pub(in crate::store::sql) own_written: Statement,
    pub(super) newest_written: Statement,
    pub(super) claim: Statement,
    pub(super) earlier: Statement,
    pub(super) forget_answer: Statement,
    pub(super) forget_answers: Statement,
}

impl EditingStatements {
    /// Names that there are already are of statements that do the same: by them it is known what there
    /// can be only one of.
    pub(in crate::store::sql) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        let numbers_with = templates.statement("numbers_with", NUMBERS_WITH);
        let locked = format!("{NUMBERS_WITH} {{to_write_numbers}}");
        let named = format!("{CONFIG_SEEN} {{to_name_config}}");
        Self {
            number_pages: NUMBER_ORDERS.map(|order| {
                templates.statement("number_page", &format!("{NUMBER_PAGE} {order} limit $9"))
            }),
            numbers_of: templates.statement("numbers_of", NUMBERS_OF),
            numbers_with,
            locked_numbers: templates.statement("numbers_with", &locked),
            config_pages: CONFIG_ORDERS.map(|order| {
                templates.statement("config_page", &format!("{CONFIG_PAGE} {order} limit $6"))
            }),
            config_seen: templates.statement("config_seen", CONFIG_SEEN),
            named_config: templates.statement("config_seen", &named),
            lock_config: templates.statement("lock_config", LOCK_CONFIG),
            insert_config: templates.statement("create_config", INSERT_CONFIG),
            insert_number: templates.statement("add_number", INSERT_NUMBER),
            update_number: templates.statement("update_number", UPDATE_NUMBER),
            update_rules: templates.statement("update_number", UPDATE_RULES),
            delete_number: templates.statement("remove_number", DELETE_NUMBER),
            assign: templates.statement("assign", ASSIGN),
            unassign: templates.statement("unassign", UNASSIGN),
            change_page: templates.statement("change_page", CHANGE_PAGE),
            say_behalf: templates.statement("say_behalf", dialect.say_behalf),
            unsay_behalf: dialect
                .unsay_behalf
                .map(|text| templates.statement("unsay_behalf", text)),
            own_written: templates.statement("own_change", dialect.own_written),
            newest_written: templates.statement("newest_change", dialect.newest_written),
            claim: templates.statement("claim_key", CLAIM),
            earlier: templates.statement("claimed_key", EARLIER),
            forget_answer: templates.statement("forget_key", FORGET_ANSWER),
            forget_answers: templates.statement("forget_keys", FORGET_ANSWERS).in_passing(),
        }
    }
}

impl EditingStatements {
    /// A page of numbers in this order.
    pub(super) fn number_page(&self, sort: NumberSort) -> &Statement {
        let [up, down, by_tenant] = &self.number_pages;
        match sort {
            NumberSort::Number => up,
            NumberSort::NumberDown => down,
            NumberSort::Tenant => by_tenant,
        }
    }
}

impl EditingStatements {
    /// A page of configs in this order.
    pub(super) fn config_page(&self, sort: ConfigSort) -> &Statement {
        let [up, down, changed] = &self.config_pages;
        match sort {
            ConfigSort::Name => up,
            ConfigSort::NameDown => down,
            ConfigSort::Changed => changed,
        }
    }
}

/// What the parts of these statements are. `{seen}`: whose numbers are seen.
pub(in crate::store::sql) const EDIT_PARTS: &[(&str, &str)] = &[
    ("{config_seen}", CONFIG_IS_SEEN),
    ("{seen}", SEEN),
    // However the rules spell the id; an index on the same expression serves.
    ("{config_key}", "replace(lower(trim(n.rules ->> 'livekit_config', '{}')), '-', '')"),
    ("{changed_ms}", "coalesce({ms_of_change}, -9000000000000000)"),
    ("{config_name}", "case when octet_length(c.name) <= 4096 then c.name else '' end"),
];

const SEEN: &str = "n.tenant_id is not null and octet_length({digits}) <= 64
        and ($1 is null or n.tenant_id in ({listed_1}))
        and ($2 is null or exists (
            select 1 from {texts_2} where substr({digits}, 1, length(p.value)) = p.value
        ))";

/// Configs belong to no tenant: who is limited sees those that numbers of his use.
const CONFIG_IS_SEEN: &str = "($1 is null and $2 is null or exists (
            select 1 from {schema}.voice_agent_numbers as n
            where {config_key} = {key_of_config} and {seen}
        ))";

const NUMBER_PAGE: &str = "
    select {number_columns}
    from {schema}.voice_agent_numbers as n
    where {seen}
        and ($3 is null or {config_key} = $3)
        and ($4 is null or {digits} >= $4)
        and ($5 is null or {digits} < $5)
        and ($6 is null or case when {config_key} is null then 0 else 1 end = $6)
        and ($10 is null
            or ($10 = 'in_use' and {config_key} in (
                select {key_of_config} from {schema}.voice_agent_livekit as c where {disabled_at} is null
            ))
            or ($10 = 'disabled' and {config_key} in (
                select {key_of_config} from {schema}.voice_agent_livekit as c
                where {disabled_at} is not null
            ))
            or ($10 = 'gone' and {config_key} is not null and {config_key} not in (
                select {key_of_config} from {schema}.voice_agent_livekit as c
            )))";

/// What a page of numbers comes after, and its order.
const NUMBER_ORDERS: [&str; 3] = [
    "and ($7 is null or ({digits}, n.id) > ($7, $8)) order by {digits}, n.id",
    "and ($7 is null or ({digits}, n.id) < ($7, $8)) order by {digits} desc, n.id desc",
    "and ($7 is null or (n.tenant_id, {digits}, n.id) > ({tenant_of_7}, substr($7, 33), $8))
    order by n.tenant_id, {digits}, n.id",
];

const NUMBERS_OF: &str = "
    select {number_columns}
    from {schema}.voice_agent_numbers as n
    where {digits} in ({texts_3}) and {seen}
    order by n.id
    limit $4";

/// In the order of ids, so that two who lock several rows do not wait for each other.
const NUMBERS_WITH: &str = "
    select {number_columns}
    from {schema}.voice_agent_numbers as n
    where n.id in ({listed_3}) and {seen}
    order by n.id";

const CONFIG_PAGE: &str = "
    select {config_columns}
    from {schema}.voice_agent_livekit as c
    where {config_seen}
        and ($3 is null or lower(c.name) like $3 escape '\\')
        and ($7 is null or case when {disabled_at} is null then 0 else 1 end = $7)";

/// What a page of configs comes after, and its order.
const CONFIG_ORDERS: [&str; 3] = [
    "and ($4 is null or ({config_name}, c.id) > ($4, $5)) order by {config_name}, c.id",
    "and ($4 is null or ({config_name}, c.id) < ($4, $5)) order by {config_name} desc, c.id desc",
    "and ($4 is null or ({changed_ms}, c.id) < (cast($4 as bigint), $5))
    order by {changed_ms} desc, c.id desc",
];

const CONFIG_SEEN: &str = "
    select {config_columns}
    from {schema}.voice_agent_livekit as c
    where c.id = $3 and {config_seen}";

const LOCK_CONFIG: &str = "
    select c.id from {schema}.voice_agent_livekit as c where c.id = $1 {to_write_config}";

const INSERT_CONFIG: &str = "
    insert into {schema}.voice_agent_livekit
        (id, name, description, livekit_url, livekit_api_key, livekit_api_secret, trunk_id, worker_name)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Adds nothing where the number is there: an adopted table has no index that would refuse it.
const INSERT_NUMBER: &str = "
    insert into {schema}.voice_agent_numbers (id, {new_number_columns})
    select $1, $2, $3, $4, $5, $6
    where not exists (
        select 1 from {schema}.voice_agent_numbers where {digits} = $7 and tenant_id = $2
    )";

/// Rules that are not changed are not written: of long ones more stands there than was read.
const UPDATE_NUMBER: &str = "
    update {schema}.voice_agent_numbers set provider = $2 where id = $1";

const UPDATE_RULES: &str = "
    update {schema}.voice_agent_numbers set provider = $2, rules = $3 where id = $1";

const DELETE_NUMBER: &str = "delete from {schema}.voice_agent_numbers where id = $1";

const ASSIGN: &str = "
    update {schema}.voice_agent_numbers set rules = {rules_with_2} where id in ({listed_1})";

const UNASSIGN: &str = "
    update {schema}.voice_agent_numbers set rules = {rules_without} where id in ({listed_1})";

/// A text of any length is cut before it leaves the database.
const CHANGE_PAGE: &str = "
    select seq, changed_at, substr(actor, 1, 255) as actor, {login} as login, entity,
        substr(operation, 1, 64) as operation, substr(fields, 1, 1024) as fields, config_id, tenant_id,
        substr(digits, 1, 64) as digits
    from {schema}.voice_agent_changes
    where seq < $1
    order by seq desc
    limit $2";

const CLAIM: &str = "
    insert into {schema}.trunkline_idempotency (client_id, key, asked, answer)
    values ($1, $2, $3, $4)
    on conflict (client_id, key) do nothing";

const EARLIER: &str = "
    select asked, answer from {schema}.trunkline_idempotency where client_id = $1 and key = $2";

const FORGET_ANSWER: &str = "
    delete from {schema}.trunkline_idempotency
    where client_id = $1 and key = $2 and {answer_age} > 86400";

const FORGET_ANSWERS: &str =
    "delete from {schema}.trunkline_idempotency where {answer_age} > 86400";
