-- The rollout: one row that says whom the database answers. Without it, everybody.
--
-- An edit is logged as `all` of this table, which programs that know no rollout read as a change of
-- everything; and it is audited.

create table trunkline_rollout (
    -- There is one row.
    id integer primary key default 1 check (id = 1),
    stage text not null check (stage in ('off', 'shadow', 'percent', 'live', 'complete')),
    -- The share that is inside, in thousandths of a per cent.
    percent integer not null default 0 check (percent between 0 and 100000),
    unit text not null default 'tenant' check (unit in ('tenant', 'number')),
    salt text not null check (length(salt) between 1 and 64),
    -- Tenants that are inside, and those that are outside, whatever their share.
    allow text not null default '[]' check (json_valid(allow)),
    deny text not null default '[]' check (json_valid(deny)),
    version integer not null default 1,
    changed_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) strict;

create trigger trunkline_log_rollout_insert after insert on trunkline_rollout
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'insert', 'trunkline_rollout');
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'rollout', 'insert', '1', null,
        json_object('stage', new.stage, 'percent', new.percent, 'unit', new.unit, 'salt', new.salt,
            'allow', json(new.allow), 'deny', json(new.deny), 'version', new.version),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_log_rollout_update after update on trunkline_rollout
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'update', 'trunkline_rollout');
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'rollout', 'update', '1',
        json_object('stage', old.stage, 'percent', old.percent, 'unit', old.unit, 'salt', old.salt,
            'allow', json(old.allow), 'deny', json(old.deny), 'version', old.version),
        json_object('stage', new.stage, 'percent', new.percent, 'unit', new.unit, 'salt', new.salt,
            'allow', json(new.allow), 'deny', json(new.deny), 'version', new.version),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_log_rollout_delete after delete on trunkline_rollout
begin
    insert into voice_agent_changes (entity, operation, fields)
    values ('all', 'delete', 'trunkline_rollout');
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'rollout', 'delete', '1',
        json_object('stage', old.stage, 'percent', old.percent, 'unit', old.unit, 'salt', old.salt,
            'allow', json(old.allow), 'deny', json(old.deny), 'version', old.version),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;
