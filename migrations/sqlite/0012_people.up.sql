-- People: users who sign in with a password, and their sessions. Of a password its argon2id hash is
-- stored, of a session the SHA-256 of its token.
--
-- What takes or gives a right is logged as `all` of the table of clients. What failed logins write is not
-- logged, or whoever guesses passwords could keep every program busy.

create table trunkline_users (
    id blob primary key not null check (length(id) = 16) default (cast(
        randomblob(6) || char(64 + (random() & 15)) || randomblob(1)
        || substr(x'808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf', 1 + (random() & 63), 1)
        || randomblob(7) as blob
    )),
    name text not null unique check (length(name) between 1 and 100 and name = lower(name)),
    role text not null,
    -- As a PHC string. Null: nobody signs in by a password.
    password_hash text check (password_hash like '$argon2id$%'),
    -- Of a link that signs in once.
    link_hash text unique check (length(link_hash) = 64),
    link_expires_at text,
    disabled_at text,
    -- Failed logins in a row.
    failures integer not null default 0,
    locked_until text,
    created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    last_login_at text
) strict;

create table trunkline_sessions (
    token_hash text primary key not null check (length(token_hash) = 64),
    user_id blob not null references trunkline_users (id) on delete cascade,
    created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- When the password was given last.
    confirmed_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    expires_at text not null,
    address text not null,
    agent text not null
) strict;
create index trunkline_sessions_user_id on trunkline_sessions (user_id);
create index trunkline_sessions_expires_at on trunkline_sessions (expires_at);

create trigger trunkline_log_user_insert after insert on trunkline_users
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'insert', 'trunkline_clients');
end;

create trigger trunkline_log_user_update after update on trunkline_users
when (old.id, old.name, old.role, old.password_hash, old.disabled_at)
    is not (new.id, new.name, new.role, new.password_hash, new.disabled_at)
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'update', 'trunkline_clients');
end;

create trigger trunkline_log_user_delete after delete on trunkline_users
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'delete', 'trunkline_clients');
end;

create trigger trunkline_log_session_insert after insert on trunkline_sessions
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'insert', 'trunkline_clients');
end;

create trigger trunkline_log_session_update after update on trunkline_sessions
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'update', 'trunkline_clients');
end;

create trigger trunkline_log_session_delete after delete on trunkline_sessions
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'delete', 'trunkline_clients');
end;

create trigger trunkline_audit_user_replace before insert on trunkline_users
begin
    delete from trunkline_audit_replaced;
    insert into trunkline_audit_replaced (entity, row_id, before)
    select 'user', substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21),
        json_object('name', was.name, 'role', substr(was.role, 1, 255), 'disabled_at', was.disabled_at,
        'password_hash', iif(was.password_hash is null, null, 'set'),
        'link_hash', iif(was.link_hash is null, null, 'set'))
    from trunkline_users as was
    where was.id = new.id or was.name = new.name or was.link_hash = new.link_hash;
end;

create trigger trunkline_audit_user_insert after insert on trunkline_users
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, claimed)
    select entity, 'delete', row_id, tenant_id, digits, before,
        (select claimed from trunkline_audit_session where claimed is not null limit 1)
    from trunkline_audit_replaced;
    delete from trunkline_audit_replaced;
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'user', 'insert', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        null,
        json_object('name', new.name, 'role', substr(new.role, 1, 255), 'disabled_at', new.disabled_at,
        'password_hash', iif(new.password_hash is null, null, 'set'),
        'link_hash', iif(new.link_hash is null, null, 'set')),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_user_delete after delete on trunkline_users
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'user', 'delete', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        json_object('name', old.name, 'role', substr(old.role, 1, 255), 'disabled_at', old.disabled_at,
        'password_hash', iif(old.password_hash is null, null, 'set'),
        'link_hash', iif(old.link_hash is null, null, 'set')),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_user_update after update on trunkline_users
when (old.id, old.name, old.role, old.disabled_at, old.password_hash, old.link_hash)
    is not (new.id, new.name, new.role, new.disabled_at, new.password_hash, new.link_hash)
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'user', 'update', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        json_object('name', old.name, 'role', substr(old.role, 1, 255), 'disabled_at', old.disabled_at,
        'password_hash', iif(old.password_hash is null, null, 'set'),
        'link_hash', iif(old.link_hash is null, null, 'set')),
        json_object('name', new.name, 'role', substr(new.role, 1, 255), 'disabled_at', new.disabled_at,
        'password_hash', iif(new.password_hash is null, null, iif(new.password_hash is not old.password_hash, 'changed', 'set')),
        'link_hash', iif(new.link_hash is null, null, iif(new.link_hash is not old.link_hash, 'changed', 'set'))),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;
