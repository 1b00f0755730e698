-- The users go with their passwords and sessions. What was logged and audited of them stays.

drop table {schema}.trunkline_sessions;
drop table {schema}.trunkline_users;
drop function {schema}.trunkline_audit_users();
