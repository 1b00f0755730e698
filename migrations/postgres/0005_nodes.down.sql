-- The table is always ours. Nodes go on without it, and say so.

drop table if exists {schema}.trunkline_nodes;
