-- What the webhooks of the LiveKit servers tell of calls: when the phone left, and why.

alter table {schema}.trunkline_calls
    add column left_at timestamptz,
    -- In LiveKit's words.
    add column disconnect_reason text,
    add column sip_call_status text;

-- A webhook names the room.
create index trunkline_calls_room on {schema}.trunkline_calls (room);
