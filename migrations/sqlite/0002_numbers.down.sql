drop table voice_agent_numbers;
