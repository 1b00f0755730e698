-- The triggers, their function and the log are always ours. A table that was swapped for another took its
-- triggers along, so they are looked for by what they call.

do $do$
declare
    calling record;
begin
    for calling in
        select tgname, cast(tgrelid as regclass) as edited from pg_trigger
        where tgfoid = to_regprocedure(format('%I.trunkline_log_changes()', {schema_text}))
    loop
        execute format('drop trigger %I on %s', calling.tgname, calling.edited);
    end loop;
end
$do$;
drop function if exists {schema}.trunkline_log_changes();
drop table if exists {schema}.voice_agent_changes;
