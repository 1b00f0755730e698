-- Calls that clients place through a daemon: a row before anything is dialled, so that a question that
-- is asked twice calls once, and a call is found again whatever becomes of the node that placed it.

create table {schema}.trunkline_calls (
    id uuid primary key default gen_random_uuid(),
    client_id uuid not null,
    -- The client's word for the question, and what was asked by it.
    idempotency_key text not null check (length(idempotency_key) between 1 and 255),
    body_hash text not null,
    tenant_id uuid not null,
    caller text not null,
    -- `accepted`: nobody was called yet. `dialling`: somebody may have been. `ended`: the outcome is known.
    state text not null default 'accepted' check (state in ('accepted', 'dialling', 'ended')),
    -- Of the attempt that may go on with it. Whoever takes it over writes another one.
    claim uuid not null,
    -- The node that places it; null for one that is not listed.
    node uuid,
    -- By then it has ended, if its node has not.
    expires_at timestamptz not null,
    -- Whom it calls, by which room and config, once that is known. Null for the environment's.
    callee text,
    room text,
    config_id uuid,
    outcome text,
    -- What was answered, as JSON.
    answer text,
    created_at timestamptz not null default clock_timestamp(),
    dialled_at timestamptz,
    ended_at timestamptz,
    unique (client_id, idempotency_key)
);

create index trunkline_calls_created_at on {schema}.trunkline_calls (created_at);
