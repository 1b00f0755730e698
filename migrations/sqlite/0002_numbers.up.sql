-- The caller numbers of the tenants. A number is looked up by its digits, country code and all,
-- which no column holds: the index holds them.

create table voice_agent_numbers (
    id blob primary key not null check (length(id) = 16) default (cast(
        randomblob(6) || char(64 + (random() & 15)) || randomblob(1)
        || substr(x'808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf', 1 + (random() & 63), 1)
        || randomblob(7) as blob
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
create index trunkline_numbers_config on voice_agent_numbers (
    replace(lower(trim(rules ->> 'livekit_config', '{}')), '-', '')
);
