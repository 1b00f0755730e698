-- Configs with serial ids, as an ORM makes them. Refused by `db migrate` with column and type; never an edit that fails later.
create table voice_agent_livekit (id serial primary key, name varchar(255) not null unique, livekit_url varchar(500), livekit_api_key varchar(255), livekit_api_secret text, trunk_id varchar(255));
