-- Calls that clients place through a daemon: a row before anything is dialled, so that a question that
-- is asked twice calls once, and a call is found again whatever becomes of the node that placed it.

create table trunkline_calls (
    id blob primary key not null check (length(id) = 16),
    client_id blob not null check (length(client_id) = 16),
    -- The client's word for the question, and what was asked by it.
    idempotency_key text not null check (length(idempotency_key) between 1 and 255),
    body_hash text not null,
    tenant_id blob not null check (length(tenant_id) = 16),
    caller text not null,
    -- `accepted`: nobody was called yet. `dialling`: somebody may have been. `ended`: the outcome is known.
    state text not null default 'accepted' check (state in ('accepted', 'dialling', 'ended')),
    -- Of the attempt that may go on with it. Whoever takes it over writes another one.
    claim blob not null check (length(claim) = 16),
    -- The node that places it; null for one that is not listed.
    node blob,
    -- By then it has ended, if its node has not.
    expires_at text not null,
    -- Whom it calls, by which room and config, once that is known. Null for the environment's.
    callee text,
    room text,
    config_id blob,
    outcome text,
    -- What was answered, as JSON.
    answer text,
    created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    dialled_at text,
    ended_at text,
    unique (client_id, idempotency_key)
) strict;

create index trunkline_calls_created_at on trunkline_calls (created_at);
