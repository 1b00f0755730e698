//! The statements of people.

use crate::store::statement::{Statement, Templates};

/// The statements.
pub(in crate::store::sql) struct PeopleStatements {
    pub(super) users: Statement,
    pub(super) sessions: Statement,
    pub(super) create: Statement,
    pub(super) lock: Statement,
    pub(super) role: Statement,
    pub(super) password: Statement,
    pub(super) disable: Statement,
    pub(super) unlock: Statement,
    pub(super) link: Statement,
    pub(super) remove: Statement,
    pub(super) end_sessions: Statement,
    #[cfg(feature = "server")]
    pub(super) people: Statement,
    #[cfg(feature = "server")]
    pub(super) attempt: Statement,
    #[cfg(feature = "server")]
    pub(super) forgive: Statement,
    #[cfg(feature = "server")]
    pub(super) signed_in: Statement,
    #[cfg(feature = "server")]
    pub(super) begin: Statement,
    #[cfg(feature = "server")]
    pub(super) trim: Statement,
    #[cfg(feature = "server")]
    pub(super) take_link: Statement,
    #[cfg(feature = "server")]
    pub(super) end: Statement,
    #[cfg(feature = "server")]
    pub(super) end_others: Statement,
    #[cfg(feature = "server")]
    pub(super) confirm: Statement,
    #[cfg(feature = "server")]
    pub(super) own_password: Statement,
    #[cfg(feature = "server")]
    pub(super) prune: Statement,
    #[cfg(feature = "server")]
    pub(super) insert_client: Statement,
    #[cfg(feature = "server")]
    pub(super) lock_client: Statement,
    #[cfg(feature = "server")]
    pub(super) revoke_client: Statement,
    #[cfg(feature = "server")]
    pub(super) rotate_client: Statement,
    #[cfg(feature = "server")]
    pub(super) remove_client: Statement,
}

impl PeopleStatements {
    pub(in crate::store::sql) fn new(templates: &Templates) -> Self {
        Self {
            users: templates.statement("users", USERS),
            sessions: templates.statement("sessions", SESSIONS),
            create: templates.statement("create_user", CREATE),
            lock: templates.statement("edit_user", LOCK),
            role: templates.statement("edit_user", ROLE),
            password: templates.statement("edit_user", PASSWORD),
            disable: templates.statement("edit_user", DISABLE),
            unlock: templates.statement("edit_user", UNLOCK),
            link: templates.statement("edit_user", LINK),
            remove: templates.statement("remove_user", REMOVE),
            end_sessions: templates.statement("end_sessions", END_SESSIONS),
            #[cfg(feature = "server")]
            people: templates.statement("people", PEOPLE),
            #[cfg(feature = "server")]
            attempt: templates.statement("sign_in", ATTEMPT),
            #[cfg(feature = "server")]
            forgive: templates.statement("sign_in", FORGIVE),
            #[cfg(feature = "server")]
            signed_in: templates.statement("sign_in", SIGNED_IN),
            #[cfg(feature = "server")]
            begin: templates.statement("begin_session", BEGIN),
            #[cfg(feature = "server")]
            trim: templates.statement("begin_session", TRIM),
            #[cfg(feature = "server")]
            take_link: templates.statement("sign_in", TAKE_LINK),
            #[cfg(feature = "server")]
            end: templates.statement("end_session", END),
            #[cfg(feature = "server")]
            end_others: templates.statement("end_sessions", END_OTHERS),
            #[cfg(feature = "server")]
            confirm: templates.statement("confirm_session", CONFIRM),
            #[cfg(feature = "server")]
            own_password: templates.statement("change_password", OWN_PASSWORD),
            #[cfg(feature = "server")]
            prune: templates.statement("prune_sessions", PRUNE).in_passing(),
            #[cfg(feature = "server")]
            insert_client: templates.statement("create_client", INSERT_CLIENT),
            #[cfg(feature = "server")]
            lock_client: templates.statement("edit_client", LOCK_CLIENT),
            #[cfg(feature = "server")]
            revoke_client: templates.statement("revoke_client", REVOKE_CLIENT),
            #[cfg(feature = "server")]
            rotate_client: templates.statement("rotate_client", ROTATE_CLIENT),
            #[cfg(feature = "server")]
            remove_client: templates.statement("remove_client", REMOVE_CLIENT),
        }
    }
}

const USERS: &str = "
    select u.id, u.name, substr(u.role, 1, 64) as role, u.disabled_at, u.failures, u.locked_until,
        u.created_at, u.last_login_at,
        cast(case when u.password_hash is null then 0 else 1 end as bigint) as has_password,
        (
            select count(*) from {schema}.trunkline_sessions as s
            where s.user_id = u.id and s.expires_at > {now}
        ) as sessions
    from {schema}.trunkline_users as u
    order by u.name";

const SESSIONS: &str = "
    select created_at, expires_at, substr(address, 1, 64) as address, substr(agent, 1, 255) as agent
    from {schema}.trunkline_sessions
    where user_id = $1 and expires_at > {now}
    order by created_at desc";

const CREATE: &str = "
    insert into {schema}.trunkline_users (id, name, role, password_hash) values ($1, $2, $3, $4)";

/// In the order of ids, so that two who edit do not wait for each other.
const LOCK: &str = "
    select id,
        cast(case when role = 'admin' and disabled_at is null then 1 else 0 end as bigint) as is_admin
    from {schema}.trunkline_users
    where id = $1 or role = 'admin' and disabled_at is null
    order by id {for_update}";

const ROLE: &str = "update {schema}.trunkline_users set role = $2 where id = $1";

/// Whoever sets a password also ends a lock and a link.
const PASSWORD: &str = "
    update {schema}.trunkline_users
    set password_hash = $2, failures = 0, locked_until = null, link_hash = null, link_expires_at = null
    where id = $1";

const DISABLE: &str = "
    update {schema}.trunkline_users
    set disabled_at = case when $2 then coalesce(disabled_at, {now}) end,
        link_hash = null, link_expires_at = null
    where id = $1";

const UNLOCK: &str = "
    update {schema}.trunkline_users set failures = 0, locked_until = null where id = $1";

const LINK: &str = "
    update {schema}.trunkline_users set link_hash = $2, link_expires_at = {after_3} where id = $1";

const REMOVE: &str = "delete from {schema}.trunkline_users where id = $1";

const END_SESSIONS: &str = "delete from {schema}.trunkline_sessions where user_id = $1";

#[cfg(feature = "server")]
const PEOPLE: &str = "
    select u.id, u.name, substr(u.role, 1, 64) as role,
        cast(case when u.disabled_at is null then 0 else 1 end as bigint) as is_disabled,
        s.token_hash,
        case when s.confirmed_at between '1900-01-01' and '9999-01-01' then s.confirmed_at end
            as confirmed_at,
        case when s.expires_at between '1900-01-01' and '9999-01-01' then s.expires_at end
            as expires_at
    from {schema}.trunkline_users as u
    left join {schema}.trunkline_sessions as s on s.user_id = u.id and s.expires_at > {now}";

/// Who is locked is not counted on: the lock ends when it said.
#[cfg(feature = "server")]
const ATTEMPT: &str = "
    update {schema}.trunkline_users
    set failures = failures + 1,
        locked_until = case when failures >= 9 then {locked_until} end
    where name = $1 and (locked_until is null or locked_until <= {now})
    returning id, substr(password_hash, 1, 512) as password_hash,
        cast(case when disabled_at is null then 0 else 1 end as bigint) as is_disabled";

#[cfg(feature = "server")]
const FORGIVE: &str = "
    update {schema}.trunkline_users set failures = 0, locked_until = null
    where id = $1 and password_hash = $2 and disabled_at is null";

#[cfg(feature = "server")]
const SIGNED_IN: &str = "
    update {schema}.trunkline_users
    set failures = case when $2 is null then failures else 0 end,
        locked_until = case when $2 is null then locked_until end,
        last_login_at = {now}
    where id = $1 and ($2 is null or password_hash = $2) and disabled_at is null";

#[cfg(feature = "server")]
const BEGIN: &str = "
    insert into {schema}.trunkline_sessions
        (token_hash, user_id, address, agent, confirmed_at, expires_at)
    values ($1, $2, $3, $4, {now}, {after_5})";

/// So many at once, and the oldest one goes.
#[cfg(feature = "server")]
const TRIM: &str = "
    delete from {schema}.trunkline_sessions
    where user_id = $1 and token_hash not in (
        select token_hash from {schema}.trunkline_sessions where user_id = $1
        order by created_at desc, token_hash limit 20
    )";

#[cfg(feature = "server")]
const TAKE_LINK: &str = "
    update {schema}.trunkline_users set link_hash = null, link_expires_at = null
    where link_hash = $1 and link_expires_at > {now} and disabled_at is null
    returning id";

#[cfg(feature = "server")]
const END: &str = "delete from {schema}.trunkline_sessions where token_hash = $1";

#[cfg(feature = "server")]
const END_OTHERS: &str = "
    delete from {schema}.trunkline_sessions where user_id = $1 and token_hash <> $2";

#[cfg(feature = "server")]
const CONFIRM: &str = "
    update {schema}.trunkline_sessions set confirmed_at = {now}
    where token_hash = $1 and expires_at > {now}";

#[cfg(feature = "server")]
const OWN_PASSWORD: &str = "
    update {schema}.trunkline_users
    set password_hash = $2, failures = 0, locked_until = null, link_hash = null, link_expires_at = null
    where id = $1 and password_hash = $3 and disabled_at is null";

#[cfg(feature = "server")]
const PRUNE: &str = "delete from {schema}.trunkline_sessions where expires_at <= {now}";

#[cfg(feature = "server")]
const INSERT_CLIENT: &str = "
    insert into {schema}.trunkline_clients (name, token_hash, scopes, grants, expires_at, id)
    values ($1, $2, $3, $4, {time_of_5}, $6)";

#[cfg(feature = "server")]
const LOCK_CLIENT: &str = "
    select id from {schema}.trunkline_clients where id = $1 {for_update}";

#[cfg(feature = "server")]
const REVOKE_CLIENT: &str = "
    update {schema}.trunkline_clients set revoked_at = coalesce(revoked_at, {now}) where id = $1";

#[cfg(feature = "server")]
const ROTATE_CLIENT: &str = "
    update {schema}.trunkline_clients set token_hash = $2 where id = $1 and revoked_at is null";

#[cfg(feature = "server")]
const REMOVE_CLIENT: &str = "delete from {schema}.trunkline_clients where id = $1";
