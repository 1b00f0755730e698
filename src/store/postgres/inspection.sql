-- What a role may do with the tables, in a catalogue that everybody may read. A privilege that is held
-- for each column of ours is held.
with ours as (
    select pg_class.oid, cast(relname as text) as place from pg_class
    join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = {schema_text} and relname in ('voice_agent_livekit', 'voice_agent_numbers',
        'voice_agent_changes', 'trunkline_migrations', 'trunkline_nodes', 'trunkline_clients',
        'trunkline_idempotency', 'trunkline_calls', 'trunkline_users', 'trunkline_sessions', 'trunkline_rollout', 'trunkline_rollout_runs', 'trunkline_tenants', 'trunkline_pairs', 'trunkline_key_state', 'trunkline_known_keys', 'trunkline_keys', 'trunkline_key_rotation',
        'trunkline_audit', 'trunkline_audit_chain')
), columns (name) as (
    select unnest(array['id', 'name', 'description', 'livekit_url', 'livekit_api_key',
        'livekit_api_secret', 'trunk_id', 'worker_name', 'created_at', 'updated_at',
        'trunkline_disabled_at', 'tenant_id',
        'country_code', 'base_number', 'provider', 'rules', 'seq', 'xact', 'changed_at', 'entity',
        'operation', 'fields', 'config_id', 'digits', 'version', 'host', 'program', 'keys', 'settings',
        'hearing', 'lease', 'max_stale', 'applied', 'cached', 'refreshes', 'started_at', 'refreshed_at',
        'token_hash', 'scopes', 'grants', 'expires_at', 'revoked_at',
        'client_id', 'key', 'asked', 'answer', 'answered_at', 'idempotency_key', 'body_hash', 'caller',
        'state', 'claim', 'node', 'callee', 'room', 'outcome', 'dialled_at', 'ended_at', 'at', 'row_id', 'before', 'after', 'login', 'address', 'claimed',
        'stage', 'percent', 'unit', 'salt', 'allow', 'deny', 'step', 'window_since', 'why', 'leader',
        'leader_name', 'leads_until', 'plan', 'progress', 'begun', 'ended', 'inside', 'faults',
        'position', 'audit_id', 'hash', 'sealed_at', 'horizon', 'role', 'password_hash', 'link_hash',
        'link_expires_at', 'disabled_at', 'failures', 'locked_until', 'last_login_at', 'user_id',
        'confirmed_at', 'agent', 'phase', 'api_key', 'api_secret', 'checked_at', 'label', 'labelled_at', 'epoch', 'sealing',
        'readers_confirmed_at', 'key_id', 'added_at', 'since', 'clean_since', 'compromised_at',
        'root_id', 'sealed', 'wrapped_at', 'holder', 'held_until', 'step', 'step_at', 'blocked_by', 'blocked_since'])
)
select 'schema' as place, 'usage' as privilege,
    has_schema_privilege(cast($1 as name), oid, 'usage') as held
from pg_namespace where nspname = {schema_text}
union all
select place, privilege, case privilege
    when 'delete' then has_table_privilege(cast($1 as name), oid, privilege)
    else not exists (
        select from pg_attribute join columns on columns.name = cast(attname as text)
        where attrelid = oid and not attisdropped
            and not has_column_privilege(cast($1 as name), oid, attnum, privilege)
    ) end
from ours
cross join (values ('select'), ('insert'), ('update'), ('delete')) as privileges (privilege)
