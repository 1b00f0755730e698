-- Clients: programs that ask a daemon over HTTP. Of a token only its SHA-256 is stored.
--
-- An edit is logged as `all` of this table, which programs that know no clients read as a change of
-- everything.

create table trunkline_clients (
    id blob primary key not null check (length(id) = 16) default (cast(
        randomblob(6) || char(64 + (random() & 15)) || randomblob(1)
        || substr(x'808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf', 1 + (random() & 63), 1)
        || randomblob(7) as blob
    )),
    name text not null unique check (length(name) between 1 and 255),
    token_hash text not null unique check (length(token_hash) = 64),
    -- What it may ask, and the limits of that. Programs refuse a client whose limits they cannot read.
    scopes text not null check (json_valid(scopes)),
    grants text not null check (json_valid(grants)),
    created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    expires_at text,
    revoked_at text
) strict;

create trigger trunkline_log_client_insert after insert on trunkline_clients
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'insert', 'trunkline_clients');
end;

create trigger trunkline_log_client_update after update on trunkline_clients
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'update', 'trunkline_clients');
end;

create trigger trunkline_log_client_delete after delete on trunkline_clients
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'delete', 'trunkline_clients');
end;
