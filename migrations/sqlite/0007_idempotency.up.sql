-- What was answered to requests with an Idempotency-Key, so that one which comes again creates nothing
-- and gets the same answer. A row is written in the transaction of what it answers, and kept for a day.

create table trunkline_idempotency (
    client_id blob not null check (length(client_id) = 16),
    key text not null check (length(key) between 1 and 255),
    -- A hash of what was asked: the same key with something else is a mistake.
    asked text not null,
    answer text not null,
    answered_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    primary key (client_id, key)
) strict;
