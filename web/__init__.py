"""The door that the phone network knocks on: webhooks, the media WebSocket, health; the engine does not know it."""
