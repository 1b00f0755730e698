drop table if exists trunkline_idempotency;
