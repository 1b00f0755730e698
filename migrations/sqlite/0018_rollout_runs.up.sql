-- Rollouts that are taken further by themselves: a row for each, and one that is open at the most. And what
-- each node has answered for those inside, by which the daemon that leads one decides.
--
-- All times are in seconds since 1970. No answer depends on a run: the steps that it takes are edits of
-- `trunkline_rollout`. What becomes of a run is audited, its counting is not.

create table trunkline_rollout_runs (
    id integer primary key autoincrement,
    state text not null check (state in ('running', 'paused', 'done', 'stopped')),
    -- At which of its steps it is, counted from one; none is where the rollout was before.
    step integer not null check (step >= 0),
    since real not null,
    -- Since when the counters of this window count. Null: not every node has told since the step.
    window_since real,
    why text,
    -- Which node takes it further, and until when nobody else does.
    leader blob,
    leader_name text,
    leads_until real not null default 0,
    -- What was asked for, which stays as it is, and how far it has come.
    plan text not null check (json_valid(plan)),
    progress text not null check (json_valid(progress)),
    version integer not null default 1,
    begun real not null,
    ended real,
    check ((ended is null) = (state in ('running', 'paused')))
) strict;
create unique index trunkline_rollout_runs_open on trunkline_rollout_runs (ended is null)
where ended is null;

-- Since this run of the process: answers of the database, and faults of those whom it should have answered.
-- Null: a program that knows no runs.
alter table trunkline_nodes add column inside integer;
alter table trunkline_nodes add column faults integer;

create trigger trunkline_audit_rollout_run_insert after insert on trunkline_rollout_runs
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'rollout', 'insert', 'run ' || new.id, null,
        json_object('run', new.id, 'state', new.state, 'step', new.step, 'why', new.why, 'plan', json(new.plan)),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_rollout_run_update after update on trunkline_rollout_runs
when old.state <> new.state or old.step <> new.step or old.plan <> new.plan
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'rollout', 'update', 'run ' || new.id,
        json_object('run', old.id, 'state', old.state, 'step', old.step, 'why', old.why, 'plan', json(old.plan)),
        json_object('run', new.id, 'state', new.state, 'step', new.step, 'why', new.why, 'plan', json(new.plan)),
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;

create trigger trunkline_audit_rollout_run_delete after delete on trunkline_rollout_runs
begin
    insert into trunkline_audit (entity, operation, row_id, before, after, claimed)
    select 'rollout', 'delete', 'run ' || old.id,
        json_object('run', old.id, 'state', old.state, 'step', old.step, 'why', old.why, 'plan', json(old.plan)),
        null,
        (select claimed from trunkline_audit_session where claimed is not null limit 1);
end;
