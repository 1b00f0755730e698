-- The clients go with their tokens. What was logged of them stays.

drop table {schema}.trunkline_clients;
drop function {schema}.trunkline_log_clients();
