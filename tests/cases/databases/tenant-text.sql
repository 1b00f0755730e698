-- Tenants as text. Refused by `db migrate` with column and type; never database_error at every call.
create table voice_agent_numbers (id uuid primary key default gen_random_uuid(), tenant_id text not null,
  country_code text not null default '+971', base_number bigint not null, provider text, rules jsonb not null default '{}');
insert into voice_agent_numbers (tenant_id, base_number, provider) values ('11111111-2222-4333-8444-555555555555', 501234567, 'du');
