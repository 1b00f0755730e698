-- Takes away the column that came with it. The functions stay as they are: step 3 takes them away, and
-- what they do for it has not changed.

alter table {schema}.voice_agent_changes
    drop column login,
    alter column actor set default
        coalesce(nullif(current_setting('trunkline.actor', true), ''), session_user);
