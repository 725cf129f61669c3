"""Fetching and waiting (fetch.md)."""
