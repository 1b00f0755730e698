-- As a role that may only connect, and make temporary tables, as by default. Must be refused.
create temp table voice_agent_livekit (id uuid);
create trigger forged after truncate on pg_temp.voice_agent_livekit
    for each statement execute function public.trunkline_log_changes();
truncate pg_temp.voice_agent_livekit;
