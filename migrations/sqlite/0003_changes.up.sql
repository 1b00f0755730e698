-- The change log. A commit bumps `pragma data_version` on every other connection, and whoever sees
-- that reads what is new here. One writer at a time makes sequence order commit order.
-- Only columns that a resolution depends on are logged, and only when their value differs.

create table voice_agent_changes (
    seq integer primary key autoincrement,
    changed_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    actor text not null default 'local',
    entity text not null check (entity in ('config', 'number', 'all')),
    operation text not null,
    -- The names of the columns that changed, never their values.
    fields text not null default '',
    config_id blob,
    tenant_id blob,
    digits text
) strict;
create index voice_agent_changes_changed_at on voice_agent_changes (changed_at);

create trigger trunkline_log_config_insert after insert on voice_agent_livekit
begin
    insert into voice_agent_changes (entity, operation, config_id) values ('config', 'insert', new.id);
end;

-- `insert or replace` removes rows without a delete trigger; they are told of before that.
create trigger trunkline_log_config_replace before insert on voice_agent_livekit
begin
    insert into voice_agent_changes (entity, operation, config_id)
    select 'config', 'delete', id from voice_agent_livekit where id = new.id or name = new.name;
end;

create trigger trunkline_log_config_delete after delete on voice_agent_livekit
begin
    insert into voice_agent_changes (entity, operation, config_id) values ('config', 'delete', old.id);
end;

create trigger trunkline_log_config_update
after update of id, name, livekit_url, livekit_api_key, livekit_api_secret, trunk_id, worker_name
on voice_agent_livekit
when (old.id, old.name, old.livekit_url, old.livekit_api_key, old.livekit_api_secret, old.trunk_id, old.worker_name)
    is not
    (new.id, new.name, new.livekit_url, new.livekit_api_key, new.livekit_api_secret, new.trunk_id, new.worker_name)
begin
    insert into voice_agent_changes (entity, operation, fields, config_id)
    select 'config', 'update', rtrim(
        iif(old.id is not new.id, 'id,', '') ||
        iif(old.name is not new.name, 'name,', '') ||
        iif(old.livekit_url is not new.livekit_url, 'livekit_url,', '') ||
        iif(old.livekit_api_key is not new.livekit_api_key, 'livekit_api_key,', '') ||
        iif(old.livekit_api_secret is not new.livekit_api_secret, 'livekit_api_secret,', '') ||
        iif(old.trunk_id is not new.trunk_id, 'trunk_id,', '') ||
        iif(old.worker_name is not new.worker_name, 'worker_name,', ''), ','
    ), keys.id
    from (select old.id as id union select new.id) as keys;
end;

create trigger trunkline_log_number_insert after insert on voice_agent_numbers
begin
    insert into voice_agent_changes (entity, operation, tenant_id, digits)
    values ('number', 'insert', new.tenant_id,
        ltrim(new.country_code, '+0 ') || cast(new.base_number as text));
end;

create trigger trunkline_log_number_replace before insert on voice_agent_numbers
begin
    insert into voice_agent_changes (entity, operation, tenant_id, digits)
    select 'number', 'delete', tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text)
    from voice_agent_numbers where id = new.id;
end;

create trigger trunkline_log_number_delete after delete on voice_agent_numbers
begin
    insert into voice_agent_changes (entity, operation, tenant_id, digits)
    values ('number', 'delete', old.tenant_id,
        ltrim(old.country_code, '+0 ') || cast(old.base_number as text));
end;

-- A number that moves has two keys: the one it had and the one it has.
create trigger trunkline_log_number_update
after update of id, tenant_id, country_code, base_number, provider, rules on voice_agent_numbers
when (old.id, old.tenant_id, old.country_code, old.base_number, old.provider, old.rules)
    is not (new.id, new.tenant_id, new.country_code, new.base_number, new.provider, new.rules)
begin
    insert into voice_agent_changes (entity, operation, fields, tenant_id, digits)
    select 'number', 'update', rtrim(
        iif(old.id is not new.id, 'id,', '') ||
        iif(old.tenant_id is not new.tenant_id, 'tenant_id,', '') ||
        iif(old.country_code is not new.country_code, 'country_code,', '') ||
        iif(old.base_number is not new.base_number, 'base_number,', '') ||
        iif(old.provider is not new.provider, 'provider,', '') ||
        iif(old.rules is not new.rules, 'rules,', ''), ','
    ), keys.tenant_id, keys.digits
    from (
        select old.tenant_id as tenant_id,
            ltrim(old.country_code, '+0 ') || cast(old.base_number as text) as digits
        union
        select new.tenant_id, ltrim(new.country_code, '+0 ') || cast(new.base_number as text)
    ) as keys;
end;
