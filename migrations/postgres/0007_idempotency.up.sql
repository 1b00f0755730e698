-- What was answered to requests with an Idempotency-Key, so that one which comes again creates nothing
-- and gets the same answer. A row is written in the transaction of what it answers, and kept for a day.
-- No call depends on it, so no trigger logs it.

create table {schema}.trunkline_idempotency (
    client_id uuid not null,
    key text not null check (length(key) between 1 and 255),
    -- A hash of what was asked: the same key with something else is a mistake.
    asked text not null,
    answer text not null,
    answered_at timestamptz not null default clock_timestamp(),
    primary key (client_id, key)
);
