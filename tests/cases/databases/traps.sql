-- As a role that may create in the schema (everybody, on public, up to Postgres 14). Each of these is a
-- better match for a use of a built-in name than the built-in one. None may ever run with the rights
-- of the daemon, of the migrator or of the owner of the triggers.
create table public.loot (who text, what text);
grant select, insert on public.loot to public;

-- What the change log is read with.
create function public.concat_ws(text, numeric, oid) returns text language sql as $$
    insert into public.loot values (current_user, 'concat_ws/3');
    select pg_catalog.concat_ws($1, $2, $3)
$$;
-- What the triggers name the changed columns with.
create function public.concat_ws(text, text, text, text, text, text, text) returns text language sql as $$
    insert into public.loot values (current_user, 'concat_ws/7');
    select pg_catalog.concat_ws($1, $2, $3, $4, $5, $6, $7)
$$;
create function public.concat_ws(text, text, text, text, text, text, text, text) returns text language sql as $$
    insert into public.loot values (current_user, 'concat_ws/8');
    select pg_catalog.concat_ws($1, $2, $3, $4, $5, $6, $7, $8)
$$;
-- What the migrations make their statements with.
create function public.format(text, name) returns text language sql as $$
    insert into public.loot values (current_user, 'format/2');
    select pg_catalog.format($1, $2)
$$;
create function public.format(text, text) returns text language sql as $$
    insert into public.loot values (current_user, 'format/2');
    select pg_catalog.format($1, $2)
$$;
create function public.format(text, text, text) returns text language sql as $$
    insert into public.loot values (current_user, 'format/3');
    select pg_catalog.format($1, $2, $3)
$$;
-- What `is distinct from`, `in` and `nullif` compare with, which cannot name an operator.
create function public.equal(varchar, varchar) returns boolean language plpgsql as $$
begin
    insert into public.loot values (current_user, '= of two varchar');
    return $1::text operator(pg_catalog.=) $2::text;
end
$$;
create function public.equal(varchar, text) returns boolean language plpgsql as $$
begin
    insert into public.loot values (current_user, '= of varchar and text');
    return $1::text operator(pg_catalog.=) $2;
end
$$;
create operator public.= (leftarg = varchar, rightarg = varchar, function = public.equal);
create operator public.= (leftarg = varchar, rightarg = text, function = public.equal);
