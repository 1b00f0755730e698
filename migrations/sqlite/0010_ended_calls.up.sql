-- What the webhooks of the LiveKit servers tell of calls: when the phone left, and why.

alter table trunkline_calls add column left_at text;
-- In LiveKit's words.
alter table trunkline_calls add column disconnect_reason text;
alter table trunkline_calls add column sip_call_status text;

-- A webhook names the room.
create index trunkline_calls_room on trunkline_calls (room);
