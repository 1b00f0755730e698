-- Labels of tenants, for people: a tenant is an id of whatever gave him one, and needs no row here.
--
-- No answer depends on a label, so its edits are audited and not logged as changes.

create table trunkline_tenants (
    id blob primary key not null check (length(id) = 16),
    label text not null check (length(label) between 1 and 100),
    labelled_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) strict;
-- By its label people choose a tenant, so no two have the same.
create unique index trunkline_tenants_label on trunkline_tenants (lower(label));

create trigger trunkline_audit_tenant_replace before insert on trunkline_tenants
begin
    delete from trunkline_audit_replaced;
    insert into trunkline_audit_replaced (entity, row_id, tenant_id, before)
    select 'tenant', substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21),
        substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21),
        json_object('id', substr(lower(hex(was.id)), 1, 8) || '-' || substr(lower(hex(was.id)), 9, 4) || '-'
            || substr(lower(hex(was.id)), 13, 4) || '-' || substr(lower(hex(was.id)), 17, 4)
            || '-' || substr(lower(hex(was.id)), 21), 'label', was.label)
    from trunkline_tenants as was
    where was.id = new.id or lower(was.label) = lower(new.label);
end;

create trigger trunkline_audit_tenant_insert after insert on trunkline_tenants
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, digits, before, claimed)
    select entity, 'delete', row_id, tenant_id, digits, before,
        (select claimed from trunkline_audit_session where claimed is not null limit 1)
    from trunkline_audit_replaced;
    delete from trunkline_audit_replaced;
    insert into trunkline_audit (entity, operation, row_id, tenant_id, before, after, claimed)
    select 'tenant', 'insert', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        null, json_object('id', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21), 'label', new.label),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_tenant_update after update on trunkline_tenants
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, before, after, claimed)
    select 'tenant', 'update', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21),
        json_object('id', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21), 'label', old.label),
        json_object('id', substr(lower(hex(new.id)), 1, 8) || '-' || substr(lower(hex(new.id)), 9, 4) || '-'
            || substr(lower(hex(new.id)), 13, 4) || '-' || substr(lower(hex(new.id)), 17, 4)
            || '-' || substr(lower(hex(new.id)), 21), 'label', new.label),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_tenant_delete after delete on trunkline_tenants
begin
    insert into trunkline_audit (entity, operation, row_id, tenant_id, before, after, claimed)
    select 'tenant', 'delete', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21),
        json_object('id', substr(lower(hex(old.id)), 1, 8) || '-' || substr(lower(hex(old.id)), 9, 4) || '-'
            || substr(lower(hex(old.id)), 13, 4) || '-' || substr(lower(hex(old.id)), 17, 4)
            || '-' || substr(lower(hex(old.id)), 21), 'label', old.label), null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;
