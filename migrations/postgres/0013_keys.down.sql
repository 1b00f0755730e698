-- Which key seals is forgotten: the first key of each ring does.

create or replace function {schema}.trunkline_touch_updated_at() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $function$
begin
    if (old.name, old.description, old.livekit_url, old.livekit_api_key, old.livekit_api_secret,
            old.trunk_id, old.worker_name, old.trunkline_disabled_at)
        is distinct from
        (new.name, new.description, new.livekit_url, new.livekit_api_key, new.livekit_api_secret,
            new.trunk_id, new.worker_name, new.trunkline_disabled_at)
    then
        new.updated_at := clock_timestamp();
    end if;
    return new;
end
$function$;
drop table {schema}.trunkline_key_state;
drop table {schema}.trunkline_known_keys;
drop function {schema}.trunkline_hold_key_state(text);
drop function {schema}.trunkline_log_keys();
