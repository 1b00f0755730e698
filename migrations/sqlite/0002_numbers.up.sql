-- The caller numbers of the tenants. A number is looked up by its digits, country code and all,
-- which no column holds: the index holds them.

create table voice_agent_numbers (
    id blob primary key not null check (length(id) = 16) default (unhex(
        hex(randomblob(6)) || '4' || substr(hex(randomblob(2)), 2)
        || substr('89AB', 1 + abs(random() % 4), 1) || substr(hex(randomblob(2)), 2)
        || hex(randomblob(6))
    )),
    tenant_id blob not null check (length(tenant_id) = 16),
    country_code text not null default '+971',
    base_number integer not null,
    provider text,
    rules text not null default '{}' check (json_valid(rules))
) strict;

create unique index trunkline_numbers_digits on voice_agent_numbers (
    ltrim(country_code, '+0 ') || cast(base_number as text), tenant_id
);
create index trunkline_numbers_config on voice_agent_numbers (rules ->> 'livekit_config');
