-- The audit: who changed which config, number or client, when, from where, and what it was before and
-- after, without secrets. Triggers write it in the transaction of the change, so edits by psql are in it.
--
-- Rows are never updated. A chain inside of the edits would make one lock of all editors; so rows are
-- written alone, and a sealer chains those that are committed, in `trunkline_audit_chain`. The function
-- that writes is the only one who may: nobody but the owner has a right on these tables, unless
-- `db grants` gave one.

create table {schema}.trunkline_audit (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    -- The sealer looks by transaction for rows that were committed late.
    xact xid8 not null default pg_current_xact_id(),
    entity text not null,
    operation text not null,
    -- The id of the row that changed, as text: an adopted table may have ids of another type.
    row_id text,
    tenant_id text,
    digits text,
    before json,
    after json,
    -- Facts of the server: who logged in, and from which address (null: over a socket).
    login text not null default session_user,
    address text,
    -- What the session says of itself, which is as true as the login is trusted.
    claimed json
);
create index trunkline_audit_xact on {schema}.trunkline_audit (xact);
create index trunkline_audit_row_id on {schema}.trunkline_audit (row_id);
create index trunkline_audit_digits on {schema}.trunkline_audit (digits) where digits is not null;

create table {schema}.trunkline_audit_chain (
    position bigint primary key,
    audit_id bigint not null unique,
    -- SHA-256, in hex, of the hash before it and that of the row.
    hash text not null,
    sealed_at timestamptz not null default clock_timestamp(),
    -- Rows of transactions before this one had all been chained.
    horizon text
);

-- Default privileges may have given others what nobody is to have.
do $do$
declare
    given record;
begin
    for given in
        select cast(pg_class.oid as regclass) as place,
            case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where relnamespace = to_regnamespace(format('%I', {schema_text}))
            and relname in ('trunkline_audit', 'trunkline_audit_chain') and grantee <> relowner
        group by 1, 2
    loop
        execute format('revoke all on %s from %s', given.place, given.role);
    end loop;
end
$do$;

create function {schema}.trunkline_write_audit() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set jit = off as $function$
declare
    kind text;
    -- The columns that are told with their values, and the one of which is told only that it is there.
    told text[];
    hidden text;
    -- Those of the type json.
    plain text[];
    shown text;
    huge text;
    size text;
    compared text;
    secret text;
    key text;
    rows text;
    claimed json;
begin
    -- Whoever makes a table of these names elsewhere, or a temporary one, has no say here.
    if not exists (
        select from pg_trigger as fired
        join pg_proc as called on called.oid = fired.tgfoid
        join pg_class as edited on edited.oid = fired.tgrelid
        where fired.tgrelid = tg_relid and fired.tgname = tg_name
            and edited.relnamespace = called.pronamespace
            and pg_has_role(edited.relowner, 'usage')
    ) then
        raise insufficient_privilege using
            message = 'trunkline_write_audit serves the tables of its own schema and owner only',
            hint = 'A table that moved: drop its triggers trunkline_audit_..., or move their function along.';
    end if;

    -- Control characters would let a claim pass for two lines of an audit.
    select json_object_agg(name, left(regexp_replace(said, '[[:cntrl:]]', '?', 'g'), 255))
    into claimed
    from (values
        ('actor', current_setting('trunkline.actor', true)),
        ('client', current_setting('trunkline.client', true)),
        ('client_name', current_setting('trunkline.client_name', true)),
        ('request', current_setting('trunkline.request', true)),
        ('from', current_setting('trunkline.from', true)),
        ('application', current_setting('application_name', true))
    ) as claims (name, said)
    where said <> '';

    if tg_table_name = 'voice_agent_livekit' then
        kind := 'config';
        told := array['name', 'description', 'livekit_url', 'livekit_api_key', 'trunk_id', 'worker_name',
            'trunkline_disabled_at'];
        hidden := 'livekit_api_secret';
    elsif tg_table_name = 'voice_agent_numbers' then
        kind := 'number';
        told := array['id', 'tenant_id', 'country_code', 'base_number', 'provider', 'rules'];
    else
        kind := 'client';
        told := array['name', 'scopes', 'grants', 'expires_at', 'revoked_at'];
        hidden := 'token_hash';
    end if;

    if tg_op = 'TRUNCATE' then
        execute format(
            'insert into %I.trunkline_audit (at, entity, operation, address, claimed)
             values (clock_timestamp(), $1, ''truncate'', $2, $3)', tg_table_schema
        ) using kind, host(inet_client_addr()), claimed;
        return null;
    end if;

    -- @ stands for the row before or the row after. Of a huge value the length and a hash are told. The
    -- type json has no comparison, and keeps line breaks between tokens, which would be some of an export.
    select array_agg(cast(attname as text)) into plain from pg_attribute
    where attrelid = tg_relid and atttypid = cast('json' as regtype) and cast(attname as text) = any(told);
    select string_agg(format('%L, ', name) || case when name = any(plain)
            then format('cast(translate(cast(@.%I as text), E''\n\r'', ''  '') as json)', name)
            else format('@.%I', name) end, ', '),
        string_agg(format(
            '%1$L, case when octet_length(cast(@.%1$I as text)) > 16384
            then json_build_object(''bytes'', octet_length(cast(@.%1$I as text)), ''sha256'',
                encode(sha256(convert_to(cast(@.%1$I as text), getdatabaseencoding())), ''hex''))
            else %2$s end', name, case when name = any(plain)
            then format('cast(translate(cast(@.%1$I as text), E''\n\r'', ''  '') as json)', name)
            else format('to_json(@.%I)', name) end), ', '),
        string_agg(format('@.%I', name), ', '),
        string_agg(case when name = any(plain) then format('cast(@.%I as text)', name)
            else format('@.%I', name) end, ', ')
    into shown, huge, size, compared from unnest(told) as names (name);
    if hidden is not null then
        secret := format(
            'case when coalesce(n.%1$I, '''') = '''' then null %2$s else ''set'' end', hidden,
            case when tg_op = 'UPDATE' then format(
                'when o.trunkline_was and o.%1$I is distinct from n.%1$I then ''changed''', hidden)
            end);
        shown := format('%s, %L, ^', shown, hidden);
        huge := format('%s, %L, ^', huge, hidden);
        compared := format('%s, @.id, @.%I', compared, hidden);
    end if;
    shown := format('case when octet_length(concat(%s)) <= 16384
        then json_build_object(%s) else json_build_object(%s) end', size, shown, huge);

    key := 'cast(@.id as text), ' || case when kind = 'number'
        then 'cast(@.tenant_id as text), ltrim(@.country_code, ''+0 '') || cast(@.base_number as text)'
        else 'null, null' end;
    if tg_op = 'INSERT' then
        key := replace(key, '@', 'n');
        rows := format('null, %s from new_rows as n',
            replace(replace(shown, '@', 'n'), '^', coalesce(secret, '')));
    elsif tg_op = 'DELETE' then
        key := replace(key, '@', 'o');
        rows := format('%s, null from old_rows as o',
            replace(replace(shown, '@', 'o'), '^', replace(coalesce(secret, ''), 'n.', 'o.')));
    else
        key := case when kind = 'number' then
            'cast(coalesce(n.id, o.id) as text), cast(coalesce(n.tenant_id, o.tenant_id) as text),
             coalesce(ltrim(n.country_code, ''+0 '') || cast(n.base_number as text),
                ltrim(o.country_code, ''+0 '') || cast(o.base_number as text))'
            else 'cast(coalesce(n.id, o.id) as text), null, null' end;
        rows := format(
            'case when o.trunkline_was then %s end, case when n.trunkline_is then %s end
             from (select *, true as trunkline_was from old_rows) as o
             full join (select *, true as trunkline_is from new_rows) as n on n.id = o.id
             where (%s) is distinct from (%s)',
            replace(replace(shown, '@', 'o'), '^', format(
                'case when coalesce(o.%1$I, '''') = '''' then null else ''set'' end',
                coalesce(hidden, 'id'))),
            replace(replace(shown, '@', 'n'), '^', coalesce(secret, '')),
            replace(compared, '@', 'o'), replace(compared, '@', 'n'));
    end if;
    execute format(
        'insert into %I.trunkline_audit
            (at, entity, operation, address, claimed, row_id, tenant_id, digits, before, after)
         select clock_timestamp(), $1, $2, $3, $4, %s, %s', tg_table_schema, key, rows
    ) using kind, lower(tg_op), host(inet_client_addr()), claimed;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_write_audit() from public;

-- Prunes up to a position of the chain, and leaves the last link as a checkpoint and a row that tells of it.
-- Who may do this may do no more: nothing that is younger than thirty days goes, and nothing that is not
-- sealed. The schema is an argument since a schema may be renamed; it must be one of the function's owner.
create function {schema}.trunkline_prune_audit(place text, older_than double precision, most bigint)
returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    youngest timestamptz := clock_timestamp() - make_interval(secs => greatest(older_than, 2592000));
    up_to bigint;
    checkpoint text;
    rows bigint;
begin
    if not coalesce((
        select pg_has_role(relowner, 'usage') from pg_class
        where oid = to_regclass(format('%I.trunkline_audit', place))
    ), false) then
        raise insufficient_privilege using
            message = 'trunkline_prune_audit serves the audit of its own owner only';
    end if;
    -- A row that is gone already is no reason to go on: what is before it stays as it is.
    execute format(
        'select coalesce(min(case when a.id is null or a.at >= $1 then c.position end) - 1, max(c.position))
         from (
            select position, audit_id,
                position = (select min(position) from %1$I.trunkline_audit_chain) as is_first
            from %1$I.trunkline_audit_chain order by position limit $2
         ) as c
         left join %1$I.trunkline_audit as a on a.id = c.audit_id
         where a.id is not null or not c.is_first', place)
    into up_to using youngest, most;
    execute format(
        'delete from %1$I.trunkline_audit where id in (
            select audit_id from %1$I.trunkline_audit_chain where position <= $1)', place) using up_to;
    get diagnostics rows = row_count;
    if rows > 0 then
        execute format('delete from %1$I.trunkline_audit_chain where position < $1', place) using up_to;
        execute format('select hash from %1$I.trunkline_audit_chain where position = $1', place)
        into checkpoint using up_to;
        execute format(
            'insert into %1$I.trunkline_audit (at, entity, operation, row_id, address, after, claimed)
             values (clock_timestamp(), ''audit'', ''prune'', cast($1 as text), host(inet_client_addr()),
                json_build_object(''position'', $1, ''hash'', $2, ''rows'', $3),
                json_build_object(''application'', current_setting(''application_name'', true)))', place)
        using up_to, checkpoint, rows;
    end if;
    return rows;
end
$function$;
revoke execute on function {schema}.trunkline_prune_audit(text, double precision, bigint) from public;

do $do$
declare
    watched text;
    happening text;
    rows text;
begin
    foreach watched in array array['voice_agent_livekit', 'voice_agent_numbers', 'trunkline_clients'] loop
        for happening, rows in
            select * from (values
                ('insert', 'referencing new table as new_rows'),
                ('update', 'referencing old table as old_rows new table as new_rows'),
                ('delete', 'referencing old table as old_rows'),
                ('truncate', '')
            ) as kinds
        loop
            execute format(
                'create trigger trunkline_audit_%1$s after %1$s on %2$I.%3$I %4$s
                 for each statement execute function %2$I.trunkline_write_audit()',
                happening, {schema_text}, watched, rows);
        end loop;
    end loop;
end
$do$;
