-- Which key seals is forgotten: the first key of each ring does.

drop trigger if exists trunkline_touch_updated_at;
create trigger trunkline_touch_updated_at
after update on voice_agent_livekit
for each row when new.updated_at is old.updated_at
begin
    update voice_agent_livekit set updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    where id = new.id;
end;
drop table trunkline_key_state;
drop table trunkline_known_keys;
