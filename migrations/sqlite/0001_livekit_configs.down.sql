drop table voice_agent_livekit;
