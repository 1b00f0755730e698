-- Key pairs of LiveKit configs that are about to be the current one, or were until lately. The current one
-- stays where every reader looks for it, in `voice_agent_livekit`; here is only since when it is that.
--
-- Changes of a pair are changes of its config, and are audited without the secret.

create table trunkline_pairs (
    config_id blob not null check (length(config_id) = 16),
    phase text not null check (phase in ('pending', 'current', 'previous')),
    -- The server that it is for: where that is not the config's any more, it is for nothing.
    livekit_url text,
    api_key text not null,
    -- Sealed. The current one is with its config.
    api_secret text check (api_secret like 'dev-s-t-%'),
    -- When it came to be known.
    added_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- When its server accepted it last, as far as that was asked.
    checked_at text,
    -- Since when it is in this phase.
    since text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Since when it is known that others may have it.
    compromised_at text,
    primary key (config_id, phase),
    check ((phase = 'current') = (api_secret is null))
) strict;

-- Nobody knows how old the pairs are that are there: as old as their configs, at the most.
insert into trunkline_pairs (config_id, phase, api_key, since)
select id, 'current', coalesce(livekit_api_key, ''),
    coalesce(created_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
from voice_agent_livekit;

-- The pairs of a config go with it, and a key that was edited is a new pair.
create trigger trunkline_pairs_insert after insert on voice_agent_livekit
begin
    insert into trunkline_pairs (config_id, phase, api_key)
    values (new.id, 'current', coalesce(new.livekit_api_key, ''))
    on conflict (config_id, phase) do update
    set api_key = excluded.api_key, since = excluded.since, added_at = excluded.added_at
    where trunkline_pairs.api_key <> excluded.api_key;
end;

create trigger trunkline_pairs_update after update on voice_agent_livekit
for each row when old.livekit_api_key is not new.livekit_api_key
begin
    insert into trunkline_pairs (config_id, phase, api_key)
    values (new.id, 'current', coalesce(new.livekit_api_key, ''))
    on conflict (config_id, phase) do update
    set api_key = excluded.api_key, since = excluded.since, added_at = excluded.added_at
    where trunkline_pairs.api_key <> excluded.api_key;
end;

create trigger trunkline_pairs_delete after delete on voice_agent_livekit
begin
    delete from trunkline_pairs where config_id = old.id;
end;

create trigger trunkline_log_pairs_insert after insert on trunkline_pairs
for each row when new.phase <> 'current'
begin
    insert into voice_agent_changes (entity, operation, fields, config_id)
    values ('config', 'update', 'trunkline_pairs', new.config_id);
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'pair', 'insert', substr(lower(hex(new.config_id)), 1, 8) || '-' || substr(lower(hex(new.config_id)), 9, 4) || '-'
            || substr(lower(hex(new.config_id)), 13, 4) || '-' || substr(lower(hex(new.config_id)), 17, 4)
            || '-' || substr(lower(hex(new.config_id)), 21),
        null,
        json_object('phase', new.phase, 'livekit_url', substr(new.livekit_url, 1, 4096),
            'livekit_api_key', substr(new.api_key, 1, 4096), 'livekit_api_secret', 'set',
            'checked_at', new.checked_at, 'compromised_at', new.compromised_at),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_log_pairs_update after update on trunkline_pairs
for each row when new.phase <> 'current' or old.phase <> 'current'
begin
    insert into voice_agent_changes (entity, operation, fields, config_id)
    values ('config', 'update', 'trunkline_pairs', new.config_id);
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'pair', 'update', substr(lower(hex(new.config_id)), 1, 8) || '-' || substr(lower(hex(new.config_id)), 9, 4) || '-'
            || substr(lower(hex(new.config_id)), 13, 4) || '-' || substr(lower(hex(new.config_id)), 17, 4)
            || '-' || substr(lower(hex(new.config_id)), 21),
        json_object('phase', old.phase, 'livekit_url', substr(old.livekit_url, 1, 4096),
            'livekit_api_key', substr(old.api_key, 1, 4096), 'livekit_api_secret', 'set',
            'checked_at', old.checked_at, 'compromised_at', old.compromised_at),
        json_object('phase', new.phase, 'livekit_url', substr(new.livekit_url, 1, 4096),
            'livekit_api_key', substr(new.api_key, 1, 4096), 'livekit_api_secret', iif(old.api_secret is new.api_secret, 'set', 'changed'),
            'checked_at', new.checked_at, 'compromised_at', new.compromised_at),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_log_pairs_delete after delete on trunkline_pairs
for each row when old.phase <> 'current'
begin
    insert into voice_agent_changes (entity, operation, fields, config_id)
    values ('config', 'update', 'trunkline_pairs', old.config_id);
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'pair', 'delete', substr(lower(hex(old.config_id)), 1, 8) || '-' || substr(lower(hex(old.config_id)), 9, 4) || '-'
            || substr(lower(hex(old.config_id)), 13, 4) || '-' || substr(lower(hex(old.config_id)), 17, 4)
            || '-' || substr(lower(hex(old.config_id)), 21),
        json_object('phase', old.phase, 'livekit_url', substr(old.livekit_url, 1, 4096),
            'livekit_api_key', substr(old.api_key, 1, 4096), 'livekit_api_secret', 'set',
            'checked_at', old.checked_at, 'compromised_at', old.compromised_at),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;
