-- A config can be disabled: its numbers fall back, and it stays as it is. The change is logged as one of
-- the config.

alter table voice_agent_livekit add column trunkline_disabled_at text;

drop trigger if exists trunkline_log_config_update;
create trigger trunkline_log_config_update
after update of id, name, livekit_url, livekit_api_key, livekit_api_secret, trunk_id, worker_name,
    trunkline_disabled_at
on voice_agent_livekit
when (old.id, old.name, old.livekit_url, old.livekit_api_key, old.livekit_api_secret, old.trunk_id, old.worker_name,
        old.trunkline_disabled_at)
    is not
    (new.id, new.name, new.livekit_url, new.livekit_api_key, new.livekit_api_secret, new.trunk_id, new.worker_name,
        new.trunkline_disabled_at)
begin
    insert into voice_agent_changes (entity, operation, fields, config_id)
    select 'config', 'update', rtrim(
        iif(old.id is not new.id, 'id,', '') ||
        iif(old.name is not new.name, 'name,', '') ||
        iif(old.livekit_url is not new.livekit_url, 'livekit_url,', '') ||
        iif(old.livekit_api_key is not new.livekit_api_key, 'livekit_api_key,', '') ||
        iif(old.livekit_api_secret is not new.livekit_api_secret, 'livekit_api_secret,', '') ||
        iif(old.trunk_id is not new.trunk_id, 'trunk_id,', '') ||
        iif(old.worker_name is not new.worker_name, 'worker_name,', '') ||
        iif(old.trunkline_disabled_at is not new.trunkline_disabled_at, 'trunkline_disabled_at,', ''), ','
    ), keys.id
    from (select old.id as id union select new.id) as keys;
end;
