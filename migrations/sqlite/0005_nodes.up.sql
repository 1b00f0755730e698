-- Who answers calls from this file. Each node keeps a row of its own fresh, and reads those of the
-- others. Nothing here changes an answer, so no trigger logs it.

create table trunkline_nodes (
    id blob primary key,
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
    lease real not null,
    max_stale real not null,
    -- The place in the change log up to which it has applied everything.
    applied integer,
    cached integer not null,
    -- Counts the writes of this row. A node goes on only from the count that it made itself.
    refreshes integer not null,
    started_at text not null,
    refreshed_at text not null
) strict;
