-- Runs go, with their reports. The rollout stays where it is.

drop table trunkline_rollout_runs;
alter table trunkline_nodes drop column inside;
alter table trunkline_nodes drop column faults;
