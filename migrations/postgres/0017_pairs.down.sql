-- Pairs that are pending or previous go. The current ones stay with their configs.

do $do$
declare
    taken record;
begin
    -- Those of a table that was put away, too.
    for taken in
        select tgname, tgrelid from pg_trigger
        where tgfoid = to_regprocedure(format('%I.trunkline_follow_configs()', {schema_text}))
    loop
        execute format('drop trigger %I on %s', taken.tgname, cast(taken.tgrelid as regclass));
    end loop;
end
$do$;
drop table {schema}.trunkline_pairs;
drop function {schema}.trunkline_follow_configs();
drop function {schema}.trunkline_log_pairs();
