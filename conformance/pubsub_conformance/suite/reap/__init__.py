"""Removing what the dead left behind (reap.md)."""
