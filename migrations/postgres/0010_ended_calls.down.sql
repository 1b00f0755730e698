-- When and why the phones of calls left is forgotten.

drop index if exists {schema}.trunkline_calls_room;
alter table {schema}.trunkline_calls
    drop column left_at,
    drop column disconnect_reason,
    drop column sip_call_status;
