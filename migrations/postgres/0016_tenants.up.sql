-- Labels of tenants, for people: a tenant is an id of whatever gave him one, and needs no row here.
--
-- No answer depends on a label, so its edits are audited and not logged as changes.

create table {schema}.trunkline_tenants (
    id uuid primary key,
    label text not null check (length(label) between 1 and 100),
    labelled_at timestamptz not null default clock_timestamp()
);
-- By its label people choose a tenant, so no two have the same.
create unique index trunkline_tenants_label on {schema}.trunkline_tenants (lower(label));

-- Whoever reads the numbers reads whose they are.
do $do$
declare
    granted record;
begin
    for granted in
        select distinct case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where pg_class.oid = to_regclass(format('%I.voice_agent_numbers', {schema_text}))
            and privilege_type = 'SELECT' and grantee <> relowner
        union
        select case when grantee = 0 then 'public' else quote_ident(rolname) end
        from pg_attribute
        cross join lateral aclexplode(attacl)
        left join pg_roles on pg_roles.oid = grantee
        where attrelid = to_regclass(format('%I.voice_agent_numbers', {schema_text}))
            and privilege_type = 'SELECT'
    loop
        execute format('grant select on %I.trunkline_tenants to %s', {schema_text}, granted.role);
    end loop;
end
$do$;

create function {schema}.trunkline_audit_tenants() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set jit = off as $function$
declare
    claimed json;
    tenant uuid;
    was json;
    becomes json;
begin
    -- Whoever makes a table of this name elsewhere, or a temporary one, has no say here.
    if not exists (
        select from pg_trigger as fired
        join pg_proc as called on called.oid = fired.tgfoid
        join pg_class as edited on edited.oid = fired.tgrelid
        where fired.tgrelid = tg_relid and fired.tgname = tg_name
            and edited.relnamespace = called.pronamespace
            and pg_has_role(edited.relowner, 'usage')
    ) then
        raise insufficient_privilege using
            message = 'trunkline_audit_tenants serves the table of its own schema and owner only';
    end if;
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
    if tg_op in ('UPDATE', 'DELETE') then
        tenant := old.id;
        was := json_build_object('id', old.id, 'label', old.label);
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        tenant := new.id;
        becomes := json_build_object('id', new.id, 'label', new.label);
    end if;
    execute format(
        'insert into %I.trunkline_audit
            (at, entity, operation, address, claimed, row_id, tenant_id, before, after)
         values (clock_timestamp(), ''tenant'', $1, $2, $3, $4, $4, $5, $6)', tg_table_schema
    ) using lower(tg_op), host(inet_client_addr()), claimed, cast(tenant as text), was, becomes;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_audit_tenants() from public;

create trigger trunkline_audit_insert after insert on {schema}.trunkline_tenants
for each row execute function {schema}.trunkline_audit_tenants();
create trigger trunkline_audit_update after update on {schema}.trunkline_tenants
for each row execute function {schema}.trunkline_audit_tenants();
create trigger trunkline_audit_delete after delete on {schema}.trunkline_tenants
for each row execute function {schema}.trunkline_audit_tenants();
create trigger trunkline_audit_truncate after truncate on {schema}.trunkline_tenants
for each statement execute function {schema}.trunkline_audit_tenants();
