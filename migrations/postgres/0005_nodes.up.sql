-- Who answers calls from this database. Each node keeps a row of its own fresh, and reads those of the
-- others. All times are of this database's clock. Nothing here changes an answer, so no trigger logs it.

create table {schema}.trunkline_nodes (
    id uuid primary key,
    name text not null,
    host text not null,
    program text not null,
    version text not null,
    -- The ids of the keys of its ring, with commas between them; the first one seals.
    keys text not null,
    -- A fingerprint of the settings that all nodes must share. Nothing secret is part of it.
    settings text not null,
    hearing text not null,
    -- Both in seconds.
    lease double precision not null,
    max_stale double precision not null,
    -- What had committed when it last looked into the change log, and has been applied. A place in the
    -- log would not do, because the order of places is not the order of commits.
    applied pg_snapshot,
    cached bigint not null,
    -- Counts the writes of this row. A node goes on only from the count that it made itself.
    refreshes bigint not null,
    started_at timestamptz not null,
    refreshed_at timestamptz not null
-- Room for the next versions of its rows on the same page, so that no index is written.
) with (fillfactor = 50);
