"""The door: listeners, relay, admission, control API, command lines, telemetry."""
