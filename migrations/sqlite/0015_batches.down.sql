-- The rows of batches go. Their journals stay where they are; nobody goes on with them.

drop index trunkline_calls_dialled_at;
drop index trunkline_calls_ended_at;
drop index trunkline_calls_left_at;
drop table trunkline_batch_tenants;
drop table trunkline_batches;
