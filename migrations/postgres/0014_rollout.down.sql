-- The rollout goes: the database answers everybody again.

drop table {schema}.trunkline_rollout;
drop function {schema}.trunkline_log_rollout();
insert into {schema}.voice_agent_changes (entity, operation, fields)
values ('all', 'delete', 'trunkline_rollout');
