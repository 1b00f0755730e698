-- Which configs were disabled is forgotten: they answer again.

drop trigger if exists trunkline_log_config_update;
alter table voice_agent_livekit drop column trunkline_disabled_at;

create trigger trunkline_log_config_update
after update of id, name, livekit_url, livekit_api_key, livekit_api_secret, trunk_id, worker_name
on voice_agent_livekit
when (old.id, old.name, old.livekit_url, old.livekit_api_key, old.livekit_api_secret, old.trunk_id, old.worker_name)
    is not
    (new.id, new.name, new.livekit_url, new.livekit_api_key, new.livekit_api_secret, new.trunk_id, new.worker_name)
begin
    insert into voice_agent_changes (entity, operation, fields, config_id)
    select 'config', 'update', rtrim(
        iif(old.id is not new.id, 'id,', '') ||
        iif(old.name is not new.name, 'name,', '') ||
        iif(old.livekit_url is not new.livekit_url, 'livekit_url,', '') ||
        iif(old.livekit_api_key is not new.livekit_api_key, 'livekit_api_key,', '') ||
        iif(old.livekit_api_secret is not new.livekit_api_secret, 'livekit_api_secret,', '') ||
        iif(old.trunk_id is not new.trunk_id, 'trunk_id,', '') ||
        iif(old.worker_name is not new.worker_name, 'worker_name,', ''), ','
    ), keys.id
    from (select old.id as id union select new.id) as keys;
end;
