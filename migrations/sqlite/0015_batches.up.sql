-- Batches that clients run through a daemon: who asked for each, where its journal is, how far it is, and
-- whether it is to be cancelled. The journal says who was dialled; a row says so to other nodes.

create table trunkline_batches (
    -- The first bits are the time, so the order of ids is that of their coming.
    id blob primary key not null check (length(id) = 16),
    client_id blob not null check (length(client_id) = 16),
    client_name text not null,
    -- The client's word for the question, and what was asked by it.
    idempotency_key text not null check (length(idempotency_key) between 1 and 255),
    body_hash text not null,
    name text not null default '',
    -- How it is dialled, and what its rows do not say.
    options text not null check (json_valid(options)),
    -- The DATA_DIR that has its rows and its journal. It runs on the node that has that.
    keeper blob not null check (length(keeper) = 16),
    -- The node that runs it; null for one that is not listed.
    node blob,
    state text not null default 'accepted'
        check (state in ('accepted', 'running', 'done', 'left', 'cancelled', 'failed')),
    -- `stop`: nobody else is called. `end`: those who are being called are hung up on, too.
    cancel text check (cancel in ('stop', 'end')),
    -- Why it failed.
    message text,
    entries integer not null default 0,
    done integer not null default 0,
    -- The summary of the run, as JSON.
    summary text not null default '{}' check (json_valid(summary)),
    created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    begun_at text,
    ended_at text,
    -- When its node said last that it has it in hand.
    beat_at text,
    unique (client_id, idempotency_key)
) strict;

create index trunkline_batches_to_run on trunkline_batches (keeper)
where state in ('accepted', 'running');

-- Whose numbers call in it: who is limited to tenants sees those that are of his alone.
create table trunkline_batch_tenants (
    batch_id blob not null references trunkline_batches (id) on delete cascade,
    tenant_id blob not null check (length(tenant_id) = 16),
    primary key (batch_id, tenant_id)
) strict;

create trigger trunkline_note_batch_insert after insert on trunkline_batches
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'batch', 'insert', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        null,
        json_object('name', new.name, 'client', new.client_name, 'state', new.state, 'cancel', new.cancel,
            'entries', new.entries, 'done', new.done, 'keeper', lower(hex(new.keeper))),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

-- How far it is is no change that anybody has made.
create trigger trunkline_note_batch_update after update on trunkline_batches
when (old.id, old.name, old.client_id, old.state, old.cancel, old.keeper, old.options)
    is not (new.id, new.name, new.client_id, new.state, new.cancel, new.keeper, new.options)
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'batch', 'update', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        json_object('name', old.name, 'client', old.client_name, 'state', old.state, 'cancel', old.cancel,
            'entries', old.entries, 'done', old.done, 'keeper', lower(hex(old.keeper))),
        json_object('name', new.name, 'client', new.client_name, 'state', new.state, 'cancel', new.cancel,
            'entries', new.entries, 'done', new.done, 'keeper', lower(hex(new.keeper))),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_note_batch_delete after delete on trunkline_batches
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'batch', 'delete', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        json_object('name', old.name, 'client', old.client_name, 'state', old.state, 'cancel', old.cancel,
            'entries', old.entries, 'done', old.done, 'keeper', lower(hex(old.keeper))),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

-- Events of calls go by when something became of them.
create index trunkline_calls_dialled_at on trunkline_calls (dialled_at);
create index trunkline_calls_ended_at on trunkline_calls (ended_at);
create index trunkline_calls_left_at on trunkline_calls (left_at);
