-- The triggers, their function and the log are always ours.

do $$
declare
    watched text;
    happening text;
begin
    foreach watched in array array['voice_agent_livekit', 'voice_agent_numbers'] loop
        foreach happening in array array['insert', 'update', 'delete', 'truncate'] loop
            execute format('drop trigger if exists trunkline_log_%s on %I', happening, watched);
        end loop;
    end loop;
end
$$;
drop function if exists trunkline_log_changes();
drop table if exists voice_agent_changes;
