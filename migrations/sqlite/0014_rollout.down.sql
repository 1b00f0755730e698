-- The rollout goes: the database answers everybody again.

drop table trunkline_rollout;
insert into voice_agent_changes (entity, operation, fields) values ('all', 'delete', 'trunkline_rollout');
