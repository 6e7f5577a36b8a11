"""ElevenLabs: a voice over one WebSocket a call, with one context a reply."""
