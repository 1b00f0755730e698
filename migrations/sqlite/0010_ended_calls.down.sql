-- When and why the phones of calls left is forgotten.

drop index trunkline_calls_room;
alter table trunkline_calls drop column left_at;
alter table trunkline_calls drop column disconnect_reason;
alter table trunkline_calls drop column sip_call_status;
