-- The triggers, their function and the log are always ours.

do $do$
declare
    watched text;
    happening text;
begin
    foreach watched in array array['voice_agent_livekit', 'voice_agent_numbers'] loop
        foreach happening in array array['insert', 'update', 'delete', 'truncate'] loop
            execute format('drop trigger if exists trunkline_log_%s on %I.%I', happening, {schema_text}, watched);
        end loop;
    end loop;
end
$do$;
drop function if exists {schema}.trunkline_log_changes();
drop table if exists {schema}.voice_agent_changes;
