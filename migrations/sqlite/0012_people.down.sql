-- The users go with their passwords and sessions. What was logged and audited of them stays.

drop table trunkline_sessions;
drop table trunkline_users;
