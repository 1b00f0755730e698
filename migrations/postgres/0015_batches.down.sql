-- The rows of batches go. Their journals stay where they are; nobody goes on with them.

drop index {schema}.trunkline_calls_dialled_at;
drop index {schema}.trunkline_calls_ended_at;
drop index {schema}.trunkline_calls_left_at;
drop table {schema}.trunkline_batch_tenants;
drop table {schema}.trunkline_batches;
drop function {schema}.trunkline_note_batch();
