-- Pairs that are pending or previous go. The current ones stay with their configs.

drop trigger if exists trunkline_pairs_insert on {schema}.voice_agent_livekit;
drop trigger if exists trunkline_pairs_update on {schema}.voice_agent_livekit;
drop trigger if exists trunkline_pairs_delete on {schema}.voice_agent_livekit;
drop trigger if exists trunkline_pairs_truncate on {schema}.voice_agent_livekit;
drop table {schema}.trunkline_pairs;
drop function {schema}.trunkline_follow_configs();
drop function {schema}.trunkline_log_pairs();
