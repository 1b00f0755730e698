-- The LiveKit servers. Ids are random UUIDs (version 4) made by the database, as Postgres makes
-- them: 16 random bytes of which two carry version and variant (RFC 9562). Times are UTC text with
-- milliseconds. Defaults and triggers use no function that SQLite 3.38 lacks, since whatever tool
-- writes to the file runs them.

create table voice_agent_livekit (
    id blob primary key not null check (length(id) = 16) default (cast(
        randomblob(6) || char(64 + (random() & 15)) || randomblob(1)
        || substr(x'808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf', 1 + (random() & 63), 1)
        || randomblob(7) as blob
    )),
    name text not null unique check (length(name) <= 255),
    description text,
    livekit_url text not null check (length(livekit_url) <= 500),
    livekit_api_key text not null check (length(livekit_api_key) <= 255),
    livekit_api_secret text not null,
    trunk_id text check (length(trunk_id) <= 255),
    worker_name text check (length(worker_name) <= 255),
    created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) strict;

create trigger trunkline_touch_updated_at
after update on voice_agent_livekit
for each row when new.updated_at is old.updated_at
begin
    update voice_agent_livekit set updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    where id = new.id;
end;
