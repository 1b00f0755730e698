-- Runs go, with their reports. The rollout stays where it is.

drop table {schema}.trunkline_rollout_runs;
drop function {schema}.trunkline_audit_rollout_runs();
alter table {schema}.trunkline_nodes drop column inside, drop column faults;
