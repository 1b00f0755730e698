-- The audit: who changed which config, number or client, when, and what it was before and after, without
-- secrets. Triggers write it in the transaction of the change, whatever tool makes it.
--
-- A file has no roles. So triggers refuse to change what was written, which keeps off an error and
-- nobody who may write the file: that is found by the chain. SQLite has no logins either; who asked is
-- what the transaction claims, in `trunkline_audit_session`.

create table trunkline_audit (
    id integer primary key autoincrement,
    at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    entity text not null,
    operation text not null,
    -- The id of the row that changed, as people write it.
    row_id text,
    tenant_id text,
    digits text,
    before text,
    after text,
    -- What the transaction says of who asked, which is as true as the file is trusted.
    claimed text
) strict;
create index trunkline_audit_row_id on trunkline_audit (row_id);
create index trunkline_audit_digits on trunkline_audit (digits) where digits is not null;

create table trunkline_audit_chain (
    position integer primary key,
    audit_id integer not null unique,
    -- SHA-256, in hex, of the hash before it and that of the row.
    hash text not null,
    sealed_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Of Postgres alone.
    horizon text
) strict;

-- Of the transaction that writes, which leaves nothing in it: one writer at a time has it for himself.
create table trunkline_audit_session (
    claimed text check (claimed is null or json_valid(claimed)),
    prunes integer not null default 0
) strict;

-- What an insert is about to replace, for which no delete trigger fires. An insert that is ignored, or
-- becomes an update, replaces nothing: so these become rows of the audit once the insert was made, and
-- each insert begins without those of one before it.
create table trunkline_audit_replaced (
    entity text not null,
    row_id text,
    tenant_id text,
    digits text,
    before text
) strict;

create trigger trunkline_audit_kept_update before update on trunkline_audit
begin
    select raise(abort, 'the audit is written once and never changed');
end;

create trigger trunkline_audit_kept_delete before delete on trunkline_audit
when not exists (select 1 from trunkline_audit_session where prunes)
begin
    select raise(abort, 'the audit is written once and never changed');
end;

-- `insert or replace` removes rows without a delete trigger.
create trigger trunkline_audit_kept_replace before insert on trunkline_audit
when exists (select 1 from trunkline_audit where id = new.id)
begin
    select raise(abort, 'the audit is written once and never changed');
end;

create trigger trunkline_audit_chain_update before update on trunkline_audit_chain
begin
    select raise(abort, 'the chain of the audit is never changed');
end;

create trigger trunkline_audit_chain_delete before delete on trunkline_audit_chain
when not exists (select 1 from trunkline_audit_session where prunes)
begin
    select raise(abort, 'the chain of the audit is never changed');
end;

create trigger trunkline_audit_chain_insert before insert on trunkline_audit_chain
when new.position <> (select coalesce(max(position), 0) + 1 from trunkline_audit_chain)
    or exists (select 1 from trunkline_audit_chain where audit_id = new.audit_id)
begin
    select raise(abort, 'the chain of the audit grows at its end');
end;

create trigger trunkline_audit_config_replace before insert on voice_agent_livekit
begin
    delete from trunkline_audit_replaced;
    insert into trunkline_audit_replaced (entity, row_id, before)
    select 'config', substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21),
        json_object('name', was.name,
        'description', json(iif(length(cast(was.description as blob)) > 16384,
            json_object('bytes', length(cast(was.description as blob))), json_quote(was.description))),
        'livekit_url', was.livekit_url, 'livekit_api_key', was.livekit_api_key,
        'trunk_id', was.trunk_id, 'worker_name', was.worker_name,
        'trunkline_disabled_at', was.trunkline_disabled_at,
        'livekit_api_secret', iif(was.livekit_api_secret = '', null, 'set'))
    from voice_agent_livekit as was
    where was.id = new.id or was.name = new.name;
end;

create trigger trunkline_audit_config_insert after insert on voice_agent_livekit
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, claimed)
    select entity, 'delete', row_id, tenant_id, digits, before,
        (select claimed from trunkline_audit_session where claimed is not null limit 1)
    from trunkline_audit_replaced;
    delete from trunkline_audit_replaced;
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'config', 'insert', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        null,
        json_object('name', new.name,
        'description', json(iif(length(cast(new.description as blob)) > 16384,
            json_object('bytes', length(cast(new.description as blob))), json_quote(new.description))),
        'livekit_url', new.livekit_url, 'livekit_api_key', new.livekit_api_key,
        'trunk_id', new.trunk_id, 'worker_name', new.worker_name,
        'trunkline_disabled_at', new.trunkline_disabled_at,
        'livekit_api_secret', iif(new.livekit_api_secret = '', null, 'set')),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_config_delete after delete on voice_agent_livekit
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'config', 'delete', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        json_object('name', old.name,
        'description', json(iif(length(cast(old.description as blob)) > 16384,
            json_object('bytes', length(cast(old.description as blob))), json_quote(old.description))),
        'livekit_url', old.livekit_url, 'livekit_api_key', old.livekit_api_key,
        'trunk_id', old.trunk_id, 'worker_name', old.worker_name,
        'trunkline_disabled_at', old.trunkline_disabled_at,
        'livekit_api_secret', iif(old.livekit_api_secret = '', null, 'set')),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_config_update
after update of id, name, description, livekit_url, livekit_api_key,
        livekit_api_secret, trunk_id, worker_name, trunkline_disabled_at
on voice_agent_livekit
when (old.id, old.name, old.description, old.livekit_url, old.livekit_api_key,
        old.livekit_api_secret, old.trunk_id, old.worker_name, old.trunkline_disabled_at)
    is not
    (new.id, new.name, new.description, new.livekit_url, new.livekit_api_key,
        new.livekit_api_secret, new.trunk_id, new.worker_name, new.trunkline_disabled_at)
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'config', 'update', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        json_object('name', old.name,
        'description', json(iif(length(cast(old.description as blob)) > 16384,
            json_object('bytes', length(cast(old.description as blob))), json_quote(old.description))),
        'livekit_url', old.livekit_url, 'livekit_api_key', old.livekit_api_key,
        'trunk_id', old.trunk_id, 'worker_name', old.worker_name,
        'trunkline_disabled_at', old.trunkline_disabled_at,
        'livekit_api_secret', iif(old.livekit_api_secret = '', null, 'set')),
        json_object('name', new.name,
        'description', json(iif(length(cast(new.description as blob)) > 16384,
            json_object('bytes', length(cast(new.description as blob))), json_quote(new.description))),
        'livekit_url', new.livekit_url, 'livekit_api_key', new.livekit_api_key,
        'trunk_id', new.trunk_id, 'worker_name', new.worker_name,
        'trunkline_disabled_at', new.trunkline_disabled_at,
        'livekit_api_secret', case when new.livekit_api_secret = '' then null
            when new.livekit_api_secret is not old.livekit_api_secret then 'changed' else 'set' end),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_number_replace before insert on voice_agent_numbers
begin
    delete from trunkline_audit_replaced;
    insert into trunkline_audit_replaced (entity, row_id, tenant_id, digits, before)
    select 'number', substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21),
        substr(lower(hex(was.tenant_id)), 1, 8) || '-' || substr(lower(hex(was.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(was.tenant_id)), 13, 4) || '-' || substr(lower(hex(was.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(was.tenant_id)), 21),
        ltrim(was.country_code, '+0 ') || cast(was.base_number as text),
        json_object('id', substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21),
        'tenant_id', substr(lower(hex(was.tenant_id)), 1, 8) || '-' || substr(lower(hex(was.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(was.tenant_id)), 13, 4) || '-' || substr(lower(hex(was.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(was.tenant_id)), 21),
        'country_code', json(iif(length(cast(was.country_code as blob)) > 16384,
            json_object('bytes', length(cast(was.country_code as blob))), json_quote(was.country_code))),
        'base_number', was.base_number,
        'provider', json(iif(length(cast(was.provider as blob)) > 16384,
            json_object('bytes', length(cast(was.provider as blob))), json_quote(was.provider))),
        'rules', json(iif(length(cast(was.rules as blob)) > 16384,
            json_object('bytes', length(cast(was.rules as blob))), was.rules)))
    from voice_agent_numbers as was
    where was.id = new.id or was.tenant_id = new.tenant_id
        and ltrim(was.country_code, '+0 ') || cast(was.base_number as text)
            = ltrim(new.country_code, '+0 ') || cast(new.base_number as text);
end;

create trigger trunkline_audit_number_insert after insert on voice_agent_numbers
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, claimed)
    select entity, 'delete', row_id, tenant_id, digits, before,
        (select claimed from trunkline_audit_session where claimed is not null limit 1)
    from trunkline_audit_replaced;
    delete from trunkline_audit_replaced;
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, after, claimed)
    select 'number', 'insert', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        substr(lower(hex(new.tenant_id)), 1, 8) || '-' || substr(lower(hex(new.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(new.tenant_id)), 13, 4) || '-' || substr(lower(hex(new.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(new.tenant_id)), 21),
        ltrim(new.country_code, '+0 ') || cast(new.base_number as text),
        null,
        json_object('id', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        'tenant_id', substr(lower(hex(new.tenant_id)), 1, 8) || '-' || substr(lower(hex(new.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(new.tenant_id)), 13, 4) || '-' || substr(lower(hex(new.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(new.tenant_id)), 21),
        'country_code', json(iif(length(cast(new.country_code as blob)) > 16384,
            json_object('bytes', length(cast(new.country_code as blob))), json_quote(new.country_code))),
        'base_number', new.base_number,
        'provider', json(iif(length(cast(new.provider as blob)) > 16384,
            json_object('bytes', length(cast(new.provider as blob))), json_quote(new.provider))),
        'rules', json(iif(length(cast(new.rules as blob)) > 16384,
            json_object('bytes', length(cast(new.rules as blob))), new.rules))),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_number_delete after delete on voice_agent_numbers
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, after, claimed)
    select 'number', 'delete', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        substr(lower(hex(old.tenant_id)), 1, 8) || '-' || substr(lower(hex(old.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(old.tenant_id)), 13, 4) || '-' || substr(lower(hex(old.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(old.tenant_id)), 21),
        ltrim(old.country_code, '+0 ') || cast(old.base_number as text),
        json_object('id', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        'tenant_id', substr(lower(hex(old.tenant_id)), 1, 8) || '-' || substr(lower(hex(old.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(old.tenant_id)), 13, 4) || '-' || substr(lower(hex(old.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(old.tenant_id)), 21),
        'country_code', json(iif(length(cast(old.country_code as blob)) > 16384,
            json_object('bytes', length(cast(old.country_code as blob))), json_quote(old.country_code))),
        'base_number', old.base_number,
        'provider', json(iif(length(cast(old.provider as blob)) > 16384,
            json_object('bytes', length(cast(old.provider as blob))), json_quote(old.provider))),
        'rules', json(iif(length(cast(old.rules as blob)) > 16384,
            json_object('bytes', length(cast(old.rules as blob))), old.rules))),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_number_update
after update of id, tenant_id, country_code, base_number, provider, rules
on voice_agent_numbers
when (old.id, old.tenant_id, old.country_code, old.base_number, old.provider, old.rules)
    is not
    (new.id, new.tenant_id, new.country_code, new.base_number, new.provider, new.rules)
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, after, claimed)
    select 'number', 'update', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        substr(lower(hex(new.tenant_id)), 1, 8) || '-' || substr(lower(hex(new.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(new.tenant_id)), 13, 4) || '-' || substr(lower(hex(new.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(new.tenant_id)), 21),
        ltrim(new.country_code, '+0 ') || cast(new.base_number as text),
        json_object('id', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        'tenant_id', substr(lower(hex(old.tenant_id)), 1, 8) || '-' || substr(lower(hex(old.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(old.tenant_id)), 13, 4) || '-' || substr(lower(hex(old.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(old.tenant_id)), 21),
        'country_code', json(iif(length(cast(old.country_code as blob)) > 16384,
            json_object('bytes', length(cast(old.country_code as blob))), json_quote(old.country_code))),
        'base_number', old.base_number,
        'provider', json(iif(length(cast(old.provider as blob)) > 16384,
            json_object('bytes', length(cast(old.provider as blob))), json_quote(old.provider))),
        'rules', json(iif(length(cast(old.rules as blob)) > 16384,
            json_object('bytes', length(cast(old.rules as blob))), old.rules))),
        json_object('id', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        'tenant_id', substr(lower(hex(new.tenant_id)), 1, 8) || '-' || substr(lower(hex(new.tenant_id)), 9, 4) || '-'
            || substr(lower(hex(new.tenant_id)), 13, 4) || '-' || substr(lower(hex(new.tenant_id)), 17, 4)
            || '-' || substr(lower(hex(new.tenant_id)), 21),
        'country_code', json(iif(length(cast(new.country_code as blob)) > 16384,
            json_object('bytes', length(cast(new.country_code as blob))), json_quote(new.country_code))),
        'base_number', new.base_number,
        'provider', json(iif(length(cast(new.provider as blob)) > 16384,
            json_object('bytes', length(cast(new.provider as blob))), json_quote(new.provider))),
        'rules', json(iif(length(cast(new.rules as blob)) > 16384,
            json_object('bytes', length(cast(new.rules as blob))), new.rules))),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_client_replace before insert on trunkline_clients
begin
    delete from trunkline_audit_replaced;
    insert into trunkline_audit_replaced (entity, row_id, before)
    select 'client', substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21),
        json_object('name', was.name,
        'scopes', json(iif(length(cast(was.scopes as blob)) > 16384,
            json_object('bytes', length(cast(was.scopes as blob))), was.scopes)),
        'grants', json(iif(length(cast(was.grants as blob)) > 16384,
            json_object('bytes', length(cast(was.grants as blob))), was.grants)),
        'expires_at', was.expires_at, 'revoked_at', was.revoked_at,
        'token_hash', 'set')
    from trunkline_clients as was
    where was.id = new.id or was.name = new.name or was.token_hash = new.token_hash;
end;

create trigger trunkline_audit_client_insert after insert on trunkline_clients
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, claimed)
    select entity, 'delete', row_id, tenant_id, digits, before,
        (select claimed from trunkline_audit_session where claimed is not null limit 1)
    from trunkline_audit_replaced;
    delete from trunkline_audit_replaced;
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'client', 'insert', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        null,
        json_object('name', new.name,
        'scopes', json(iif(length(cast(new.scopes as blob)) > 16384,
            json_object('bytes', length(cast(new.scopes as blob))), new.scopes)),
        'grants', json(iif(length(cast(new.grants as blob)) > 16384,
            json_object('bytes', length(cast(new.grants as blob))), new.grants)),
        'expires_at', new.expires_at, 'revoked_at', new.revoked_at,
        'token_hash', 'set'),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_client_delete after delete on trunkline_clients
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'client', 'delete', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        json_object('name', old.name,
        'scopes', json(iif(length(cast(old.scopes as blob)) > 16384,
            json_object('bytes', length(cast(old.scopes as blob))), old.scopes)),
        'grants', json(iif(length(cast(old.grants as blob)) > 16384,
            json_object('bytes', length(cast(old.grants as blob))), old.grants)),
        'expires_at', old.expires_at, 'revoked_at', old.revoked_at,
        'token_hash', 'set'),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_client_update
after update of id, name, token_hash, scopes, grants, expires_at, revoked_at
on trunkline_clients
when (old.id, old.name, old.token_hash, old.scopes, old.grants, old.expires_at, old.revoked_at)
    is not
    (new.id, new.name, new.token_hash, new.scopes, new.grants, new.expires_at, new.revoked_at)
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'client', 'update', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        json_object('name', old.name,
        'scopes', json(iif(length(cast(old.scopes as blob)) > 16384,
            json_object('bytes', length(cast(old.scopes as blob))), old.scopes)),
        'grants', json(iif(length(cast(old.grants as blob)) > 16384,
            json_object('bytes', length(cast(old.grants as blob))), old.grants)),
        'expires_at', old.expires_at, 'revoked_at', old.revoked_at,
        'token_hash', 'set'),
        json_object('name', new.name,
        'scopes', json(iif(length(cast(new.scopes as blob)) > 16384,
            json_object('bytes', length(cast(new.scopes as blob))), new.scopes)),
        'grants', json(iif(length(cast(new.grants as blob)) > 16384,
            json_object('bytes', length(cast(new.grants as blob))), new.grants)),
        'expires_at', new.expires_at, 'revoked_at', new.revoked_at,
        'token_hash', iif(new.token_hash is not old.token_hash, 'changed', 'set')),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;
