-- Batches that clients run through a daemon: who asked for each, where its journal is, how far it is, and
-- whether it is to be cancelled. The journal says who was dialled; a row says so to other nodes.

create table {schema}.trunkline_batches (
    -- The first bits are the time, so the order of ids is that of their coming.
    id uuid primary key,
    client_id uuid not null,
    client_name text not null,
    -- The client's word for the question, and what was asked by it.
    idempotency_key text not null check (length(idempotency_key) between 1 and 255),
    body_hash text not null,
    name text not null default '',
    -- How it is dialled, and what its rows do not say.
    options jsonb not null,
    -- The DATA_DIR that has its rows and its journal. It runs on the node that has that.
    keeper uuid not null,
    -- The node that runs it; null for one that is not listed.
    node uuid,
    state text not null default 'accepted'
        check (state in ('accepted', 'running', 'done', 'left', 'cancelled', 'failed')),
    -- `stop`: nobody else is called. `end`: those who are being called are hung up on, too.
    cancel text check (cancel in ('stop', 'end')),
    -- Why it failed.
    message text,
    entries bigint not null default 0,
    done bigint not null default 0,
    -- The summary of the run, as JSON.
    summary jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp(),
    begun_at timestamptz,
    ended_at timestamptz,
    -- When its node said last that it has it in hand.
    beat_at timestamptz,
    unique (client_id, idempotency_key)
);

create index trunkline_batches_to_run on {schema}.trunkline_batches (keeper)
where state in ('accepted', 'running');

-- Whose numbers call in it: who is limited to tenants sees those that are of his alone.
create table {schema}.trunkline_batch_tenants (
    batch_id uuid not null references {schema}.trunkline_batches (id) on delete cascade,
    tenant_id uuid not null,
    primary key (batch_id, tenant_id)
);

create function {schema}.trunkline_note_batch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $function$
declare
    was json;
    now_is json;
    which text;
    claimed json;
begin
    -- Whoever makes a table of this name elsewhere, or a temporary one, has no say here.
    if not exists (
        select from pg_trigger as fired
        join pg_proc as called on called.oid = fired.tgfoid
        join pg_class as edited on edited.oid = fired.tgrelid
        where fired.tgrelid = tg_relid and fired.tgname = tg_name
            and edited.relnamespace = called.pronamespace
            and pg_has_role(edited.relowner, 'usage')
    ) then
        raise insufficient_privilege using
            message = 'trunkline_note_batch serves the table of its own schema and owner only';
    end if;
    if tg_op in ('UPDATE', 'DELETE') then
        which := cast(old.id as text);
        was := json_build_object('name', old.name, 'client', old.client_name, 'state', old.state,
            'cancel', old.cancel, 'entries', old.entries, 'done', old.done, 'keeper', old.keeper);
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        which := cast(new.id as text);
        now_is := json_build_object('name', new.name, 'client', new.client_name, 'state', new.state,
            'cancel', new.cancel, 'entries', new.entries, 'done', new.done, 'keeper', new.keeper);
    end if;
    -- Control characters would let a claim pass for two lines of an audit.
    select json_object_agg(name, left(regexp_replace(said, '[[:cntrl:]]', '?', 'g'), 255))
    into claimed
    from (values
        ('actor', current_setting('trunkline.actor', true)),
        ('client', current_setting('trunkline.client', true)),
        ('client_name', current_setting('trunkline.client_name', true)),
        ('request', current_setting('trunkline.request', true)),
        ('from', current_setting('trunkline.from', true)),
        ('application', current_setting('application_name', true))
    ) as claims (name, said)
    where said <> '';
    execute format(
        'insert into %I.trunkline_audit (at, entity, operation, row_id, before, after, address, claimed)
         values (clock_timestamp(), ''batch'', $1, $2, $3, $4, $5, $6)', tg_table_schema
    ) using lower(tg_op), which, was, now_is, host(inet_client_addr()), claimed;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_note_batch() from public;

create trigger trunkline_note_batch
after insert or delete on {schema}.trunkline_batches
for each row execute function {schema}.trunkline_note_batch();

-- How far it is is no change that anybody has made.
create trigger trunkline_note_batch_update
after update on {schema}.trunkline_batches
for each row when ((old.id, old.name, old.client_id, old.state, old.cancel, old.keeper, old.options)
    is distinct from (new.id, new.name, new.client_id, new.state, new.cancel, new.keeper, new.options))
execute function {schema}.trunkline_note_batch();

create trigger trunkline_note_batch_truncate
after truncate on {schema}.trunkline_batches
for each statement execute function {schema}.trunkline_note_batch();

-- Events of calls go by when something became of them.
create index trunkline_calls_dialled_at on {schema}.trunkline_calls (dialled_at);
create index trunkline_calls_ended_at on {schema}.trunkline_calls (ended_at);
create index trunkline_calls_left_at on {schema}.trunkline_calls (left_at);
