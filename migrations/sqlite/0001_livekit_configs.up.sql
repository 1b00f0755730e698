-- The LiveKit servers. Ids are random UUIDs (version 4) made by the database, as Postgres makes
-- them; times are UTC text with milliseconds.

create table voice_agent_livekit (
    id blob primary key not null check (length(id) = 16) default (unhex(
        hex(randomblob(6)) || '4' || substr(hex(randomblob(2)), 2)
        || substr('89AB', 1 + abs(random() % 4), 1) || substr(hex(randomblob(2)), 2)
        || hex(randomblob(6))
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
