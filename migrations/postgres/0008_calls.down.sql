-- The record of calls goes. Calls that are in the air go on.

drop table {schema}.trunkline_calls;
