-- Data keys: encryption keys that live in the database, each sealed by a root key, which is in the ring of every
-- process and never here. And what becomes of any key is audited.

create table trunkline_keys (
    key_id text primary key not null check (length(key_id) = 8),
    -- The id of the key that seals it.
    root_id text not null check (length(root_id) = 8),
    -- A token of a form of its own, which no reader takes for the secret of a config.
    sealed text not null check (length(sealed) between 1 and 1024),
    added_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Since when it is sealed by this root key.
    wrapped_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) strict;

-- Who turns the keys by schedule, and what keeps him from it. Nobody is told when this changes.
create table trunkline_key_rotation (
    id integer primary key default 1 check (id = 1),
    -- The process that may turn them at present, and until when.
    holder text,
    held_until text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- The last step that was taken, and when.
    step text,
    step_at text,
    -- What the next step waits for that should not be, and since when.
    blocked_by text,
    blocked_since text
) strict;
insert into trunkline_key_rotation (id) values (1);

create trigger trunkline_audit_known_key_insert after insert on trunkline_known_keys
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'key', 'insert', new.key_id, null,
        json_object('state', new.state, 'compromised_at', new.compromised_at),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

-- That no secret was found under it any more is no edit of anybody.
create trigger trunkline_audit_known_key_update after update on trunkline_known_keys
when (old.key_id, old.state, old.compromised_at) is not (new.key_id, new.state, new.compromised_at)
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'key', 'update', new.key_id,
        json_object('state', old.state, 'compromised_at', old.compromised_at),
        json_object('state', new.state, 'compromised_at', new.compromised_at),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_known_key_delete after delete on trunkline_known_keys
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'key', 'delete', old.key_id,
        json_object('state', old.state, 'compromised_at', old.compromised_at), null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

-- An edit of data keys by hand is a change of the keys as well.
create trigger trunkline_audit_data_key_insert after insert on trunkline_keys
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'insert', 'trunkline_key_state');
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'key', 'insert', new.key_id, null, json_object('data_key', 'set', 'root', new.root_id),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_data_key_update after update on trunkline_keys
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'update', 'trunkline_key_state');
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'key', 'update', new.key_id, json_object('data_key', 'set', 'root', old.root_id),
        json_object('data_key', iif(old.sealed = new.sealed, 'set', 'changed'), 'root', new.root_id),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_data_key_delete after delete on trunkline_keys
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'delete', 'trunkline_key_state');
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'key', 'delete', old.key_id, json_object('data_key', 'set', 'root', old.root_id), null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;
