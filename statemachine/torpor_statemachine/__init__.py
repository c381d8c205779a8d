"""The lifecycle, and everything that moves a satellite through it."""
