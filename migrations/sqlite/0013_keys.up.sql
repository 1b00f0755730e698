-- The encryption keys by their ids: which one seals, and what becomes of the others. No key is here, and
-- nothing that reveals one. Without an operator who stages a key the first key of each ring seals, as before.

create table trunkline_key_state (
    id integer primary key default 1 check (id = 1),
    -- Counts how often another key began to seal.
    epoch integer not null default 0,
    -- The id of the key that seals. Null: the first key of each ring.
    sealing text check (length(sealing) = 8),
    -- Since when somebody has said that no reader is left that has no row among the nodes and one key only.
    readers_confirmed_at text,
    changed_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Whether the transaction that is open seals secrets again: nobody else ever sees it set.
    resealing integer not null default 0
) strict;
insert into trunkline_key_state (id) values (1);

create table trunkline_known_keys (
    key_id text primary key not null check (length(key_id) = 8),
    state text not null check (state in ('staged', 'sealing', 'old', 'refused', 'retired')),
    added_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Since when it is in this state.
    since text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Since when no pass over all secrets has found one under it. Null: the last one did, or none was made.
    clean_since text,
    compromised_at text
) strict;

-- A change of the state is logged as `all` of its table, which programs that know no such state read as a
-- change of everything.
create trigger trunkline_key_state_update
after update of id, epoch, sealing, readers_confirmed_at, changed_at on trunkline_key_state
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'update', 'trunkline_key_state');
end;

-- A secret that is sealed again under another key is the same secret: its config was not updated.
drop trigger if exists trunkline_touch_updated_at;
create trigger trunkline_touch_updated_at
after update on voice_agent_livekit
for each row when new.updated_at is old.updated_at
    and not exists (select 1 from trunkline_key_state where resealing <> 0)
begin
    update voice_agent_livekit set updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    where id = new.id;
end;
