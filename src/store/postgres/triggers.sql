-- Makes the triggers that write the change log, as far as they are missing. {notify} says whether they
-- ring: on, off, or nothing for as those do that are there. One that is quiet has an argument.
do $do$
declare
    watched text;
    happening text;
    rows text;
    quiet boolean := case '{notify}' when 'on' then false when 'off' then true end;
    is_quiet boolean;
    called text;
begin
    -- Two who migrate at once make each trigger once.
    perform pg_advisory_xact_lock(hashtextextended('trunkline triggers', 0));
    if quiet is null then
        select coalesce(bool_or(tgnargs > 0), false) into quiet from pg_trigger
        where tgfoid = to_regprocedure(format('%I.trunkline_log_changes()', {schema_text}));
    end if;
    foreach watched in array array['voice_agent_livekit', 'voice_agent_numbers'] loop
        for happening, rows in
            select * from (values
                ('insert', 'referencing new table as new_rows'),
                ('update', 'referencing old table as old_rows new table as new_rows'),
                ('delete', 'referencing old table as old_rows'),
                ('truncate', '')
            ) as kinds
        loop
            select tgnargs > 0 into is_quiet from pg_trigger
            where tgrelid = to_regclass(format('%I.%I', {schema_text}, watched))
                and tgname = 'trunkline_log_' || happening;
            continue when is_quiet = quiet;
            if is_quiet is not null then
                execute format('drop trigger trunkline_log_%s on %I.%I',
                    happening, {schema_text}, watched);
            end if;
            execute format(
                'create trigger trunkline_log_%1$s after %1$s on %2$I.%3$I %4$s
                 for each statement execute function %2$I.trunkline_log_changes(%5$s)',
                happening, {schema_text}, watched, rows, case when quiet then '''quiet''' else '' end);
        end loop;
    end loop;
    if to_regclass(format('%I.trunkline_clients', {schema_text})) is not null then
        select tgnargs > 0 into is_quiet from pg_trigger
        where tgrelid = to_regclass(format('%I.trunkline_clients', {schema_text}))
            and tgname = 'trunkline_log_clients';
        if is_quiet is distinct from quiet then
            execute format('drop trigger if exists trunkline_log_clients on %I.trunkline_clients',
                {schema_text});
            execute format(
                'create trigger trunkline_log_clients
                 after insert or update or delete or truncate on %1$I.trunkline_clients
                 for each statement execute function %1$I.trunkline_log_clients(%2$s)',
                {schema_text}, case when quiet then '''quiet''' else '' end);
        end if;
    end if;
    if to_regclass(format('%I.trunkline_rollout', {schema_text})) is not null then
        for watched, happening, rows in
            select * from (values
                ('trunkline_log_rollout', 'insert or update or delete', 'row'),
                ('trunkline_log_rollout_truncate', 'truncate', 'statement')
            ) as triggers
        loop
            select tgnargs > 0 into is_quiet from pg_trigger
            where tgrelid = to_regclass(format('%I.trunkline_rollout', {schema_text}))
                and tgname = watched;
            continue when is_quiet = quiet;
            execute format('drop trigger if exists %I on %I.trunkline_rollout', watched, {schema_text});
            execute format(
                'create trigger %1$I after %2$s on %3$I.trunkline_rollout
                 for each %4$s execute function %3$I.trunkline_log_rollout(%5$s)',
                watched, happening, {schema_text}, rows, case when quiet then '''quiet''' else '' end);
        end loop;
    end if;
    if to_regclass(format('%I.trunkline_users', {schema_text})) is not null then
        for watched, called, happening, rows in
            select * from (values
                ('trunkline_users', 'users', 'insert or delete', 'row'),
                ('trunkline_users', 'user_edits', 'update',
                    'row when ((old.id, old.name, old.role, old.password_hash, old.disabled_at)
                        is distinct from (new.id, new.name, new.role, new.password_hash, new.disabled_at))'),
                ('trunkline_users', 'users_truncate', 'truncate', 'statement'),
                ('trunkline_sessions', 'sessions', 'insert or update or delete', 'row'),
                ('trunkline_sessions', 'sessions_truncate', 'truncate', 'statement')
            ) as kinds
        loop
            continue when to_regclass(format('%I.%I', {schema_text}, watched)) is null;
            select tgnargs > 0 into is_quiet from pg_trigger
            where tgrelid = to_regclass(format('%I.%I', {schema_text}, watched))
                and tgname = 'trunkline_log_' || called;
            continue when is_quiet = quiet;
            execute format('drop trigger if exists trunkline_log_%s on %I.%I',
                called, {schema_text}, watched);
            execute format(
                'create trigger trunkline_log_%1$s after %2$s on %3$I.%4$I
                 for each %5$s execute function %3$I.trunkline_log_clients(%6$s)',
                called, happening, {schema_text}, watched, rows,
                case when quiet then '''quiet''' else '' end);
        end loop;
        for happening, rows in
            select * from (values
                ('insert', 'row'),
                ('update',
                    'row when ((old.id, old.name, old.role, old.disabled_at, old.password_hash, old.link_hash)
                        is distinct from
                        (new.id, new.name, new.role, new.disabled_at, new.password_hash, new.link_hash))'),
                ('delete', 'row'),
                ('truncate', 'statement')
            ) as kinds
        loop
            continue when exists (
                select from pg_trigger
                where tgrelid = to_regclass(format('%I.trunkline_users', {schema_text}))
                    and tgname = 'trunkline_audit_' || happening
            );
            execute format(
                'create trigger trunkline_audit_%1$s after %1$s on %2$I.trunkline_users
                 for each %3$s execute function %2$I.trunkline_audit_users()',
                happening, {schema_text}, rows);
        end loop;
    end if;
    if to_regclass(format('%I.trunkline_tenants', {schema_text})) is not null then
        foreach happening in array array['insert', 'update', 'delete', 'truncate'] loop
            continue when exists (
                select from pg_trigger
                where tgrelid = to_regclass(format('%I.trunkline_tenants', {schema_text}))
                    and tgname = 'trunkline_audit_' || happening
            );
            execute format(
                'create trigger trunkline_audit_%1$s after %1$s on %2$I.trunkline_tenants
                 for each %3$s execute function %2$I.trunkline_audit_tenants()',
                happening, {schema_text}, case happening when 'truncate' then 'statement' else 'row' end);
        end loop;
    end if;
    if to_regclass(format('%I.trunkline_rollout_runs', {schema_text})) is not null then
        for happening, rows in
            select * from (values
                ('insert', 'row'),
                ('update', 'row when ((old.state, old.step, old.plan)
                    is distinct from (new.state, new.step, new.plan))'),
                ('delete', 'row')
            ) as kinds
        loop
            continue when exists (
                select from pg_trigger
                where tgrelid = to_regclass(format('%I.trunkline_rollout_runs', {schema_text}))
                    and tgname = 'trunkline_audit_' || happening
            );
            execute format(
                'create trigger trunkline_audit_%1$s after %1$s on %2$I.trunkline_rollout_runs
                 for each %3$s execute function %2$I.trunkline_audit_rollout_runs()',
                happening, {schema_text}, rows);
        end loop;
    end if;
    if to_regclass(format('%I.trunkline_pairs', {schema_text})) is not null then
        for happening, rows in
            select * from (values
                ('insert', 'row'),
                ('update', 'row when (cast(old.livekit_api_key as text)
                    is distinct from cast(new.livekit_api_key as text))'),
                ('delete', 'row'),
                ('truncate', 'statement')
            ) as kinds
        loop
            continue when exists (
                select from pg_trigger
                where tgrelid = to_regclass(format('%I.voice_agent_livekit', {schema_text}))
                    and tgname = 'trunkline_pairs_' || happening
            );
            execute format(
                'create trigger trunkline_pairs_%1$s after %1$s on %2$I.voice_agent_livekit
                 for each %3$s execute function %2$I.trunkline_follow_configs()',
                happening, {schema_text}, rows);
        end loop;
    end if;
    -- Those of the audit never ring. One that is disabled stays so.
    if to_regprocedure(format('%I.trunkline_write_audit()', {schema_text})) is null then
        return;
    end if;
    foreach watched in array array['voice_agent_livekit', 'voice_agent_numbers', 'trunkline_clients'] loop
        for happening, rows in
            select * from (values
                ('insert', 'referencing new table as new_rows'),
                ('update', 'referencing old table as old_rows new table as new_rows'),
                ('delete', 'referencing old table as old_rows'),
                ('truncate', '')
            ) as kinds
        loop
            continue when exists (
                select from pg_trigger
                where tgrelid = to_regclass(format('%I.%I', {schema_text}, watched))
                    and tgname = 'trunkline_audit_' || happening
            ) or to_regclass(format('%I.%I', {schema_text}, watched)) is null;
            execute format(
                'create trigger trunkline_audit_%1$s after %1$s on %2$I.%3$I %4$s
                 for each statement execute function %2$I.trunkline_write_audit()',
                happening, {schema_text}, watched, rows);
        end loop;
    end loop;
end
$do$
