-- The audit goes with its rows. `trunkline audit export` keeps a copy.

do $do$
declare
    taken record;
begin
    for taken in
        select tgname, tgrelid from pg_trigger
        where tgfoid = to_regprocedure(format('%I.trunkline_write_audit()', {schema_text}))
    loop
        execute format('drop trigger %I on %s', taken.tgname, cast(taken.tgrelid as regclass));
    end loop;
end
$do$;
drop function {schema}.trunkline_write_audit();
drop function {schema}.trunkline_prune_audit(text, double precision, bigint);
drop table {schema}.trunkline_audit_chain;
drop table {schema}.trunkline_audit;
