-- Who repeats a request creates a second time, which names and numbers refuse.

drop table if exists {schema}.trunkline_idempotency;
